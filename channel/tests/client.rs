//! The end of a link in a gateway or publisher, against a real broker.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::future::pending;
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::broker::BrokerConfig;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::{Outbound, Watchdog};
use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{Gap, InterestChange, Role, Welcome};
use campanile_messages::{
    Audience, Content, Durability, Event, FromBroker, Hello, InstanceId, Position, ToBroker,
    WorkerId,
};
use harness::{Peer, TestBroker, event, publish, within};
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the owner of the link has received.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Up(Welcome),
    Said(FromBroker),
    Down,
}

/// A minimal gateway: listens to everyone, and keeps its cursor.
struct Bridge {
    held: Vec<WorkerId>,
    cursor: Option<Position>,
    outbound: Option<Outbound>,
    told: UnboundedSender<Told>,
}

impl Bridge {
    fn hold(broker: &TestBroker) -> (Addr<Self>, UnboundedReceiver<Told>) {
        Self::hold_reading_when(broker.address.to_string(), async || ())
    }

    fn hold_reading_when(
        address: String,
        ready: impl AsyncFnMut() + 'static,
    ) -> (Addr<Self>, UnboundedReceiver<Told>) {
        let (told, facts) = unbounded_channel();
        let bridge = Self { held: vec![], cursor: None, outbound: None, told }.start();
        let pulse = Watchdog::none().watch("link");
        actix::spawn(hold(bridge.clone(), address.into(), 1 << 20, pulse, ready));
        (bridge, facts)
    }

    fn tell(&self, fact: Told) {
        self.told.send(fact).unwrap();
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;
}

impl Handler<Introduce> for Bridge {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        let held = self.held.clone();
        MessageResult(Hello { instance: InstanceId(1), role: Role::Gateway { workers: 2, held } })
    }
}

impl Handler<LinkUp> for Bridge {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, _: &mut Self::Context) {
        self.held.clone_from(&welcome.workers);
        let interest = ToBroker::Interest {
            revision: 1,
            changes: vec![InterestChange { audience: Audience::Everyone, connections: Some(1) }],
        };
        let cursor = self.cursor.replace(welcome.head);
        outbound.send(&interest.encode()).unwrap();
        outbound.send(&ToBroker::Attach { cursor }.encode()).unwrap();
        self.outbound = Some(outbound);
        self.tell(Told::Up(welcome));
    }
}

impl Handler<Received> for Bridge {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, _: &mut Self::Context) {
        // Marks come whenever the broker ticks.
        let said = messages.into_iter().filter(|m| !matches!(m, FromBroker::Mark { .. }));
        said.for_each(|message| self.tell(Told::Said(message)));
    }
}

impl Handler<LinkDown> for Bridge {
    type Result = ();

    fn handle(&mut self, _: LinkDown, _: &mut Self::Context) {
        self.tell(Told::Down);
    }
}

/// Sends a last message and ends the link from this side.
#[derive(Message)]
#[rtype(result = "()")]
struct Finish(ToBroker);

impl Handler<Finish> for Bridge {
    type Result = ();

    fn handle(&mut self, Finish(last): Finish, _: &mut Self::Context) {
        let outbound = self.outbound.take().unwrap();
        outbound.force(&last.encode());
        outbound.finish();
    }
}

async fn next(facts: &mut UnboundedReceiver<Told>) -> Told {
    within(facts.recv()).await.expect("the bridge is there")
}

/// The welcome of a broker whose log is empty.
fn empty_log() -> Welcome {
    Welcome {
        head: Position { epoch: 1, sequence: 0 },
        durability: Durability::Memory,
        workers: vec![WorkerId(1), WorkerId(2)],
        log: None,
    }
}

async fn up(facts: &mut UnboundedReceiver<Told>) -> Welcome {
    match next(facts).await {
        Told::Up(welcome) => welcome,
        other => panic!("not up: {other:?}"),
    }
}

async fn attached(facts: &mut UnboundedReceiver<Told>, missed: Vec<Event>) -> Option<Gap> {
    let head = missed.last().map_or(0, |event| event.sequence);
    let Told::Said(FromBroker::Attached { gap, .. }) = next(facts).await else {
        panic!("not attached");
    };
    for event in missed {
        assert_eq!(next(facts).await, Told::Said(event.into()));
    }
    let confirmed = FromBroker::Confirmed { revision: 1, head };
    assert_eq!(next(facts).await, Told::Said(confirmed));
    gap
}

#[actix::test]
async fn a_link_comes_back_after_the_broker_and_misses_nothing() {
    let first = TestBroker::start(BrokerConfig::default()).await;
    let address = first.address;
    let (_bridge, mut facts) = Bridge::hold(&first);
    let before = up(&mut facts).await;
    assert_eq!(before.workers.len(), 2);
    assert_eq!(attached(&mut facts, vec![]).await, None);
    first.stop().await;
    assert_eq!(next(&mut facts).await, Told::Down);

    let second = TestBroker::start_on(address, BrokerConfig::default()).await;
    let mut publisher = Peer::publisher(&second).await;
    let (sequence, ..) = publisher.publish_accepted(Audience::Everyone, "hi").await;
    let after = up(&mut facts).await;
    assert_eq!(after.workers, before.workers);
    assert_ne!(after.head.epoch, before.head.epoch);
    // The event comes once, whether it was missed or came live.
    let hi = event(sequence, Audience::Everyone, "hi");
    if after.head.sequence == sequence {
        assert_eq!(attached(&mut facts, vec![hi]).await, Some(Gap::EpochChanged));
    } else {
        assert_eq!(attached(&mut facts, vec![]).await, Some(Gap::EpochChanged));
        assert_eq!(next(&mut facts).await, Told::Said(hi.into()));
    }
}

#[actix::test]
async fn a_crashed_broker_is_noticed_and_the_next_one_found() {
    let first = TestBroker::start(BrokerConfig::default()).await;
    let address = first.address;
    let (_bridge, mut facts) = Bridge::hold(&first);
    up(&mut facts).await;
    attached(&mut facts, vec![]).await;
    first.crash().await;
    assert_eq!(next(&mut facts).await, Told::Down);
    let _second = TestBroker::start_on(address, BrokerConfig::default()).await;
    up(&mut facts).await;
    attached(&mut facts, vec![]).await;
}

#[actix::test]
async fn a_link_that_its_owner_finishes_stays_down() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (bridge, mut facts) = Bridge::hold(&broker);
    up(&mut facts).await;
    attached(&mut facts, vec![]).await;
    bridge.send(Finish(ToBroker::Heartbeat)).await.unwrap();
    assert_eq!(next(&mut facts).await, Told::Down);
    // The task of the link is gone, so this is the last address.
    drop(bridge);
    assert_eq!(within(facts.recv()).await, None);
}

#[actix::test]
async fn a_broker_that_ends_links_at_once_is_tried_more_rarely() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_bridge, mut facts) = Bridge::hold_reading_when(address, async || ());
    let begun = Instant::now();
    for _ in 0..8 {
        let (stream, _) = within(listener.accept()).await.unwrap();
        let mut broker = Peer::over(stream);
        decode_hello(broker.frame().await.unwrap()).unwrap();
        broker.send_frame(encode_answer(&HelloAnswer::welcome(empty_log()))).await;
        up(&mut facts).await;
        let reason = "no".to_owned();
        broker.send_frame(FromBroker::Goodbye { reason }.encode()).await;
        drop(broker);
        assert_eq!(next(&mut facts).await, Told::Down);
    }
    // At least half of 50, 100, 200, 400, 800 and twice 1,000 ms.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_775), "{took:?}");
}

#[actix::test]
async fn the_last_message_arrives_even_with_unread_input() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // What this broker does not read soon waits at the other end.
    let socket = SockRef::from(&listener);
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // An owner that is behind: nothing after the welcome is read.
    let (bridge, mut facts) = Bridge::hold_reading_when(address, pending);
    let (stream, _) = within(listener.accept()).await.unwrap();
    let mut broker = Peer::over(stream);
    decode_hello(broker.frame().await.unwrap()).unwrap();
    broker.send_frame(encode_answer(&HelloAnswer::welcome(empty_log()))).await;
    up(&mut facts).await;
    for sequence in 1..100 {
        let event = event(sequence, Audience::Everyone, "unread");
        broker.send_frame(FromBroker::Event(event).encode()).await;
    }
    let last = publish(1, Audience::Everyone, Content::Binary(vec![b'x'; 256 << 10].into()));
    bridge.do_send(Finish(last.clone()));
    assert_eq!(next(&mut facts).await, Told::Down);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let mut frames = Vec::new();
    while let Some(frame) = broker.frame().await {
        frames.push(frame);
    }
    let said = ToBroker::decode(frames.pop().unwrap()).unwrap();
    assert!(said == last, "the last message is incomplete");
}
