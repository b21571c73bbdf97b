//! A gateway or publisher that was given several brokers, or one that becomes several.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::broker::{BrokerConfig, Storage};
use campanile_channel::brokers::{Brokers, UnfitBroker};
use campanile_channel::client::{Endpoint, Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::{Secrets, Watchdog, unchanging};
use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{LogIdentity, LogKind, Welcome};
use campanile_messages::{Durability, FromBroker, Hello, InstanceId, Position};
use harness::{PUBLISHER, Peer, TestBroker, within};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// A publisher's end of a link. It tells which log it is linked to, and `None` when the link is gone.
struct Owner(UnboundedSender<Option<LogIdentity>>);

/// What an [`Owner`] has told, and its link.
struct Held {
    told: UnboundedReceiver<Option<LogIdentity>>,
    link: JoinHandle<Result<(), UnfitBroker>>,
    /// Without an owner the link ends.
    _owner: Addr<Owner>,
}

impl Held {
    fn new(brokers: &[String]) -> Self {
        let (told, facts) = unbounded_channel();
        let owner = Owner(told).start();
        let broker = Brokers::from(brokers.to_vec());
        let endpoint = Endpoint { broker, tls: None, secrets: unchanging(Secrets::default()) };
        let pulse = Watchdog::none().watch("link");
        let link = hold(owner.clone(), endpoint, 1 << 20, pulse, async || ());
        Self { told: facts, link: actix::spawn(link), _owner: owner }
    }

    async fn next(&mut self) -> Option<LogIdentity> {
        within(self.told.recv()).await.expect("the owner is there")
    }
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<Introduce> for Owner {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        MessageResult(Hello { instance: InstanceId(1), role: PUBLISHER })
    }
}

impl Handler<LinkUp> for Owner {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, .. }: LinkUp, _: &mut Self::Context) {
        self.0.send(welcome.log).unwrap();
    }
}

impl Handler<Received> for Owner {
    type Result = ();

    fn handle(&mut self, _: Received, _: &mut Self::Context) {}
}

impl Handler<LinkDown> for Owner {
    type Result = ();

    fn handle(&mut self, _: LinkDown, _: &mut Self::Context) {
        self.0.send(None).unwrap();
    }
}

fn shared(id: &str) -> Option<LogIdentity> {
    Some(LogIdentity { kind: LogKind::Shared, id: id.to_owned().try_into().unwrap() })
}

/// A broker that the test plays.
struct Played {
    listener: TcpListener,
    address: String,
}

impl Played {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// Welcomes the next link.
    async fn accept(&self, log: Option<LogIdentity>) -> Peer {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let mut peer = Peer::over(stream);
        decode_hello(peer.frame().await.unwrap()).unwrap();
        let head = Position { epoch: 1, sequence: 0 };
        let welcome = Welcome { head, durability: Durability::Disk, workers: vec![], log };
        peer.send_frame(encode_answer(&HelloAnswer::welcome(welcome))).await;
        peer
    }
}

/// Whichever of two brokers is connected to next: its number and the link.
async fn accept_either(brokers: &[Played; 2], log: Option<LogIdentity>) -> (usize, Peer) {
    tokio::select! {
        peer = brokers[0].accept(log.clone()) => (0, peer),
        peer = brokers[1].accept(log.clone()) => (1, peer),
    }
}

#[actix::test]
async fn a_link_moves_to_the_other_broker_and_back() {
    let brokers = [Played::start().await, Played::start().await];
    let mut held = Held::new(&brokers.each_ref().map(|broker| broker.address.clone()));
    let log = shared("x");
    let (first, peer) = accept_either(&brokers, log.clone()).await;
    assert_eq!(held.next().await, log);
    drop(peer);
    assert_eq!(held.next().await, None);
    let peer = brokers[1 - first].accept(log.clone()).await;
    assert_eq!(held.next().await, log);
    drop(peer);
    assert_eq!(held.next().await, None);
    let _peer = brokers[first].accept(log.clone()).await;
    assert_eq!(held.next().await, log);
}

#[actix::test]
async fn a_link_is_made_with_the_one_broker_that_is_there() {
    let (there, away) = (Played::start().await, Played::start().await);
    let addresses = [away.address.clone(), there.address.clone()];
    drop(away);
    for _ in 0..4 {
        let began = Instant::now();
        let mut held = Held::new(&addresses);
        let _peer = there.accept(shared("x")).await;
        assert_eq!(held.next().await, shared("x"));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[actix::test]
async fn the_waits_between_rounds_grow_and_each_broker_has_its_turn() {
    let brokers = [Played::start().await, Played::start().await];
    let _held = Held::new(&brokers.each_ref().map(|broker| broker.address.clone()));
    let begun = Instant::now();
    for _ in 0..6 {
        let mut turns = Vec::new();
        for _ in 0..2 {
            // It is ended before it is welcomed.
            tokio::select! {
                accepted = within(brokers[0].listener.accept()) => turns.push((0, accepted.is_ok())),
                accepted = within(brokers[1].listener.accept()) => turns.push((1, accepted.is_ok())),
            }
        }
        turns.sort_unstable();
        assert_eq!(turns, [(0, true), (1, true)]);
    }
    // At least half of 50, 100, 200, 400 and 800 ms.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(775), "{took:?}");
}

#[actix::test]
async fn two_brokers_with_logs_of_their_own_get_no_link() {
    let first = TestBroker::start(BrokerConfig::default()).await;
    let second = TestBroker::start(BrokerConfig::default()).await;
    let addresses = [first.address.to_string(), second.address.to_string()];
    let mut held = Held::new(&addresses);
    let error = within(held.link).await.unwrap().unwrap_err();
    let UnfitBroker::OwnLog { broker } = &error else { panic!("{error}") };
    assert!(addresses.contains(broker), "{broker}");
    assert!(held.told.try_recv().is_err(), "no link was up");
}

#[actix::test]
async fn a_broker_of_an_earlier_release_is_no_broker_of_a_list() {
    let (played, away) = (Played::start().await, Played::start().await);
    let addresses = [played.address.clone(), away.address.clone()];
    drop(away);
    let held = Held::new(&addresses);
    let _peer = played.accept(None).await;
    let error = within(held.link).await.unwrap().unwrap_err();
    assert_eq!(error, UnfitBroker::OwnLog { broker: played.address });
}

#[actix::test]
async fn a_broker_with_another_log_is_skipped_after_the_first_link() {
    let brokers = [Played::start().await, Played::start().await];
    let mut held = Held::new(&brokers.each_ref().map(|broker| broker.address.clone()));
    let (first, peer) = accept_either(&brokers, shared("x")).await;
    assert_eq!(held.next().await, shared("x"));
    drop(peer);
    assert_eq!(held.next().await, None);
    for other in [shared("y"), Some(LogIdentity::own(7)), None] {
        // It gets no link, and the first broker has its turn again.
        let mut peer = brokers[1 - first].accept(other).await;
        assert!(peer.frame().await.is_none(), "the link is closed at once");
        let (stream, _) = within(brokers[first].listener.accept()).await.unwrap();
        drop(stream);
    }
    let _peer = brokers[first].accept(shared("x")).await;
    assert_eq!(held.next().await, shared("x"), "nothing was told in between");
}

#[actix::test]
async fn a_single_broker_may_come_back_with_another_log() {
    let played = Played::start().await;
    let mut held = Held::new(&[played.address.clone()]);
    for log in [None, shared("x"), shared("y"), Some(LogIdentity::own(7))] {
        let mut peer = played.accept(log.clone()).await;
        assert_eq!(held.next().await, log);
        peer.send_frame(FromBroker::Goodbye { reason: "no".to_owned() }.encode()).await;
        drop(peer);
        assert_eq!(held.next().await, None);
    }
}

#[actix::test]
async fn a_broker_names_a_log_that_its_directory_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage { dir: dir.path().to_owned(), durability: Durability::Disk };
    let on_disk = BrokerConfig { storage: Some(storage), ..BrokerConfig::default() };
    let named = async |config: &BrokerConfig| {
        let broker = TestBroker::start(config.clone()).await;
        let (gateway, welcome) = Peer::gateway(&broker).await;
        drop(gateway);
        broker.stop().await;
        let log = welcome.log.unwrap();
        assert_eq!(log.kind, LogKind::Own);
        log.id.to_string()
    };
    let first = named(&on_disk).await;
    assert_eq!(named(&on_disk).await, first);
    let kept = std::fs::read_to_string(dir.path().join("log-id")).unwrap();
    assert_eq!(kept, format!("{first}\n"));
    let in_memory = BrokerConfig::default();
    assert_ne!(named(&in_memory).await, named(&in_memory).await);
}
