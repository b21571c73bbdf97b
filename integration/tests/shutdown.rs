//! SIGTERM, SIGINT and SIGQUIT: everybody is notified, what has begun is finished, and it does not take
//! long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_harness::{
    Cluster, Frame, Process, PushApi, Signal, Websocket, connect, exchange, handshake, within,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

/// Docker kills 10 s after the signal.
const GONE_WITHIN: Duration = Duration::from_secs(9);

#[tokio::test]
async fn a_gateway_that_ends_closes_its_clients_with_1001() {
    for signal in SIGNALS {
        let mut cluster = Cluster::of(2).gateway("--drain 300ms").start().await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(cluster.client(0, &[]).await);
            clients.push(cluster.client_v1(0, &["g"]).await);
        }
        let mut other = cluster.client(1, &[]).await;
        cluster.push[0].everyone("before").await;
        cluster.gateways[0].signal(signal);
        for client in clients {
            assert_eq!(client.closed().await, (1, 1001));
        }
        assert_eq!(cluster.gateways[0].ended().await.code(), Some(0), "{signal:?}");
        cluster.push[0].everyone("last").await;
        assert_eq!(other.texts_until("last").await, ["before"]);
    }
}

#[tokio::test]
async fn a_gateway_that_ends_takes_no_new_clients() {
    let cluster = Cluster::of(1).gateway("--drain 20s --shutdown-limit 20s").start().await;
    let client = cluster.client(0, &[]).await;
    cluster.gateways[0].signal(Signal::TERM);
    cluster.gateways[0].said("shutting down, closing the connections").await;
    // No answer at all, so that a proxy tries another gateway.
    for request in [handshake("/"), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()] {
        let mut newcomer = connect(cluster.gateway_addresses[0], None).await;
        newcomer.write_all(request.as_bytes()).await.expect("an open connection");
        let mut answer = Vec::new();
        let end = within("the end", newcomer.read_to_end(&mut answer)).await;
        assert!(end.is_ok() && answer.is_empty(), "{end:?} {:?}", String::from_utf8_lossy(&answer));
    }
    let check = b"GET /health/ready HTTP/1.0\r\n\r\n";
    let answer = exchange(cluster.gateway_addresses[0], check).await;
    assert_eq!((answer.status, &*answer.body), (503, "draining\n"));
    assert_eq!(client.closed().await, (0, 1001));
}

/// A push whose body is incomplete, and which the publisher is already reading.
async fn half_a_push(publisher: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(publisher).await.expect("a publisher");
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
                Expect: 100-continue\r\n\r\nhe";
    stream.write_all(head.as_bytes()).await.expect("an open connection");
    let mut begun = [0; 25];
    within("it is asked for the rest", stream.read_exact(&mut begun)).await.expect("an answer");
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn finish_push(mut stream: TcpStream) -> String {
    stream.write_all(b"llo").await.expect("an open connection");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    within("the answer", read).await.expect("an answer");
    String::from_utf8(answer).expect("UTF-8")
}

#[tokio::test]
async fn a_publisher_that_ends_answers_requests_in_progress() {
    for signal in SIGNALS {
        let mut cluster = Cluster::of(1).start().await;
        let mut client = cluster.client(0, &[]).await;
        let push = half_a_push(cluster.push[0].address).await;
        cluster.publishers[0].signal(signal);
        cluster.publishers[0].said("answering the requests under way").await;
        let answer = finish_push(push).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        assert_eq!(client.text().await, "hello");
        assert_eq!(cluster.publishers[0].ended().await.code(), Some(0), "{signal:?}");
        assert!(TcpStream::connect(cluster.push[0].address).await.is_err());
    }
}

#[tokio::test]
async fn a_publisher_ends_within_its_limit_despite_a_stuck_caller() {
    let mut cluster = Cluster::of(0).publisher("--shutdown-limit 1s").start().await;
    let _push = half_a_push(cluster.push[0].address).await;
    let _idle = TcpStream::connect(cluster.push[0].address).await.expect("a publisher");
    let told = Instant::now();
    cluster.publishers[0].signal(Signal::TERM);
    assert_eq!(cluster.publishers[0].ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "it took {:?}", told.elapsed());
}

#[tokio::test]
async fn a_broker_that_ends_delivers_what_it_accepted() {
    for signal in SIGNALS {
        let mut cluster = Cluster::of(2).start().await;
        let mut clients = [cluster.client(0, &[]).await, cluster.client(1, &[]).await];
        let large = "x".repeat(100_000);
        for _ in 0..20 {
            let answer = cluster.push[0].post(&[], Some("text/plain"), large.clone()).await;
            assert_eq!(answer.status, 200);
        }
        cluster.broker.signal(signal);
        assert_eq!(cluster.broker.ended().await.code(), Some(0), "{signal:?}");
        for client in &mut clients {
            for number in 0..20 {
                assert!(client.next().await == Frame::Text(large.clone()), "event {number}");
            }
        }
        cluster.start_broker_again().await;
        cluster.push[0].everyone("last").await;
        for client in &mut clients {
            assert_eq!(client.texts_until("last").await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_not_with_0() {
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::QUIT, Signal::INT, 130),
        (Signal::INT, Signal::QUIT, 131),
    ] {
        let mut cluster = Cluster::of(1).gateway("--drain 60s --shutdown-limit 60s").start().await;
        // The gateway waits for a client that does not answer its close.
        let _clients = [cluster.client(0, &[]).await, cluster.client(0, &[]).await];
        let _more = [cluster.client(0, &[]).await, cluster.client(0, &[]).await];
        cluster.gateways[0].signal(first);
        cluster.gateways[0].said("shutting down, closing the connections").await;
        assert!(cluster.gateways[0].is_running());
        cluster.gateways[0].signal(second);
        assert_eq!(cluster.gateways[0].ended().await.code(), Some(code));
        cluster.gateways[0].said("ended at once by a second signal").await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_the_shutdown() {
    let mut cluster = Cluster::of(1)
        .gateway("--drain 0s --shutdown-limit 1s --max-outbox 32MiB --workers 1")
        .start()
        .await;
    let _stuck = Websocket::with_small_buffer(cluster.gateway_addresses[0], &[]).await;
    for _ in 0..10 {
        let answer = cluster.push[0].post(&[], Some("text/plain"), "x".repeat(1 << 20)).await;
        assert_eq!(answer.status, 200);
    }
    let told = Instant::now();
    cluster.gateways[0].signal(Signal::TERM);
    assert_eq!(cluster.gateways[0].ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "it took {:?}", told.elapsed());
}

/// A whole cluster in one process with these flags, and the addresses of its services.
async fn up_with(flags: &[&str]) -> (Process, SocketAddr, PushApi) {
    let process = Process::start(
        &[
            &[
                "up",
                "--broker-listen=127.0.0.1:0",
                "--gateway-listen=127.0.0.1:0",
                "--publisher-listen=127.0.0.1:0",
            ],
            flags,
        ]
        .concat(),
    );
    let address = async |service: &str| {
        let line = process.said(&format!("  {service} ")).await;
        line.split_whitespace().last().and_then(|a| a.parse().ok()).expect("an address")
    };
    let (gateway, publisher) = (address("gateway").await, address("publisher").await);
    (process, gateway, PushApi::new(publisher))
}

async fn up() -> (Process, SocketAddr, PushApi) {
    up_with(&["--gateway-drain=300ms"]).await
}

/// Ends it by SIGTERM, before Docker would kill it.
async fn gone_in_time(process: &mut Process) {
    let told = Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(told.elapsed() < GONE_WITHIN, "it took {:?}", told.elapsed());
}

#[tokio::test]
async fn up_is_gone_in_time_though_nobody_closes_or_finishes() {
    let (mut up, gateway, push) = up_with(&[]).await;
    let _silent = Websocket::plain(gateway, &[]).await;
    let _stuck = half_a_push(push.address).await;
    gone_in_time(&mut up).await;
}

#[tokio::test]
async fn a_gateway_is_gone_in_time_though_its_client_does_not_close() {
    let mut cluster = Cluster::of(1).start().await;
    let _silent = cluster.client(0, &[]).await;
    gone_in_time(&mut cluster.gateways[0]).await;
}

#[tokio::test]
async fn a_publisher_is_gone_in_time_despite_a_stuck_caller() {
    let mut cluster = Cluster::of(0).start().await;
    let _stuck = half_a_push(cluster.push[0].address).await;
    gone_in_time(&mut cluster.publishers[0]).await;
}

#[tokio::test]
async fn all_are_gone_in_time_though_their_broker_stands_still() {
    let mut cluster = Cluster::of(1).start().await;
    let _silent = cluster.client(0, &[]).await;
    cluster.broker.signal(Signal::STOP);
    let push = cluster.push[0].clone();
    let _asking = tokio::spawn(async move { push.get(&[("content", "who hears this")]).await });
    let Cluster { gateways, publishers, .. } = &mut cluster;
    tokio::join!(gone_in_time(&mut gateways[0]), gone_in_time(&mut publishers[0]));
    cluster.broker.signal(Signal::CONT);
}

#[tokio::test]
async fn a_broker_is_gone_in_time_though_its_links_stand_still() {
    let mut cluster = Cluster::of(1).start().await;
    cluster.gateways[0].signal(Signal::STOP);
    cluster.publishers[0].signal(Signal::STOP);
    gone_in_time(&mut cluster.broker).await;
}

#[tokio::test]
async fn a_signal_without_a_meaning_ends_nothing() {
    let (mut up, gateway, push) = up().await;
    let mut client = Websocket::plain(gateway, &[]).await;
    for (signal, name) in
        [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")]
    {
        up.signal(signal);
        up.said(name).await;
        push.everyone(name).await;
        assert_eq!(client.text().await, name);
    }
    drop(client);
    gone_in_time(&mut up).await;
}

#[tokio::test]
async fn a_whole_cluster_in_one_process_ends_in_order() {
    for signal in SIGNALS {
        let (mut process, gateway, push) = up().await;
        let clients = [Websocket::plain(gateway, &[]).await, Websocket::v1(gateway, &[]).await];
        push.everyone("before").await;
        let under_way = half_a_push(push.address).await;
        process.signal(signal);
        process.said("answering the requests under way").await;
        assert!(finish_push(under_way).await.ends_with("ok"));
        for client in clients {
            assert_eq!(client.closed().await, (2, 1001), "both events, then the close");
        }
        assert_eq!(process.ended().await.code(), Some(0), "{signal:?}");
        assert!(TcpStream::connect(gateway).await.is_err());
    }
}
