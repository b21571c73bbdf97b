//! Peers of this version and of a later one, as bytes written by hand: what they say is understood,
//! and what they are sent is what they expect. The bytes of a version never change.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;
#[path = "versions/traces.rs"]
mod traces;

use actix::prelude::*;
use bytes::{BufMut, BytesMut};
use campanile_channel::broker::BrokerConfig;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::{Outbound, Watchdog};
use campanile_messages::link::{InterestChange, Matched, Role, Welcome};
use campanile_messages::{Durability, FromBroker, Hello, InstanceId, Position, ToBroker, WorkerId};
use harness::{Peer, TestBroker, event, group, publish, within};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a side of version 4 says that has no features, and where a later one differs.
struct Dialect {
    /// The range in front of a first frame.
    versions: &'static [u8],
    /// Behind the hello of an offer, and behind the version of a welcome: features and limits.
    terms: &'static [u8],
    /// Added to the length of each struct that can grow: 0x9N is an array of N.
    more: u8,
    /// The fields that were added to a struct.
    surplus: &'static [u8],
    /// The features that are agreed with it.
    agreed: &'static [u8],
    /// The last field of an event and a publish (who it is from: nobody) and of an answer (that it has no
    /// counts: it has). The first peers of version 4 did not know it; whoever has a later field writes it.
    left_out: &'static [u8],
}

const LIMITS: [u8; 11] = *b"\x92\xce\x01\x01\x00\x00\xce\x01\x00\x00\x00";

const THIS: Dialect = Dialect {
    versions: b"\x04\x04",
    terms: b"\x90\x92\xce\x01\x01\x00\x00\xce\x01\x00\x00\x00",
    more: 0,
    surplus: b"",
    agreed: b"\x90",
    left_out: b"",
};

/// One version, one feature and one field in each struct more, and larger frames.
const LATER: Dialect = Dialect {
    versions: b"\x04\x05",
    terms: b"\x92\xaeclient_publish\xa5later\x93\xce\x02\x01\x00\x00\xce\x02\x00\x00\x00\xa3new",
    more: 1,
    // A map, so that what is skipped is not one byte.
    surplus: b"\x81\xa3new\x92\x01\x02",
    agreed: b"\x91\xaeclient_publish",
    left_out: b"\xc0",
};

impl Dialect {
    /// A struct of these fields.
    fn fields(&self, fields: &[&[u8]]) -> Vec<u8> {
        let len = 0x90 + fields.len() as u8 + self.more;
        [&[len][..], &fields.concat(), self.surplus].concat()
    }

    fn hello(&self, instance: u8, role: &[u8]) -> Vec<u8> {
        let nonce = [&[0xc4, 32][..], &[9; 32]].concat();
        let hello = self.fields(&[&[instance], role]);
        // The terms are two fields.
        let len = 0x94 + self.more;
        let offer = [&[len][..], &hello, &nonce, self.terms, self.surplus].concat();
        frame(&[b"\xa9campanile", self.versions, &offer])
    }

    /// Of a publisher that has never published.
    fn publisher(&self) -> Vec<u8> {
        let role = [b"\x81\xa9Publisher", &self.fields(&[b"\x01"])[..]].concat();
        self.hello(1, &role)
    }

    /// Of a gateway with two workers that hold nothing yet.
    fn gateway(&self) -> Vec<u8> {
        let role = [b"\x81\xa7Gateway", &self.fields(&[b"\x02", b"\x90"])[..]].concat();
        self.hello(2, &role)
    }

    /// Of a log that is empty, for two workers; version 4 is spoken.
    fn welcome(&self) -> Vec<u8> {
        let len = 0x93 + self.more;
        let agreement = [&[len, 4][..], self.terms, self.surplus].concat();
        let head = self.fields(&[b"\x01", b"\x00"]);
        let fields: [&[u8]; 3] = [&head, b"\xa6Memory", b"\x92\x01\x02"];
        let welcome = match self.left_out {
            b"" => self.fields(&fields),
            // Nothing of the log, which the first peers of version 4 did not know.
            _ => self.fields(&[&fields[..], &[b"\xc0"]].concat()),
        };
        let answer = self.fields(&[&agreement, &welcome]);
        frame(&[b"\xa9campanile", self.versions, b"\x81\xa7Welcome", &answer])
    }

    /// A message without its last field, which was added later.
    fn message_without_last(&self, name: &str, fields: &[&[u8]], content: &[u8]) -> Vec<u8> {
        match self.left_out {
            b"" => self.message(name, fields, content),
            nil => self.message(name, &[fields, &[nil]].concat(), content),
        }
    }

    fn message(&self, name: &str, fields: &[&[u8]], content: &[u8]) -> Vec<u8> {
        let name = [&[0xa0 + name.len() as u8][..], name.as_bytes()].concat();
        frame(&[b"\x81", &name, &self.fields(fields), content])
    }
}

/// These bytes with their length in front.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let mut frame = BytesMut::new();
    frame.put_u32(payload.len() as u32);
    frame.extend_from_slice(&payload);
    frame.to_vec()
}

const NEWS: &[u8] = b"\x81\xa5Group\xa4news";

/// A peer that connects, says hello, and expects this answer.
async fn enter(broker: &TestBroker, hello: Vec<u8>) -> (Peer, Vec<u8>) {
    let mut peer = Peer::connect(broker).await;
    peer.send_bytes(&hello).await;
    let answer = peer.frame().await.unwrap().to_vec();
    (peer, answer)
}

/// The next frame that is no heartbeat and no mark.
async fn said(peer: &mut Peer) -> Vec<u8> {
    loop {
        let frame = peer.frame().await.expect("the link is up").to_vec();
        if frame != b"\xa9Heartbeat" && !frame.starts_with(b"\x81\xa4Mark") {
            return frame;
        }
    }
}

async fn a_broker_works_with(dialect: Dialect) {
    let broker = TestBroker::start(BrokerConfig::default()).await;

    let (mut gateway, answer) = enter(&broker, dialect.gateway()).await;
    // Whatever a later release offers, what is agreed is this one's.
    let welcome = b"\xa9campanile\x04\x04\x81\xa7Welcome\x92\x93\x04";
    let agreed = [&welcome[..], dialect.agreed, &LIMITS].concat();
    assert_eq!(answer[..agreed.len()], agreed, "{answer:x?}");
    let change = dialect.fields(&[NEWS, b"\x03"]);
    let changes = [b"\x91", &change[..]].concat();
    gateway.send_bytes(&dialect.message("Interest", &[b"\x01", &changes], b"")).await;
    gateway.send_bytes(&dialect.message("Attach", &[b"\xc0"], b"")).await;
    let attached = said(&mut gateway).await;
    assert!(attached.starts_with(b"\x81\xa8Attached\x92\x92"), "{attached:x?}");
    assert_eq!(said(&mut gateway).await, b"\x81\xa9Confirmed\x92\x01\x00");

    let (mut publisher, answer) = enter(&broker, dialect.publisher()).await;
    assert_eq!(answer[..agreed.len()], agreed, "{answer:x?}");
    let head: [&[u8]; 7] = [b"\x01", b"\x01", b"\xa1k", b"\xcd\x13\x88", NEWS, b"\xc0", b"\xa1t"];
    publisher.send_bytes(&dialect.message_without_last("Publish", &head, b"\xc4\x02hi")).await;

    let count = said(&mut gateway).await;
    let begins = b"\x81\xa5Count\x93\x92";
    let ends = b"\x01\x01\xcd\x13\x88";
    assert!(count.starts_with(begins) && count.ends_with(ends), "{count:x?}");
    let hi = b"\x81\xa5Event\x94\x01\x81\xa5Group\xa4news\xc0\xa1t\xc4\x02hi";
    assert_eq!(said(&mut gateway).await, hi);
    assert_eq!(said(&mut publisher).await, b"\x81\xa8Accepted\x96\x01\x01\x01\x03\x01\x00");

    // The ticket goes back as it came, in what is a struct of the gateway.
    let ticket = &count[begins.len()..count.len() - ends.len() + 1];
    let ticket = dialect.fields(&[ticket]);
    let ticket = [&[ticket[0] + 1], &ticket[1..]].concat();
    let tally = dialect.fields(&[b"\x03", b"\x02", b"\x01"]);
    gateway.send_bytes(&dialect.message("Counted", &[&ticket, &tally], b"")).await;
    assert_eq!(said(&mut publisher).await, b"\x81\xa7Counted\x92\x01\x93\x03\x02\x01");

    // Of a worker that nobody has.
    let to = dialect.fields(&[b"\xcf\x00\x0f\xff\xff\xff\xff\xff\xff", b"\x07"]);
    publisher.send_bytes(&dialect.message("Direct", &[b"\x02", &to, b"\xa1t"], b"\xc4\x00")).await;
    let answered = said(&mut publisher).await;
    assert!(answered.starts_with(b"\x81\xa8Answered\x92\x02"), "{answered:x?}");
    drop((gateway, publisher));
    broker.stop().await;
}

#[actix::test]
async fn a_broker_works_with_a_peer_of_this_version() {
    a_broker_works_with(THIS).await;
}

#[actix::test]
async fn a_broker_works_with_a_peer_that_knows_more() {
    a_broker_works_with(LATER).await;
}

#[actix::test]
async fn a_peer_that_takes_less_than_it_may_be_sent_is_refused() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let small = Dialect { terms: b"\x90\x92\xce\x01\x01\x00\x00\xcd\x10\x00", ..THIS };
    let mut peer = Peer::connect(&broker).await;
    peer.send_bytes(&small.gateway()).await;
    assert_eq!(
        peer.welcome().await.unwrap_err(),
        "the peer takes contents of at most 4096 bytes, this side sends up to 16777216"
    );
    drop(peer);
    broker.stop().await;
}

/// What the owner of a link was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Up(Welcome),
    Said(FromBroker),
    Down,
}

/// Owns a link and says what it is told.
struct Owner {
    role: Role,
    told: UnboundedSender<Told>,
}

impl Owner {
    fn hold(role: Role, listener: &TcpListener) -> UnboundedReceiver<Told> {
        let (told, facts) = unbounded_channel();
        let address = listener.local_addr().unwrap().to_string();
        let pulse = Watchdog::none().watch("link");
        actix::spawn(hold(
            Self { role, told }.start(),
            address.into(),
            1 << 20,
            pulse,
            async || (),
        ));
        facts
    }

    fn tell(&self, fact: Told) {
        // A test that is over hears nothing.
        let _ = self.told.send(fact);
    }

    fn say(&self, outbound: &Outbound) {
        let messages = match self.role {
            Role::Gateway { .. } => {
                let change = InterestChange { audience: group("news"), connections: Some(3) };
                let changes = vec![change];
                vec![ToBroker::Interest { revision: 1, changes }, ToBroker::Attach { cursor: None }]
            }
            Role::Publisher { .. } => vec![publish(1, group("news"), "hi")],
        };
        messages.into_iter().for_each(|message| outbound.send(&message.encode()).unwrap());
    }
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<Introduce> for Owner {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        MessageResult(Hello { instance: InstanceId(1), role: self.role.clone() })
    }
}

impl Handler<LinkUp> for Owner {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, _: &mut Self::Context) {
        self.say(&outbound);
        self.tell(Told::Up(welcome));
    }
}

impl Handler<Received> for Owner {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, _: &mut Self::Context) {
        messages.into_iter().for_each(|message| self.tell(Told::Said(message)));
    }
}

impl Handler<LinkDown> for Owner {
    type Result = ();

    fn handle(&mut self, _: LinkDown, _: &mut Self::Context) {
        self.tell(Told::Down);
    }
}

/// A broker whose bytes the test writes, and the hello that came.
async fn accept(listener: &TcpListener) -> (Peer, Vec<u8>) {
    let (stream, _) = within(listener.accept()).await.unwrap();
    let mut broker = Peer::over(stream);
    let hello = broker.frame().await.unwrap().to_vec();
    (broker, hello)
}

/// Asserts that a hello is this one, but for its nonce.
fn assert_hello(hello: &[u8], before_nonce: &[u8]) {
    let (before, rest) = hello.split_at(before_nonce.len());
    assert_eq!(before, before_nonce);
    let (nonce, after) = rest.split_at(32);
    assert_ne!(nonce, [0; 32]);
    let features = &b"\x94\xaeclient_publish\xa9inquiries\xa6stamps\xa6traces"[..];
    assert_eq!(after, [features, &LIMITS[..]].concat());
}

async fn next(facts: &mut UnboundedReceiver<Told>) -> Told {
    within(facts.recv()).await.expect("the owner is there")
}

async fn a_client_works_with(dialect: Dialect) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Role::Gateway { workers: 2, held: vec![] };
    let mut facts = Owner::hold(gateway, &listener);
    let (mut broker, hello) = accept(&listener).await;
    let expected = b"\xa9campanile\x04\x04\x94\x92\x01\x81\xa7Gateway\x92\x02\x90\xc4\x20";
    assert_hello(&hello, expected);
    broker.send_bytes(&dialect.welcome()).await;
    let welcome = Welcome {
        head: Position { epoch: 1, sequence: 0 },
        durability: Durability::Memory,
        workers: vec![WorkerId(1), WorkerId(2)],
        log: None,
    };
    assert_eq!(next(&mut facts).await, Told::Up(welcome));
    let interest = b"\x81\xa8Interest\x92\x01\x91\x92\x81\xa5Group\xa4news\x03";
    assert_eq!(said(&mut broker).await, interest);
    assert_eq!(said(&mut broker).await, b"\x81\xa6Attach\x91\xc0");
    let from = dialect.fields(&[b"\x01", b"\x00"]);
    broker.send_bytes(&dialect.message("Attached", &[&from, b"\xc0"], b"")).await;
    let head: [&[u8]; 4] = [b"\x01", NEWS, b"\xc0", b"\xa1t"];
    broker.send_bytes(&dialect.message_without_last("Event", &head, b"\xc4\x02hi")).await;
    let attached = FromBroker::Attached { from: Position { epoch: 1, sequence: 0 }, gap: None };
    assert_eq!(next(&mut facts).await, Told::Said(attached));
    assert_eq!(next(&mut facts).await, Told::Said(event(1, group("news"), "hi").into()));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut facts = Owner::hold(Role::Publisher { unanswered: 1 }, &listener);
    let (mut broker, hello) = accept(&listener).await;
    assert_hello(&hello, b"\xa9campanile\x04\x04\x94\x92\x01\x81\xa9Publisher\x91\x01\xc4\x20");
    broker.send_bytes(&dialect.welcome()).await;
    assert!(matches!(next(&mut facts).await, Told::Up(_)));
    let publish = b"\x81\xa7Publish\x97\x01\x01\xc0\xc0\x81\xa5Group\xa4news\xc0\xa1t\xc4\x02hi";
    assert_eq!(said(&mut broker).await, publish);
    let fields: [&[u8]; 6] = [b"\x01", b"\x05", b"\x01", b"\x03", b"\x00", b"\x00"];
    broker.send_bytes(&dialect.message_without_last("Accepted", &fields, b"")).await;
    let matched = Some(Matched { gateways: 1, connections: 3 });
    let accepted = FromBroker::Accepted { number: 1, sequence: 5, matched, counting: 0, away: 0 };
    assert_eq!(next(&mut facts).await, Told::Said(accepted));
    // Of a repeat, a broker that has restarted since does not know who listened.
    let unknown: [&[u8]; 7] = [b"\x02", b"\x06", b"\x00", b"\x00", b"\x00", b"\x01", b"\xc3"];
    broker.send_bytes(&dialect.message("Accepted", &unknown, b"")).await;
    let accepted =
        FromBroker::Accepted { number: 2, sequence: 6, matched: None, counting: 0, away: 0 };
    assert_eq!(next(&mut facts).await, Told::Said(accepted));
}

#[actix::test]
async fn a_client_works_with_a_broker_of_this_version() {
    a_client_works_with(THIS).await;
}

#[actix::test]
async fn a_client_works_with_a_broker_that_knows_more() {
    a_client_works_with(LATER).await;
}

#[actix::test]
async fn a_client_that_is_asked_for_a_proof_ends_the_link_and_comes_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut facts = Owner::hold(Role::Publisher { unanswered: 1 }, &listener);
    let (mut broker, first) = accept(&listener).await;
    let (nonce, proof) = ([&[0xc4, 32][..], &[7; 32]], [&[0xc4, 32][..], &[8; 32]]);
    let challenge = [b"\xa9campanile\x04\x04\x81\xa9Challenge\x93\xa4hmac", &nonce.concat()[..]];
    broker.send_bytes(&frame(&[&challenge.concat(), &proof.concat()])).await;
    assert_eq!(broker.frame().await, None);

    let (mut broker, again) = accept(&listener).await;
    assert_ne!(first, again, "a nonce is used once");
    broker.send_bytes(&THIS.welcome()).await;
    assert!(matches!(next(&mut facts).await, Told::Up(_)));
}
