//! Signs operators in to the page and out of it: a key in the body of a POST is exchanged for a cookie.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Refused, SESSION_LIMIT, SignedIn, Wanted, form, refusal, said};
use campanile_channel::incident;
use campanile_edge::query::{decode, pairs};
use serde_json::json;
use tracing::info;

/// The most bytes of the form.
const MAX_FORM_BYTES: usize = 4_096;

/// `GET /console/session`: whether the page has to ask for a key, and what it may do.
pub async fn show(request: HttpRequest, guard: web::Data<Guard>) -> HttpResponse {
    match guard.admit(Wanted::Look, &request) {
        Ok(admitted) => crate::json(&json!({
            "state": "in",
            "version": env!("CARGO_PKG_VERSION"),
            "key": admitted.key().map(|key| &key.rights().name),
            "manage": admitted.may_change(),
            "seconds_left": admitted.left.map(|left| left.as_secs()),
        })),
        Err(Refused::NoKey(_)) => crate::json(&json!({"state": "out"})),
        Err(Refused::SessionOver) => crate::json(&json!({
            "state": "out",
            "sentence": Refused::SessionOver.to_string(),
        })),
        Err(refused) => crate::json(&json!({"state": "shut", "sentence": refused.to_string()})),
    }
}

/// `POST /console/session`: exchanges a key for a session.
pub async fn sign_in(
    request: HttpRequest,
    body: web::Payload,
    guard: web::Data<Guard>,
) -> HttpResponse {
    if let Err(refused) = guard.check_sign_in(&request) {
        return not_signed_in(&guard, &request, &refused);
    }
    let form = match form(body, MAX_FORM_BYTES).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let key = pairs(&form).find(|(name, _)| *name == b"key").map(|(_, value)| decode(value));
    let Some(Ok(key)) = key else {
        return said(StatusCode::BAD_REQUEST, "the form has no key: send key=KEY in the body");
    };
    match guard.sign_in(&request, key.trim().as_bytes()) {
        Ok(SignedIn { id, proof }) => {
            let key = guard.name_of(&id).unwrap_or_default();
            info!(key, peer = ?request.peer_addr(), "an operator has signed in to the page");
            let cookie = cookie(&request, &guard, &id.cookie_value(), SESSION_LIMIT.as_secs());
            let mut response = crate::json(&json!({"proof": proof.cookie_value()}));
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        Err(refused) => not_signed_in(&guard, &request, &refused),
    }
}

fn not_signed_in(guard: &Guard, request: &HttpRequest, refused: &Refused) -> HttpResponse {
    let peer = request.peer_addr();
    incident!(
        guard.incidents(),
        warn,
        "sign_in",
        peer.map(|peer| peer.ip()),
        ?peer,
        %refused,
        "somebody could not sign in to the page"
    );
    refusal(refused)
}

/// `DELETE /console/session`: ends the session.
pub async fn sign_out(request: HttpRequest, guard: web::Data<Guard>) -> HttpResponse {
    match guard.sign_out(&request) {
        Ok(()) => {
            let cookie = cookie(&request, &guard, "", 0);
            HttpResponse::NoContent().insert_header((header::SET_COOKIE, cookie)).finish()
        }
        Err(refused) => refusal(&refused),
    }
}

/// The cookie for some seconds; 0 removes it.
fn cookie(request: &HttpRequest, guard: &Guard, value: &str, seconds: u64) -> HeaderValue {
    let is_secure = guard.is_sealed() || is_behind_tls(request);
    let (name, secure) =
        (guard.cookie_name(request, is_secure), if is_secure { "; Secure" } else { "" });
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(cookie).expect("its parts are visible ASCII")
}

/// Whether the browser speaks TLS to a proxy in front: then the cookie must never travel without.
fn is_behind_tls(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let begins = |name, with: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().starts_with(with.as_bytes()))
    };
    begins(header::ORIGIN, "https://") || begins(header::X_FORWARDED_PROTO, "https")
}
