//! Who waits for the answer to a push.

use campanile_channel::courier;
use campanile_channel::publishing::Answer;
use tokio::sync::oneshot;

use super::answers::{AnswerSlot, Round};
use crate::budget::Reserved;
use crate::courier::Presence;
use crate::error::{Answered, ApiError};

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

impl courier::Caller for Caller {
    fn is_gone(&self) -> bool {
        match self {
            Self::Single { answer, .. } => answer.is_closed(),
            Self::Many(slot) => slot.is_gone(),
        }
    }

    fn may_be_gone(&self) -> bool {
        match self {
            Self::Single { answer, presence, .. } => presence.is_over() || answer.is_closed(),
            Self::Many(slot) => slot.may_be_gone(),
        }
    }

    fn answer(answers: impl IntoIterator<Item = Answer<Self>>) {
        let mut round = Round::default();
        for Answer { caller, result } in answers {
            let result = result.map_err(ApiError::from);
            match caller {
                // A caller that is gone does not need the answer.
                Self::Single { answer, .. } => drop(answer.send(result)),
                Self::Many(slot) => round.add(slot, result),
            }
        }
    }
}
