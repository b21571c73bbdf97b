//! `GET /stream`: checks the request for a publish stream, and starts its actor.

use actix_http::ws::{HandshakeError, verify_handshake};
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use campanile_edge::Principal;

use super::{Front, peer, presence, query};
use crate::courier::answers::Answers;
use crate::http::HttpError;
use crate::publish_stream::{self, Opening, StreamFormat, StreamLimits};
use crate::push::shown::Shown;

impl Front {
    /// Opens a publish stream, if the request is a valid handshake.
    pub(super) fn stream(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        principal: Principal,
    ) -> Result<HttpResponse, HttpError> {
        let query = query(request);
        if !query.is_empty() {
            return Err(HttpError::NoParameters { query: Shown::from(query), path: "/stream" });
        }
        verify_handshake(request.head()).map_err(refused)?;
        let format = format(request)?;
        let limits = StreamLimits {
            max_items: self.config.max_stream_items,
            max_bytes: self.config.max_stream_bytes.min(self.budget.shares().bytes_of_stream()),
            max_content_bytes: self.config.max_content_bytes,
        };
        let opening = Opening {
            principal,
            format,
            limits,
            answers: Answers::new(presence(request), self.budget.reserve(peer(request))),
            courier: self.courier.clone(),
            silence_limit: self.config.silence_limit,
            stopping: self.stopping.clone(),
            payload: payload.take(),
        };
        publish_stream::open(request, opening)
    }
}

fn format(request: &HttpRequest) -> Result<StreamFormat, HttpError> {
    let mut offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).peekable();
    let Some(first) = offered.peek().map(|value| Shown::from(value.as_bytes())) else {
        return Ok(StreamFormat::Json);
    };
    offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| StreamFormat::of(name.trim()))
        .ok_or(HttpError::UnknownSubprotocol { value: first })
}

fn refused(error: HandshakeError) -> HttpError {
    match error {
        HandshakeError::BadWebsocketKey => HttpError::BadHandshake {
            reason: "Sec-WebSocket-Key is missing, or not 16 bytes in base64",
        },
        _ => HttpError::NotAWebsocket,
    }
}
