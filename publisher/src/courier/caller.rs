//! Who waits for the answer to a push.

use tokio::sync::oneshot;

use super::answers::AnswerSlot;
use crate::budget::Reserved;
use crate::courier::Presence;
use crate::error::Answered;

/// Who waits for an answer.
#[derive(Debug)]
pub enum Caller {
    /// A caller with one push. It is gone when the other end of `answer` is dropped.
    Single {
        /// Where the answer goes.
        answer: oneshot::Sender<Answered>,
        /// Whether the caller has closed its side of the connection.
        presence: Presence,
        /// The bytes that the push has reserved. They are given back with the answer.
        reserved: Reserved,
    },
    /// A caller with many pushes.
    Many(AnswerSlot),
}

impl Caller {
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Single { answer, .. } => answer.is_closed(),
            Self::Many(slot) => slot.is_gone(),
        }
    }

    pub(super) fn may_be_gone(&self) -> bool {
        match self {
            Self::Single { answer, presence, .. } => presence.is_over() || answer.is_closed(),
            Self::Many(slot) => slot.may_be_gone(),
        }
    }
}
