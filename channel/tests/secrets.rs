//! A cluster secret, proven by both sides of a link: who has it is linked, and nobody else is.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use aws_lc_rs::hmac;
use bytes::Bytes;
use campanile_channel::broker::BrokerConfig;
use campanile_channel::client::{Endpoint, Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::{Secrets, Watchdog, proof, unchanging};
use campanile_messages::frame::{
    decode_answer, decode_hello, encode_answer, encode_hello, encode_proof,
};
use campanile_messages::hello::{Challenge, Feature, HelloAnswer, Mac, Nonce, Proof};
use campanile_messages::link::Welcome;
use campanile_messages::{Durability, EncodedFrame, Hello, InstanceId, Position};
use harness::{PUBLISHER, Peer, TestBroker, offer, within};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

const SECRET: &str = "a secret of the tests";
const OTHER: &str = "another one of the tests";

fn secrets(lines: &[&str]) -> Secrets {
    Secrets::read(lines.join("\n").as_bytes()).unwrap()
}

fn with_secret() -> BrokerConfig {
    BrokerConfig { secrets: unchanging(secrets(&[SECRET])), ..BrokerConfig::default() }
}

/// The offer of a publisher that has a secret.
fn offer_with_secret() -> EncodedFrame {
    let mut offer = offer(InstanceId(rand::random()), PUBLISHER);
    offer.features = offer.features.with(Feature::SECRET);
    encode_hello(&offer)
}

/// Says this offer, and returns the broker's challenge with its frame.
async fn challenged(broker: &TestBroker, offer: &EncodedFrame) -> (Peer, Challenge, Bytes) {
    let mut peer = Peer::connect(broker).await;
    peer.send_frame(offer.clone()).await;
    let frame = peer.frame().await.unwrap();
    match decode_answer(frame.clone()).unwrap() {
        HelloAnswer::Challenge(challenge) => (peer, challenge, frame),
        other => panic!("no challenge: {other:?}"),
    }
}

/// Sends a proof, and returns the broker's answer.
async fn prove(peer: &mut Peer, proof: Proof) -> Result<Welcome, String> {
    peer.send_frame(encode_proof(&proof)).await;
    peer.welcome().await
}

/// A publisher's link. What is received is whether it is up.
struct Owner {
    instance: InstanceId,
    told: UnboundedSender<bool>,
}

impl Owner {
    fn hold(
        broker: impl ToString,
        secrets: watch::Receiver<Arc<Secrets>>,
    ) -> UnboundedReceiver<bool> {
        let (told, facts) = unbounded_channel();
        let endpoint = Endpoint { broker: broker.to_string().into(), tls: None, secrets };
        let owner = Self { instance: InstanceId(rand::random()), told };
        let pulse = Watchdog::none().watch("link");
        actix::spawn(hold(owner.start(), endpoint, 1 << 20, pulse, async || ()));
        facts
    }
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<Introduce> for Owner {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        MessageResult(Hello { instance: self.instance, role: PUBLISHER })
    }
}

impl Handler<LinkUp> for Owner {
    type Result = ();

    fn handle(&mut self, _: LinkUp, _: &mut Self::Context) {
        let _ = self.told.send(true);
    }
}

impl Handler<Received> for Owner {
    type Result = ();

    fn handle(&mut self, _: Received, _: &mut Self::Context) {}
}

impl Handler<LinkDown> for Owner {
    type Result = ();

    fn handle(&mut self, _: LinkDown, _: &mut Self::Context) {
        let _ = self.told.send(false);
    }
}

#[actix::test]
async fn sides_with_the_same_secret_are_linked() {
    let broker = TestBroker::start(with_secret()).await;
    let mut link = Owner::hold(broker.address, unchanging(secrets(&[OTHER, SECRET])));
    assert_eq!(within(link.recv()).await, Some(true));
    broker.stop().await;
}

#[actix::test]
async fn a_secret_can_be_exchanged_while_links_are_up() {
    let (sender, now) = watch::channel(Arc::new(secrets(&[SECRET])));
    let broker = TestBroker::start(BrokerConfig { secrets: now, ..BrokerConfig::default() }).await;
    let mut old = Owner::hold(broker.address, unchanging(secrets(&[SECRET])));
    assert_eq!(within(old.recv()).await, Some(true));
    sender.send_replace(Arc::new(secrets(&[OTHER])));
    let mut new = Owner::hold(broker.address, unchanging(secrets(&[OTHER])));
    assert_eq!(within(new.recv()).await, Some(true));
    assert!(old.try_recv().is_err(), "the link that is up stays");
    broker.stop().await;
}

#[actix::test]
async fn a_caller_without_the_secret_is_refused() {
    let broker = TestBroker::start(with_secret()).await;
    let mut peer = Peer::connect(&broker).await;
    let refusal = peer.hello(InstanceId(1), PUBLISHER).await.unwrap_err();
    assert!(refusal.contains("the peer has none: start it with the --secret-file"), "{refusal}");
    assert_eq!(peer.frame().await, None);
    drop(peer);
    broker.stop().await;
}

#[actix::test]
async fn a_caller_with_a_secret_is_refused_where_there_is_none() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let mut peer = Peer::connect(&broker).await;
    peer.send_frame(offer_with_secret()).await;
    let refusal = peer.welcome().await.unwrap_err();
    assert!(refusal.contains("this broker has none: start the broker with"), "{refusal}");
    drop(peer);
    broker.stop().await;
}

#[actix::test]
async fn a_proof_of_another_secret_is_refused() {
    let broker = TestBroker::start(with_secret()).await;
    let offer = offer_with_secret();
    let (mut peer, challenge, frame) = challenged(&broker, &offer).await;
    let error = proof::answer(&secrets(&[OTHER]), offer.payload(), &challenge, &frame).unwrap_err();
    assert_eq!(error, proof::ProofError::OtherSecret, "nothing is said to such a broker");
    let refusal = prove(&mut peer, Proof { proof: Mac([0; 32]) }).await.unwrap_err();
    assert!(refusal.contains("the peer's proof is wrong"), "{refusal}");
    drop(peer);
    broker.stop().await;
}

#[actix::test]
async fn a_replayed_handshake_is_refused() {
    let broker = TestBroker::start(with_secret()).await;
    let offer = offer_with_secret();
    let (mut peer, challenge, frame) = challenged(&broker, &offer).await;
    let heard = proof::answer(&secrets(&[SECRET]), offer.payload(), &challenge, &frame).unwrap();
    prove(&mut peer, heard).await.unwrap();
    // Everything that the caller has sent, once more.
    let (mut thief, ..) = challenged(&broker, &offer).await;
    let refusal = prove(&mut thief, heard).await.unwrap_err();
    assert!(refusal.contains("the peer's proof is wrong"), "{refusal}");
    peer.assert_publishes().await;
    drop((peer, thief));
    broker.stop().await;
}

#[actix::test]
async fn a_reflected_handshake_is_refused() {
    let broker = TestBroker::start(with_secret()).await;
    let (mut peer, challenge, _) = challenged(&broker, &offer_with_secret()).await;
    let refusal = prove(&mut peer, Proof { proof: challenge.proof }).await.unwrap_err();
    assert!(refusal.contains("the peer's proof is wrong"), "{refusal}");

    // To a caller, a broker sends back a challenge that another broker has made for another link.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut link = Owner::hold(listener.local_addr().unwrap(), unchanging(secrets(&[SECRET])));
    let (mut scripted, _) = accept(&listener).await;
    scripted.send_frame(encode_answer(&HelloAnswer::Challenge(challenge))).await;
    assert_eq!(scripted.frame().await, None, "the caller proves nothing, and ends the link");
    assert!(link.try_recv().is_err());
    drop(peer);
    broker.stop().await;
}

/// A broker whose frames the test writes, and the frame of the hello that came.
async fn accept(listener: &TcpListener) -> (Peer, Bytes) {
    let (stream, _) = within(listener.accept()).await.unwrap();
    let mut broker = Peer::over(stream);
    let hello = broker.frame().await.unwrap();
    (broker, hello)
}

fn welcome() -> EncodedFrame {
    let head = Position { epoch: 1, sequence: 0 };
    let welcome = Welcome { head, durability: Durability::Memory, workers: vec![], log: None };
    encode_answer(&HelloAnswer::welcome(welcome))
}

#[actix::test]
async fn a_caller_with_a_secret_takes_no_welcome_without_a_proof() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut link = Owner::hold(listener.local_addr().unwrap(), unchanging(secrets(&[SECRET])));
    let (mut broker, _) = accept(&listener).await;
    broker.send_frame(welcome()).await;
    assert_eq!(broker.frame().await, None);
    // Frames that come along with the challenge were sent before the caller has proven anything.
    let (mut broker, hello) = accept(&listener).await;
    assert!(decode_hello(hello.clone()).unwrap().features.has(Feature::SECRET));
    let challenge = proof::challenge(secrets(&[SECRET]).first().unwrap(), &hello, Nonce([1; 32]));
    let challenge = encode_answer(&HelloAnswer::Challenge(challenge)).head;
    broker.send_bytes(&[&challenge[..], &welcome().head].concat()).await;
    assert_eq!(broker.frame().await, None);
    // A challenge after a proof leads nowhere.
    let (mut broker, hello) = accept(&listener).await;
    let challenge = proof::challenge(secrets(&[SECRET]).first().unwrap(), &hello, Nonce([2; 32]));
    let challenge = encode_answer(&HelloAnswer::Challenge(challenge));
    broker.send_frame(challenge.clone()).await;
    assert!(broker.frame().await.is_some(), "the proof");
    broker.send_frame(challenge).await;
    assert_eq!(broker.frame().await, None);
    assert!(link.try_recv().is_err());
}

#[actix::test]
async fn a_proof_that_is_late_or_long_is_refused() {
    let limits = BrokerConfig { proof_limit: Duration::from_millis(200), ..with_secret() };
    let broker = TestBroker::start(limits).await;
    let (mut late, ..) = challenged(&broker, &offer_with_secret()).await;
    let refusal = late.welcome().await.unwrap_err();
    assert!(refusal.contains("no proof of the cluster's secret within 0.2 s"), "{refusal}");

    let (mut long, ..) = challenged(&broker, &offer_with_secret()).await;
    long.send_bytes(&4_097_u32.to_be_bytes()).await;
    let refusal = long.welcome().await.unwrap_err();
    assert!(refusal.contains("4097 bytes, but at most 4096"), "{refusal}");
    drop((late, long));
    broker.stop().await;
}

#[actix::test]
async fn callers_that_prove_nothing_keep_no_member_out() {
    let limits =
        BrokerConfig { max_links: 1, proof_limit: Duration::from_secs(60), ..with_secret() };
    let broker = TestBroker::start(limits).await;
    let mut idle = Vec::new();
    for _ in 0..65 {
        idle.push(challenged(&broker, &offer_with_secret()).await.0);
    }
    let mut link = Owner::hold(broker.address, unchanging(secrets(&[SECRET])));
    assert_eq!(within(link.recv()).await, Some(true));
    // The oldest one was closed to make room.
    assert!(idle.remove(0).frames.next().await.ok().flatten().is_none());
    drop(idle);
    broker.stop().await;
}

/// An HMAC as `proof.rs` describes it, written again.
fn mac(label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let lengths = parts.iter().map(|part| (part.len() as u32).to_be_bytes());
    let parts: Vec<_> =
        lengths.zip(parts).flat_map(|(len, part)| [&len[..], part].concat()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::sign(&key, &[label, &parts].concat()).as_ref().to_vec()
}

/// A frame of these bytes.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

#[actix::test]
async fn a_broker_and_a_peer_written_by_hand_prove_the_secret() {
    let broker = TestBroker::start(with_secret()).await;
    let mut peer = Peer::connect(&broker).await;
    // A later version, with one field more in each struct.
    let offer = [
        b"\xa9campanile\x04\x05\x95\x93\x01\x81\xa9Publisher\x92\x01\xc0\xc0\xc4\x20",
        &[9; 32][..],
        b"\x92\xa5later\xa6secret\x93\xce\x02\x01\x00\x00\xce\x02\x00\x00\x00\xa3new\xc0",
    ];
    let offer = offer.concat();
    peer.send_bytes(&frame(&offer)).await;
    let challenge = peer.frame().await.unwrap();
    let begins = b"\xa9campanile\x04\x04\x81\xa9Challenge\x93\xabhmac-sha256\xc4\x20";
    let (nonce, rest) = challenge.strip_prefix(begins).unwrap().split_at(32);
    let proof = rest.strip_prefix(b"\xc4\x20").unwrap();
    assert_eq!(proof, mac(b"campanile link: broker\0", &[&offer, b"hmac-sha256", nonce]));
    let proof = mac(b"campanile link: caller\0", &[&offer, &challenge]);
    let proof = [b"\xa9campanile\x04\x05\x92\xc4\x20", &proof[..], b"\xa3new"].concat();
    peer.send_bytes(&frame(&proof)).await;
    peer.welcome().await.unwrap();
    peer.assert_publishes().await;
    drop(peer);
    broker.stop().await;
}

#[actix::test]
async fn a_client_and_a_broker_written_by_hand_prove_the_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut link = Owner::hold(listener.local_addr().unwrap(), unchanging(secrets(&[SECRET])));
    let (mut broker, offer) = accept(&listener).await;
    let limits = b"\x92\xce\x01\x01\x00\x00\xce\x01\x00\x00\x00";
    assert!(
        offer.ends_with(
            &[
                &b"\x95\xaeclient_publish\xa9inquiries\xa6secret\xa6stamps\xa6traces"[..],
                &limits[..]
            ]
            .concat()
        ),
        "{offer:x?}"
    );
    let proof = mac(b"campanile link: broker\0", &[&offer, b"hmac-sha256", &[7; 32]]);
    // A later version, with one field more.
    let challenge = [
        b"\xa9campanile\x04\x05\x81\xa9Challenge\x94\xabhmac-sha256\xc4\x20",
        &[7; 32][..],
        b"\xc4\x20",
        &proof,
        b"\xa3new",
    ];
    let challenge = challenge.concat();
    broker.send_bytes(&frame(&challenge)).await;
    let proof = mac(b"campanile link: caller\0", &[&offer, &challenge]);
    let expected = [b"\xa9campanile\x04\x04\x91\xc4\x20", &proof[..]].concat();
    assert_eq!(broker.frame().await.unwrap(), expected);
    broker.send_frame(welcome()).await;
    assert_eq!(within(link.recv()).await, Some(true));
}
