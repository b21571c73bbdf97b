//! A gateway or publisher that was given several brokers, or one that becomes several.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::broker::{BrokerConfig, Storage};
use campanile_channel::brokers::{Brokers, UnfitBroker};
use campanile_channel::client::{Endpoint, Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::{Secrets, Watchdog, unchanging};
use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{LogIdentity, LogKind, Welcome};
use campanile_messages::{Durability, Hello, InstanceId, Position};
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

/// A broker that welcomes everybody until it is told otherwise.
struct Played {
    address: String,
    says: Rc<RefCell<Says>>,
}

struct Says {
    /// The log that the welcome names. If this is `None`, there is no welcome, and links end at once.
    log: Option<Option<LogIdentity>>,
    /// The links that are up.
    peers: Vec<Peer>,
    /// When links came.
    came: Vec<Instant>,
}

impl Played {
    async fn start(log: Option<Option<LogIdentity>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let says = Rc::new(RefCell::new(Says { log, peers: vec![], came: vec![] }));
        let shared = says.clone();
        actix::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut peer = Peer::over(stream);
                let log = shared.borrow().log.clone();
                shared.borrow_mut().came.push(Instant::now());
                let Some(log) = log else { continue };
                decode_hello(peer.frame().await.unwrap()).unwrap();
                let head = Position { epoch: 1, sequence: 0 };
                let welcome = Welcome { head, durability: Durability::Disk, workers: vec![], log };
                peer.send_frame(encode_answer(&HelloAnswer::welcome(welcome))).await;
                shared.borrow_mut().peers.push(peer);
            }
        });
        Self { address, says }
    }

    /// What it says to those that come later.
    fn say(&self, log: Option<Option<LogIdentity>>) {
        self.says.borrow_mut().log = log;
    }

    fn has_link(&self) -> bool {
        !self.says.borrow().peers.is_empty()
    }

    /// Ends all links.
    fn cut(&self) {
        self.says.borrow_mut().peers.clear();
    }

    fn attempts(&self) -> usize {
        self.says.borrow().came.len()
    }

    /// Waits until this many more links came.
    async fn comes(&self, more: usize) {
        let until = self.attempts() + more;
        within(async {
            while self.attempts() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Two brokers that name the same log, a link with one of them, and which one that is.
async fn linked_to_one() -> ([Played; 2], Held, usize) {
    let brokers = [Played::start(Some(shared("x"))).await, Played::start(Some(shared("x"))).await];
    let mut held = Held::new(&brokers.each_ref().map(|broker| broker.address.clone()));
    assert_eq!(held.next().await, shared("x"));
    let first = usize::from(brokers[1].has_link());
    assert!(!brokers[1 - first].has_link(), "one link");
    (brokers, held, first)
}

#[actix::test]
async fn a_link_moves_to_the_other_broker_and_back() {
    let (brokers, mut held, mut at) = linked_to_one().await;
    for _ in 0..4 {
        brokers[at].say(None);
        brokers[at].cut();
        assert_eq!(held.next().await, None);
        assert_eq!(held.next().await, shared("x"));
        assert!(brokers[1 - at].has_link());
        brokers[at].say(Some(shared("x")));
        at = 1 - at;
    }
}

#[actix::test]
async fn a_link_is_made_with_the_one_broker_that_is_there() {
    let (there, away) = (Played::start(Some(shared("x"))).await, Played::start(None).await);
    for _ in 0..4 {
        let mut held = Held::new(&[away.address.clone(), there.address.clone()]);
        assert_eq!(held.next().await, shared("x"));
    }
}

#[actix::test]
async fn the_waits_between_rounds_grow_and_each_broker_has_its_turn() {
    let brokers = [Played::start(None).await, Played::start(None).await];
    let _held = Held::new(&brokers.each_ref().map(|broker| broker.address.clone()));
    brokers[0].comes(6).await;
    let came = brokers.each_ref().map(|broker| broker.says.borrow().came.clone());
    // At least half of 50, 100, 200, 400 and 800 ms.
    let took = came[0][5] - came[0][0];
    assert!(took >= Duration::from_millis(775), "{took:?}");
    assert!((5..=6).contains(&came[1].len()), "{}", came[1].len());
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
    let (played, away) = (Played::start(Some(None)).await, Played::start(None).await);
    let held = Held::new(&[played.address.clone(), away.address.clone()]);
    let error = within(held.link).await.unwrap().unwrap_err();
    assert_eq!(error, UnfitBroker::OwnLog { broker: played.address });
}

#[actix::test]
async fn a_broker_with_another_log_is_skipped_after_the_first_link() {
    let (brokers, mut held, first) = linked_to_one().await;
    let other = &brokers[1 - first];
    brokers[first].say(None);
    other.say(Some(shared("y")));
    brokers[first].cut();
    assert_eq!(held.next().await, None);
    for log in [shared("y"), Some(LogIdentity::own(7)), None] {
        other.say(Some(log));
        other.comes(2).await;
    }
    brokers[first].say(Some(shared("x")));
    assert_eq!(held.next().await, shared("x"), "nothing was told in between");
    assert!(brokers[first].has_link());
}

#[actix::test]
async fn a_single_broker_may_come_back_with_another_log() {
    let broker = Played::start(Some(None)).await;
    let mut held = Held::new(std::slice::from_ref(&broker.address));
    assert_eq!(held.next().await, None, "it names no log");
    for log in [shared("x"), shared("y"), Some(LogIdentity::own(7))] {
        broker.say(Some(log.clone()));
        broker.cut();
        assert_eq!(held.next().await, None);
        assert_eq!(held.next().await, log);
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
