//! Answers that are not read count in the budget, and their caller loses its connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Broker, DEADLINE, HttpConnection, Publisher, accept, get, post};

/// A batch of wrong items. Each has two bytes, and some 130 bytes of answer.
fn refused_items(count: usize) -> Vec<u8> {
    post("/batch", "", format!("[{}1]", "1,".repeat(count - 1)))
}

/// A connection from another address of this host, whose system holds little of what is not read at
/// either end.
async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    connect(last, to, 4 << 10).await
}

async fn connect(last: u8, to: SocketAddr, read_bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(read_bytes).expect("an option");
    socket.set_send_buffer_size(64 << 10).expect("an option");
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).expect("an address");
    socket.connect(to).await.expect("connects")
}

/// The first bytes of an answer, and no more.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut line = [0; 12];
    timeout(DEADLINE, stream.read_exact(&mut line)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&line)[9..].parse().expect("a status")
}

/// Everything up to the end of a connection, a reset included.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it ends");
    rest
}

#[actix::test]
async fn unread_batch_answers_count_until_their_callers_go() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.silence_limit = Duration::from_secs(3);
        config.max_content_bytes = 100_000;
        config.max_batch_bytes = 100_000;
        config.max_pending_bytes = 4_000_000;
    });
    let large = post("/", "", "x".repeat(90_000));
    let mut deaf = Vec::new();
    // Each answer has more than 300,000 bytes, and an address 3,000,000.
    loop {
        assert!(deaf.len() < 20, "the answers are not counted");
        let mut stream = connect_from(2, publisher.addr).await;
        stream.write_all(&refused_items(2_500)).await.expect("it is read");
        let status = status(&mut stream).await;
        assert_eq!(publisher.send(&large).await.status, 200);
        if status == 503 {
            break;
        }
        assert_eq!(status, 200);
        deaf.push(stream);
    }
    assert!(deaf.len() >= 5, "{}", deaf.len());
    // This batch fits only where none of these answers is held any more.
    let pushed = broker.contents().len();
    let items = vec!["{\"content\":\"a\"}"; 5_700].join(",");
    let whole_share = post("/batch", "", format!("[{items}]"));
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "the callers are not gone");
        assert_eq!(publisher.send(&large).await.status, 200);
        let mut stream = connect_from(2, publisher.addr).await;
        stream.write_all(&whole_share).await.expect("it is read");
        match status(&mut stream).await {
            200 => break,
            status => assert_eq!(status, 503),
        }
    }
    let of_batches = broker.contents().split_off(pushed);
    let of_batches = of_batches.iter().filter(|content| *content == "a").count();
    assert_eq!(of_batches, 5_700, "something of a batch that was refused was pushed");
    for mut stream in deaf {
        assert!(rest(&mut stream).await.len() < 300_000, "it was not given up");
    }
}

#[actix::test]
async fn a_caller_that_reads_too_slowly_loses_its_connection() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.silence_limit = Duration::from_secs(1);
    });
    let mut stream = connect_from(2, publisher.addr).await;
    stream.write_all(&refused_items(10_000)).await.expect("it is read");
    let reading = async {
        let mut drop = [0; 1_024];
        // The kernel sees that something is read all the time.
        while stream.read(&mut drop).await.is_ok_and(|len| len > 0) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    // The caller could read what the kernel holds for some more seconds.
    timeout(Duration::from_secs(5), reading).await.expect("it is kept");
}

#[actix::test]
async fn a_large_answer_arrives_and_its_connection_is_kept() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.silence_limit = Duration::from_secs(1);
    });
    let mut client = HttpConnection::over(connect(1, publisher.addr, 64 << 10).await);
    let behind = get("/?content=behind").into_bytes();
    client.send([refused_items(10_000), behind, refused_items(9_000)].concat()).await;
    // Not all at once: it is longer under way than it may be without being read.
    for _ in 0..15 {
        client.read_some(64 << 10).await;
        sleep(Duration::from_millis(100)).await;
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None));
    assert_eq!(answer.json().as_array().map(Vec::len), Some(10_000));
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(client.answer().await.json().as_array().map(Vec::len), Some(9_000));
    client.send(get("/?content=last")).await;
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(broker.contents(), ["behind", "last"]);
}

#[actix::test]
async fn a_caller_that_reads_no_answers_is_not_read() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut stream = connect_from(2, publisher.addr).await;
    // Answers without a body, which actix-http makes however many of them wait.
    let request = "OPTIONS / HTTP/1.1\r\nHost: t\r\n\r\n";
    let requests = request.repeat(1_000);
    let mut sent = 0;
    while let Ok(written) =
        timeout(Duration::from_secs(1), stream.write(&requests.as_bytes()[sent % request.len()..]))
            .await
    {
        sent += written.expect("it is kept");
        assert!(sent < 3_000_000, "it is read on");
    }
    // What was held back is answered as soon as there is room for that.
    let mut answered = 0;
    let mut read = vec![0; 64 << 10];
    let mut tail = Vec::new();
    let complete = sent / request.len();
    while answered < complete {
        let len = timeout(DEADLINE, stream.read(&mut read)).await.expect("more").expect("more");
        assert_ne!(len, 0, "it ends after {answered} of {complete}");
        tail.extend_from_slice(&read[..len]);
        let end = tail.windows(4).rposition(|bytes| bytes == b"\r\n\r\n").map_or(0, |at| at + 4);
        answered += tail[..end].windows(4).filter(|bytes| bytes == b"\r\n\r\n").count();
        tail.drain(..end);
    }
}
