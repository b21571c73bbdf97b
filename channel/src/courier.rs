//! The actor that owns the link of a process that publishes. It hands the pushes of its callers to the
//! link in the order in which they came, again if a link broke, and gives each caller its answer. Its pure
//! core is [`publishing`](crate::publishing).
//!
//! Receives `Carry`, `CarryAll`, `AskHead` and `Inquire` from any thread, and `LinkUp`, `Received` and `LinkDown` from
//! the link. Sends frames to the link's [`Outbound`], and answers to its callers by [`Caller::answer`].
//! Runs on the arbiter that starts it. Bounded by the callers, who must have room for what they hand in
//! (every push has reserved its bytes with whoever accepted it), and by how many callers may wait for a
//! head.

mod asking;
mod caller;

use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_messages::inquiry::{Answer as InquiryAnswer, Question};
use campanile_messages::link::{Number, Role};
use campanile_messages::{FromBroker, Hello, InstanceId, Position, ToBroker};
use tokio::sync::oneshot;
use tracing::warn;

use crate::heads::Heads;
use crate::inquiries::{Inquiries, NoInquiry};
use crate::link::Outbound;
use crate::link::client::{Introduce, LinkDown, LinkUp, Received};
use crate::publishing::{Answer, NotSent, Outgoing, Push, Unanswered, WaitLimits};
use crate::watchdog::{Pulse, attend};

use asking::{Asker, end};

pub use asking::{Inquire, Inquirer};
pub use caller::{Caller, LinkSign, NoHead};

/// How much may wait in the link's own queue. It is small, because what is in it counts as sent, while
/// everything else can still be answered 503 if the broker takes no more.
pub const LINK_QUEUE_BYTES: usize = 1 << 20;

/// How precisely deadlines are kept, and how soon a full link is tried again.
const TICK: Duration = Duration::from_millis(20);

/// How soon the broker learns that nothing waits for its answers any more, if no later push says so.
/// Until then it keeps what it has accepted, also on disk.
const SETTLE: Duration = Duration::from_secs(1);

/// Owns the link to the broker. `C` is who waits for answers.
pub struct Courier<C> {
    instance: InstanceId,
    unanswered: Unanswered<C>,
    heads: Heads<oneshot::Sender<Result<Position, NoHead>>>,
    inquiries: Inquiries<Asker>,
    answers: Box<dyn Fn(Question) -> InquiryAnswer>,
    link: Option<Outbound>,
    ticking: bool,
    finishing: bool,
    /// Every lower number has its answer, and the broker knows that.
    settled: Number,
    signs: Box<dyn Fn(LinkSign)>,
    /// Dropped with the courier, also in a panic. Whoever starts it watches the other end.
    _alive: oneshot::Sender<()>,
    /// Until it is started.
    pulse: Option<Pulse>,
}

impl<C: Caller> Courier<C> {
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
            inquiries: Inquiries::default(),
            answers: Box::new(|_| InquiryAnswer::Nothing),
            link: None,
            ticking: false,
            finishing: false,
            settled: 1,
            signs: Box::new(|_| {}),
            _alive: alive,
            pulse: Some(pulse),
        }
    }

    /// Reports to `signs` what it learns about its link.
    #[must_use]
    pub fn reporting(mut self, signs: impl Fn(LinkSign) + 'static) -> Self {
        self.signs = Box::new(signs);
        self
    }
}

impl<C: Caller> Actor for Courier<C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(pulse) = self.pulse.take() {
            attend(ctx, pulse);
        }
        ctx.run_interval(SETTLE, |courier, _| courier.settle());
    }
}

impl<C: Caller> Handler<Introduce> for Courier<C> {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        let role = Role::Publisher { unanswered: self.unanswered.lowest() };
        MessageResult(Hello { instance: self.instance, role })
    }
}

impl<C: Caller> Handler<LinkUp> for Courier<C> {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, ctx: &mut Self::Context) {
        self.link = Some(outbound);
        (self.signs)(LinkSign::Up);
        let lost = self.unanswered.link_up(&welcome);
        if !lost.is_empty() {
            warn!(
                pushes = lost.len(),
                "the broker that these pushes were handed to has lost its log"
            );
        }
        C::answer(lost);
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
pub struct Carry<C> {
    /// The push.
    pub push: Push,
    /// Who waits for the answer.
    pub caller: C,
}

impl<C: Caller> Handler<Carry<C>> for Courier<C> {
    type Result = ();

    fn handle(&mut self, Carry { push, caller }: Carry<C>, ctx: &mut Self::Context) {
        if self.finishing {
            return C::answer([Answer { caller, result: Err(NotSent::ShuttingDown.into()) }]);
        }
        self.unanswered.add(push, caller, Instant::now());
        self.hand_over();
        self.keep_ticking(ctx);
    }
}

/// Takes many pushes to the broker, in their order. Each gets an answer, as with [`Carry`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct CarryAll<C> {
    /// The pushes, each with who waits for its answer.
    pub pushes: Vec<(Push, C)>,
}

impl<C: Caller> Handler<CarryAll<C>> for Courier<C> {
    type Result = ();

    fn handle(&mut self, CarryAll { pushes }: CarryAll<C>, ctx: &mut Self::Context) {
        let pushes = pushes.into_iter();
        if self.finishing {
            let result = Err(NotSent::ShuttingDown.into());
            return C::answer(pushes.map(|(_, caller)| Answer { caller, result: result.clone() }));
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
    pub answer: oneshot::Sender<Result<Position, NoHead>>,
}

impl<C: Caller> Handler<AskHead> for Courier<C> {
    type Result = ();

    fn handle(&mut self, AskHead { answer }: AskHead, ctx: &mut Self::Context) {
        // A caller that is gone does not need the answer.
        if self.finishing {
            let _ = answer.send(Err(NoHead::ShuttingDown));
        } else if let Err(answer) = self.heads.ask(answer, Instant::now()) {
            let _ = answer.send(Err(NoHead::TooManyAskers));
        }
        self.ask();
        self.keep_ticking(ctx);
    }
}

impl<C: Caller> Handler<Received> for Courier<C> {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, ctx: &mut Self::Context) {
        C::answer(messages.iter().filter_map(|message| self.unanswered.answered(message)));
        for message in &messages {
            match message {
                FromBroker::Head { number, head } => {
                    tell(self.heads.answered(*number), Ok(*head));
                }
                FromBroker::Disk { is_waiting } => (self.signs)(LinkSign::DiskWaits(*is_waiting)),
                FromBroker::Asked { ticket, content } => self.answer_inquiry(*ticket, content),
                FromBroker::Asking { number, instances, content } => {
                    end(self.inquiries.asking(*number, instances, content));
                }
                FromBroker::Told { number, instance, content } => {
                    end(self.inquiries.told(*number, *instance, content));
                }
                _ => {}
            }
        }
        self.ask();
        // The broker reads, so a link that was full may have room again.
        self.hand_over();
        self.end_when_done(ctx);
    }
}

impl<C: Caller> Handler<LinkDown> for Courier<C> {
    type Result = ();

    fn handle(&mut self, _: LinkDown, ctx: &mut Self::Context) {
        self.link = None;
        self.heads.not_sent();
        end(self.inquiries.give_up(NoInquiry::LinkLost));
        (self.signs)(LinkSign::Lost);
        // If a disk waits at the next broker, that broker says so.
        (self.signs)(LinkSign::DiskWaits(false));
        C::answer(self.unanswered.link_lost());
        self.end_when_done(ctx);
    }
}

/// Answers every caller now, with what is known so far: the time for the shutdown is nearly over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LastCall;

impl<C: Caller> Handler<LastCall> for Courier<C> {
    type Result = ();

    fn handle(&mut self, _: LastCall, _: &mut Self::Context) {
        C::answer(self.unanswered.last_call());
        self.refuse_askers();
    }
}

/// Accepts nothing more. What waits gets 503; what was handed over may still be answered, on this link or
/// another one. Then the link is finished, and the courier stops when the link has ended, or at once if
/// there is none. Returns whether there is anything to wait for.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Finish;

impl<C: Caller> Handler<Finish> for Courier<C> {
    type Result = bool;

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) -> bool {
        self.finishing = true;
        C::answer(self.unanswered.shut_down());
        self.refuse_askers();
        end(self.inquiries.give_up(NoInquiry::ShuttingDown));
        self.end_when_done(ctx);
        self.link.is_some() || !self.unanswered.is_empty()
    }
}

impl<C: Caller> Courier<C> {
    /// Hands over first what was handed to an earlier link, then what waits, until the link is full.
    fn hand_over(&mut self) {
        let Some(link) = &self.link else {
            return;
        };
        let now = Instant::now();
        let mut sending = link.sending();
        let mut refused = Vec::new();
        while let Some(Outgoing { trace, head, content }) = self.unanswered.next(now, C::is_gone) {
            let trace = trace.filter(|trace| link.may_carry(trace.needs()));
            if !link.may_carry(head.needs()) {
                refused.extend(self.unanswered.not_carried());
            } else if sending.send(trace, &head, content).is_err() {
                break;
            } else {
                self.unanswered.handed_over(now);
            }
        }
        drop(sending);
        C::answer(refused);
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
        tell(self.heads.give_up(), Err(NoHead::ShuttingDown));
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
        let is_idle =
            self.unanswered.is_empty() && self.heads.is_empty() && self.inquiries.is_empty();
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
        C::answer(expired);
        let waited = self.heads.limit();
        let reason = match self.link {
            Some(_) => NoHead::Unanswered { waited },
            None => NoHead::NoBroker { waited },
        };
        tell(self.heads.expire(Instant::now()), Err(reason));
        end(self.inquiries.expire(Instant::now()));
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
        C::answer(self.unanswered.give_up(C::may_be_gone));
    }
}

/// Answers those who ask where the log ends. One that is gone does not need the answer.
fn tell(
    askers: impl IntoIterator<Item = oneshot::Sender<Result<Position, NoHead>>>,
    answer: Result<Position, NoHead>,
) {
    for asker in askers {
        let _ = asker.send(answer);
    }
}
