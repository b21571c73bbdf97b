//! The JSON that several dialects have in common.

use campanile_messages::Position;
use campanile_messages::link::Gap;
use serde::Serialize;

use super::Greeting;
use crate::history::SaidHistory;
use crate::resume::{Lost, Resumed};

/// Whether a resume recovered everything, and if not, why.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct SaidResumed {
    recovered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl From<Resumed> for SaidResumed {
    fn from(resumed: Resumed) -> Self {
        Self { recovered: resumed.is_ok(), reason: resumed.err().map(Lost::word) }
    }
}

/// The fields of a [`Greeting`].
#[derive(Debug, Serialize)]
pub(super) struct SaidGreeting {
    worker: u64,
    connection: u64,
    position: String,
    #[serde(flatten)]
    resumed: Option<SaidResumed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<SaidHistory>,
}

impl From<&Greeting> for SaidGreeting {
    fn from(greeting: &Greeting) -> Self {
        Self {
            worker: greeting.address.worker.0,
            connection: greeting.address.connection.0,
            position: greeting.position.to_string(),
            resumed: greeting.resumed.map(Into::into),
            history: greeting.history,
        }
    }
}

/// Why events may be missing from a live stream, and the position where it continues.
#[derive(Debug, Serialize)]
pub(super) struct SaidGap {
    reason: &'static str,
    position: String,
}

impl SaidGap {
    pub fn new(gap: Gap, position: Position) -> Self {
        Self { reason: Lost::from(gap).word(), position: position.to_string() }
    }
}
