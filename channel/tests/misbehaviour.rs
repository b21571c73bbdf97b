//! Peers that break the rules lose their link with a reason, and no other link is affected.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::time::{Duration, Instant};

use campanile_channel::broker::BrokerConfig;
use campanile_messages::frame::{MAX_FRAME_BYTES, encode_hello};
use campanile_messages::link::{Role, Want};
use campanile_messages::{Audience, Content, InstanceId, ToBroker};
use harness::{PUBLISHER, Peer, TestBroker, offer, publish, within};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A broker with a gateway and a publisher that must not be affected.
struct Town {
    broker: TestBroker,
    gateway: Peer,
    publisher: Peer,
}

impl Town {
    async fn new(config: BrokerConfig) -> Self {
        let broker = TestBroker::start(config).await;
        let (gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
        let publisher = Peer::publisher(&broker).await;
        Self { broker, gateway, publisher }
    }

    /// Sends these bytes instead of a hello, and returns why the broker refused the link.
    async fn refusal(&self, first: &[u8]) -> String {
        let mut peer = Peer::connect(&self.broker).await;
        peer.send_bytes(first).await;
        let reason = peer.welcome().await.unwrap_err();
        assert_eq!(peer.frame().await, None);
        reason
    }

    /// Sends these bytes as a publisher, and returns why the broker ended the link.
    async fn goodbye(&self, bytes: &[u8]) -> String {
        let mut peer = Peer::publisher(&self.broker).await;
        peer.send_bytes(bytes).await;
        peer.goodbye().await
    }

    async fn assert_undisturbed(&mut self) {
        let (sequence, ..) =
            self.publisher.publish_accepted(Audience::Everyone, "still here").await;
        assert_eq!(self.gateway.event().await.sequence, sequence);
    }
}

fn hello(role: Role) -> Vec<u8> {
    encode_hello(&offer(InstanceId(rand::random()), role)).head.to_vec()
}

#[actix::test]
async fn a_peer_of_another_protocol_learns_that() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let http = b"GET / HTTP/1.1\r\n\r\n";
    assert!(town.refusal(http).await.contains("speaks HTTP"));
    let other = b"\x00\x00\x00\x04ping";
    assert!(town.refusal(other).await.contains("does not speak"));
    let no_hello = ToBroker::Heartbeat.encode().head;
    assert!(town.refusal(&no_hello).await.contains("does not speak"));
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_peer_of_another_version_learns_both_versions() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let mut later = hello(PUBLISHER);
    assert_eq!(later[14..16], [4, 4]);
    later[14..16].copy_from_slice(&[8, 9]);
    assert_eq!(
        town.refusal(&later).await,
        "the peer speaks versions 8 to 9 of the link protocol, this side version 4"
    );
    // The hello of a publisher of version 3, which named a single version.
    let earlier = b"\x00\x00\x00\x1a\xa9campanile\x03\x92\x01\x81\xa9Publisher\x91\x01";
    assert_eq!(
        town.refusal(earlier).await,
        "the peer speaks version 3 of the link protocol, this side version 4"
    );
    town.assert_undisturbed().await;
}

#[actix::test]
async fn an_invalid_hello_is_refused() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let held = vec![];
    let frame = hello(Role::Gateway { workers: 0, held });
    assert!(town.refusal(&frame).await.contains("0 workers"));
    let mut frame = hello(PUBLISHER);
    // MessagePack never begins with this byte.
    frame[16] = 0xc1;
    assert!(town.refusal(&frame).await.contains("malformed"));
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_silent_peer_is_closed_in_time() {
    let hello_limit = Duration::from_millis(50);
    let mut town = Town::new(BrokerConfig { hello_limit, ..BrokerConfig::default() }).await;
    assert_eq!(town.refusal(b"").await, "no hello within 0.05 s");
    let half = &hello(PUBLISHER)[..9];
    assert_eq!(town.refusal(half).await, "no hello within 0.05 s");
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_broken_frame_ends_only_its_link() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let too_large = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_be_bytes();
    assert!(town.goodbye(&too_large).await.contains("are accepted"));
    let garbage = b"\x00\x00\x00\x05\xff\xff\xff\xff\xff";
    assert!(town.goodbye(garbage).await.contains("malformed"));
    let empty = b"\x00\x00\x00\x00";
    assert!(town.goodbye(empty).await.contains("malformed"));
    town.assert_undisturbed().await;
}

#[actix::test]
async fn messages_before_a_broken_frame_count() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let publish = publish(1, Audience::Everyone, "the last word");
    let mut bytes = publish.encode().head.to_vec();
    bytes.extend_from_slice(&[0xff; 4]);
    let mut peer = Peer::publisher(&town.broker).await;
    peer.send_bytes(&bytes).await;
    peer.recv().await;
    assert!(peer.goodbye().await.contains("are accepted"));
    let event = town.gateway.event().await;
    assert_eq!(event.content, "the last word".into());
    town.assert_undisturbed().await;
}

#[actix::test]
async fn the_reason_arrives_even_with_unread_input() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let mut peer = Peer::publisher(&town.broker).await;
    peer.send_bytes(b"\x00\x00\x00\x01\xff").await;
    peer.send_bytes(&vec![0; 8 << 20]).await;
    assert!(peer.goodbye().await.contains("malformed"));
    let mut bytes = b"\x00\x00\x00\x04ping".to_vec();
    bytes.resize(8 << 20, 0);
    assert!(town.refusal(&bytes).await.contains("does not speak"));
    town.assert_undisturbed().await;
}

#[actix::test]
async fn random_bytes_end_only_their_link() {
    let mut town = Town::new(BrokerConfig {
        hello_limit: Duration::from_millis(50),
        shutdown_limit: Duration::from_millis(500),
        ..BrokerConfig::default()
    })
    .await;
    for _ in 0..30 {
        let mut bytes = [0; 300];
        rand::fill(&mut bytes);
        let mut stranger = Peer::connect(&town.broker).await;
        stranger.send_bytes(&bytes).await;
        stranger.until_over().await;
        let mut publisher = Peer::publisher(&town.broker).await;
        // A frame that is complete and not a message.
        publisher.send_bytes(&[0, 0, 0, 200]).await;
        publisher.send_bytes(&bytes).await;
        publisher.until_over().await;
    }
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_message_of_the_other_role_ends_only_its_link() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let attach = ToBroker::Attach { cursor: None }.encode().head;
    assert_eq!(town.goodbye(&attach).await, "a publisher does not say Attach");
    let (mut gateway, _) = Peer::gateway(&town.broker).await;
    gateway.publish(1, Audience::Everyone, "x").await;
    assert_eq!(gateway.goodbye().await, "a gateway does not say Publish");
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_link_above_the_limit_is_refused_with_a_reason() {
    let mut town = Town::new(BrokerConfig { max_links: 2, ..BrokerConfig::default() }).await;
    let reason = town.refusal(&hello(PUBLISHER)).await;
    assert_eq!(reason, "the broker has 2 links already, which is its limit");
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_gateway_that_reads_too_slowly_is_cut() {
    let mut town =
        Town::new(BrokerConfig { max_link_queue_bytes: 1 << 20, ..BrokerConfig::default() }).await;
    let mut slow = Peer::over(connect_with_small_buffer(&town.broker).await);
    let role = Role::Gateway { workers: 1, held: vec![] };
    slow.hello(InstanceId(1), role).await.unwrap();
    slow.attach(&[Audience::Everyone], None).await;
    slow.recv().await;
    slow.recv().await;
    // The kernel buffers some megabytes before anything waits in the broker.
    let content = Content::Binary(vec![b'x'; 256 << 10].into());
    let mut gateways = 2;
    for expected in 1..400 {
        let (sequence, reached, _) =
            town.publisher.publish_accepted(Audience::Everyone, content.clone()).await;
        assert_eq!(sequence, expected);
        assert_eq!(town.gateway.event().await.sequence, expected);
        gateways = reached;
        if gateways == 1 {
            break;
        }
    }
    assert_eq!(gateways, 1, "the slow gateway is cut");
    slow.until_over().await;
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_gateway_that_asks_for_more_than_it_reads_is_cut() {
    let config = BrokerConfig {
        log_max_bytes: 4 << 20,
        max_link_queue_bytes: 1 << 20,
        ..BrokerConfig::default()
    };
    let mut town = Town::new(config).await;
    let content = Content::Binary(vec![b'x'; 1 << 20].into());
    for _ in 0..3 {
        town.publisher.publish_accepted(Audience::Everyone, content.clone()).await;
        town.gateway.event().await;
    }
    // Each of these asks for 3 MiB. All of them together would take 6 GB.
    let want = || Want { since: 0, audiences: vec![Audience::Everyone] };
    let fetch =
        |number| ToBroker::Fetch { number, wants: vec![want()], max_bytes: u64::MAX }.encode().head;
    let fetches: Vec<u8> = (0..2_000).flat_map(fetch).collect();
    let (mut greedy, _) = Peer::gateway(&town.broker).await;
    greedy.send_bytes(&fetches).await;
    greedy.until_over().await;
    town.assert_undisturbed().await;
}

#[actix::test]
async fn silent_sockets_keep_no_gateway_out() {
    let mut town = Town::new(BrokerConfig::default()).await;
    let mut silent = Vec::new();
    for _ in 0..1_500 {
        silent.push(within(TcpStream::connect(town.broker.address)).await.unwrap());
    }
    let begun = Instant::now();
    for _ in 0..5 {
        let (mut gateway, _) = Peer::listener(&town.broker, &[Audience::Everyone]).await;
        town.assert_undisturbed().await;
        assert_eq!(gateway.event().await.content, "still here".into());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Each of them is closed within the limit, which makes room for others.
    for mut socket in silent {
        let mut buffer = Vec::new();
        let _ = within(socket.read_to_end(&mut buffer)).await;
    }
    town.assert_undisturbed().await;
}

#[actix::test]
async fn a_hello_byte_by_byte_gets_no_more_time() {
    let hello_limit = Duration::from_millis(200);
    let mut town = Town::new(BrokerConfig { hello_limit, ..BrokerConfig::default() }).await;
    let mut peer = Peer::connect(&town.broker).await;
    let (begun, frame) = (Instant::now(), hello(PUBLISHER));
    let mut bytes = frame.iter();
    let mut ticks = tokio::time::interval(hello_limit / 10);
    let reason = loop {
        tokio::select! {
            reason = peer.welcome() => break reason.unwrap_err(),
            _ = ticks.tick() => {}
        }
        // Bytes are written until the time is over, and they are less than a hello.
        if let Some(byte) = bytes.next() {
            peer.send_bytes(&[*byte]).await;
        }
    };
    assert_eq!(reason, "no hello within 0.2 s");
    assert!(begun.elapsed() < 5 * hello_limit);
    town.assert_undisturbed().await;
}

#[actix::test]
async fn refused_sockets_that_do_not_close_keep_nobody_out() {
    let mut town = Town::new(BrokerConfig { max_links: 8, ..BrokerConfig::default() }).await;
    let mut refused = Vec::new();
    for _ in 0..200 {
        let mut peer = Peer::connect(&town.broker).await;
        peer.send_bytes(b"\x00\x00\x00\x04ping").await;
        assert!(peer.welcome().await.unwrap_err().contains("does not speak"));
        refused.push(peer);
    }
    let begun = Instant::now();
    let (mut gateway, _) = Peer::listener(&town.broker, &[Audience::Everyone]).await;
    town.assert_undisturbed().await;
    gateway.event().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

async fn connect_with_small_buffer(broker: &TestBroker) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&broker.address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    within(async { TcpStream::from_std(socket.into()).unwrap() }).await
}
