use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as Caller};
use std::sync::Arc;
use std::task::Waker;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::*;
use crate::http::HttpError;
use crate::http::inbound::MAX_TARGET_BYTES;
use crate::orders::Wakes;

const DEADLINE: Duration = Duration::from_secs(20);

/// A connection and its caller, which never waits.
async fn connection(head_limit: Duration) -> (CallerStream, Caller) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // More than a task may read in a few turns.
    listener.set_recv_buffer_size(4 << 20).expect("an option");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    listener.listen(1).expect("listens");
    let to = listener.local_addr().expect("bound").as_socket().expect("an address");
    let caller = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    caller.set_send_buffer_size(4 << 20).expect("an option");
    caller.connect(&to.into()).expect("connects");
    caller.set_nonblocking(true).expect("an option");
    let (tcp, _) = listener.accept().expect("accepts");
    tcp.set_nonblocking(true).expect("an option");
    let tcp = TcpStream::from_std(tcp.into()).expect("a stream");
    (CallerStream::new(tcp, head_limit, DEADLINE), caller.into())
}

/// Reads once as actix-http does.
fn read(stream: &mut CallerStream, cx: &mut Context<'_>) -> Poll<String> {
    let mut bytes = [0; 4 << 10];
    let mut bytes = ReadBuf::new(&mut bytes);
    let read = Pin::new(stream).poll_read(cx, &mut bytes);
    read.map(|read| {
        read.expect("no error");
        String::from_utf8_lossy(bytes.filled()).into_owned()
    })
}

/// Sends until the kernel takes no more.
fn flood(caller: &mut Caller, piece: &[u8]) -> usize {
    let mut sent = 0;
    while let Ok(bytes) = caller.write(piece) {
        sent += bytes;
    }
    sent
}

#[actix::test]
async fn a_flood_does_not_stop_the_timer_of_a_head() {
    for begin in ["", "GET /?content="] {
        let limit = Duration::from_millis(20);
        let (mut stream, mut caller) = connection(limit).await;
        let piece = if begin.is_empty() { [b'\n'; 4 << 10] } else { [b'x'; 4 << 10] };
        caller.write_all(begin.as_bytes()).expect("taken");
        let mut begun: Option<Instant> = None;
        // There is more in each turn than the task may read at once.
        let passed_on = loop {
            flood(&mut caller, &piece);
            let is_over = begun.is_some_and(|begun| begun.elapsed() > limit);
            if let Poll::Ready(passed_on) = poll_fn(|cx| Poll::Ready(read(&mut stream, cx))).await {
                break passed_on;
            }
            assert!(!is_over, "{begin:?}: its time is over");
            begun.get_or_insert_with(Instant::now);
            yield_now().await;
        };
        assert!(passed_on.starts_with("GET /| HTTP/1.1\r\n"), "{passed_on}");
        let (refusal, max_bytes) = (stream.turn.take_refusal(), MAX_TARGET_BYTES);
        // The flood may reach the bound of a URL before the time is over.
        let is_too_long = !begin.is_empty() && refusal == Some(HttpError::UrlTooLong { max_bytes });
        assert!(is_too_long || refusal == Some(HttpError::SlowHead { limit }), "{refusal:?}");
    }
}

#[actix::test]
async fn a_flood_leaves_its_connection_time_to_write() {
    let (mut stream, mut caller) = connection(DEADLINE).await;
    // Nothing behind it is passed on.
    caller.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("taken");
    let request = poll_fn(|cx| read(&mut stream, cx)).await;
    assert!(request.starts_with("GET / "), "{request}");
    stream.turn.end();
    assert!(flood(&mut caller, &[b'x'; 4 << 10]) > 1 << 20, "that is no flood");
    stream.tcp.tcp().readable().await.expect("no error");
    yield_now().await;
    let written = poll_fn(|cx| {
        // As actix-http does it in one turn.
        assert_eq!(read(&mut stream, cx), Poll::Pending);
        Poll::Ready(Pin::new(&mut stream).poll_write(cx, b"answer"))
    })
    .await;
    assert!(matches!(written, Poll::Ready(Ok(6))), "{written:?}");
}

#[actix::test]
async fn a_request_waits_until_the_last_answer_was_taken() {
    let (mut stream, mut caller) = connection(DEADLINE).await;
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    caller.write_all((request("/1") + &request("/2")).as_bytes()).expect("taken");
    let first = poll_fn(|cx| read(&mut stream, cx)).await;
    assert!(first.starts_with("GET /1 "), "{first}");
    // The caller reads nothing of an endless answer.
    let piece = [b'x'; 64 << 10];
    let cx = &mut Context::from_waker(Waker::noop());
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        match Pin::new(&mut stream).poll_write(cx, &piece) {
            Poll::Ready(written) => drop(written.expect("no error")),
            Poll::Pending if stream.patience.is_waiting() => break,
            Poll::Pending => {}
        }
        yield_now().await;
    }
    stream.turn.end();
    assert_eq!(read(&mut stream, cx), Poll::Pending, "it is not taken");
    // When it reads, the end of the answer is taken.
    loop {
        assert!(start.elapsed() < DEADLINE, "nothing is taken");
        let _ = caller.read(&mut [0; 64 << 10]);
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.waker();
        match Pin::new(&mut stream).poll_write(&mut Context::from_waker(&waker), b"end") {
            Poll::Ready(written) => {
                assert_eq!(written.expect("no error"), 3);
                assert_eq!(wakes.count(), 1, "the second request sleeps for ever");
                break;
            }
            Poll::Pending => yield_now().await,
        }
    }
    let second = poll_fn(|cx| read(&mut stream, cx)).await;
    assert!(second.starts_with("GET /2 "), "{second}");
}
