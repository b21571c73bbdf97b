//! The wake-ups of the task that drives a connection, polled by hand.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

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
        // What is on its way for a moment makes room when it has arrived.
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
        let stream = self.stream.try_clone().expect("a descriptor");
        Socket::new(TcpStream::from_std(stream).expect("a runtime"), 1 << 20)
    }
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
    Hold,
    Release,
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
                let is_over = socket.lock().phase == Phase::Broken;
                assert_eq!(polled.is_ready(), is_over);
            }
            Self::Send => drop(socket.send(&slice)),
            Self::Flush => socket.flush(),
            Self::SendNow => drop(socket.send_now(&slice)),
            // Only ever the first thing on a connection.
            Self::Hold if socket.lock().outbox.is_empty() => socket.hold(slice),
            Self::Hold => {}
            Self::Release => socket.release(),
            Self::Replay => socket.replay([slice]),
            Self::Close => socket.close(slice, Waiting::Flush),
            Self::Abort => socket.abort(),
        }
    }

    /// Whether somebody still owes a [`Socket::flush`] after this.
    fn owes_flush(self, owed: bool) -> bool {
        match self {
            Self::Send => true,
            Self::Flush | Self::Replay | Self::Close | Self::Abort => false,
            Self::Drive | Self::SendNow | Self::Hold | Self::Release => owed,
        }
    }
}

/// Tries all orders of `len` of these steps. Output that the driver has not seen must wake it, or it
/// would wait for its peer and never for room to write.
fn try_all_orders(steps: &[Step], len: u32) {
    let jammed = Jammed::new();
    for order in 0..steps.len().pow(len) {
        let socket = jammed.socket();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        // What the driver saw at its last turn: how much waits, and how far the connection is.
        let seen = |socket: &Socket| {
            let state = socket.lock();
            (state.outbox.queued_bytes() > 0 && !state.is_held, state.phase)
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
fn output_that_the_kernel_does_not_take_wakes_the_driver_in_every_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    // Not on it: what it lets a task do in one turn is limited.
    let _entered = runtime.enter();
    use Step::{Abort, Close, Drive, Flush, Hold, Release, Replay, Send, SendNow};
    try_all_orders(&[Drive, Send, Flush, SendNow], 8);
    try_all_orders(&[Drive, SendNow, Close], 8);
    try_all_orders(&[Drive, Hold, Release, SendNow], 7);
    try_all_orders(&[Drive, Send, Flush, SendNow, Hold, Release, Replay, Close, Abort], 4);
}
