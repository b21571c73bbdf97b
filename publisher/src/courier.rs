//! The actor that owns the link to the broker: hands it the callers' pushes in the order in which
//! they came, and tells each caller what became of its push.
//!
//! Receives `Carry` from the HTTP workers, `LinkUp`, `Received` and `LinkDown` from the link. Sends
//! frames to the link's [`Outbound`], answers to the callers' oneshots. Runs on the arbiter that
//! starts it. Bounded by the [`Budget`](crate::budget::Budget) from which every `Carry` has its
//! bytes, and by the callers: each has one push at a time.

use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::Outbound;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received};
use campanile_messages::link::Role;
use campanile_messages::{Hello, InstanceId};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::ApiError;
use crate::budget::Reserved;
use crate::pending::{Answer, Limits, Pending, Receipt};
use crate::request::Push;
use crate::stream::Presence;

/// What waits in the link's own queue at most. Little: what is in there counts as sent, and what is
/// not can still be answered 503 if the broker does not take it.
pub const LINK_QUEUE_BYTES: usize = 1 << 20;

/// How exact deadlines are, and how soon a full link is tried again.
const TICK: Duration = Duration::from_millis(20);

/// Owns the link.
pub struct Courier {
    instance: InstanceId,
    pending: Pending<Caller>,
    link: Option<Link>,
    ticking: bool,
    finishing: bool,
    /// Dropped with the courier, also by a panic: its starter watches the other end.
    _alive: oneshot::Sender<()>,
}

struct Link {
    outbound: Outbound,
    epoch: u64,
}

/// Who waits for an answer; gone when the other end of `answer` is dropped.
#[derive(Debug)]
pub struct Caller {
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Receipt, ApiError>>,
    /// Whether it has closed its side of the connection.
    pub presence: Presence,
    /// The push's share of the budget, given back with the answer.
    pub reserved: Reserved,
}

impl Courier {
    /// Waits for its first link; `instance` is this process's, drawn at random. The other end of
    /// `alive` is told when the courier is gone.
    pub fn new(instance: InstanceId, limits: Limits, alive: oneshot::Sender<()>) -> Self {
        Self {
            instance,
            pending: Pending::new(limits),
            link: None,
            ticking: false,
            finishing: false,
            _alive: alive,
        }
    }
}

impl Actor for Courier {
    type Context = Context<Self>;
}

impl Handler<Introduce> for Courier {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        MessageResult(Hello { instance: self.instance, role: Role::Publisher })
    }
}

impl Handler<LinkUp> for Courier {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, _: &mut Self::Context) {
        if self.finishing {
            outbound.finish();
        }
        self.link = Some(Link { outbound, epoch: welcome.head.epoch });
        self.give_up();
        self.hand_over();
    }
}

/// Takes a push to the broker; the caller is always answered, at the latest when the limits are
/// over. If the courier is gone, the caller's oneshot is dropped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Carry {
    /// What to push.
    pub push: Push,
    /// Who waits for the answer.
    pub caller: Caller,
}

impl Handler<Carry> for Courier {
    type Result = ();

    fn handle(&mut self, Carry { push, caller }: Carry, ctx: &mut Self::Context) {
        if self.finishing {
            return tell(Answer { caller, result: Err(ApiError::ShuttingDown) });
        }
        self.pending.add(push, caller, Instant::now());
        self.hand_over();
        self.keep_ticking(ctx);
    }
}

impl Handler<Received> for Courier {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, _: &mut Self::Context) {
        let Some(epoch) = self.link.as_ref().map(|link| link.epoch) else {
            return;
        };
        for message in messages {
            match self.pending.answered(&message, epoch) {
                Some(answer) => tell(answer),
                None => debug!(?message, "the broker answers what nobody waits for"),
            }
        }
        // The broker reads again, so a link that was full may have room.
        self.hand_over();
    }
}

impl Handler<LinkDown> for Courier {
    type Result = ();

    fn handle(&mut self, _: LinkDown, ctx: &mut Self::Context) {
        self.link = None;
        let lost = self.pending.link_lost();
        if !lost.is_empty() {
            warn!(pushes = lost.len(), "the link broke before these pushes were answered");
        }
        lost.into_iter().for_each(tell);
        if self.finishing {
            ctx.stop();
        }
    }
}

/// Finishes the link: what waits is answered 503, what was handed over is written. The courier
/// stops when the link has ended, at once if there is none; the answer says whether there is one.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Finish;

impl Handler<Finish> for Courier {
    type Result = bool;

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) -> bool {
        self.finishing = true;
        self.pending.shut_down().into_iter().for_each(tell);
        match &self.link {
            Some(link) => link.outbound.finish(),
            None => ctx.stop(),
        }
        self.link.is_some()
    }
}

impl Courier {
    /// Hands over what waits, in order, until the link is full.
    fn hand_over(&mut self) {
        let Some(link) = &self.link else {
            return;
        };
        let now = Instant::now();
        while let Some(message) = self.pending.next(|caller| caller.answer.is_closed()) {
            if link.outbound.send(&message.encode()).is_err() {
                return;
            }
            self.pending.handed_over(now);
        }
    }

    /// One timer serves all deadlines, and there is none while nothing is pending.
    fn keep_ticking(&mut self, ctx: &mut Context<Self>) {
        if !self.ticking && !self.pending.is_empty() {
            self.ticking = true;
            ctx.run_later(TICK, |courier, ctx| {
                courier.ticking = false;
                courier.tick();
                courier.keep_ticking(ctx);
            });
        }
    }

    fn tick(&mut self) {
        let expired = self.pending.expire(Instant::now(), self.link.is_some());
        expired.into_iter().for_each(tell);
        self.give_up();
        self.hand_over();
    }

    /// A caller whose push has waited and who closed its side may have given up. (One that closed
    /// its side before its push was handed over at once just said all it wanted to say.)
    fn give_up(&mut self) {
        let given_up =
            self.pending.give_up(|caller| caller.presence.is_over() || caller.answer.is_closed());
        given_up.into_iter().for_each(tell);
    }
}

fn tell(Answer { caller, result }: Answer<Caller>) {
    // A caller that is gone has no use for the answer, and the push is where it is.
    let _ = caller.answer.send(result);
}
