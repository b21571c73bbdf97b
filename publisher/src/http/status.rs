//! The status codes of all errors.

use actix_web::http::StatusCode;
use campanile_edge::websocket::HandshakeError;

use super::HttpError;
use crate::courier::Unavailable;
use crate::error::ApiError;
use crate::push::BadRequest;

/// Returns the status code of an error.
pub(crate) fn status(error: &ApiError) -> StatusCode {
    match error {
        ApiError::BadRequest(error) => of_bad_request(error),
        ApiError::Unavailable(error) => of_unavailable(error),
        ApiError::Http(error) => of_http(error),
    }
}

fn of_bad_request(error: &BadRequest) -> StatusCode {
    match error {
        BadRequest::NoContent
        | BadRequest::EmptyContent
        | BadRequest::TwoContents
        | BadRequest::HalfAddress { .. }
        | BadRequest::NoId { .. }
        | BadRequest::TwoAudiences { .. }
        | BadRequest::NoName { .. }
        | BadRequest::TwoIds { .. }
        | BadRequest::IdForConnection
        | BadRequest::ExceptForConnection
        | BadRequest::NoWait { .. }
        | BadRequest::NoTimeout { .. }
        | BadRequest::Repeated { .. }
        | BadRequest::UnknownParameter { .. }
        | BadRequest::MalformedEscape { .. }
        | BadRequest::ParameterNotUtf8 { .. }
        | BadRequest::BodyNotUtf8 { .. }
        | BadRequest::FormWithoutContent
        | BadRequest::Item(_)
        | BadRequest::BatchMalformed { .. }
        | BadRequest::BatchNotUtf8 { .. }
        | BadRequest::NoArray { .. } => StatusCode::BAD_REQUEST,
        BadRequest::NotAllowed { .. } => StatusCode::FORBIDDEN,
        BadRequest::UnknownWorker(_)
        | BadRequest::UnknownConnection(_)
        | BadRequest::NotWritten(_) => StatusCode::NOT_FOUND,
        BadRequest::TooLarge { .. }
        | BadRequest::TooManyItems { .. }
        | BadRequest::BatchTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BadRequest::IdTaken { .. } => StatusCode::CONFLICT,
    }
}

/// 503 only if nothing was sent and nothing will be; 504 if the result is unknown.
fn of_unavailable(error: &Unavailable) -> StatusCode {
    match error {
        Unavailable::NoBroker { .. }
        | Unavailable::NoBrokerToAsk { .. }
        | Unavailable::TooManyAskers
        | Unavailable::BrokerBusy { .. }
        | Unavailable::BrokerTooOld
        | Unavailable::IdsFull
        | Unavailable::TooManyUnanswered
        | Unavailable::BrokerShuttingDown
        | Unavailable::GatewayAway(_)
        | Unavailable::TooMuchPending(_)
        | Unavailable::CallerGone
        | Unavailable::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Unavailable::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
        Unavailable::Unanswered { .. }
        | Unavailable::MemoryLost
        | Unavailable::NoHead { .. }
        | Unavailable::Unconfirmed { .. }
        | Unavailable::LinkLost
        | Unavailable::PublisherEnded => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn of_http(error: &HttpError) -> StatusCode {
    match error {
        HttpError::BadHeader { .. }
        | HttpError::RepeatedHeader { .. }
        | HttpError::BodyOfGet
        | HttpError::NotHttp { .. }
        | HttpError::ProxyHeader
        | HttpError::NoHost
        | HttpError::PostWithoutLength
        | HttpError::NoTarget { .. }
        | HttpError::NoParameters { .. }
        | HttpError::NoQuery { .. }
        | HttpError::KeyInUrl
        | HttpError::BadKeyInUrl { .. }
        | HttpError::TwoKeys
        | HttpError::UnknownSubprotocol { .. }
        | HttpError::InvalidCompression(_)
        | HttpError::BodyCutOff
        | HttpError::BrokenBody { .. } => StatusCode::BAD_REQUEST,
        HttpError::NoKey { .. } | HttpError::UnknownKey => StatusCode::UNAUTHORIZED,
        HttpError::UnknownEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        HttpError::ByProxy { .. }
        | HttpError::OriginNotAllowed { .. }
        | HttpError::StrangersPage { .. }
        | HttpError::HostNotAllowed { .. } => StatusCode::FORBIDDEN,
        HttpError::NotFound { .. } => StatusCode::NOT_FOUND,
        HttpError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        HttpError::SlowBody { .. } | HttpError::SlowHead { .. } => StatusCode::REQUEST_TIMEOUT,
        HttpError::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        HttpError::UrlTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        HttpError::Handshake(error) => match error {
            HandshakeError::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            HandshakeError::Version => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        },
        HttpError::NotAWebsocket => StatusCode::UPGRADE_REQUIRED,
    }
}
