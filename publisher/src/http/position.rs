//! `GET /position`: where the log ends, for a page that is rendered from a state.

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse};
use campanile_channel::courier::NoHead;
use campanile_channel::watchdog::ANSWER_LIMIT;
use campanile_edge::query::redacted;
use campanile_messages::Position;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Front, refuse_body, reply};
use crate::courier::AskHead;
use crate::courier::Unavailable;
use crate::error::ApiError;
use crate::http::HttpError;
use crate::push::shown::Shown;

impl Front {
    /// Returns where the log ends, as the broker says after this request has come.
    pub(super) async fn position(
        &self,
        request: &HttpRequest,
        query: &[u8],
    ) -> Result<Position, ApiError> {
        if !query.is_empty() {
            let (query, path) = (Shown::from(&*redacted(query)), "/position");
            return Err(HttpError::NoQuery { query, path }.into());
        }
        refuse_body(request)?;
        let (answer, answered) = oneshot::channel();
        self.courier.do_send(AskHead { answer });
        // Only a courier that is gone drops a caller, and only a courier that hangs does not answer.
        let answered = timeout(self.config.broker_wait + ANSWER_LIMIT, answered).await;
        let answered = answered.ok().and_then(Result::ok).unwrap_or(Err(NoHead::ShuttingDown));
        answered.map_err(|reason| Unavailable::from(reason).into())
    }
}

/// Returns the answer. It is true only for this moment, so it must not be cached.
pub(super) fn response(position: Position, request: &HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if reply::wants_json(request) {
        let body = json!({ "position": position.to_string() });
        response.content_type(ContentType::json()).body(body.to_string())
    } else {
        response.content_type(ContentType::plaintext()).body(format!("{position}\n"))
    }
}
