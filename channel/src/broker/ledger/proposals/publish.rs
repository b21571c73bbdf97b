//! A publish as it came on a link.

use std::time::Duration;

use campanile_messages::link::Number;
use campanile_messages::{
    Address, Audience, Content, IdempotencyKey, InstanceId, TraceContext, UserName,
};

use super::Here;
use crate::broker::ledger::block::Push;
use crate::broker::ledger::digest::{Digest, digest};
use crate::broker::repeat_key::RepeatKey;

/// A publish. The fields are those of `ToBroker::Publish`.
#[derive(Debug, Clone)]
pub struct Publish {
    pub publisher: InstanceId,
    pub number: Number,
    pub id: Option<IdempotencyKey>,
    pub count_within_millis: Option<u32>,
    pub audience: Audience,
    pub except: Option<Address>,
    pub content: Content,
    pub from: Option<UserName>,
    pub trace: Option<Trace>,
}

/// The trace that a publish belongs to. It is neither compared with that of a repeat nor written to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The span of the publisher.
    pub context: TraceContext,
    /// When the publish came, by the broker's clock.
    pub received: Duration,
}

impl Publish {
    /// The key under which it may be repeated, and the digest by which a repeat is recognised.
    pub(super) fn key(&self) -> Option<(RepeatKey, Digest)> {
        let id = self.id.as_ref()?;
        // A client that comes back to repeat a push has another connection to be left out of it.
        let compared = self.except.filter(|_| self.from.is_none());
        let digest = digest(&self.audience, compared, &self.content);
        Some((RepeatKey::new(self.from.as_ref(), id), digest))
    }

    pub(super) fn into_push(self, id: Option<(RepeatKey, Digest)>) -> (Push, Here) {
        let Self { publisher, number, count_within_millis, audience, .. } = self;
        let Self { except, content, from, trace, .. } = self;
        let asks = count_within_millis.is_some();
        // The content is a slice of a read buffer and would keep that whole buffer in memory.
        let content = content.own();
        let push = Push { publisher, number, id, asks, audience, except, content, from };
        (push, Here { count_within_millis, trace, ..Here::default() })
    }
}
