//! The actor that owns the link to the broker. It hands the callers' pushes to the link in the order in
//! which they came, again if a link broke, and gives each caller its answer.
//!
//! Receives `Carry`, `CarryAll` and `AskHead` from the HTTP workers, and `LinkUp`, `Received` and
//! `LinkDown` from the link. Sends frames to the link's [`Outbound`], and answers to the callers' oneshots
//! and `Answers`. Runs on the arbiter that starts it. Bounded by the
//! [`Budget`](crate::budget::Budget), in which every push has reserved its bytes; by the callers, each of
//! which has one push, one batch or one window of a stream at a time; and by how many callers may wait
//! for a head.

pub(crate) mod answers;
mod caller;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod in_order;
mod presence;

use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::Outbound;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received};
use campanile_channel::heads::Heads;
use campanile_channel::publishing::{Answer, NotSent, Push, Unanswered, WaitLimits};
use campanile_channel::watchdog::{Pulse, attend};
use campanile_messages::link::{Number, Role};
use campanile_messages::{FromBroker, Hello, InstanceId, Position, ToBroker};
use tokio::sync::oneshot;
use tracing::warn;

use crate::courier::answers::{AnswerSlot, Round};
use crate::courier::health::Health;
use crate::error::ApiError;
pub use caller::Caller;
pub(crate) use error::Unavailable;
pub use presence::Presence;

/// How much may wait in the link's own queue. It is small, because what is in it counts as sent, while
/// everything else can still be answered 503 if the broker takes no more.
pub const LINK_QUEUE_BYTES: usize = 1 << 20;

/// How precisely deadlines are kept, and how soon a full link is tried again.
const TICK: Duration = Duration::from_millis(20);

/// How soon the broker learns that nothing waits for its answers any more, if no later push says so.
/// Until then it keeps what it has accepted, also on disk.
const SETTLE: Duration = Duration::from_secs(1);

/// Owns the link to the broker.
pub struct Courier {
    instance: InstanceId,
    unanswered: Unanswered<Caller>,
    heads: Heads<oneshot::Sender<Result<Position, ApiError>>>,
    link: Option<Outbound>,
    ticking: bool,
    finishing: bool,
    /// Every lower number has its answer, and the broker knows that.
    settled: Number,
    health: Health,
    /// Dropped with the courier, also in a panic. Whoever starts it watches the other end.
    _alive: oneshot::Sender<()>,
    /// Until it is started.
    pulse: Option<Pulse>,
}

impl Courier {
    /// Waits for its first link. `instance` is the random id of this process. The other end of `alive`
    /// notices when the courier is gone.
    pub fn new(
        instance: InstanceId,
        limits: WaitLimits,
        alive: oneshot::Sender<()>,
        pulse: Pulse,
    ) -> Self {
        Self {
            instance,
            unanswered: Unanswered::new(limits),
            heads: Heads::new(limits.broker_wait),
            link: None,
            ticking: false,
            finishing: false,
            settled: 1,
            health: Health::default(),
            _alive: alive,
            pulse: Some(pulse),
        }
    }

    /// Reports to `health` whether there is a link.
    #[must_use]
    pub fn reporting(mut self, health: Health) -> Self {
        self.health = health;
        self
    }
}

impl Actor for Courier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(pulse) = self.pulse.take() {
            attend(ctx, pulse);
        }
        ctx.run_interval(SETTLE, |courier, _| courier.settle());
    }
}

impl Handler<Introduce> for Courier {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        let role = Role::Publisher { unanswered: self.unanswered.lowest() };
        MessageResult(Hello { instance: self.instance, role })
    }
}

impl Handler<LinkUp> for Courier {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, ctx: &mut Self::Context) {
        self.link = Some(outbound);
        self.health.link_up();
        let lost = self.unanswered.link_up(&welcome);
        if !lost.is_empty() {
            warn!(
                pushes = lost.len(),
                "the broker that these pushes were handed to has lost its log"
            );
        }
        answer(lost);
        self.give_up();
        self.ask();
        self.hand_over();
        self.end_when_done(ctx);
    }
}

/// Takes a push to the broker. The caller always gets an answer, at the latest when the limits are over.
/// If the courier is gone, the caller's oneshot is dropped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Carry {
    /// The push.
    pub push: Push,
    /// Who waits for the answer.
    pub caller: Caller,
}

impl Handler<Carry> for Courier {
    type Result = ();

    fn handle(&mut self, Carry { push, caller }: Carry, ctx: &mut Self::Context) {
        if self.finishing {
            return answer([Answer { caller, result: Err(NotSent::ShuttingDown.into()) }]);
        }
        self.unanswered.add(push, caller, Instant::now());
        self.hand_over();
        self.keep_ticking(ctx);
    }
}

/// Takes many pushes to the broker, in their order. Each gets an answer, as with [`Carry`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct CarryAll {
    /// The pushes, each with the slot for its answer.
    pub pushes: Vec<(Push, AnswerSlot)>,
}

impl Handler<CarryAll> for Courier {
    type Result = ();

    fn handle(&mut self, CarryAll { pushes }: CarryAll, ctx: &mut Self::Context) {
        let pushes = pushes.into_iter().map(|(push, slot)| (push, Caller::Many(slot)));
        if self.finishing {
            let result = Err(NotSent::ShuttingDown.into());
            return answer(pushes.map(|(_, caller)| Answer { caller, result: result.clone() }));
        }
        let now = Instant::now();
        pushes.for_each(|(push, caller)| self.unanswered.add(push, caller, now));
        self.hand_over();
        self.keep_ticking(ctx);
    }
}

/// Asks the broker where the log ends. The caller always gets an answer, at the latest when the limit is
/// over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AskHead {
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Position, ApiError>>,
}

impl Handler<AskHead> for Courier {
    type Result = ();

    fn handle(&mut self, AskHead { answer }: AskHead, ctx: &mut Self::Context) {
        // A caller that is gone does not need the answer.
        if self.finishing {
            let _ = answer.send(Err(Unavailable::ShuttingDown.into()));
        } else if let Err(answer) = self.heads.ask(answer, Instant::now()) {
            let _ = answer.send(Err(Unavailable::TooManyAskers.into()));
        }
        self.ask();
        self.keep_ticking(ctx);
    }
}

impl Handler<Received> for Courier {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, ctx: &mut Self::Context) {
        answer(messages.iter().filter_map(|message| self.unanswered.answered(message)));
        for message in &messages {
            match *message {
                FromBroker::Head { number, head } => {
                    self.heads.answered(number).for_each(|answer| drop(answer.send(Ok(head))));
                }
                FromBroker::Disk { is_waiting } => self.health.set_disk_waits(is_waiting),
                _ => {}
            }
        }
        self.ask();
        // The broker reads, so a link that was full may have room again.
        self.hand_over();
        self.end_when_done(ctx);
    }
}

impl Handler<LinkDown> for Courier {
    type Result = ();

    fn handle(&mut self, _: LinkDown, ctx: &mut Self::Context) {
        self.link = None;
        self.heads.not_sent();
        self.health.link_lost();
        // If a disk waits at the next broker, that broker says so.
        self.health.set_disk_waits(false);
        answer(self.unanswered.link_lost());
        self.end_when_done(ctx);
    }
}

/// Answers every caller with what is known, because there is no time for more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LastCall;

impl Handler<LastCall> for Courier {
    type Result = ();

    fn handle(&mut self, _: LastCall, _: &mut Self::Context) {
        answer(self.unanswered.last_call());
        self.refuse_askers();
    }
}

/// Accepts nothing more. What waits gets 503; what was handed over may still be answered, on this link or
/// another one. Then the link is finished, and the courier stops when the link has ended, or at once if
/// there is none. Returns whether there is anything to wait for.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Finish;

impl Handler<Finish> for Courier {
    type Result = bool;

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) -> bool {
        self.finishing = true;
        answer(self.unanswered.shut_down());
        self.refuse_askers();
        self.end_when_done(ctx);
        self.link.is_some() || !self.unanswered.is_empty()
    }
}

impl Courier {
    /// Hands over first what was handed to an earlier link, then what waits, until the link is full.
    fn hand_over(&mut self) {
        let Some(link) = &self.link else {
            return;
        };
        let now = Instant::now();
        let mut sending = link.sending();
        while let Some((head, content)) = self.unanswered.next(now, Caller::is_gone) {
            if sending.send(&head, content).is_err() {
                return;
            }
            self.unanswered.handed_over(now);
        }
    }

    /// Asks where the log ends, if a caller waits for that and no question is under way. If the link is
    /// full, it is tried again later.
    fn ask(&mut self) {
        let Some(link) = &self.link else { return };
        if let Some(number) = self.heads.question()
            && link.send(&ToBroker::AskHead { number }.encode()).is_err()
        {
            self.heads.not_sent();
        }
    }

    fn refuse_askers(&mut self) {
        let askers = self.heads.give_up();
        askers.for_each(|answer| drop(answer.send(Err(Unavailable::ShuttingDown.into()))));
    }

    /// Reports to the broker which numbers have their answers, if it does not know that.
    fn settle(&mut self) {
        let unanswered = self.unanswered.lowest();
        if let Some(link) = &self.link
            && unanswered > self.settled
            && link.send(&ToBroker::Settled { unanswered }.encode()).is_ok()
        {
            self.settled = unanswered;
        }
    }

    /// One timer serves all deadlines. It does not run while nothing waits.
    fn keep_ticking(&mut self, ctx: &mut Context<Self>) {
        let is_idle = self.unanswered.is_empty() && self.heads.is_empty();
        if !self.ticking && !is_idle {
            self.ticking = true;
            ctx.run_later(TICK, |courier, ctx| {
                courier.ticking = false;
                courier.tick();
                courier.end_when_done(ctx);
                courier.keep_ticking(ctx);
            });
        }
    }

    fn tick(&mut self) {
        let expired = self.unanswered.expire(Instant::now(), self.link.is_some());
        answer(expired);
        let waited = self.heads.limit();
        for answer in self.heads.expire(Instant::now()) {
            drop(answer.send(Err(match self.link {
                Some(_) => Unavailable::NoHead { waited }.into(),
                None => Unavailable::NoBrokerToAsk { waited }.into(),
            })));
        }
        self.give_up();
        self.ask();
        self.hand_over();
    }

    fn end_when_done(&mut self, ctx: &mut Context<Self>) {
        if !self.finishing || !self.unanswered.is_empty() {
            return;
        }
        self.settle();
        match &self.link {
            Some(link) => link.finish(),
            None => ctx.stop(),
        }
    }

    /// Gives up pushes that have waited and whose callers have closed their side, and so may have given
    /// up. (A push that is handed over at once is sent even if its caller has closed its side: that may
    /// only mean that the caller has nothing more to send.)
    fn give_up(&mut self) {
        answer(self.unanswered.give_up(Caller::may_be_gone));
    }
}

fn answer(answers: impl IntoIterator<Item = Answer<Caller>>) {
    let mut round = Round::default();
    for Answer { caller, result } in answers {
        let result = result.map_err(ApiError::from);
        match caller {
            // A caller that is gone does not need the answer. Its push is not taken back.
            Caller::Single { answer, .. } => drop(answer.send(result)),
            Caller::Many(slot) => round.add(slot, result),
        }
    }
}
