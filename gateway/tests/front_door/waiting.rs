//! How long a gateway waits: for clients that say nothing, and for a broker that does not answer.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use campanile_harness::client::raw::{CLOSE, Client, FIN, PING, PONG, frame, request};
use campanile_harness::link::Frames;
use campanile_harness::link::script::{Script, at};
use campanile_harness::{DEADLINE, bind};
use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{Role, Welcome};
use campanile_messages::{Durability, Position, WorkerId};
use serde_json::json;

use super::assert_greeted;
use super::harness::Gateway;

#[test]
fn a_silent_client_is_pinged_and_then_closed_with_1011() {
    let gateway = Gateway::start(|config| {
        config.ping_after = Duration::from_millis(200);
        config.silence_limit = Duration::from_millis(600);
    });
    let mut client = Client::open(gateway.address);
    assert_greeted(&mut client);
    client.expect(PING, b"");
    client.expect_close(1011);
}

#[test]
fn a_client_that_answers_pings_stays_connected() {
    let gateway = Gateway::start(|config| {
        config.ping_after = Duration::from_millis(200);
        config.silence_limit = Duration::from_millis(600);
    });
    let mut client = Client::open(gateway.address);
    assert_greeted(&mut client);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        client.expect(PING, b"");
        client.send(&frame(FIN | PONG, b""));
    }
    client.send(&frame(FIN | CLOSE, b""));
    client.expect_close(1005);
}

#[test]
fn a_quiet_client_gets_the_position_at_which_another_came() {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |config| {
        config.ping_after = Duration::from_millis(200);
    });
    let link = script.accept(at(1), None);
    let gateway = gateway.until_ready();
    let mut quiet = Client::open_v1(gateway.address, "/?group=quiet");
    assert_eq!(quiet.json()["position"], at(1).to_string());
    link.skip_to(5);
    let mut other = Client::open_v1(gateway.address, "/?group=other");
    assert_eq!(other.json()["position"], at(5).to_string());
    assert_eq!(quiet.json(), json!({ "type": "position", "id": at(5).to_string() }));
}

#[test]
fn a_handshake_that_the_broker_never_confirms_ends_with_1013() {
    let (listener, channel) = bind();
    let broker = std::thread::spawn(move || welcome_and_say_no_more(listener.accept().unwrap().0));
    let gateway = Gateway::start_on(channel, |config| {
        config.handshake_limit = Duration::from_millis(300);
    });
    let _link = broker.join().unwrap();
    let mut client = until_upgraded(gateway.address);
    client.expect_close_saying(1013, "no answer from the broker in time, try again later");
}

#[test]
fn a_handshake_is_answered_although_the_broker_hangs() {
    let (listener, channel) = bind();
    let broker = std::thread::spawn(move || welcome_and_say_no_more(listener.accept().unwrap().0));
    let gateway = Gateway::start_on(channel, |_| {});
    let _link = broker.join().unwrap();
    let mut client = until_upgraded(gateway.address);
    client.send(&frame(FIN | PING, b"here"));
    client.expect(PONG, b"here");
}

#[test]
fn a_full_outbox_does_not_drop_the_answer_to_a_handshake() {
    let (listener, channel) = bind();
    let broker = std::thread::spawn(move || welcome_and_say_no_more(listener.accept().unwrap().0));
    let gateway = Gateway::start_on(channel, |config| config.max_outbox_bytes = 300);
    let _link = broker.join().unwrap();
    until_upgraded(gateway.address);
    // The pongs wait for the broker, too, and are more than may wait.
    let mut request = request("/", &[]);
    request.extend_from_slice(&frame(FIN | PING, b"").repeat(100));
    let mut client = Client::open_with(gateway.address, &request);
    let mut frame = client.recv();
    while frame.first == FIN | PONG {
        frame = client.recv();
    }
    assert_eq!(frame.closing().0, 4001, "{frame:?}");
}

/// A broker that assigns worker ids and then hangs.
fn welcome_and_say_no_more(link: TcpStream) -> TcpStream {
    let mut frames = Frames::new(link);
    let hello = frames.next().expect("a hello");
    let Role::Gateway { workers, .. } = decode_hello(hello).expect("a hello").hello.role else {
        panic!("not a gateway");
    };
    let workers = (0..u64::from(workers)).map(WorkerId).collect();
    let (head, durability) = (Position { epoch: 1, sequence: 0 }, Durability::Memory);
    let welcome = Welcome { head, durability, workers, log: None };
    frames.write(encode_answer(&HelloAnswer::welcome(welcome)));
    frames.stream
}

/// Tries until a handshake succeeds, because the gateway may not have read its welcome yet.
fn until_upgraded(gateway: SocketAddr) -> Client {
    let begun = Instant::now();
    loop {
        let mut client = Client::raw(gateway);
        client.send(&request("/", &[]));
        if client.read_head().starts_with("HTTP/1.1 101 ") {
            return client;
        }
        assert!(begun.elapsed() < DEADLINE, "the gateway has a broker");
    }
}
