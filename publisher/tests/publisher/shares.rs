//! Neither one caller nor many endless bodies use up the room of the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use campanile_messages::{Content, ToBroker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::harness::{Act, Broker, DEADLINE, Publisher, accept, get, post, until};

/// No caller waits this long, even if the host is busy.
const SOON: Duration = Duration::from_secs(5);

/// A connection from another address of this host.
async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).expect("an address");
    socket.connect(to).await.expect("connects")
}

/// The status and the rest of an answer after which the connection ends.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    let reading = async {
        while !answer.contains(&b'\n') {
            assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "it ends");
        }
    };
    timeout(DEADLINE, reading).await.expect("in time");
    String::from_utf8_lossy(&answer)[9..12].parse().expect("a status")
}

/// One request from another address.
async fn send_from(last: u8, to: SocketAddr, request: impl AsRef<[u8]>) -> u16 {
    let mut stream = connect_from(last, to).await;
    stream.write_all(request.as_ref()).await.expect("it is read");
    status(&mut stream).await
}

/// The head of a batch of `announced` bytes, and `sent` of them.
fn unfinished(announced: usize, sent: usize) -> Vec<u8> {
    let head = format!("POST /batch HTTP/1.1\r\nHost: t\r\nContent-Length: {announced}\r\n\r\n[");
    [head.as_bytes(), &vec![b' '; sent - 1]].concat()
}

#[actix::test]
async fn batches_without_an_end_leave_room_for_everybody() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut held = Vec::new();
    let mut pushed = 0;
    let large = post("/", "", "x".repeat(1 << 20));
    for _ in 0..9 {
        let mut stream = connect_from(2, publisher.addr).await;
        // If it is refused, the rest of it is not read.
        let writing = stream.write_all(&unfinished(8 << 20, (8 << 20) - 1)).await;
        held.push((stream, writing));
        assert_eq!(publisher.send(&large).await.status, 200);
    }
    // By now all that is read of them has been read.
    while pushed < 20 {
        assert_eq!(publisher.send(&large).await.status, 200);
        assert_eq!(send_from(2, publisher.addr, get("/?content=a")).await, 200);
        assert_eq!(send_from(2, publisher.addr, post("/", "", "x".repeat(1_000))).await, 200);
        pushed += 1;
    }
    // Two of them are the share of the address. Each of the others was refused or cut off.
    let mut refused = 0;
    for (mut stream, _) in held.drain(2..) {
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it ends");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
        refused += 1;
    }
    assert_eq!(refused, 7);
}

#[actix::test]
async fn thousands_of_half_sent_bodies_disturb_nobody() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| config.workers = 2);
    let to = publisher.addr;
    let flood = actix::spawn(async move {
        let mut held = Vec::new();
        for _ in 0..1_500 {
            let mut stream = connect_from(2, to).await;
            // Some fit into what is not counted, some are refused in the middle.
            let sent = if held.len() % 3 == 0 { 1_000 } else { 100 << 10 };
            let _ =
                timeout(Duration::from_millis(50), stream.write_all(&unfinished(1 << 20, sent)))
                    .await;
            held.push(stream);
        }
        held
    });
    let mut slowest = Duration::ZERO;
    let mut pushed = 0;
    let large = post("/", "", "x".repeat(500_000));
    let mut honest = publisher.client().await;
    while !flood.is_finished() || pushed < 20 {
        let start = Instant::now();
        let request = if pushed % 10 == 0 { large.clone() } else { get("/?content=a").into() };
        honest.send(request).await;
        assert_eq!(honest.answer().await.status, 200);
        slowest = slowest.max(start.elapsed());
        pushed += 1;
    }
    let held = flood.await.expect("no panic");
    assert_eq!(held.len(), 1_500);
    assert_eq!(publisher.send(&large).await.status, 200);
    assert_eq!(publisher.get("/?content=after").await.status, 200);
    assert!(slowest < SOON, "{slowest:?} of {pushed}");
}

#[actix::test]
async fn a_body_over_the_share_of_its_address_is_503_and_says_so() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 100_000;
        config.max_batch_bytes = 100_000;
        config.max_pending_bytes = 400_000;
    });
    // A form may have 300,000 bytes and a little, so an address has three quarters of the room.
    let form = "application/x-www-form-urlencoded";
    let whole = post("/", form, format!("content={}", "%61".repeat(90_000)));
    let (start, end) = whole.split_at(whole.len() - 1);
    let mut callers = [publisher.client().await, publisher.client().await];
    for caller in &mut callers {
        caller.send(start).await;
    }
    // There is room for one of them; which one depends on whose bytes are read first.
    let [one, other] = &mut callers;
    let (refusal, admitted) = tokio::select! {
        answer = one.answer() => (answer, other),
        answer = other.answer() => (answer, one),
    };
    assert_eq!(refusal.status, 503);
    let said = "too much content from your address that has not arrived completely is held by this \
                publisher (at most 300000 bytes of one address), nothing was sent: try again\n";
    assert_eq!(refusal.body, said);
    assert!(refusal.header("retry-after").is_some());
    admitted.send(end).await;
    assert_eq!(admitted.answer().await.status, 200);
    assert_eq!(publisher.send(whole).await.status, 200);
}

#[actix::test]
async fn sixteen_full_streams_leave_room_for_everybody() {
    let broker = Broker::start(|message| match message {
        ToBroker::Publish { content: Content::Text(text), .. } if text.starts_with("honest") => {
            accept(message)
        }
        _ => Act::Nothing,
    });
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 100_000;
        config.max_batch_bytes = 100_000;
        config.max_pending_bytes = 4_000_000;
        config.confirm_limit = Duration::from_secs(60);
    });
    let handshake = "GET /stream HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let item = format!("{{\"content\":\"{}\"}}", "x".repeat(10_000));
    let len = u16::try_from(item.len()).expect("a small item").to_be_bytes();
    let frame = [&[0x81, 0xfe][..], &len, &[0; 4], item.as_bytes()].concat();
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = connect_from(2, publisher.addr).await;
        stream.write_all(handshake.as_bytes()).await.expect("it is read");
        assert_eq!(status(&mut stream).await, 101);
        // More than the 500,000 bytes of a stream, which then is not read on.
        for _ in 0..60 {
            let _ = timeout(Duration::from_millis(20), stream.write_all(&frame)).await;
        }
        streams.push(stream);
    }
    // Nearly all that one address may have is taken.
    until(|| broker.received().len() * 10_000 > 2_000_000).await;
    for _ in 0..30 {
        let honest = post("/", "", format!("honest{}", "x".repeat(90_000)));
        assert_eq!(publisher.send(honest).await.status, 200);
    }
}

#[actix::test]
async fn decoders_of_compressed_bodies_count_too() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 1_000;
        config.max_batch_bytes = 1_000;
        config.max_pending_bytes = 800_000;
    });
    let head = "POST / HTTP/1.1\r\nHost: t\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\n";
    let mut held = Vec::new();
    // Each has 32 KiB beyond what is not counted, and an address 200,000 bytes.
    for _ in 0..6 {
        let mut client = publisher.client().await;
        client.send(head).await;
        held.push(client);
    }
    let mut refused = publisher.client().await;
    let deadline = Instant::now() + DEADLINE;
    loop {
        // The six may be read later than this one.
        refused.send(head).await;
        match timeout(Duration::from_millis(100), refused.answer()).await {
            Ok(answer) => break assert_eq!(answer.status, 503),
            Err(_) => refused = publisher.client().await,
        }
        assert!(Instant::now() < deadline, "decoders are not counted");
    }
    assert_eq!(publisher.get("/?content=a").await.status, 200);
}
