//! Accepts publishes: tells new ones from repeats, numbers them, and holds each one until it is as
//! durable as was promised. Pure.
//!
//! ```text
//! take ──▶ a repeat: gets the first receipt, or waits for it
//!      ──▶ staged under the next sequence ──release──▶ the log, the links, the publishers' answers
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use campanile_messages::link::{Number, Refusal};
use campanile_messages::{
    Address, Audience, Content, IdempotencyKey, InstanceId, TraceContext, UserName,
};

use super::ids::{Ids, Known};
use super::ledger::digest::digest;
use super::log::cost_bytes;
use super::publish_receipt::PublishReceipt;
use super::publishers::{Publishers, Repeat};
use super::record::{Changes, KnownId, Record};
use super::repeat_key::RepeatKey;

/// How many repeats of one event may wait for it. One more is refused. All of them are answered in one
/// turn of the broker, which takes about 10 ms.
const MAX_REPEATS: usize = 1 << 13;

/// How many bytes a repeat counts while it waits for its event.
const REPEAT_BYTES: usize = 64;

/// A publish. The fields are those of `ToBroker::Publish`.
#[derive(Debug)]
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

/// The trace that a publish belongs to. It is neither compared with that of a repeat nor kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The span of the publisher.
    pub context: TraceContext,
    /// When the publish came, by the broker's clock.
    pub received: Duration,
}

/// What happened to a publish.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is staged, or repeats a staged one. It is answered when that is released.
    Staged,
    /// It repeats an accepted one.
    Repeated(PublishReceipt),
    Refused(Refusal),
}

/// A publish that has a sequence and is not in the log yet.
#[derive(Debug)]
pub struct Staged {
    pub record: Record,
    pub id: Option<RepeatKey>,
    pub count_within_millis: Option<u32>,
    pub trace: Option<Trace>,
    /// Who has repeated it under its key in the meantime, and is answered too.
    pub repeated_by: BTreeSet<(InstanceId, Number)>,
    cost_bytes: usize,
}

impl Staged {
    /// What its publisher is answered.
    pub fn receipt(&self) -> PublishReceipt {
        let Record { sequence, gateways, matched, .. } = self.record;
        PublishReceipt { sequence, gateways, matched }
    }
}

/// The publishes that are staged, and the memory by which repeats are recognised.
#[derive(Debug)]
pub struct Intake {
    /// The last sequence that was given to a publish.
    head: u64,
    staged: VecDeque<Staged>,
    staged_bytes: usize,
    pub ids: Ids,
    pub publishers: Publishers,
}

impl Intake {
    /// Continues above the sequence `head`, and remembers up to `max_ids` keys.
    pub fn new(head: u64, max_ids: usize) -> Self {
        Self {
            head,
            staged: VecDeque::new(),
            staged_bytes: 0,
            ids: Ids::new(max_ids),
            publishers: Publishers::default(),
        }
    }

    /// The last sequence that was given to a publish.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// How many bytes are staged, as the log counts them.
    pub fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Accepts a publish. `matched` returns how many gateways and connections listen to an audience. A
    /// broker that `is_closing` accepts repeats only. If there is a disk, what has to be written to it
    /// is added to `changes`.
    pub fn take(
        &mut self,
        publish: Publish,
        matched: impl FnOnce(&Audience) -> (u32, u64),
        is_closing: bool,
        now: Duration,
        mut changes: Option<&mut Changes>,
    ) -> Taken {
        let Publish { publisher, number, id, count_within_millis, audience, .. } = publish;
        let Publish { except, content, from, trace, .. } = publish;
        match self.publishers.look_up(publisher, number) {
            Repeat::New => {}
            Repeat::Full => return Taken::Refused(Refusal::TooManyUnanswered),
            Repeat::Waiting => return Taken::Staged,
            Repeat::Accepted(receipt) => return Taken::Repeated(receipt),
        }
        // A client that comes back to repeat a push has another connection to be left out of it.
        let compared = except.filter(|_| from.is_none());
        let id = id
            .map(|id| (digest(&audience, compared, &content), RepeatKey::new(from.as_ref(), &id)));
        if let Some((digest, key)) = &id {
            match self.ids.look_up(key, *digest) {
                Known::New => {}
                Known::Full => return Taken::Refused(Refusal::IdsFull),
                Known::Taken => return Taken::Refused(Refusal::IdTaken),
                Known::Accepted(receipt) => return Taken::Repeated(receipt),
                Known::Waiting(sequence) => {
                    return self.wait_for_first(sequence, publisher, number);
                }
            }
        }
        if is_closing {
            return Taken::Refused(Refusal::ShuttingDown);
        }
        let cost_bytes =
            cost_bytes(&audience, content.as_bytes().len(), from.as_deref().map_or(0, str::len));
        self.head += 1;
        let (sequence, (gateways, matched)) = (self.head, matched(&audience));
        let receipt = PublishReceipt { sequence, gateways, matched };
        self.publishers.stage(publisher, number, receipt, now);
        let id = id.map(|(digest, key)| {
            self.ids.stage(key.clone(), digest, receipt, now);
            if let Some(changes) = &mut changes {
                let (key, at) = (key.clone(), now);
                changes.ids.push(KnownId { key, digest, at, sequence, gateways, matched });
            }
            key
        });
        // The content is a slice of a read buffer and would keep that whole buffer in memory.
        let content = content.own();
        let at = now;
        let record = Record {
            sequence,
            at,
            audience,
            except,
            content,
            from,
            publisher,
            number,
            gateways,
            matched,
        };
        if let Some(changes) = changes {
            changes.events.push(record.clone());
        }
        let repeated_by = BTreeSet::new();
        let staged = Staged { record, id, count_within_millis, trace, repeated_by, cost_bytes };
        self.staged.push_back(staged);
        self.staged_bytes += cost_bytes;
        Taken::Staged
    }

    /// The next staged publish, if it is durable, that is, not above `up_to`. It is accepted then.
    pub fn release(&mut self, up_to: u64) -> Option<Staged> {
        let staged = self.staged.pop_front_if(|staged| staged.record.sequence <= up_to)?;
        self.staged_bytes -= staged.cost_bytes;
        self.publishers.accept(staged.record.publisher, staged.record.number);
        if let Some(key) = &staged.id {
            self.ids.accept(key);
        }
        Some(staged)
    }

    /// A new epoch begins. Staged publishes, numbers and keys belong to the old one and are dropped.
    pub fn forget(&mut self) {
        self.staged.clear();
        self.ids = self.ids.emptied();
        self.staged_bytes = 0;
        self.publishers = Publishers::default();
    }

    fn wait_for_first(&mut self, sequence: u64, publisher: InstanceId, number: Number) -> Taken {
        let first = self.staged.front().map_or(sequence, |staged| staged.record.sequence);
        let place = usize::try_from(sequence - first).unwrap_or(usize::MAX);
        if let Some(staged) = self.staged.get_mut(place)
            && !staged.repeated_by.contains(&(publisher, number))
        {
            if staged.repeated_by.len() >= MAX_REPEATS {
                return Taken::Refused(Refusal::TooManyUnanswered);
            }
            staged.repeated_by.insert((publisher, number));
            staged.cost_bytes += REPEAT_BYTES;
            self.staged_bytes += REPEAT_BYTES;
        }
        Taken::Staged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn publish(publisher: u64, number: Number) -> Publish {
        Publish {
            publisher: InstanceId(publisher),
            number,
            id: Some(IdempotencyKey::new("order-42").unwrap()),
            count_within_millis: None,
            audience: Audience::Everyone,
            except: None,
            content: "hi".into(),
            from: None,
            trace: None,
        }
    }

    #[test]
    fn waiting_repeats_of_an_event_are_bounded_and_counted() {
        let mut intake = Intake::new(0, 10);
        let take = |intake: &mut Intake, publisher, number| {
            intake.take(publish(publisher, number), |_| (0, 0), false, NOW, None)
        };
        assert_eq!(take(&mut intake, 1, 1), Taken::Staged);
        let staged_bytes = intake.staged_bytes();
        for number in 1..=MAX_REPEATS as u64 {
            assert_eq!(take(&mut intake, 2, number), Taken::Staged);
        }
        assert_eq!(intake.staged_bytes(), staged_bytes + MAX_REPEATS * REPEAT_BYTES);
        let refused = Taken::Refused(Refusal::TooManyUnanswered);
        assert_eq!(take(&mut intake, 3, 1), refused);
        // A repeat that already waits may come again.
        assert_eq!(take(&mut intake, 2, 7), Taken::Staged);
        assert_eq!(take(&mut intake, 1, 1), Taken::Staged);
        let released = intake.release(1).unwrap();
        assert_eq!(released.repeated_by.len(), MAX_REPEATS);
        assert_eq!(intake.staged_bytes(), 0);
    }
}
