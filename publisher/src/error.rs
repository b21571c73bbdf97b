//! Why a request is not answered with a success, by who can do something about it.

use crate::budget::UsedUp;
use crate::courier::Unavailable;
use crate::http::HttpError;
use crate::http::inflate::InvalidCompression;
use crate::push::BadRequest;

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
