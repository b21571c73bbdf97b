//! Which limit of the publisher an error is about, for those who set it.

use super::HttpError;
use crate::courier::Unavailable;
use crate::error::ApiError;
use crate::meters::Limit;
use crate::push::BadRequest;

/// Returns the limit that was reached.
pub(crate) fn limit(error: &ApiError) -> Option<Limit> {
    match error {
        ApiError::BadRequest(error) => match error {
            BadRequest::TooLarge { .. } => Some(Limit::MaxContent),
            BadRequest::BatchTooLarge { .. } => Some(Limit::MaxBatch),
            BadRequest::TooManyItems { .. } => Some(Limit::MaxBatchItems),
            _ => None,
        },
        ApiError::Unavailable(error) => match error {
            Unavailable::TooMuchPending(_) => Some(Limit::MaxPending),
            Unavailable::TooOften { .. } => Some(Limit::MaxPushesPerSecond),
            Unavailable::NoBroker { .. } | Unavailable::BrokerBusy { .. } => {
                Some(Limit::BrokerWait)
            }
            Unavailable::Unanswered { .. } | Unavailable::Unconfirmed { .. } => {
                Some(Limit::ConfirmLimit)
            }
            _ => None,
        },
        ApiError::Http(error) => match error {
            HttpError::SlowHead { .. } => Some(Limit::HeadLimit),
            HttpError::SlowBody { .. } => Some(Limit::BodyLimit),
            _ => None,
        },
    }
}
