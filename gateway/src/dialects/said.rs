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
pub(super) struct SaidGreeting<'a> {
    worker: u64,
    connection: u64,
    position: String,
    #[serde(flatten)]
    resumed: Option<SaidResumed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<SaidHistory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
}

impl<'a> From<&Greeting<'a>> for SaidGreeting<'a> {
    fn from(greeting: &Greeting<'a>) -> Self {
        Self {
            worker: greeting.address.worker.0,
            connection: greeting.address.connection.0,
            position: greeting.position.to_string(),
            resumed: greeting.resumed.map(Into::into),
            history: greeting.history,
            user: greeting.identity.and_then(|identity| identity.user),
            expires_in: greeting.identity.and_then(|identity| identity.expires_in),
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
