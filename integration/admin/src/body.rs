//! The body of a request, which has to come in time.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::{Bytes, Payload};
use tokio::time::timeout;

use crate::guard::said;

/// How long the body of a request may take.
pub(crate) const BODY_LIMIT: Duration = Duration::from_secs(5);

/// Reads a form, of at most `max_bytes`.
///
/// # Errors
/// The answer to who sends more, or not in time. Its connection ends with it.
pub async fn form(body: Payload, max_bytes: usize) -> Result<Bytes, HttpResponse> {
    let (status, sentence) = match timeout(BODY_LIMIT, body.to_bytes_limited(max_bytes)).await {
        Ok(Ok(Ok(form))) => return Ok(form),
        Ok(_) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the form is too large or broken: at most {max_bytes} bytes are accepted here"),
        ),
        Err(_) => (
            StatusCode::REQUEST_TIMEOUT,
            format!("the form did not come within {} s", BODY_LIMIT.as_secs()),
        ),
    };
    let mut response = said(status, &sentence);
    response.head_mut().set_connection_type(ConnectionType::Close);
    Err(response)
}
