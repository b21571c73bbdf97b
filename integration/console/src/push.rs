//! `POST /console/push`: a push that an operator composes. It needs the scope `manage` to be here, and the key's
//! own right to push to that audience, as any push.

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted, form, refusal, said};
use campanile_publisher::Composer;

/// The most bytes of the form: what somebody types, with every byte escaped.
const MAX_FORM_BYTES: usize = 256 << 10;

pub async fn push(
    request: HttpRequest,
    body: web::Payload,
    guard: web::Data<Guard>,
    composer: web::Data<Composer>,
) -> HttpResponse {
    let admitted = match guard.admit(Wanted::Change, &request) {
        Ok(admitted) => admitted,
        Err(refused) => return refusal(&refused),
    };
    let form = match form(body, MAX_FORM_BYTES).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let from = request.peer_addr().map(|address| address.ip());
    let composed = composer.push(form, admitted.key().cloned(), from).await;
    let status = StatusCode::from_u16(composed.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match status {
        StatusCode::OK => HttpResponse::Ok().content_type(ContentType::json()).body(composed.body),
        _ => said(status, &composed.body),
    }
}
