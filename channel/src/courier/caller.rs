//! Who hands pushes to a courier, and what a courier says besides the answers to them.

use std::time::Duration;

use crate::publishing::Answer;

/// Who waits for the answer to a push.
pub trait Caller: Send + Unpin + Sized + 'static {
    /// Whether nobody waits for the answer. A push that waits for such a caller is not sent.
    fn is_gone(&self) -> bool;

    /// Whether the caller may have given up. Its push is not sent if it had to wait.
    fn may_be_gone(&self) -> bool;

    /// Gives callers their answers. A push is not taken back because its caller is gone.
    fn answer(answers: impl IntoIterator<Item = Answer<Self>>);
}

/// What a courier has learned about its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSign {
    /// There is a link.
    Up,
    /// The link is lost.
    Lost,
    /// Whether a write to the broker's disk takes too long now.
    DiskWaits(bool),
}

/// Why a caller is not told where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHead {
    /// This process shuts down.
    ShuttingDown,
    /// As many callers as may wait do so already.
    TooManyAskers,
    /// There was no link for as long as the caller waited.
    NoBroker {
        /// How long that was.
        waited: Duration,
    },
    /// The broker did not answer.
    Unanswered {
        /// How long the caller waited for that.
        waited: Duration,
    },
}
