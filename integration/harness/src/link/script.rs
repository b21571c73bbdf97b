//! A scripted broker for a gateway, over blocking sockets.

mod publishing;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{DirectOutcome, Gap, RequestTicket, Role, Tally, Want, Welcome};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, Durability, EncodedFrame, Event, FromBroker, Hello,
    Position, ToBroker, WorkerId,
};

use super::frames::Frames;
use crate::deadline::DEADLINE;
use crate::ports::bind;

pub use publishing::PublishingLink;

/// The epoch of a scripted broker's log, unless it says otherwise.
pub const EPOCH: u64 = 1;

/// A gateway ends a link that is silent for 9 s.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub fn at(sequence: u64) -> Position {
    Position { epoch: EPOCH, sequence }
}

/// The sequence at a place in a block of the log, from 1. [`Link::publish_block`] gives them to events, as a
/// broker that numbers by blocks does.
pub fn in_block(block: u64, place: u16) -> u64 {
    block << 16 | u64::from(place)
}

/// Where the log ends after a block.
pub fn end_of(block: u64) -> u64 {
    in_block(block, u16::MAX)
}

pub fn event(sequence: u64, audience: &Audience, content: &str) -> FromBroker {
    let content = Content::Text(content.into());
    let audience = audience.clone();
    FromBroker::Event(Event { sequence, audience, except: None, content, from: None })
}

/// A scripted broker.
pub struct Script {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Script {
    pub fn new() -> Self {
        let (listener, address) = bind();
        Self { address, listener }
    }

    /// Accepts the next link of a gateway, whose stream begins at a position. From now on its interest is
    /// confirmed at once.
    pub fn accept(&self, from: Position, gap: Option<Gap>) -> Link {
        let (stream, _) = self.listener.accept().expect("the gateway comes");
        stream.set_nodelay(true).expect("a socket");
        let mut frames = Frames::new(stream);
        let Hello { role: Role::Gateway { workers, held }, .. } =
            decode_hello(frames.next().expect("a hello")).expect("a hello").hello
        else {
            panic!("not a gateway");
        };
        let given = || (0..u64::from(workers)).map(WorkerId).collect();
        let workers = if held.is_empty() { given() } else { held };
        let welcome = Welcome { head: from, durability: Durability::Memory, workers, log: None };
        let link = Arc::new(Shared {
            stream: Mutex::new(frames.stream.try_clone().expect("a socket")),
            head: AtomicU64::new(from.sequence),
            confirms: AtomicBool::new(true),
        });
        link.write(&[encode_answer(&HelloAnswer::welcome(welcome))]).expect("the link is up");
        let (says, said) = mpsc::channel();
        let (attaches, attached) = mpsc::channel();
        let listening = link.clone();
        std::thread::spawn(move || listening.listen(frames, (from, gap), &says, &attaches));
        let beating = Arc::downgrade(&link);
        std::thread::spawn(move || {
            while let Some(link) = beating.upgrade()
                && link.write(&[FromBroker::Heartbeat.encode()]).is_ok()
            {
                drop(link);
                std::thread::sleep(HEARTBEAT);
            }
        });
        attached.recv_timeout(DEADLINE).expect("the gateway attaches itself");
        Link { shared: link, said }
    }

    /// From now on, answers each link of a gateway with these frames and ends it. Counts the links.
    pub fn turn_away(self, answer: Vec<EncodedFrame>) -> Arc<AtomicU64> {
        let links = Arc::new(AtomicU64::new(0));
        let counter = links.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = self.listener.accept() {
                let mut frames = Frames::new(stream);
                // A gateway that has already left needs no answer.
                if frames.next().is_some() {
                    answer.iter().for_each(|frame| frames.write(frame.clone()));
                    counter.fetch_add(1, Ordering::SeqCst);
                    // Unread input would reset the link before the gateway has read the answer.
                    let _ = frames.stream.shutdown(Shutdown::Write);
                    while frames.next().is_some() {}
                }
            }
        });
        links
    }
}

/// A link of a scripted broker; dropping it cuts it.
pub struct Link {
    shared: Arc<Shared>,
    said: mpsc::Receiver<ToBroker>,
}

struct Shared {
    stream: Mutex<TcpStream>,
    head: AtomicU64,
    confirms: AtomicBool,
}

impl Shared {
    fn write(&self, frames: &[EncodedFrame]) -> io::Result<()> {
        let parts = frames.iter().flat_map(|f| std::iter::once(&f.head).chain(&f.content));
        let bytes: Vec<u8> = parts.flatten().copied().collect();
        self.stream.lock().expect("nobody panics here").write_all(&bytes)
    }

    fn listen(
        &self,
        mut frames: Frames<TcpStream>,
        (from, gap): (Position, Option<Gap>),
        says: &mpsc::Sender<ToBroker>,
        attaches: &mpsc::Sender<()>,
    ) {
        let (mut last, mut is_attached) = (0, false);
        while let Some(frame) = frames.next() {
            let message = ToBroker::decode(frame).expect("a gateway's message");
            let mut answers = Vec::new();
            match &message {
                ToBroker::Heartbeat => continue,
                ToBroker::Attach { .. } => {
                    answers.push(FromBroker::Attached { from, gap });
                    is_attached = true;
                }
                ToBroker::Interest { revision, .. } => last = *revision,
                _ => {}
            }
            let asks = matches!(message, ToBroker::Interest { .. } | ToBroker::Attach { .. });
            if asks && is_attached && self.confirms.load(Ordering::SeqCst) {
                let head = self.head.load(Ordering::SeqCst);
                answers.push(FromBroker::Confirmed { revision: last, head });
            }
            let answers: Vec<_> = answers.into_iter().map(FromBroker::encode).collect();
            let attaches_now = matches!(message, ToBroker::Attach { .. });
            if says.send(message).is_err() || self.write(&answers).is_err() {
                return;
            }
            if attaches_now {
                let _ = attaches.send(());
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.shared.stream.lock().expect("nobody panics here").shutdown(Shutdown::Both);
    }
}

impl Link {
    /// Writes these messages together.
    pub fn send(&self, messages: impl IntoIterator<Item = FromBroker>) {
        let messages: Vec<_> = messages.into_iter().collect();
        for message in &messages {
            if let FromBroker::Event(Event { sequence, .. }) | FromBroker::Mark { head: sequence } =
                message
            {
                self.shared.head.fetch_max(*sequence, Ordering::SeqCst);
            }
        }
        let frames: Vec<_> = messages.into_iter().map(FromBroker::encode).collect();
        self.shared.write(&frames).expect("the link is up");
    }

    /// Sends an event.
    pub fn publish(&self, sequence: u64, audience: &Audience, content: &str) {
        self.send([event(sequence, audience, content)]);
    }

    /// Sends the events of a block, which get the places from 1 on, and moves the head to its end.
    pub fn publish_block(&self, block: u64, events: &[(&Audience, &str)]) {
        let events = (1..).zip(events);
        self.send(
            events.map(|(place, (audience, content))| {
                event(in_block(block, place), audience, content)
            }),
        );
        self.skip_to(end_of(block));
    }

    /// Moves the head of the log, by events that this gateway does not want.
    pub fn skip_to(&self, head: u64) {
        self.shared.head.store(head, Ordering::SeqCst);
    }

    /// Sets whether interest is confirmed by itself.
    pub fn confirm_by_itself(&self, does: bool) {
        self.shared.confirms.store(does, Ordering::SeqCst);
    }

    /// Confirms what was reported.
    pub fn confirm(&self, revision: u64) {
        let head = self.shared.head.load(Ordering::SeqCst);
        self.send([FromBroker::Confirmed { revision, head }]);
    }

    /// What the gateway says next.
    #[track_caller]
    pub fn recv(&self) -> ToBroker {
        self.said.recv_timeout(DEADLINE).expect("the gateway says something")
    }

    /// Waits for a report that changes an audience; returns its revision and how many listen.
    #[track_caller]
    pub fn interest_in(&self, audience: &Audience) -> (u64, Option<u32>) {
        loop {
            if let ToBroker::Interest { revision, changes } = self.recv()
                && let Some(change) = changes.iter().find(|change| change.audience == *audience)
            {
                return (revision, change.connections);
            }
        }
    }

    /// Waits for a fetch, and returns its number, the audiences of its wants and its bound.
    #[track_caller]
    pub fn fetch(&self) -> (u64, Vec<Audience>, u64) {
        loop {
            match self.recv() {
                ToBroker::Fetch { number, wants, max_bytes } => {
                    return (number, audiences_of(&wants), max_bytes);
                }
                ToBroker::Interest { .. } | ToBroker::Attach { .. } => {}
                other => panic!("no fetch: {other:?}"),
            }
        }
    }

    /// Waits for the tally of a counted event.
    #[track_caller]
    pub fn counted(&self) -> (RequestTicket, Tally) {
        loop {
            match self.recv() {
                ToBroker::Counted { ticket, tally } => return (ticket, tally),
                ToBroker::Interest { .. } | ToBroker::Attach { .. } => {}
                other => panic!("not counted: {other:?}"),
            }
        }
    }

    /// What the gateway's bridge has said up to now.
    pub fn said(&self) -> Vec<ToBroker> {
        static LAST: AtomicU64 = AtomicU64::new(1_000_000);
        let ticket = RequestTicket { link: 0, number: LAST.fetch_add(1, Ordering::SeqCst) };
        let nobody = Address { worker: WorkerId(1 << 40), connection: ConnectionId(1) };
        self.send([FromBroker::Deliver { ticket, to: nobody, content: "".into() }]);
        let last = ToBroker::Delivered { ticket, outcome: DirectOutcome::UnknownWorker };
        std::iter::from_fn(|| Some(self.recv()).filter(|said| *said != last)).collect()
    }

    /// Asserts that the broker was not asked for old events.
    #[track_caller]
    pub fn expect_no_fetch(&self) {
        let said = self.said();
        assert!(!said.iter().any(|said| matches!(said, ToBroker::Fetch { .. })), "{said:?}");
    }

    /// Waits until the gateway ends the link.
    pub fn until_over(&self) {
        while self.said.recv_timeout(DEADLINE).is_ok() {}
    }
}

/// The audiences of all wants, each once.
pub fn audiences_of(wants: &[Want]) -> Vec<Audience> {
    let audiences: BTreeSet<_> = wants.iter().flat_map(|want| want.audiences.clone()).collect();
    audiences.into_iter().collect()
}

/// The answer to a fetch of these audiences, with all their events in `log`. All wants are served.
pub fn past(number: u64, audiences: &[Audience], log: &[FromBroker]) -> Vec<FromBroker> {
    let mut answer = Vec::new();
    for audience in audiences {
        let is_of_it = |message: &&FromBroker| matches!(message, FromBroker::Event(event) if event.audience == *audience);
        let events: Vec<_> = log.iter().filter(is_of_it).cloned().collect();
        answer.push(FromBroker::Past {
            audience: audience.clone(),
            events: events.len() as u32,
            expired: 0,
            complete_after: 0,
        });
        answer.extend(events);
    }
    answer.push(FromBroker::Fetched { number, served: u32::MAX });
    answer
}
