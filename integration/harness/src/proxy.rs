//! A TCP proxy, to put on a link or before a gateway: it disturbs or cuts what passes.

mod mode;
mod relay;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deadline::within;

use relay::{relay, reset, swallow};

pub use mode::{End, Mode, Towards};

/// A proxy on a port of its own. Its connections end with it.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    orders: Arc<Orders>,
    accepting: JoinHandle<()>,
}

struct Orders {
    new: Mutex<Mode>,
    live: Mutex<Vec<watch::Sender<Mode>>>,
    accepted: watch::Sender<usize>,
}

impl Proxy {
    /// A proxy that passes everything to `target`, which need not be there yet. While it is not,
    /// connections are reset.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let orders = Arc::new(Orders {
            new: Mutex::new(Mode::Pass),
            live: Mutex::default(),
            accepted: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, target, orders.clone()));
        Self { address, orders, accepting }
    }

    /// Sets the mode of the open connections.
    pub fn live(&self, mode: Mode) {
        let mut live = self.orders.live.lock().expect("no panic");
        live.retain(|connection| !connection.is_closed());
        for connection in &*live {
            connection.send_replace(mode);
        }
    }

    /// Sets the mode of new connections.
    pub fn new_ones(&self, mode: Mode) {
        *self.orders.new.lock().expect("no panic") = mode;
    }

    /// Sets the mode of all connections.
    pub fn all(&self, mode: Mode) {
        self.new_ones(mode);
        self.live(mode);
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> usize {
        *self.orders.accepted.borrow()
    }

    /// Waits until more than `before` connections were made.
    pub async fn more_accepted_than(&self, before: usize) {
        let mut accepted = self.orders.accepted.subscribe();
        let more = accepted.wait_for(|accepted| *accepted > before);
        within("a new connection to the proxy", more).await.expect("the proxy lives");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.live(Mode::Cut(End::Reset));
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, orders: Arc<Orders>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let mode = *orders.new.lock().expect("no panic");
        let (order, ordered) = watch::channel(mode);
        orders.live.lock().expect("no panic").push(order);
        orders.accepted.send_modify(|accepted| *accepted += 1);
        tokio::spawn(connect(client, target, ordered));
    }
}

async fn connect(client: TcpStream, target: SocketAddr, ordered: watch::Receiver<Mode>) {
    let mode = *ordered.borrow();
    match mode {
        Mode::Cut(_) => reset(client),
        Mode::Swallow => swallow(client, ordered).await,
        _ => match TcpStream::connect(target).await {
            Ok(target) => relay(client, target, ordered).await,
            Err(_) => reset(client),
        },
    }
}
