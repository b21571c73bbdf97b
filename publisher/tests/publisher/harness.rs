//! A publisher on a port of its own; its broker and its callers are those of `campanile-harness`.

use std::io;
use std::net::SocketAddr;

use actix::spawn;
use campanile_messages::Content;
use campanile_publisher::{PublisherConfig, serve};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use campanile_harness::client::{HttpConnection, get, get_json, get_with, post};
pub use campanile_harness::link::publish;
pub use campanile_harness::link::pushes::{
    Act, Broker, EPOCH, accept, accepted, accepted_counting, silent_at_first, welcome,
};
pub use campanile_harness::{Answer, DEADLINE, reserved_port, until};

pub struct Publisher {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<io::Result<()>>,
}

impl Publisher {
    pub fn start(broker: SocketAddr) -> Self {
        Self::start_with(broker, |_| {})
    }

    pub fn start_with(broker: SocketAddr, change: impl FnOnce(&mut PublisherConfig)) -> Self {
        Self::start_on("127.0.0.1:0", broker, change)
    }

    /// Listens on another address than loopback.
    pub fn start_on(
        address: &str,
        broker: SocketAddr,
        change: impl FnOnce(&mut PublisherConfig),
    ) -> Self {
        let mut config = PublisherConfig::new(broker.to_string());
        config.workers = 1;
        // What requests of the tests have as their `Host`.
        config.allow_hosts = "test, t".parse().expect("hosts");
        change(&mut config);
        let listener = std::net::TcpListener::bind(address).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = spawn(serve(config, vec![listener], async {
            let _ = stopped.await;
        }));
        Self { addr, stop: Some(stop), ended }
    }

    pub fn stop(&mut self) {
        self.stop.take();
    }

    pub async fn ended(&mut self) -> io::Result<()> {
        let ended = timeout(DEADLINE, &mut self.ended).await;
        ended.expect("it ends in time").expect("no panic")
    }

    pub async fn client(&self) -> HttpConnection {
        HttpConnection::connect(self.addr).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(&get(target)).await
    }

    /// One request on its own connection.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn text(content: &'static str) -> Content {
    content.into()
}
