use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::Waker;

use campanile_channel::publishing::Receipt;
use campanile_edge::rights::{KeyRights, Scope};
use campanile_edge::{ApiKey, KeyHash, Keys, Peer, Rate, Secret};

use super::*;
use crate::budget::{Budget, Shares};
use crate::courier::Presence;
use crate::courier::answers::Round;
use crate::orders::{Wakes, in_every_order};
use crate::push::rights::Pusher;

const MIN_COST_BYTES: usize = 512;

/// A TEXT frame of a client, masked with zeros.
fn frame(text: &str) -> Bytes {
    let head = [0x81, 0x80 | u8::try_from(text.len()).expect("a small frame"), 0, 0, 0, 0];
    [&head[..], text.as_bytes()].concat().into()
}

/// What a caller has sent and the stream has not read.
#[derive(Default)]
struct Source {
    chunks: VecDeque<Bytes>,
    has_ended: bool,
    waiting: Option<Waker>,
}

impl Source {
    fn send(&mut self, text: &str) {
        self.chunks.push_back(frame(text));
        self.wake();
    }

    fn send_ping(&mut self) {
        self.chunks.push_back(Bytes::from_static(&[0x89, 0x80, 0, 0, 0, 0]));
        self.wake();
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl Stream for Source {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None if self.has_ended => Poll::Ready(None),
            None => {
                self.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A stream, its caller, and the courier.
struct Rig {
    budget: Budget,
    exchange: Exchange,
    source: Source,
    wakes: Arc<Wakes>,
    /// How often it had been woken before the last turn; `None` if another turn is due anyway.
    idle_since: Option<usize>,
    /// What the courier has.
    pushes: VecDeque<AnswerSlot>,
    answers: Vec<String>,
    sent: usize,
}

impl Rig {
    fn new(max_items: usize, max_bytes: usize) -> Self {
        Self::of(Access::new(Arc::default(), Some(Pusher::default())), max_items, max_bytes)
    }

    fn of(access: Access, max_items: usize, max_bytes: usize) -> Self {
        let budget = Budget::new(Shares::of(1 << 20, 1_000, 1_000));
        let answers = Answers::new(Presence::default(), budget.reserve(Peer::of(None)));
        let limits = StreamLimits { max_items, max_bytes, max_content_bytes: 1_000 };
        Self {
            exchange: Exchange::new(access, StreamFormat::Json, limits, answers),
            budget,
            source: Source::default(),
            wakes: Arc::default(),
            idle_since: None,
            pushes: VecDeque::new(),
            answers: Vec::new(),
            sent: 0,
        }
    }

    fn send(&mut self) {
        self.sent += 1;
        self.source.send(r#"{"content":"a"}"#);
    }

    /// The courier answers its first push.
    fn answer(&mut self) -> bool {
        let Some(slot) = self.pushes.pop_front() else { return false };
        Round::default().add(slot, Ok(Receipt::Written));
        true
    }

    /// What the connection does when it is woken or has taken what was sent.
    fn is_turn_due(&self) -> bool {
        self.idle_since.is_none_or(|before| self.wakes.count() > before)
    }

    /// A turn at this time, with all that it returns.
    fn exchange_turn(&mut self, now: Instant) -> Turn {
        let mut task = Context::from_waker(Waker::noop());
        self.exchange.turn(&mut task, Pin::new(&mut self.source), now)
    }

    fn turn(&mut self) -> Turn {
        let before = self.wakes.count();
        let waker = self.wakes.waker();
        let mut task = Context::from_waker(&waker);
        let mut turn = self.exchange.turn(&mut task, Pin::new(&mut self.source), Instant::now());
        self.pushes.extend(turn.pushes.drain(..).map(|(_, slot)| slot));
        self.answers.extend(turn.outgoing.iter().map(|outgoing| match outgoing {
            Outgoing::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }));
        self.idle_since = turn.outgoing.is_empty().then_some(before);
        turn
    }

    /// Nothing that could be done now waits for a turn that will not come.
    fn check(&self, steps: &[Step]) {
        let can_read = (!self.source.chunks.is_empty() || self.source.has_ended)
            && self.exchange.finishing.is_none()
            && self.exchange.has_room();
        let waker = Waker::noop();
        let has_arrived = || {
            let arrived = self.exchange.answers.poll_arrived(&mut Context::from_waker(waker));
            arrived.is_ready()
        };
        if !self.is_turn_due() {
            assert!(!can_read, "what was sent is not read: {steps:?}");
            assert_eq!(self.exchange.leaving_bytes, 0, "taken and still counted: {steps:?}");
            // This look comes last, because it replaces the stream's own waker.
            assert!(steps.is_empty() || !has_arrived(), "an answer sleeps: {steps:?}");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Send,
    SendWrong,
    End,
    Answer,
    DropPush,
    Turn,
}

/// Whether the last step was possible.
fn play(steps: &[Step]) -> bool {
    let mut rig = Rig::new(2, usize::MAX);
    let mut was_possible = true;
    for &step in steps {
        was_possible = match step {
            Step::Send | Step::SendWrong | Step::End if rig.source.has_ended => false,
            Step::Send => {
                rig.send();
                true
            }
            Step::SendWrong => {
                rig.sent += 1;
                rig.source.send("{");
                true
            }
            Step::End => {
                rig.source.end();
                true
            }
            Step::Answer => rig.answer(),
            Step::DropPush => rig.pushes.pop_front().is_some(),
            Step::Turn => {
                let is_due = rig.is_turn_due();
                if is_due {
                    rig.turn();
                }
                is_due
            }
        };
    }
    if !was_possible {
        return false;
    }
    // From here on everybody does what is due, until everything is done.
    while rig.is_turn_due() {
        rig.turn();
    }
    rig.check(steps);
    loop {
        // The look above has replaced the waker, so whoever is idle gets one turn.
        rig.turn();
        while rig.is_turn_due() {
            rig.turn();
        }
        if !rig.answer() {
            break;
        }
        assert!(rig.is_turn_due(), "an answer wakes nobody: {steps:?}");
    }
    assert_eq!(rig.answers.len(), rig.sent, "{steps:?}");
    assert_eq!(rig.exchange.is_done().is_some(), rig.source.has_ended, "{steps:?}");
    assert_eq!(rig.budget.used_bytes(), 0, "{steps:?}");
    true
}

#[test]
fn no_order_of_steps_misses_a_message_or_an_answer() {
    let steps = [Step::Send, Step::SendWrong, Step::End, Step::Answer, Step::DropPush, Step::Turn];
    assert!(in_every_order(&steps, 8, play) > 10_000);
}

#[test]
fn an_item_counts_until_the_connection_has_taken_its_answer() {
    let mut rig = Rig::new(10, MIN_COST_BYTES * 3);
    (0..5).for_each(|_| rig.send());
    rig.turn();
    assert_eq!(rig.pushes.len(), 3, "the window is full");
    while rig.answer() {}
    rig.turn();
    assert_eq!((rig.answers.len(), rig.pushes.len()), (3, 0), "what leaves is in the window");
    assert!(rig.budget.used_bytes() >= MIN_COST_BYTES * 3);
    rig.turn();
    assert_eq!(rig.pushes.len(), 2, "the answers were taken");
    while rig.answer() {}
    rig.turn();
    rig.turn();
    assert_eq!((rig.answers.len(), rig.budget.used_bytes()), (5, 0));
}

#[test]
fn no_more_is_written_than_the_connection_takes_at_once() {
    let mut rig = Rig::new(8_192, usize::MAX);
    for _ in 0..4_000 {
        rig.sent += 1;
        rig.source.send("{");
    }
    let mut turns = 0;
    while rig.is_turn_due() {
        let bytes: usize = rig
            .turn()
            .outgoing
            .iter()
            .map(|outgoing| match outgoing {
                Outgoing::Text(text) => text.len(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(bytes < WRITE_BYTES + 1_000, "{bytes}");
        turns += 1;
    }
    assert_eq!(rig.answers.len(), 4_000);
    assert!(turns > 2);
}

#[test]
fn refusals_without_room_do_not_pile_up() {
    let mut rig = Rig::new(8_192, usize::MAX);
    // One push has no answer yet, and those behind it wait for it.
    rig.send();
    rig.turn();
    let mut others = rig.budget.reserve(Peer::of(Some([127, 0, 0, 2].into())));
    while others.grow(100).is_ok() {}
    let mut same = rig.budget.reserve(Peer::of(None));
    while same.grow(100).is_ok() {}
    for _ in 0..4_000 {
        rig.sent += 1;
        rig.source.send("{");
    }
    rig.turn();
    assert_eq!(rig.source.chunks.len(), 4_000 - MAX_WITHOUT_ROOM, "it was read on");
    // They still get answers, as the connection takes them.
    assert!(rig.answer());
    while rig.is_turn_due() {
        rig.turn();
    }
    assert_eq!((rig.answers.len(), rig.exchange.without_room), (4_001, 0));
    drop((others, same));
    assert_eq!(rig.budget.used_bytes(), 0);
}

#[test]
fn idle_streams_leave_the_rate_of_their_key_to_others() {
    let scopes = vec![Scope::Everyone];
    let rights = KeyRights { name: "shop".to_owned(), scopes };
    let key = ApiKey::new(KeyHash::of(&Secret::new("cpk_a")), rights, Some(Rate::new(1, 2)));
    let keys = Arc::new(Keys::new([key]).expect("one"));
    let rig = || {
        let pusher = keys.find(b"cpk_a").map(Pusher::with_key);
        Rig::of(Access::new(keys.clone(), pusher), 10, usize::MAX)
    };
    let mut idle: Vec<Rig> = (0..5).map(|_| rig()).collect();
    for stream in &mut idle {
        assert_eq!(stream.turn().wait, None);
        stream.source.send_ping();
        assert_eq!(stream.exchange_turn(Instant::now()).wait, None);
    }
    let mut busy = rig();
    (0..3).for_each(|_| busy.send());
    let now = Instant::now();
    let turn = busy.exchange_turn(now);
    assert_eq!(turn.pushes.len(), 2, "the whole burst is left");
    assert!(turn.wait.is_some());
    assert!(busy.budget.used_bytes() > 0, "the message that waits is counted");
    let turn = busy.exchange_turn(now + std::time::Duration::from_secs(2));
    assert_eq!((turn.pushes.len(), turn.wait), (1, None), "and not lost");
}

#[test]
fn a_caller_without_a_key_cannot_hold_its_stream_by_pings() {
    let mut rig = Rig::of(Access::new(Arc::default(), None), 10, usize::MAX);
    (0..MAX_EARLY_PINGS).for_each(|_| rig.source.send_ping());
    let pongs = rig.exchange_turn(Instant::now()).outgoing.len();
    assert_eq!((pongs, rig.exchange.is_done()), (8, None));
    rig.source.send_ping();
    assert!(rig.exchange_turn(Instant::now()).outgoing.is_empty());
    assert_eq!(rig.exchange.is_done(), Some(NO_KEY));
}
