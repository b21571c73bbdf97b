//! Tests the wake-ups of a connection's driver, which is polled by hand, and the gate before the greeting.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};
use std::time::Duration;

use campanile_channel::tls::Stream;
use campanile_edge::Secret;
use campanile_edge::tls::{Certificate, ServerConfig, Tickets, TlsSession, http_config};
use campanile_harness::tls::Authority;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::AsyncReadExt as _;

use super::*;

const SLICE: &[u8] = b"something";

/// A connection whose peer reads nothing, and whose kernel takes no more.
struct Jammed {
    stream: std::net::TcpStream,
    _peer: std::net::TcpStream,
}

impl Jammed {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        SockRef::from(&listener).set_recv_buffer_size(1).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        SockRef::from(&stream).set_send_buffer_size(1).expect("a socket");
        let (_peer, _) = listener.accept().expect("it connects");
        stream.set_nonblocking(true).expect("a socket");
        // Bytes that are on their way free some room when they arrive.
        let mut full = 0;
        while full < 5 {
            match stream.write(&[0; 4_096]) {
                Ok(1..) => full = 0,
                _ => {
                    full += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        Self { stream, _peer }
    }

    fn socket(&self) -> Arc<Socket> {
        Socket::new(self.tcp(), 1 << 20)
    }

    fn tcp(&self) -> TcpStream {
        let stream = self.stream.try_clone().expect("a descriptor");
        TcpStream::from_std(stream).expect("a runtime")
    }
}

/// The settings of both ends of TLS.
fn settings() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let key = Secret::new(issued.key);
    let certificate = Certificate::from_pem(issued.chain.as_bytes(), &key).expect("a pair");
    let tickets = Arc::new(Tickets::new("test", &[], || 1_800_000_000));
    let server = http_config(vec![certificate], tickets).expect("a certificate");
    (authority.client(&[&rustls::version::TLS13]), server)
}

/// A session whose handshake is done, and its client.
fn session(
    (client, server): &(Arc<ClientConfig>, Arc<ServerConfig>),
) -> (ClientConnection, Box<TlsSession>) {
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("settings");
    let mut session = TlsSession::new(server.clone()).expect("settings");
    while client.is_handshaking() || session.is_handshaking() || client.wants_write() {
        let mut sent = Vec::new();
        client.write_tls(&mut sent).expect("a vector");
        session.receive(&mut sent).expect("it is right");
        let answer = session.unsent().to_vec();
        session.sent(answer.len());
        client.read_tls(&mut &answer[..]).expect("a slice");
        client.process_new_packets().expect("it is right");
    }
    (client, Box::new(session))
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Drive,
    Send,
    Flush,
    SendNow,
    SendControl,
    Hold,
    Release,
    Greet,
    Replay,
    Close,
    Abort,
}

impl Step {
    fn perform(self, socket: &Socket, waker: &Waker) {
        let slice = Bytes::from_static(SLICE);
        match self {
            Self::Drive => {
                let polled = socket.poll_read(&mut Context::from_waker(waker), &mut [0; 8]);
                let is_over = socket.lock().phase == SocketPhase::Broken;
                assert_eq!(polled.is_ready(), is_over);
            }
            Self::Send => drop(socket.send(&slice)),
            Self::Flush => socket.flush(),
            Self::SendNow => drop(socket.send_now(&slice)),
            Self::SendControl => drop(socket.send_control(&slice)),
            // This is only ever the first call on a connection.
            Self::Hold if is_new(socket) => socket.hold(slice),
            Self::Hold => {}
            Self::Release => socket.release(),
            Self::Greet => socket.greet(slice),
            Self::Replay => drop(socket.replay([slice])),
            Self::Close => socket.close(slice, Unsent::Flush, None),
            Self::Abort => socket.abort(),
        }
    }

    /// Whether a [`Socket::flush`] is still owed after this step.
    fn owes_flush(self, owed: bool) -> bool {
        match self {
            Self::Send => true,
            Self::Flush | Self::Replay | Self::Close | Self::Abort => false,
            Self::Drive
            | Self::SendNow
            | Self::SendControl
            | Self::Hold
            | Self::Release
            | Self::Greet => owed,
        }
    }
}

fn is_new(socket: &Socket) -> bool {
    let state = socket.lock();
    state.phase == SocketPhase::Open && !state.has_unsent()
}

/// Tries all sequences of `len` of these steps. Output that the driver has not seen must wake it.
/// Otherwise it would wait for input only, and not until it can write.
fn try_all_orders(steps: &[Step], len: u32) {
    let jammed = Jammed::new();
    try_all_orders_on(|| jammed.socket(), steps, len);
}

fn try_all_orders_on(socket: impl Fn() -> Arc<Socket>, steps: &[Step], len: u32) {
    for order in 0..steps.len().pow(len) {
        let socket = socket();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        // What the driver saw when it was last polled: whether output waits, and the phase.
        let seen = |socket: &Socket| {
            let state = socket.lock();
            let is_held = state.phase == SocketPhase::Held;
            // The driver does not distinguish the phases before the greeting, except for held output.
            (state.has_unsent() && !is_held, state.phase.max(SocketPhase::Open))
        };
        Step::Drive.perform(&socket, &waker);
        let (mut driven, mut owed) = (seen(&socket), false);
        for place in 0..len {
            let step = steps[order / steps.len().pow(place) % steps.len()];
            step.perform(&socket, &waker);
            if step == Step::Drive {
                driven = seen(&socket);
                wakes.0.store(0, Ordering::SeqCst);
            }
            owed = step.owes_flush(owed);
            let is_news = !owed && seen(&socket) != driven;
            let is_woken = wakes.0.load(Ordering::SeqCst) > 0;
            assert!(!is_news || is_woken, "order {order} of {steps:?}, step {place}: {step:?}");
        }
    }
}

#[test]
fn unwritten_output_wakes_the_driver_in_every_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    // The steps do not run as a task, because a task has a budget per turn.
    let _entered = runtime.enter();
    use Step::{
        Abort, Close, Drive, Flush, Greet, Hold, Release, Replay, Send, SendControl, SendNow,
    };
    try_all_orders(&[Drive, Send, Flush, SendNow], 8);
    try_all_orders(&[Drive, SendNow, Close], 8);
    try_all_orders(&[Drive, Hold, Release, SendNow], 7);
    try_all_orders(&[Drive, Hold, Release, Greet, SendNow, SendControl], 5);
    let all =
        [Drive, Send, Flush, SendNow, SendControl, Hold, Release, Greet, Replay, Close, Abort];
    try_all_orders(&all, 4);
}

#[test]
fn unwritten_output_wakes_the_driver_over_tls() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    use Step::{Close, Drive, Flush, Greet, Hold, Release, Send, SendControl, SendNow};
    let (jammed, settings) = (Jammed::new(), settings());
    let socket = || Socket::new(Stream::sealed(jammed.tcp(), session(&settings).1), 1 << 20);
    try_all_orders_on(socket, &[Drive, Send, Flush, SendNow], 4);
    try_all_orders_on(socket, &[Drive, SendNow, SendControl, Close], 4);
    try_all_orders_on(socket, &[Drive, Hold, Release, Greet, SendNow], 3);
}

/// A caller that waits for its output is told only when the kernel has the whole record of it.
#[actix::test]
async fn output_over_tls_counts_as_written_when_its_record_has_left() {
    let (jammed, settings) = (Jammed::new(), settings());
    let (mut client, session) = session(&settings);
    let socket = Socket::new(Stream::sealed(jammed.tcp(), session), 1 << 20);
    let said = Bytes::from(vec![b'x'; 40_000]);
    socket.send_now(&said).expect("room");
    assert!(socket.lock().outbox.written_bytes() > 0, "a record was sealed");
    assert!(!socket.is_flushed());
    let mut written = socket.written().expect("it waits");
    socket.flush();
    assert_eq!(written.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    // What made the kernel full comes first.
    let mut peer = jammed._peer.try_clone().expect("a descriptor");
    peer.set_nonblocking(true).expect("a socket");
    let (mut received, mut buffer) = (Vec::new(), [0; 4_096]);
    let begun = Instant::now();
    let waker = Waker::noop();
    while !socket.is_flushed() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not flushed");
        assert!(written.try_recv().is_err(), "not before it has left");
        let polled = socket.poll_read(&mut Context::from_waker(waker), &mut [0; 8]);
        assert!(polled.is_pending());
        match std::io::Read::read(&mut peer, &mut buffer) {
            Ok(len) => received.extend_from_slice(&buffer[..len]),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    assert_eq!(written.try_recv(), Ok(()));
    assert_eq!(socket.lock().outbox.written_bytes(), 40_000);
    // The filler is zeros, and a record begins with its type.
    let begins = received.iter().position(|byte| *byte != 0).expect("a record");
    received.drain(..begins);
    let mut heard = 0;
    while heard < said.len() {
        let mut sealed = &received[..];
        while !sealed.is_empty() {
            client.read_tls(&mut sealed).expect("a slice");
            client.process_new_packets().expect("it is whole");
            heard += std::io::Read::read(&mut client.reader(), &mut [0; 65_536]).unwrap_or(0);
        }
        received.clear();
        match std::io::Read::read(&mut peer, &mut buffer) {
            Ok(len) => received.extend_from_slice(&buffer[..len]),
            Err(_) => tokio::task::yield_now().await,
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "only {heard} bytes came");
    }
}

/// A connection and its peer.
async fn pair() -> (Arc<Socket>, TcpStream) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (accepted, peer) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (Socket::new(accepted.expect("it comes").0, 1 << 20), peer.expect("it listens"))
}

/// Reads until the end of the stream.
async fn read_all(peer: &mut TcpStream) -> String {
    let (mut text, limit) = (String::new(), Duration::from_secs(20));
    let read = tokio::time::timeout(limit, peer.read_to_string(&mut text)).await;
    read.expect("it ends in time").expect("no reset");
    text
}

async fn end(socket: &Arc<Socket>) {
    Ending::new(socket.clone(), Duration::from_secs(20)).await;
}

#[test]
fn a_socket_fits_into_224_bytes() {
    // That is a size class of the allocator, and the next is 256: one byte more would cost each idle connection
    // 32. Two counters are in front of the socket. The stream takes 32 bytes in a release, and 40 if a test has
    // the runtime with many threads.
    let own_bytes = size_of::<Socket>() - size_of::<TcpStream>();
    assert!(own_bytes + 32 + 2 * size_of::<usize>() <= 224, "{own_bytes}");
}

#[actix::test]
async fn nothing_but_control_frames_leaves_before_the_greeting() {
    for is_released in [true, false] {
        let (socket, mut peer) = pair().await;
        let slice = Bytes::from_static;
        socket.hold(slice(b"head "));
        assert_eq!(socket.send(&slice(b"event ")), Ok(Sent::Ending));
        if is_released {
            socket.release();
        }
        assert_eq!(socket.send_now(&slice(b"event ")), Ok(false));
        socket.replay([slice(b"event ")]);
        assert_eq!(socket.send_control(&slice(b"pong ")), Ok(()));
        assert!(socket.is_open());
        socket.greet(slice(b"greeting "));
        assert_eq!(socket.send_now(&slice(b"event ")), Ok(true));
        socket.greet(slice(b"greeting "));
        socket.close(slice(b"close"), Unsent::Flush, None);
        let (text, ()) = tokio::join!(read_all(&mut peer), end(&socket));
        assert_eq!(text, "head pong greeting event close");
    }
}

#[actix::test]
async fn the_head_waits_for_the_greeting_until_it_is_released() {
    let (socket, mut peer) = pair().await;
    socket.hold(Bytes::from_static(b"head "));
    assert_eq!(socket.lock().outbox.written_bytes(), 0);
    socket.release();
    assert_eq!(socket.lock().outbox.written_bytes(), 5);
    socket.close(Bytes::from_static(b"close"), Unsent::Drop, None);
    socket.greet(Bytes::from_static(b"greeting "));
    let (text, ()) = tokio::join!(read_all(&mut peer), end(&socket));
    assert_eq!(text, "head close", "a closed connection is not greeted");
}

/// Otherwise a caller that asks late would wait for ever.
#[actix::test]
async fn nobody_waits_for_a_greeting_that_came_or_never_will() {
    let end: [fn(&Socket); 3] = [
        |socket| socket.greet(Bytes::from_static(b"greeting")),
        |socket| socket.close(Bytes::from_static(b"close"), Unsent::Flush, None),
        Socket::abort,
    ];
    for end in end {
        let (socket, _peer) = pair().await;
        socket.hold(Bytes::from_static(b"head"));
        let mut greeted = socket.greeted().expect("it is not greeted");
        assert_eq!(greeted.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        end(&socket);
        assert_ne!(greeted.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(socket.greeted().is_none());
    }
}

#[tokio::test]
async fn the_close_and_other_messages_are_told_from_events() {
    let jammed = Jammed::new();
    let socket = jammed.socket();
    let event = Bytes::from(vec![0; 128 << 10]);
    let all = |socket: &Socket| {
        let end = socket.end();
        assert!(end.unsent_bytes > 0, "the kernel takes only a part");
        (end.sent_bytes + end.unsent_bytes, end.other_bytes)
    };
    assert!(socket.send_now(&event).is_ok() && socket.send(&event).is_ok());
    assert_eq!(all(&socket), (256 << 10, 0));
    assert!(socket.send_control(&Bytes::from_static(b"ping")).is_ok());
    assert_eq!(all(&socket), ((256 << 10) + 4, 4));
    let cause = Some(CloseCause::Client);
    socket.close(Bytes::from_static(b"close"), Unsent::Flush, cause);
    assert_eq!(all(&socket), ((256 << 10) + 4, 9), "the close does not wait");
    socket.count_other(1 << 20);
    assert_eq!(socket.end().other_bytes, u16::MAX);
}

#[test]
fn the_count_of_other_messages_fills_a_gap() {
    let counted = size_of::<(ClientAddress, AtomicU16, AtomicU32)>();
    assert_eq!(counted, size_of::<(ClientAddress, AtomicU32)>());
}
