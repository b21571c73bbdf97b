//! What a publish stream does in each turn: messages in, answers out in their order. It does no IO: the
//! actor polls it, sends what it returns, and polls it again when that was taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web_actors::ws::CloseCode;
use bytes::Bytes;
use bytestring::ByteString;
use campanile_channel::publishing::Push;
use campanile_edge::Keys;
use campanile_edge::websocket::Violation;
use futures_util::Stream;
use tracing::debug;

use super::StreamFormat;
use super::access::Access;
use super::allowance::Allowance;
use super::intake::{Incoming, Intake};
use super::limits::{FIELDS_BYTES, StreamLimits};
use crate::access_log::{Lines, Waiting};
use crate::courier::answers::{AnswerSlot, Answers};
use crate::courier::in_order::InOrder;
use crate::error::{Answered, ApiError};
use crate::http::{add, status_of, wording};
use crate::meters::Results;
use crate::push::{BadRequest, cost_bytes, item};

/// How much is written, except for the last answer, before the connection is asked whether it takes
/// more.
const WRITE_BYTES: usize = 64 << 10;

/// What a refused item counts until its answer was taken.
const REFUSED_BYTES: usize = 512;

const _: () = assert!(wording::MAX_ANSWER_BYTES < REFUSED_BYTES);

/// How many refusals of a stream may wait without room being reserved for them. They are so few that they
/// do not matter. Beyond that, the stream is not read until one of them is written.
const MAX_WITHOUT_ROOM: usize = 32;

/// How many pings are answered before the caller has shown its key, so that one that does not read its pongs
/// cannot hold up the time limit for the key.
const MAX_EARLY_PINGS: u32 = 8;

/// The close code of a stream whose caller has no valid key.
pub(super) const NO_KEY: CloseCode = CloseCode::Other(4401);

/// A message to the caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Text(ByteString),
    Binary(Bytes),
    Pong(Bytes),
}

/// The result of a turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// If there are any, the next turn is due when the connection has taken them.
    pub(super) outgoing: Vec<Outgoing>,
    /// For the courier.
    pub(super) pushes: Vec<(Push, AnswerSlot)>,
    /// Whether something came from the caller.
    pub(super) heard: bool,
    /// How long nothing more is read, because the caller pushes too often.
    pub(super) wait: Option<Duration>,
    /// What the items were answered.
    pub(super) results: Results,
    /// The same for the access log.
    pub(super) lines: Lines,
}

/// The state of one stream.
pub(super) struct Exchange {
    access: Access,
    format: StreamFormat,
    limits: StreamLimits,
    intake: Intake,
    /// A message that waits because the caller pushes too often.
    slowed: Option<Incoming>,
    /// How many pings came before the key.
    early_pings: u32,
    order: InOrder<Answered>,
    /// What the items asked for whose answers are in the order.
    asked: Waiting,
    answers: Answers,
    allowance: Allowance,
    /// The bytes of the items whose answers the last turn returned. They count until the next turn,
    /// because only then the connection has taken these answers, except for what its buffer holds.
    leaving_bytes: usize,
    /// How many answers in the order have nothing reserved, because there was no room for them.
    without_room: usize,
    /// Why no more items are accepted.
    finishing: Option<CloseCode>,
    /// Whether answers that have not come are not waited for.
    is_cut: bool,
}

impl Exchange {
    /// Starts before the first message.
    pub(super) fn new(
        access: Access,
        format: StreamFormat,
        limits: StreamLimits,
        answers: Answers,
    ) -> Self {
        let max_message_bytes = match access.is_awaited() {
            true => FIELDS_BYTES,
            false => limits.max_message_bytes(format),
        };
        Self {
            access,
            format,
            limits,
            intake: Intake::new(max_message_bytes),
            slowed: None,
            early_pings: 0,
            order: InOrder::default(),
            asked: Waiting::default(),
            answers,
            allowance: Allowance::default(),
            leaving_bytes: 0,
            without_room: 0,
            finishing: None,
            is_cut: false,
        }
    }

    /// Whether there is an access log.
    pub(super) fn logged(mut self, is_logged: bool) -> Self {
        self.asked = Waiting::new(is_logged);
        self
    }

    /// What the access log says of the items that have no answer when the caller is gone.
    pub(super) fn unanswered(&mut self, now: Instant) -> Lines {
        self.asked.unanswered(now)
    }

    /// Moves answers to the caller and items to the courier, as long as there are any and there is room
    /// for them. The task is woken when there is more, unless the connection has to take something first.
    pub(super) fn turn<E>(
        &mut self,
        task: &mut Context<'_>,
        mut source: Pin<&mut impl Stream<Item = Result<Bytes, E>>>,
        now: Instant,
    ) -> Turn {
        self.allowance.give_back(std::mem::take(&mut self.leaving_bytes), &self.answers);
        let mut turn = Turn::default();
        let mut written = 0;
        while written < WRITE_BYTES {
            let came = self.collect(task);
            written += self.write(WRITE_BYTES - written, &mut turn, now);
            let took = self.take_in(task, source.as_mut(), &mut turn, now);
            if !came && !took {
                break;
            }
        }
        if self.order.is_empty() && self.leaving_bytes == 0 {
            self.allowance.settle(&self.answers);
        }
        turn
    }

    /// How many items have no answer that was written.
    pub(super) fn items(&self) -> usize {
        self.order.len()
    }

    /// The name of the caller's key; empty if it has none.
    pub(super) fn key_name(&self) -> &str {
        self.access.name()
    }

    /// Accepts no more items. When those that were accepted have their answers, the stream closes. The
    /// first reason counts.
    pub(super) fn finish(&mut self, code: CloseCode) {
        self.finishing.get_or_insert(code);
    }

    /// Does not wait any more for answers that have not come.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Returns why the stream must be closed now, if everything that was accepted has its answer.
    pub(super) fn is_done(&self) -> Option<CloseCode> {
        self.finishing.filter(|_| self.order.is_empty() || self.is_cut)
    }

    /// Whether the caller has not shown its key yet.
    pub(super) fn awaits_key(&self) -> bool {
        self.access.is_awaited() && self.finishing.is_none()
    }

    /// Goes on with another set of keys. Returns whether it ends because the caller's key is not in it.
    pub(super) fn replace_keys(&mut self, keys: &Arc<Keys>) -> bool {
        let is_over = !self.access.uses(keys) && !self.access.replace_keys(keys.clone());
        if is_over {
            self.finish(NO_KEY);
        }
        is_over
    }

    /// Whether the next message would be accepted.
    pub(super) fn has_room(&self) -> bool {
        let held = self.order.held_bytes() + self.leaving_bytes;
        self.order.len() < self.limits.max_items
            && self.without_room < MAX_WITHOUT_ROOM
            && (held == 0 || held < self.limits.max_bytes)
    }

    /// Takes the answers that have arrived, and returns whether there were any.
    fn collect(&mut self, task: &mut Context<'_>) -> bool {
        let Poll::Ready(arrived) = self.answers.poll_arrived(task) else {
            return false;
        };
        for (number, answered) in arrived {
            self.order.answer(number, answered);
        }
        true
    }

    /// Writes the answers whose turn it is, up to `max_bytes`, and returns how many bytes that were.
    fn write(&mut self, max_bytes: usize, turn: &mut Turn, now: Instant) -> usize {
        let mut held = self.order.held_bytes();
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        while bytes.len() < max_bytes
            && let Some(answered) = self.order.pop()
        {
            let freed = held - self.order.held_bytes();
            held -= freed;
            self.leaving_bytes += freed;
            add(&mut turn.results, &answered);
            self.asked.answered(status_of(&answered), now, &mut turn.lines);
            self.without_room -= usize::from(freed == 0);
            match self.format {
                StreamFormat::Json => wording::json(&answered, &mut bytes),
                StreamFormat::MessagePack => wording::msgpack(&answered, &mut bytes),
            }
            ends.push(bytes.len());
        }
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        for end in ends {
            let message = bytes.slice(start..end);
            start = end;
            turn.outgoing.push(match self.format {
                StreamFormat::Json => {
                    Outgoing::Text(ByteString::try_from(message).expect("JSON is UTF-8"))
                }
                StreamFormat::MessagePack => Outgoing::Binary(message),
            });
        }
        bytes.len()
    }

    /// Takes the messages that are there, as long as there is room, and returns whether there were any.
    fn take_in<E>(
        &mut self,
        task: &mut Context<'_>,
        mut source: Pin<&mut impl Stream<Item = Result<Bytes, E>>>,
        turn: &mut Turn,
        now: Instant,
    ) -> bool {
        let mut took = false;
        while self.finishing.is_none() && self.has_room() {
            // Nothing is counted before it is there, so that idle streams leave the key's rate to others.
            match self.slowed.take().map_or_else(|| self.intake.next(), |slowed| Ok(Some(slowed))) {
                Ok(Some(incoming)) => {
                    if incoming.is_message()
                        && let Err(wait) = self.access.count(now)
                    {
                        turn.wait = Some(wait);
                        self.slowed = Some(incoming);
                        break;
                    }
                    took = true;
                    self.perform(incoming, turn, now);
                }
                Ok(None) => match source.as_mut().poll_next(task) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(chunk))) => {
                        turn.heard = true;
                        self.intake.feed(&chunk);
                    }
                    // Items before the end are under way, and get answers if the caller is there.
                    Poll::Ready(None | Some(Err(_))) => self.finish(CloseCode::Normal),
                },
                Err(violation) => self.violated(violation),
            }
        }
        let slowed_bytes = self.slowed.as_ref().map_or(0, Incoming::len_bytes);
        if self.answers.hold(self.intake.held_bytes() + slowed_bytes).is_err() {
            self.finish(CloseCode::Again);
        }
        took
    }

    fn perform(&mut self, incoming: Incoming, turn: &mut Turn, now: Instant) {
        let max_bytes = self.limits.max_content_bytes;
        if incoming.is_message() && self.access.is_awaited() {
            return self.authenticate(&incoming, turn);
        }
        if self.access.is_awaited() && matches!(incoming, Incoming::Ping(_)) {
            self.early_pings += 1;
            if self.early_pings > MAX_EARLY_PINGS {
                return self.finish(NO_KEY);
            }
        }
        match (incoming, self.format) {
            (Incoming::Text(text), StreamFormat::Json) => {
                self.take(item::json::read(&text, max_bytes), turn, now);
            }
            (Incoming::Binary(bytes), StreamFormat::MessagePack) => {
                self.take(item::msgpack::read(&bytes, max_bytes), turn, now);
            }
            (Incoming::Text(_) | Incoming::Binary(_), _) => self.finish(CloseCode::Unsupported),
            (Incoming::Ping(payload), _) => turn.outgoing.push(Outgoing::Pong(payload)),
            (Incoming::Pong, _) => {}
            (Incoming::Close, _) => self.finish(CloseCode::Normal),
        }
    }

    /// Takes the first message of a caller that has not shown its key.
    fn authenticate(&mut self, message: &Incoming, turn: &mut Turn) {
        let is_format = match self.format {
            StreamFormat::Json => matches!(message, Incoming::Text(_)),
            StreamFormat::MessagePack => matches!(message, Incoming::Binary(_)),
        };
        if !is_format || !self.access.authenticate(message) {
            return self.finish(NO_KEY);
        }
        self.intake.accept(self.limits.max_message_bytes(self.format));
        let mut bytes = Vec::new();
        turn.outgoing.push(match self.format {
            StreamFormat::Json => {
                Outgoing::Text(ByteString::from_static(wording::AUTHENTICATED_JSON))
            }
            StreamFormat::MessagePack => {
                wording::authenticated_msgpack(&mut bytes);
                Outgoing::Binary(bytes.into())
            }
        });
    }

    /// Opens a slot for an item, and answers it if it is not a push.
    fn take(&mut self, item: Result<Push, BadRequest>, turn: &mut Turn, now: Instant) {
        self.asked.add(item.as_ref().ok(), now);
        let counted = item.map_err(ApiError::from).and_then(|push| {
            self.access.check(&push)?;
            let cost = cost_bytes(&push);
            self.allowance.take(cost, &self.answers)?;
            Ok((push, cost))
        });
        match counted {
            Ok((push, cost)) => turn.pushes.push((push, self.answers.slot(self.order.open(cost)))),
            Err(error) => {
                // The refusal takes room, too, if there is any.
                let has_room = self.allowance.take(REFUSED_BYTES, &self.answers).is_ok();
                self.without_room += usize::from(!has_room);
                let number = self.order.open(if has_room { REFUSED_BYTES } else { 0 });
                self.order.answer(number, Err(error));
            }
        }
    }

    fn violated(&mut self, violation: Violation) {
        debug!(%violation, "a publish stream ends");
        self.finish(violation.close_code().into());
    }
}

#[cfg(test)]
mod tests;
