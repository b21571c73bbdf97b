//! `/connections/{worker}/{connection}` and `/users/{user}`: connections are looked up, and closed.

mod wish;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::NoInquiry;
use campanile_messages::Address;
use campanile_messages::inquiry::{ConnectionsSummary, DisconnectedSummary, Question, Whom};
use campanile_messages::link::Asked;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::replies::{Replies, shown};
use wish::Disconnecting;

/// Adds the paths.
pub fn mount(config: &mut web::ServiceConfig) {
    let connections = web::resource("/connections/{worker}/{connection}");
    config.service(
        connections
            .route(web::get().to(connection))
            .route(web::delete().to(disconnect_one))
            .default_service(web::to(wrong_method)),
    );
    config.service(
        web::resource("/users/{user}")
            .route(web::get().to(user))
            .route(web::delete().to(disconnect_user))
            .default_service(web::to(wrong_method)),
    );
}

async fn wrong_method() -> HttpResponse {
    let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "accepted are GET and DELETE");
    let allowed = actix_web::http::header::HeaderValue::from_static("GET, DELETE");
    response.headers_mut().insert(actix_web::http::header::ALLOW, allowed);
    response
}

async fn connection(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    let at = match looked_at(&guard, &request, wish::address) {
        Ok(at) => at,
        Err(refused) => return refused,
    };
    let to = Asked::Worker(at.worker);
    let answered = match inquirer.ask(Question::Connection(at), to).await {
        Ok(answered) => Replies::of(answered, to),
        Err(reason) => return crate::unanswered(reason),
    };
    match answered.connections().connections.first() {
        Some(connection) => crate::json(&Value::from(shown(connection))),
        None => answered.nobody().unwrap_or_else(|| unknown(at)),
    }
}

async fn user(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    let user = match looked_at(&guard, &request, wish::user) {
        Ok(user) => user,
        Err(refused) => return refused,
    };
    let answered = match inquirer.ask(Question::User(user.clone()), Asked::Gateways).await {
        Ok(answered) => Replies::of(answered, Asked::Gateways),
        Err(reason) => return crate::unanswered(reason),
    };
    if let Some(nobody) = answered.nobody() {
        return nobody;
    }
    let ConnectionsSummary { connections, left_out } = answered.connections();
    crate::json(&json!({
        "user": &*user,
        "connections": connections.iter().map(shown).collect::<Vec<_>>(),
        "left_out": left_out,
        "silent": answered.silent,
        "silent_left_out": answered.silent_left_out,
    }))
}

async fn disconnect_one(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    let (at, how, by) = match to_change(&guard, &request, wish::address) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    let whom = Whom::Connection(at);
    match disconnect(inquirer, whom, how, by, Asked::Worker(at.worker)).await {
        Ok((DisconnectedSummary { ended: 0, ending: 0 }, answered)) => {
            answered.nobody().unwrap_or_else(|| unknown(at))
        }
        Ok((all, answered)) => ended(all, &answered),
        Err(refused) => refused,
    }
}

async fn disconnect_user(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    let (user, how, by) = match to_change(&guard, &request, wish::user) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    match disconnect(inquirer, Whom::User(user), how, by, Asked::Gateways).await {
        Ok((all, answered)) => answered.nobody().unwrap_or_else(|| ended(all, &answered)),
        Err(refused) => refused,
    }
}

fn ended(all: DisconnectedSummary, answered: &Replies) -> HttpResponse {
    let DisconnectedSummary { ended, ending } = all;
    let Replies { silent, silent_left_out, .. } = answered;
    crate::json(&json!({
        "disconnected": ended, "ending": ending, "silent": silent, "silent_left_out": silent_left_out,
    }))
}

/// Reads the path of a request that may only look.
fn looked_at<T>(
    guard: &Guard,
    request: &HttpRequest,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, HttpResponse> {
    crate::check(guard, Wanted::Look, request)?;
    wish::nothing(request.query_string()).map_err(|sentence| bad(&sentence))?;
    read(request.uri().path()).map_err(|sentence| bad(&sentence))
}

/// Reads the path and the query of a request that changes something, with who wants it.
fn to_change<T>(
    guard: &Guard,
    request: &HttpRequest,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<(T, Disconnecting, String), HttpResponse> {
    let by = crate::who(guard, Wanted::Change, request)?;
    let whom = read(request.uri().path()).map_err(|sentence| bad(&sentence))?;
    let how = wish::disconnecting(request.query_string()).map_err(|sentence| bad(&sentence))?;
    Ok((whom, how, by))
}

/// Has connections closed, and logs that, even if the operator does not wait for it.
async fn disconnect(
    inquirer: web::Data<Inquirer>,
    whom: Whom,
    how: Disconnecting,
    by: String,
    to: Asked,
) -> Result<(DisconnectedSummary, Replies), HttpResponse> {
    let task = actix_web::rt::spawn(async move {
        let Disconnecting { reason, may_return } = how;
        let question = Question::Disconnect {
            whom: whom.clone(),
            may_return,
            reason: reason.clone(),
            by: by.clone(),
        };
        let answered = inquirer.ask(question, to).await;
        if let Err(error) = &answered {
            let what = match error.was_not_asked() {
                true => "no connection was closed for an operator, because no gateway was asked",
                false => "it is not known whether connections were closed for an operator",
            };
            warn!(%whom, reason, %by, may_return, %error, "{what}");
        }
        let answered = Replies::of(answered?, to);
        let all = answered.disconnected();
        let (DisconnectedSummary { ended, ending }, silent) = (all, answered.silent.len());
        info!(
            %whom, reason, %by, may_return, ended, ending, silent,
            "connections were closed for an operator"
        );
        Ok((all, answered))
    });
    match task.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(reason)) => Err(not_known_to_be_done(reason)),
        Err(_) => Err(perhaps_done("this publisher is ending")),
    }
}

/// The answer if nobody has answered who was to close connections.
fn not_known_to_be_done(reason: NoInquiry) -> HttpResponse {
    match reason.was_not_asked() {
        true => crate::unanswered(reason),
        false => perhaps_done(&reason.to_string()),
    }
}

/// The answer if gateways may have been asked.
fn perhaps_done(reason: &str) -> HttpResponse {
    let sentence = format!("it is not known whether connections were closed: {reason}");
    said(StatusCode::GATEWAY_TIMEOUT, &sentence)
}

fn bad(sentence: &str) -> HttpResponse {
    said(StatusCode::BAD_REQUEST, sentence)
}

fn unknown(at: Address) -> HttpResponse {
    let sentence = format!(
        "there is no connection {at}: it never was, its gateway is gone, or too many others have ended since it \
         did; a greeting names the address of its connection, as worker/connection"
    );
    said(StatusCode::NOT_FOUND, &sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_not_said_to_be_refused() {
        let status = |reason| not_known_to_be_done(reason).status().as_u16();
        let asked = [NoInquiry::LinkLost, NoInquiry::Unanswered, NoInquiry::ShuttingDown];
        assert_eq!(asked.map(status), [504; 3]);
        let not_asked = [NoInquiry::NoBroker, NoInquiry::TooMany, NoInquiry::GatewayAway];
        assert_eq!(not_asked.map(status), [503; 3]);
    }
}
