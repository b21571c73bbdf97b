//! How much room a stream has, and when it is lost.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::client::Stream;
use super::{KEY, handshake, item};
use crate::harness::{Act, Broker, DEADLINE, Publisher, accept};

#[actix::test]
async fn a_stream_beyond_its_share_is_not_read() {
    let broker = Broker::start(|_| Act::Nothing);
    // An eighth of it are five items of 512 bytes.
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 1_000;
        config.max_pending_bytes = 8 * 5 * 512;
        config.confirm_limit = Duration::from_millis(500);
    });
    let mut stream = Stream::open(&publisher, None).await;
    for number in 0..12 {
        stream.send(&item(number.to_string())).await;
    }
    broker.has_received(5).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(broker.received().len(), 5, "it was read on");
    for _ in 0..12 {
        assert_eq!(stream.answer().await["status"], 504);
    }
}

#[actix::test]
async fn a_caller_that_reads_no_answers_loses_its_stream() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.silence_limit = Duration::from_secs(1);
        config.max_content_bytes = 100_000;
        config.max_pending_bytes = 400_000;
    });
    let mut deaf = Stream::open(&publisher, None).await;
    let text = item("x".repeat(64)).to_string();
    let start = Instant::now();
    // Ends with the connection, not with time: nothing is sent while nothing is taken.
    while start.elapsed() < DEADLINE && deaf.try_send(&text).await {}
    assert!(start.elapsed() < DEADLINE, "it is kept");
    let mut other = Stream::open(&publisher, None).await;
    for _ in 0..3 {
        other.send(&item("x".repeat(100_000))).await;
        assert_eq!(other.answer().await["status"], 200);
    }
}

#[actix::test]
async fn a_caller_that_reads_too_slowly_loses_its_stream() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.silence_limit = Duration::from_secs(1);
    });
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("an option");
    let mut stream = socket.connect(publisher.addr).await.expect("connects");
    stream.write_all(handshake(KEY).as_bytes()).await.expect("it is read");
    let (mut reader, mut writer) = stream.into_split();
    // Items without a content: each has some 100 bytes of answer for 8 bytes.
    let items = b"\x81\x82\0\0\0\0{}".repeat(1_000);
    let writing = actix::spawn(async move { while writer.write_all(&items).await.is_ok() {} });
    let reading = async {
        let mut drop = [0; 1_024];
        // The kernel sees that something is read all the time.
        while reader.read(&mut drop).await.is_ok_and(|len| len > 0) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, reading).await.expect("it is kept");
    writing.await.expect("no panic");
}
