//! Links over TLS, while somebody floods the broker with handshakes.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use campanile_channel::broker::BrokerConfig;
use campanile_channel::tls::TlsSettings;
use campanile_edge::Secret;
use campanile_edge::tls::{Certificate, broker_config};
use campanile_harness::tls::Authority;
use campanile_harness::until;
use campanile_messages::InstanceId;
use campanile_messages::frame::encode_hello;
use harness::{PUBLISHER, TestBroker, offer, within};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// More than twice as many as there are places for handshakes.
const FLOOD: usize = 200;

fn name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

/// Settings of a broker at 127.0.0.1, and of those that trust it.
fn settings() -> (TlsSettings, Arc<ClientConfig>) {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let key = Secret::new(issued.key);
    let certificate = Certificate::from_pem(issued.chain.as_bytes(), &key).unwrap();
    let config = broker_config(vec![certificate], None).unwrap();
    (watch::channel(config).1, authority.client(&[&rustls::version::TLS13]))
}

/// Begins a handshake from 127.0.0.2 again and again, and stalls each time until the broker closes it.
async fn stall(broker: SocketAddr, client: Arc<ClientConfig>, stalled: Arc<AtomicUsize>) {
    loop {
        let mut hello = Vec::new();
        ClientConnection::new(client.clone(), name()).unwrap().write_tls(&mut hello).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut tcp = socket.connect(broker).await.unwrap();
        tcp.write_all(&hello).await.unwrap();
        stalled.fetch_add(1, Ordering::Relaxed);
        while tcp.read(&mut [0; 4_096]).await.is_ok_and(|len| len > 0) {}
    }
}

#[actix::test]
async fn stalled_handshakes_of_one_address_keep_no_link_out() {
    let (tls, client) = settings();
    let config = BrokerConfig { tls: Some(tls), ..BrokerConfig::default() };
    let broker = TestBroker::start(config).await;
    let stalled = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| actix::spawn(stall(broker.address, client.clone(), stalled.clone())))
        .collect();
    until(|| stalled.load(Ordering::Relaxed) >= FLOOD).await;
    let connector = TlsConnector::from(client);
    for link in 0..5 {
        let tcp = TcpStream::connect(broker.address).await.unwrap();
        let linked = async {
            let mut stream = connector.connect(name(), tcp).await?;
            let hello = encode_hello(&offer(InstanceId(link), PUBLISHER));
            stream.write_all(&hello.head).await?;
            stream.read_u8().await
        };
        within(linked).await.unwrap_or_else(|error| panic!("link {link}: {error}"));
    }
    flood.iter().for_each(|one| one.abort());
    broker.stop().await;
}
