//! `GET /stream`: checks the request for a publish stream, and starts its actor.

use actix_web::dev::Payload;
use actix_web::http::Version;
use actix_web::{HttpRequest, HttpResponse};
use campanile_edge::Head;
use campanile_edge::query::redacted;
use campanile_edge::websocket::{HandshakeError, Upgrade, is_meant, offered};

use super::credentials::Admitted;
use super::methods::Methods;
use super::{Front, presence};
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
        admitted: Admitted<'_>,
    ) -> Result<HttpResponse, HttpError> {
        if !admitted.query.is_empty() {
            let query = Shown::from(&*redacted(&admitted.query));
            return Err(HttpError::NoParameters { query, path: "/stream" });
        }
        let subprotocol = check(&head(request))?;
        let limits = StreamLimits {
            max_items: self.config.max_stream_items,
            max_bytes: self.config.max_stream_bytes.min(self.budget.shares().bytes_of_stream()),
            max_content_bytes: self.config.max_content_bytes,
        };
        let reserved = self.budget.reserve(self.entrance.peer(request));
        let opening = Opening {
            pusher: admitted.pusher,
            keys: (admitted.keys, self.config.keys.clone()),
            subprotocol,
            limits,
            answers: Answers::new(presence(request), reserved),
            courier: self.courier.clone(),
            silence_limit: self.config.silence_limit,
            stopping: self.stopping.clone(),
            payload: payload.take(),
            meters: self.config.meters.clone(),
            log_for: self.config.access_log.then(|| self.entrance.client(request)),
        };
        publish_stream::open(request, opening)
    }
}

/// Returns the head as it was sent.
fn head(request: &HttpRequest) -> Head<'_> {
    let minor_version = u8::from(request.version() != Version::HTTP_10);
    let headers = request.headers().iter();
    Head::from_parts(
        request.method().as_str(),
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
        minor_version,
        headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
}

/// Checks a handshake, and returns the format of the subprotocol that the caller offers first.
fn check(head: &Head<'_>) -> Result<Option<StreamFormat>, HttpError> {
    if !is_meant(head) {
        return Err(HttpError::NotAWebsocket);
    }
    let upgrade = Upgrade::check(head, &StreamFormat::SUBPROTOCOLS).map_err(refused)?;
    let mut offered = offered(head).peekable();
    match upgrade.subprotocol.and_then(StreamFormat::of) {
        None if offered.peek().is_some() => {
            let all = offered.collect::<Vec<_>>().join(", ");
            Err(HttpError::UnknownSubprotocol { value: Shown::from(&*all) })
        }
        chosen => Ok(chosen),
    }
}

fn refused(error: HandshakeError) -> HttpError {
    match error {
        HandshakeError::Method { method } => {
            HttpError::MethodNotAllowed { method: Shown::from(&*method), methods: Methods::Stream }
        }
        error => HttpError::Handshake(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiError;
    use crate::http::status;

    /// A handshake after a replacement.
    fn request(replace: &str, with: &str) -> Head<'static> {
        let request = "GET /stream HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        assert!(request.contains(replace));
        let request = request.replacen(replace, with, 1).leak();
        Head::parse(request.as_bytes()).expect("well-formed").expect("complete").0
    }

    #[test]
    fn the_first_known_subprotocol_says_the_format() {
        use StreamFormat::{Json, MessagePack};
        let (json, msgpack) = ("campanile.publish.v1.json", "campanile.publish.v1.msgpack");
        for (offers, format) in [
            (String::new(), None),
            (" , ".to_owned(), None),
            (json.to_owned(), Some(Json)),
            (format!("mqtt, {msgpack},{json}"), Some(MessagePack)),
            (format!("mqtt\r\nSec-WebSocket-Protocol: {json}"), Some(Json)),
        ] {
            let lines = format!("Host: h\r\nSec-WebSocket-Protocol: {offers}");
            assert_eq!(check(&request("Host: h", &lines)), Ok(format), "{offers}");
        }
        assert_eq!(check(&request("", "")), Ok(None));
        let lines = "Host: h\r\nSec-WebSocket-Protocol: campanile.v1,mqtt";
        let value = "campanile.v1, mqtt".into();
        let error = HttpError::UnknownSubprotocol { value };
        assert_eq!(check(&request("Host: h", lines)), Err(error));
    }

    #[test]
    fn each_error_of_a_handshake_has_a_status() {
        for (replace, with, code, said) in [
            ("GET", "PUT", 405, "the method \"PUT\" is not supported here: use GET"),
            ("HTTP/1.1", "HTTP/1.0", 400, "but the request is HTTP/1.0"),
            ("Upgrade: websocket\r\n", "", 400, "needs the header Upgrade: websocket"),
            ("Connection: Upgrade\r\n", "", 400, "needs the header Connection: Upgrade"),
            ("Version: 13", "Version: 8", 426, "Sec-WebSocket-Version must be 13"),
            ("dGhl", "", 400, "Sec-WebSocket-Key must be 16 bytes in base64"),
        ] {
            let error = check(&request(replace, with)).expect_err("refused");
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(status(&ApiError::Http(error)), code, "{with}");
        }
    }
}
