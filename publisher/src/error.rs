//! Why a request is not answered with a success, by who can do something about it.

use std::borrow::Cow;

use campanile_channel::publishing::{Failure, NotSent, Receipt, Unknown};
use campanile_messages::link::{DirectOutcome, Refusal};

use crate::budget::UsedUp;
use crate::courier::error::Unavailable;
use crate::http::error::HttpError;
use crate::http::inflate::InvalidCompression;
use crate::push::error::BadRequest;
use crate::push::item::error::ItemError;
use crate::push::shown::Shown;

/// The answer to one push.
pub type Answered = Result<Receipt, ApiError>;

/// Every answer that is not a success. Its text is the sentence the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The caller has to push something else.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The caller tries again, or the operator has to look.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The caller's HTTP client, its headers or its page has to change.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl ApiError {
    /// The error as the log and the operators may read it: without what the caller's sentence quotes of the
    /// request where that may be content, or a key in a wrong place.
    pub(crate) fn for_log(&self) -> Cow<'_, Self> {
        let shown = Shown::left_out;
        let without: Self = match self {
            Self::BadRequest(error) => match error {
                BadRequest::UnknownParameter { .. } => {
                    BadRequest::UnknownParameter { name: shown() }.into()
                }
                BadRequest::MalformedEscape { .. } => {
                    BadRequest::MalformedEscape { name: shown(), value: shown() }.into()
                }
                BadRequest::ParameterNotUtf8 { .. } => {
                    BadRequest::ParameterNotUtf8 { name: shown(), value: shown() }.into()
                }
                BadRequest::NoArray { .. } => BadRequest::NoArray { value: shown() }.into(),
                BadRequest::Item(error) => match without_content(error) {
                    Some(error) => BadRequest::Item(error).into(),
                    None => return Cow::Borrowed(self),
                },
                _ => return Cow::Borrowed(self),
            },
            Self::Http(error) => match error {
                HttpError::NotFound { .. } => HttpError::NotFound { path: shown() }.into(),
                HttpError::NoTarget { .. } => HttpError::NoTarget { target: shown() }.into(),
                HttpError::NoParameters { path, .. } => {
                    HttpError::NoParameters { query: shown(), path }.into()
                }
                HttpError::NoQuery { path, .. } => {
                    HttpError::NoQuery { query: shown(), path }.into()
                }
                HttpError::UnknownSubprotocol { .. } => {
                    HttpError::UnknownSubprotocol { value: shown() }.into()
                }
                _ => return Cow::Borrowed(self),
            },
            Self::Unavailable(_) => return Cow::Borrowed(self),
        };
        Cow::Owned(without)
    }
}

/// The same error without what it quotes; `None` if it quotes nothing that may be content.
fn without_content(error: &ItemError) -> Option<ItemError> {
    let shown = Shown::left_out;
    Some(match error {
        ItemError::NoObject { .. } => ItemError::NoObject { value: shown() },
        ItemError::UnknownField { .. } => ItemError::UnknownField { name: shown() },
        ItemError::UnknownAudience { .. } => ItemError::UnknownAudience { name: shown() },
        ItemError::UnknownException { .. } => ItemError::UnknownException { name: shown() },
        ItemError::WrongType { field, accepted, .. } => {
            ItemError::WrongType { field, value: shown(), accepted }
        }
        ItemError::NotBase64 { reason, .. } => {
            ItemError::NotBase64 { value: shown(), reason: reason.clone() }
        }
        _ => return None,
    })
}

impl From<UsedUp> for ApiError {
    fn from(used_up: UsedUp) -> Self {
        Unavailable::from(used_up).into()
    }
}

impl From<InvalidCompression> for ApiError {
    fn from(invalid: InvalidCompression) -> Self {
        HttpError::from(invalid).into()
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(reason) => not_sent(reason).into(),
            Failure::Unknown(reason) => unknown(reason).into(),
            Failure::Refused { refusal: Refusal::IdTaken, id } => {
                let id = Shown::from(id.as_deref().unwrap_or_default());
                BadRequest::IdTaken { id }.into()
            }
            Failure::Refused { refusal: Refusal::IdsFull, .. } => Unavailable::IdsFull.into(),
            Failure::Refused { refusal: Refusal::TooManyUnanswered, .. } => {
                Unavailable::TooManyUnanswered.into()
            }
            Failure::Refused { refusal: Refusal::ShuttingDown, .. } => {
                Unavailable::BrokerShuttingDown.into()
            }
            Failure::NotDelivered { outcome, to } => match outcome {
                DirectOutcome::UnknownWorker => BadRequest::UnknownWorker(to.worker).into(),
                DirectOutcome::UnknownConnection => {
                    BadRequest::UnknownConnection(to.connection).into()
                }
                DirectOutcome::NotWritten | DirectOutcome::Written => {
                    BadRequest::NotWritten(to.connection).into()
                }
                DirectOutcome::GatewayAway => Unavailable::GatewayAway(to.worker).into(),
            },
        }
    }
}

fn not_sent(reason: NotSent) -> Unavailable {
    match reason {
        NotSent::NoBroker { waited } => Unavailable::NoBroker { waited },
        NotSent::BrokerBusy { waited } => Unavailable::BrokerBusy { waited },
        NotSent::BrokerTooOld => Unavailable::BrokerTooOld,
        NotSent::CallerGone => Unavailable::CallerGone,
        NotSent::ShuttingDown => Unavailable::ShuttingDown,
    }
}

fn unknown(reason: Unknown) -> Unavailable {
    match reason {
        Unknown::Unanswered { waited } => Unavailable::Unanswered { waited },
        Unknown::Unconfirmed { worker, waited } => Unavailable::Unconfirmed { worker, waited },
        Unknown::LogLost => Unavailable::MemoryLost,
        Unknown::LinkLost => Unavailable::LinkLost,
        Unknown::ProcessEnds => Unavailable::PublisherEnded,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_messages::{Address, ConnectionId, IdempotencyKey, WorkerId};

    use super::*;
    use crate::http::status;

    #[test]
    fn every_refusal_of_the_broker_has_its_error() {
        let id = IdempotencyKey::new("order-42").ok();
        for (refusal, error) in [
            (Refusal::IdsFull, Unavailable::IdsFull.into()),
            (Refusal::IdTaken, BadRequest::IdTaken { id: "order-42".into() }.into()),
            (Refusal::TooManyUnanswered, Unavailable::TooManyUnanswered.into()),
            (Refusal::ShuttingDown, Unavailable::BrokerShuttingDown.into()),
        ] {
            let failure = Failure::Refused { refusal, id: id.clone() };
            assert_eq!(ApiError::from(failure), error);
        }
    }

    #[test]
    fn what_may_be_content_or_a_key_is_not_for_the_log() {
        let shown = || Shown::from("s3cret");
        for error in [
            ApiError::from(BadRequest::UnknownParameter { name: shown() }),
            BadRequest::MalformedEscape { name: shown(), value: shown() }.into(),
            BadRequest::ParameterNotUtf8 { name: shown(), value: shown() }.into(),
            BadRequest::NoArray { value: shown() }.into(),
            BadRequest::from(ItemError::NoObject { value: shown() }).into(),
            BadRequest::from(ItemError::UnknownField { name: shown() }).into(),
            BadRequest::from(ItemError::UnknownAudience { name: shown() }).into(),
            BadRequest::from(ItemError::UnknownException { name: shown() }).into(),
            BadRequest::from(ItemError::WrongType {
                field: "content",
                value: shown(),
                accepted: "a string is accepted",
            })
            .into(),
            BadRequest::from(ItemError::NotBase64 {
                value: shown(),
                reason: base64::DecodeError::InvalidPadding,
            })
            .into(),
            HttpError::NotFound { path: shown() }.into(),
            HttpError::NoTarget { target: shown() }.into(),
            HttpError::NoParameters { query: shown(), path: "/batch" }.into(),
            HttpError::NoQuery { query: shown(), path: "/position" }.into(),
            HttpError::UnknownSubprotocol { value: shown() }.into(),
        ] {
            let (said, logged) = (error.to_string(), error.for_log().to_string());
            assert_eq!(logged, said.replace("s3cret", ".."), "{said}");
            assert!(said.contains("s3cret"), "the caller reads it: {said}");
        }
        let harmless = ApiError::from(BadRequest::NoWait { value: "soon".into() });
        assert!(matches!(harmless.for_log(), Cow::Borrowed(same) if *same == harmless));
    }

    #[test]
    fn every_outcome_at_one_connection_has_its_error() {
        let (worker, connection) = (WorkerId(3), ConnectionId(7));
        for (outcome, error, code) in [
            (DirectOutcome::UnknownWorker, BadRequest::UnknownWorker(worker).into(), 404),
            (
                DirectOutcome::UnknownConnection,
                BadRequest::UnknownConnection(connection).into(),
                404,
            ),
            (DirectOutcome::NotWritten, BadRequest::NotWritten(connection).into(), 404),
            (DirectOutcome::GatewayAway, Unavailable::GatewayAway(worker).into(), 503),
        ] {
            let to = Address { worker, connection };
            let read = ApiError::from(Failure::NotDelivered { outcome, to });
            assert_eq!(read, error);
            assert_eq!(status(&read), code);
        }
    }

    #[test]
    fn only_what_was_never_sent_is_503() {
        let waited = Duration::from_secs(5);
        for reason in [
            NotSent::NoBroker { waited },
            NotSent::BrokerBusy { waited },
            NotSent::BrokerTooOld,
            NotSent::CallerGone,
            NotSent::ShuttingDown,
        ] {
            assert_eq!(status(&Failure::from(reason).into()), 503, "{reason:?}");
        }
        for reason in [
            Unknown::Unanswered { waited },
            Unknown::Unconfirmed { worker: WorkerId(3), waited },
            Unknown::LogLost,
            Unknown::LinkLost,
            Unknown::ProcessEnds,
        ] {
            assert_eq!(status(&Failure::from(reason).into()), 504, "{reason:?}");
        }
    }
}
