//! Malformed bytes on every port: no process ends or grows, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use campanile_harness::{Cluster, Process, handshake, within};
use campanile_messages::frame::encode_hello;
use campanile_messages::hello::{Nonce, Offer};
use campanile_messages::link::Role;
use campanile_messages::{Hello, InstanceId};
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How many connections are made to each port.
const CONNECTIONS: u64 = 2_000;

/// How many are open at a time.
const AT_ONCE: usize = 40;

/// How long a connection is kept open for an answer.
const HOLD: Duration = Duration::from_millis(50);

/// The most memory that the connections of a flood explain.
const MAX_GROWTH_BYTES: usize = 48 << 20;

/// One hostile connection, which sends `bytes` and leaves at any time.
async fn send(address: SocketAddr, bytes: Vec<u8>) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    // The other side may end it at any time.
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(HOLD, stream.read_to_end(&mut answer)).await;
}

/// Sends what `hostile` makes of the seeds from 0 on.
async fn flood(address: SocketAddr, hostile: impl Fn(&mut StdRng) -> Vec<u8>) {
    let all = (0..CONNECTIONS).map(|seed| hostile(&mut StdRng::seed_from_u64(seed)));
    let flood = stream::iter(all).for_each_concurrent(AT_ONCE, |bytes| send(address, bytes));
    within("the flood passes", flood).await;
}

fn garbage(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..20_000)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A well-formed prefix that is cut somewhere, perhaps followed by garbage.
fn cut(random: &mut StdRng, well_formed: &[u8]) -> Vec<u8> {
    let mut bytes = well_formed[..random.random_range(0..=well_formed.len())].to_vec();
    if random.random() {
        bytes.extend(garbage(random));
    }
    bytes
}

fn frame_of_a_link(len: u32, payload: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes(), payload].concat()
}

fn at_the_broker(random: &mut StdRng) -> Vec<u8> {
    let role = match random.random() {
        true => Role::Publisher { unanswered: 1 },
        false => Role::Gateway { workers: random.random(), held: Vec::new() },
    };
    let hello = Hello { instance: InstanceId(random.random()), role };
    let hello = encode_hello(&Offer::ours(hello, Nonce(random.random()))).head;
    let garbage = garbage(random);
    match random.random_range(0..7) {
        0 => garbage,
        1 => cut(random, &hello),
        2 => frame_of_a_link(u32::MAX, &garbage),
        3 => frame_of_a_link(garbage.len() as u32, &garbage),
        4 => [&hello[..], &frame_of_a_link(garbage.len() as u32, &garbage)].concat(),
        5 => [&hello[..], &frame_of_a_link(16 << 20, &garbage)].concat(),
        _ => [&hello[..], &frame_of_a_link(u32::MAX, &garbage)].concat(),
    }
}

fn at_the_gateway(random: &mut StdRng) -> Vec<u8> {
    let open = handshake("/?group=g").into_bytes();
    let garbage = garbage(random);
    match random.random_range(0..7) {
        0 => garbage,
        1 => cut(random, &open),
        2 => [&open[..], &garbage].concat(),
        // A text of 2^63 - 1 bytes, of 2^64 - 1 bytes, and one of 64 KiB that never ends.
        3 => [&open[..], &[0x81, 0xff, 0x7f], &[0xff; 7], &garbage].concat(),
        4 => [&open[..], &[0x81, 0xff], &[0xff; 8], &garbage].concat(),
        5 => [&open[..], &[0x01, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], &garbage].concat(),
        _ => [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", &garbage[..]].concat(),
    }
}

fn at_the_publisher(random: &mut StdRng) -> Vec<u8> {
    let garbage = garbage(random);
    let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n";
    let gzip = b"Content-Encoding: gzip\r\n";
    match random.random_range(0..9) {
        0 => garbage,
        1 => cut(random, b"GET /?content=%25&to_group=a%20b HTTP/1.1\r\nHost: localhost\r\n"),
        2 => [&head[..], b"Content-Length: 99999999999999999999\r\n\r\n", &garbage].concat(),
        3 => [&head[..], b"Content-Length: 1000000\r\n\r\n", &garbage].concat(),
        4 => [&head[..], b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", &garbage].concat(),
        5 => [&head[..], b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", &garbage].concat(),
        6 => [b"GET /?content=", &garbage[..], b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat(),
        // It says that it is compressed, and has the beginning of a gzip member.
        7 => [&head[..], gzip, b"Transfer-Encoding: chunked\r\n\r\n5000\r\n", &garbage].concat(),
        _ => {
            let member = b"Content-Length: 20000\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff";
            [&head[..], gzip, member, &garbage].concat()
        }
    }
}

/// Floods a port while a client of the gateway receives events, then checks that `process` has not
/// grown.
async fn survives(
    cluster: &mut Cluster,
    port: impl Fn(&Cluster) -> SocketAddr,
    hostile: fn(&mut StdRng) -> Vec<u8>,
    process: impl Fn(&mut Cluster) -> &mut Process,
) {
    let mut client = cluster.client(0, &["good"]).await;
    // Once before it is measured: a process may keep the memory of its busiest moment.
    let address = port(cluster);
    flood(address, hostile).await;
    let before = process(cluster).resident_bytes();
    let flooding = tokio::spawn(flood(address, hostile));
    let mut during = 0;
    while !flooding.is_finished() {
        cluster.push[0].group("good", &format!("during {during}")).await;
        assert_eq!(client.texts_until(&format!("during {during}")).await, [""; 0]);
        during += 1;
    }
    flooding.await.expect("no panic");
    assert!(during > 0);
    cluster.push[0].group("good", "after").await;
    assert_eq!(client.texts_until("after").await, [""; 0]);
    let process = process(cluster);
    assert!(process.is_running());
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < MAX_GROWTH_BYTES, "it has grown by {grown} bytes");
    assert_eq!(process.count("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_links_do_not_harm_the_broker() {
    let mut cluster = Cluster::of(1).start().await;
    survives(&mut cluster, |c| c.broker_address, at_the_broker, |c| &mut c.broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_and_frames_do_not_harm_the_gateway() {
    let mut cluster = Cluster::of(1).start().await;
    survives(&mut cluster, |c| c.gateway_addresses[0], at_the_gateway, |c| &mut c.gateways[0])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_do_not_harm_the_publisher() {
    let mut cluster = Cluster::of(1).start().await;
    survives(&mut cluster, |c| c.push[0].address, at_the_publisher, |c| &mut c.publishers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_do_not_keep_others_out() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    let mut silent = Vec::new();
    for address in [cluster.broker_address, cluster.gateway_addresses[0], cluster.push[0].address] {
        for _ in 0..300 {
            silent.push(TcpStream::connect(address).await.expect("a listener"));
        }
    }
    let mut new = cluster.client(0, &["g"]).await;
    cluster.push[0].group("g", "to the new one").await;
    cluster.push[0].everyone("last").await;
    assert_eq!(new.texts_until("last").await, ["to the new one"]);
    assert_eq!(client.texts_until("last").await, [""; 0]);
    drop(silent);
}
