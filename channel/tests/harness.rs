//! A broker on a port of its own; its peers are those of `campanile-harness`.

#![allow(dead_code, unused_imports, reason = "every test file uses its own part of the harness")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use campanile_channel::broker::{BrokerConfig, serve};
use campanile_harness::DEADLINE;
use campanile_messages::{Address, Audience, ConnectionId, Event, WorkerId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

pub use campanile_harness::link::{PUBLISHER, Peer, group, offer, publish};

/// A running broker.
pub struct TestBroker {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<io::Result<()>>,
}

impl TestBroker {
    pub async fn start(config: BrokerConfig) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), config).await
    }

    /// The port of a broker that has just stopped may be in use for a moment.
    pub async fn start_on(address: SocketAddr, config: BrokerConfig) -> Self {
        let until = Instant::now() + DEADLINE;
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            sleep(Duration::from_millis(10)).await;
        };
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::task::spawn_local(serve(config, vec![listener], async {
            let _ = stopped.await;
        }));
        Self { address, stop, ended }
    }

    /// Asks the broker to shut down.
    pub fn ask_to_stop(self) -> JoinHandle<io::Result<()>> {
        self.stop.send(()).unwrap();
        self.ended
    }

    pub async fn stop(self) {
        within(self.ask_to_stop()).await.unwrap().unwrap();
    }

    /// Ends the broker as a crash would: no goodbye.
    pub async fn crash(self) {
        self.ended.abort();
        assert!(within(self.ended).await.unwrap_err().is_cancelled());
    }
}

impl From<&TestBroker> for SocketAddr {
    fn from(broker: &TestBroker) -> Self {
        broker.address
    }
}

pub fn address(worker: WorkerId) -> Address {
    Address { worker, connection: ConnectionId(7) }
}

pub fn event(sequence: u64, audience: Audience, content: &'static str) -> Event {
    Event { sequence, audience, except: None, content: content.into(), from: None }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    campanile_harness::within("what a test of a link waits for", future).await
}
