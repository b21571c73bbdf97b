//! The front of a publisher over TLS.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_edge::tls::{Certificate, Tickets, http_config};
use campanile_edge::{PerAddress, Secret};
use campanile_harness::client::raw::{Client, FIN, TEXT, frame, request};
use campanile_harness::tls::Authority;
use campanile_publisher::{PublisherConfig, default_addresses, fixed_addresses};
use socket2::SockRef;
use tokio::sync::watch;

use crate::harness::{Broker, DEADLINE, Publisher, accept};

/// The settings of a publisher with a certificate of the authority.
fn speak_tls(authority: &Authority) -> impl FnOnce(&mut PublisherConfig) + use<> {
    let issued = authority.issue(&["test"]);
    let key = Secret::new(issued.key);
    let certificate = Certificate::from_pem(issued.chain.as_bytes(), &key).expect("a pair");
    let tickets = Arc::new(Tickets::new("publisher", &[], || 1_800_000_000));
    let settings = http_config(vec![certificate], tickets).expect("a certificate");
    |config| config.tls = Some(watch::channel(settings).1)
}

fn connect(publisher: &Publisher, authority: &Authority) -> Client {
    Client::secure(publisher.addr, &authority.client(rustls::ALL_VERSIONS), "test")
}

/// Runs what waits for a socket, while the publisher has the thread of the test.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[actix::test]
async fn requests_and_streams_are_answered_over_tls() {
    let broker = Broker::start(accept);
    let authority = Authority::new();
    let publisher = Publisher::start_with(broker.addr, speak_tls(&authority));
    let mut client = connect(&publisher, &authority);
    apart(move || {
        // Many requests on one connection, with a body larger than several records.
        for len in [1, 100, 100_000, 5] {
            let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\n\r\n");
            client.send(&[head.as_bytes(), &vec![b'x'; len]].concat());
            let answer = client.read_until("\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert_eq!(client.read_until("ok"), "ok");
        }
        client.send(&request("/stream", &[]));
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.send(&frame(FIN | TEXT, br#"{"content":"streamed"}"#));
        let answer = String::from_utf8(client.recv().payload).expect("UTF-8");
        assert!(answer.starts_with(r#"{"status":200"#), "{answer}");
    })
    .await;
}

#[actix::test]
async fn plain_http_on_a_port_for_tls_gets_a_sentence() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, speak_tls(&Authority::new()));
    let answer = publisher.get("/?content=hi").await;
    assert_eq!(answer.brief(), (400, "this port speaks TLS: use https or wss\n"));
    assert_eq!(broker.contents(), [""; 0]);
}

#[actix::test]
async fn one_connection_too_many_is_closed_without_a_word() {
    let broker = Broker::start(accept);
    let speak_tls = speak_tls(&Authority::new());
    let publisher = Publisher::start_with(broker.addr, |config| {
        speak_tls(config);
        let mut addresses = default_addresses();
        addresses.max_connections = PerAddress::set(1);
        config.addresses = fixed_addresses(addresses);
    });
    let addr = publisher.addr;
    apart(move || {
        let _held = Client::raw(addr);
        let mut refused = Client::raw(addr);
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let _ = refused.stream.read_to_end(&mut answer);
        assert_eq!(String::from_utf8_lossy(&answer), "");
    })
    .await;
}

#[actix::test]
async fn who_stalls_in_the_handshake_is_cut_at_its_limit() {
    let broker = Broker::start(accept);
    let speak_tls = speak_tls(&Authority::new());
    let publisher = Publisher::start_with(broker.addr, |config| {
        speak_tls(config);
        config.head_limit = Duration::from_secs(1);
    });
    let addr = publisher.addr;
    apart(move || {
        for sent in [&b""[..], &[22, 3, 1], &[22, 3, 1, 2, 0, 1]] {
            let mut client = Client::raw(addr);
            client.send(sent);
            let time = client.until_over();
            assert!(time >= Duration::from_millis(900) && time < DEADLINE / 2, "{time:?}");
        }
    })
    .await;
}

#[actix::test]
async fn a_caller_that_reads_too_slowly_loses_its_connection_over_tls() {
    let broker = Broker::start(accept);
    let authority = Authority::new();
    let speak_tls = speak_tls(&authority);
    let publisher = Publisher::start_with(broker.addr, |config| {
        speak_tls(config);
        config.silence_limit = Duration::from_secs(1);
    });
    let mut client = connect(&publisher, &authority);
    apart(move || {
        SockRef::from(&client.stream).set_recv_buffer_size(4 << 10).expect("an option");
        let items = format!("[{}]", vec!["1"; 10_000].join(","));
        let head = "POST /batch HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
        client.send(format!("{head}Content-Length: {}\r\n\r\n{items}", items.len()).as_bytes());
        let begun = Instant::now();
        // The kernel sees that something is read all the time.
        while client.stream.read(&mut [0; 1_024]).is_ok_and(|len| len > 0) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(begun.elapsed() < Duration::from_secs(6), "it is kept: {:?}", begun.elapsed());
    })
    .await;
}
