//! What the exchange knows of a peer that has a link.

use std::time::Duration;

use campanile_messages::link::Number;
use campanile_messages::{InstanceId, TraceContext};

use crate::broker::conversation::Conversation;
use crate::broker::intake::Trace;

/// A peer that has a link.
pub struct Peer {
    pub instance: InstanceId,
    pub conversation: Conversation,
    /// Where the log ended according to the last message that said so on this link.
    pub known_head: u64,
    /// The trace of the publish that comes next, if that has this number.
    pub traced: Option<(Number, TraceContext)>,
    /// Whether it takes part in operators' inquiries.
    pub is_askable: bool,
    /// How many questions it has asked since the last tick.
    pub asked: u32,
}

impl Peer {
    /// A peer that has just come, when the log ended at this sequence.
    pub fn new(instance: InstanceId, conversation: Conversation, known_head: u64) -> Self {
        Self { instance, conversation, known_head, is_askable: false, asked: 0, traced: None }
    }

    /// The trace of the publish that has come.
    pub fn take_trace(&mut self, number: Number, now: Duration) -> Option<Trace> {
        let traced = self.traced.take().filter(|(traced, _)| *traced == number);
        traced.map(|(_, context)| Trace { context, received: now })
    }
}
