//! `/connections/{worker}/{connection}` and `/users/{user}`: connections are looked up, and closed.

mod wish;

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::Answered;
use campanile_messages::inquiry::{
    Answer, ConnectionSummary, ConnectionsSummary, DisconnectedSummary, Question, Summary, Whom,
};
use campanile_messages::link::Asked;
use campanile_messages::{Address, InstanceId};
use serde_json::{Map, Value, json};
use tracing::info;

use crate::cluster::silent_one;
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
    let answered = match inquirer.ask(Question::Connection(at), Asked::Worker(at.worker)).await {
        Ok(answered) => Replies::of(answered),
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
        Ok(answered) => Replies::of(answered),
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
        Ok((all, _)) => crate::json(&json!({ "disconnected": all.ended, "ending": all.ending })),
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
        Ok((all, answered)) => answered.nobody().unwrap_or_else(|| {
            crate::json(&json!({
                "disconnected": all.ended,
                "ending": all.ending,
                "silent": answered.silent,
            }))
        }),
        Err(refused) => refused,
    }
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
        let answered = inquirer.ask(question, to).await.map(Replies::of);
        let (all, silent, error) = match &answered {
            Ok(answered) => (answered.disconnected(), answered.silent.len(), None),
            Err(error) => (DisconnectedSummary::default(), 0, Some(error.to_string())),
        };
        let DisconnectedSummary { ended, ending } = all;
        info!(
            %whom, reason, %by, may_return, ended, ending, silent, error,
            "connections were closed for an operator"
        );
        answered.map(|answered| (all, answered))
    });
    match task.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(reason)) => Err(crate::unanswered(reason)),
        Err(_) => Err(said(StatusCode::INTERNAL_SERVER_ERROR, "this publisher is ending")),
    }
}

/// What the gateways have answered.
struct Replies {
    answers: Vec<Answer>,
    /// Those that have not, as they are shown.
    silent: Vec<Value>,
}

impl Replies {
    fn of(answered: Answered) -> Self {
        let Answered { broker, answers, silent } = answered;
        let links = match broker {
            Answer::Summary(Summary::Broker(broker)) => broker.links,
            _ => Vec::new(),
        };
        let links: HashMap<_, _> = links.into_iter().map(|link| (link.instance, link)).collect();
        let mut without_answer: Vec<(InstanceId, &str)> =
            silent.into_iter().map(|instance| (instance, "silent")).collect();
        let mut replies = Vec::new();
        for (instance, answer) in answers {
            match answer {
                Answer::Busy => without_answer.push((instance, "busy")),
                Answer::NotUnderstood => without_answer.push((instance, "not_understood")),
                answer => replies.push(answer),
            }
        }
        without_answer.sort_unstable();
        let silent =
            without_answer.into_iter().map(|(who, reason)| silent_one(who, reason, &links));
        Self { answers: replies, silent: silent.collect() }
    }

    /// The answer if every gateway that was asked is silent.
    fn nobody(&self) -> Option<HttpResponse> {
        if !self.answers.is_empty() || self.silent.is_empty() {
            return None;
        }
        let names = self.silent.iter().map(|gateway| {
            let part = |name: &str| gateway[name].as_str().unwrap_or("?").to_owned();
            format!("{} ({}) at {}", part("instance"), part("reason"), part("address"))
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "no gateway has answered, so whether anything was done or found is not known; asked: {names}"
        );
        Some(said(StatusCode::GATEWAY_TIMEOUT, &sentence))
    }

    fn connections(&self) -> ConnectionsSummary {
        let found = self.answers.iter().filter_map(|answer| match answer {
            Answer::Connections(found) => Some(found.clone()),
            _ => None,
        });
        found.fold(ConnectionsSummary::default(), ConnectionsSummary::join)
    }

    fn disconnected(&self) -> DisconnectedSummary {
        let all = self.answers.iter().filter_map(|answer| match answer {
            Answer::Disconnected(all) => Some(*all),
            _ => None,
        });
        all.fold(DisconnectedSummary::default(), DisconnectedSummary::join)
    }
}

fn bad(sentence: &str) -> HttpResponse {
    said(StatusCode::BAD_REQUEST, sentence)
}

fn unknown(at: Address) -> HttpResponse {
    let sentence = format!(
        "there is no connection {at}: it never was, or too many others have ended since it did; a greeting \
         names the address of its connection, as worker/connection"
    );
    said(StatusCode::NOT_FOUND, &sentence)
}

/// A connection as it is shown.
fn shown(connection: &ConnectionSummary) -> Map<String, Value> {
    let Address { worker, connection: number } = connection.at;
    let state = if connection.ended.is_some() { "ended" } else { "live" };
    let value = json!({
        "worker": worker,
        "connection": number,
        "state": state,
        "user": connection.user.as_deref(),
        "address": connection.address,
        "dialect": connection.dialect,
        "groups": connection.groups,
        "groups_left_out": connection.groups_left_out,
        "open_seconds": connection.open_millis as f64 / 1e3,
        "position": connection.position.map(|position| position.to_string()),
        "outbox_bytes": connection.outbox_bytes,
        "sent_bytes": connection.sent_bytes,
    });
    let mut shown = crate::object(value);
    if let Some(end) = connection.ended {
        shown.insert("code".to_owned(), end.code.into());
        shown.insert("ended".to_owned(), (end.unix_millis as f64 / 1e3).into());
    }
    shown
}
