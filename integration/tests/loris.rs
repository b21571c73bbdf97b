//! Connections that are slow on purpose, on each port, before, during and after the handshake of TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_harness::client::raw::Client;
use campanile_harness::tls::Files;
use campanile_harness::{DEADLINE, Process, PushApi, Websocket, eventually};
use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig, ClientConnection};

/// How many connections of each kind there are at a time on a port.
const OF_EACH: usize = 100;

/// The time between two bytes.
const PACE: Duration = Duration::from_millis(100);

/// The longest that any of them may last: the limits of the ports are 2 s for what comes before the first
/// request, and for a link 2 s for TLS, 2 s for the hello.
const LONGEST: Duration = Duration::from_secs(12);

/// What a connection says, and how.
enum Slow {
    /// Nothing at all.
    Silent,
    /// The beginning of a handshake of TLS, byte by byte.
    Handshake(Vec<u8>),
    /// TLS, and then the beginning of what the port expects, byte by byte.
    Request(Box<Client>, &'static [u8]),
}

fn hello(trusting: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("push.test").expect("a name");
    let mut client = ClientConnection::new(trusting.clone(), name).expect("settings");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("it is written to memory");
    hello
}

/// Opens some connections of each kind.
fn open(
    to: SocketAddr,
    trusting: &Arc<ClientConfig>,
    begins: &'static [u8],
) -> Vec<(TcpStream, Slow)> {
    let hello = hello(trusting);
    let mut all = Vec::new();
    for _ in 0..OF_EACH {
        all.push((TcpStream::connect(to).expect("it listens"), Slow::Silent));
        let bytes = hello.clone();
        all.push((TcpStream::connect(to).expect("it listens"), Slow::Handshake(bytes)));
    }
    for _ in 0..OF_EACH {
        let mut client = Client::secure(to, trusting, "push.test");
        client.send(&begins[..1]);
        let stream = client.stream.try_clone().expect("a descriptor");
        all.push((stream, Slow::Request(Box::new(client), &begins[1..])));
    }
    all
}

/// Says one byte more on each, until all of them are over. Returns how long that took.
fn until_all_are_over(mut slow: Vec<(TcpStream, Slow)>) -> Duration {
    let begun = Instant::now();
    for (stream, _) in &slow {
        stream.set_nonblocking(true).expect("a socket");
    }
    let mut at = 1;
    while !slow.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "{} are still open", slow.len());
        slow.retain_mut(|(stream, slow)| {
            let said = match slow {
                Slow::Silent => Ok(()),
                Slow::Handshake(hello) => stream.write_all(&hello[at - 1..at]),
                Slow::Request(client, rest) => client.try_send(&rest[at - 1..at]),
            };
            // What the other side says is read, so that its end is noticed.
            let mut answer = [0; 4096];
            let is_over = loop {
                match stream.read(&mut answer) {
                    Ok(1..) => {}
                    Ok(0) => break true,
                    Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
                }
            };
            said.is_ok() && !is_over
        });
        at += 1;
        std::thread::sleep(PACE);
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_end_on_each_port_and_keep_nobody_out() {
    campanile_harness::raise_file_limit();
    let files = Files::new(&["push.test", "127.0.0.1"]);
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| files.shown(name));
    let start = |args: &[&str], tls: bool| {
        let mut all = [args, &["--listen=127.0.0.1:0"]].concat();
        if tls {
            all.extend(["--tls-cert", &cert, "--tls-key", &key]);
        }
        Process::start(&all)
    };
    let mut broker = start(&["broker"], true);
    let listens = broker.address("the broker listens").await;
    let at = format!("tls://{listens}");
    let linked = ["--broker", &*at, "--broker-ca", &*ca];
    let limited = ["gateway", "--handshake-limit=2s"];
    let mut gateway = start(&[&limited[..], &linked].concat(), true);
    let mut publisher = start(&[&["publisher", "--head-limit=2s"][..], &linked].concat(), true);
    gateway.said("the gateway takes connections").await;
    let gateway_port = gateway.address("the gateway listens").await;
    let publisher_port = publisher.address("the publisher listens").await;

    let trusting = files.authority.client(ALL_VERSIONS);
    // Longer than they have time for.
    let request: &[u8] =
        b"GET /a-path-that-is-long-enough-for-all-the-time-that-they-get/a-path-that-is-long-enough-for-\
          all-the-time-that-they-get/a-path-that-is-long-enough-for-all-the-time-that-they-get/and-so-on";
    // A frame of a link that says that 200 bytes follow.
    let frame: &'static [u8] = Box::leak([&[0, 0, 0, 200][..], &[1; 300]].concat().into());
    for (port, begins) in [(gateway_port, request), (publisher_port, request), (listens, frame)] {
        let slow = tokio::task::block_in_place(|| open(port, &trusting, begins));
        let over = tokio::task::spawn_blocking(move || until_all_are_over(slow));
        // Meanwhile, others are let in on this port, and are served.
        let honest = start(&[&["gateway"][..], &linked].concat(), false);
        let push = start(&[&["publisher"][..], &linked].concat(), false);
        honest.said("the gateway takes connections").await;
        let push = PushApi::new(push.address("the publisher listens").await);
        let mut client =
            Websocket::plain(honest.address("the gateway listens").await, &["news"]).await;
        eventually("a push is accepted", async || {
            let answer = push.get(&[("to_group", "news"), ("content", "hello")]).await;
            (answer.status == 200).then_some(())
        })
        .await;
        assert_eq!(client.text().await, "hello");
        if port != listens {
            let health =
                b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
            let answer = tokio::task::block_in_place(|| {
                let mut client = Client::secure(port, &trusting, "push.test");
                client.send(health);
                client.response()
            });
            assert_eq!(answer.0, 200, "{answer:?}");
        }
        let took = over.await.expect("no panic");
        assert!(took < LONGEST, "the last one of {port} lasted {took:?}");
    }
    for process in [&mut broker, &mut gateway, &mut publisher] {
        assert!(process.is_running() && process.count("panicked") == 0);
    }
}
