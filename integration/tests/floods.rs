//! Floods from one address against real processes: honest clients get everything, and no bound is passed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use campanile_harness::{
    Answer, Cluster, HttpConnection, Process, Signal, Websocket, handshake, raise_file_limit,
    within,
};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Where the flood comes from.
const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Where honest clients come from.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// How many connections one address may have in these tests.
const MAX_PER_ADDRESS: usize = 200;

/// How many connections a flood makes.
const FLOOD: usize = 1_500;

async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((source, 0).into()).expect("an address of this host");
    within("a connection", socket.connect(to)).await.expect("a listener")
}

async fn send_from(source: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect_from(source, to).await;
    // The other side may end it at any time.
    let _ = stream.write_all(bytes).await;
    stream
}

async fn answer_to(source: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut connection = HttpConnection::over(connect_from(source, to).await);
    // What is refused before it was read to its end is answered, too.
    let _ = connection.stream.write_all(bytes).await;
    within("an answer", connection.last_answer()).await
}

async fn honest_client(gateway: SocketAddr, group: &str) -> Websocket {
    let stream = connect_from(HONEST, gateway).await;
    Websocket::open(stream, &[group], Some("campanile.v1")).await.greeted().await
}

/// How many connections a process has.
fn sockets(process: &Process) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("a process");
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Floods a gateway with connections of which each begins with one of `beginnings`, and holds all of
/// them, while an honest client listens and others come and go.
async fn flood(cluster: &Cluster, beginnings: &[&[u8]]) -> Vec<TcpStream> {
    let gateway = cluster.gateway_addresses[0];
    let mut listener = honest_client(gateway, "news").await;
    let mut held = Vec::new();
    for turn in 0..15 {
        let more = (0..FLOOD / 15).map(|at| {
            let beginning = beginnings[at % beginnings.len()];
            send_from(HOSTILE, gateway, beginning)
        });
        held.extend(join_all(more).await);
        let begun = Instant::now();
        let mut newcomer = honest_client(gateway, "news").await;
        let content = format!("turn {turn}");
        cluster.push[0].group("news", &content).await;
        assert_eq!(listener.json().await["content"], content);
        assert_eq!(newcomer.json().await["content"], content);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    held
}

async fn flooded_cluster(flags: &str) -> Cluster {
    raise_file_limit();
    let per_address = format!("--max-connections-per-address {MAX_PER_ADDRESS} {flags}");
    Cluster::of(1).gateway(&per_address).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_flood_from_one_address_keeps_nobody_out() {
    let mut cluster = flooded_cluster("").await;
    let idle = sockets(&cluster.gateways[0]);
    let plain = handshake("/?group=news");
    let v1 = plain.replacen("Upgrade:", "Sec-WebSocket-Protocol: campanile.v1\r\nUpgrade:", 1);
    let held = flood(&cluster, &[v1.as_bytes(), plain.as_bytes()]).await;
    // Those that are refused at the moment, and honest clients, come on top.
    let now = sockets(&cluster.gateways[0]);
    assert!(now < idle + MAX_PER_ADDRESS + 64 + 100, "{idle} before, {now} now");
    // The address itself gets an answer.
    let refused = answer_to(HOSTILE, cluster.gateway_addresses[0], plain.as_bytes()).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    drop(held);
    assert!(cluster.gateways[0].is_running());
    assert_eq!(cluster.gateways[0].count("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_half_open_handshakes_keeps_nobody_out() {
    // Those that say nothing would fill the gateway, if they were not limited per address.
    let cluster = flooded_cluster("--max-connections 600 --handshake-limit 2s").await;
    let request = handshake("/");
    let half = &request.as_bytes()[..request.len() / 2];
    let idle = sockets(&cluster.gateways[0]);
    let held = flood(&cluster, &[b"", half, b"G"]).await;
    let now = sockets(&cluster.gateways[0]);
    assert!(now < idle + MAX_PER_ADDRESS + 64 + 100, "{idle} before, {now} now");
    // Each is over after the time for a handshake.
    let over = join_all(held.into_iter().map(|mut stream| async move {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }));
    within("the end of all", over).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_garbage_frames_delays_nobody() {
    const CONNECTIONS: usize = 200;
    const FRAMES: usize = 5_000;
    let mut cluster = flooded_cluster("").await;
    let gateway = cluster.gateway_addresses[0];
    let mut honest = honest_client(gateway, "news").await;
    let v1 = handshake("/?group=news").replacen(
        "Upgrade:",
        "Sec-WebSocket-Protocol: campanile.v1\r\nUpgrade:",
        1,
    );
    // Masked with zeros: a text that is no JSON, an empty binary message, a ping, a pong.
    let garbage: [&[u8]; 4] = [
        b"\x81\x84\0\0\0\0junk",
        b"\x82\x80\0\0\0\0",
        b"\x89\x84\0\0\0\0ping",
        b"\x8a\x80\0\0\0\0",
    ];
    let bytes = [v1.as_bytes(), &garbage.concat().repeat(FRAMES / garbage.len())].concat();
    let hostile = tokio::spawn(async move {
        for _ in 0..CONNECTIONS / 10 {
            let some = (0..10).map(|_| async {
                let mut stream = send_from(HOSTILE, gateway, &bytes).await;
                let mut answer = Vec::new();
                let reading = stream.read_to_end(&mut answer);
                let _ = tokio::time::timeout(Duration::from_millis(300), reading).await;
            });
            join_all(some).await;
        }
    });
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    while !hostile.is_finished() {
        let begun = Instant::now();
        let content = format!("during {sent}");
        cluster.push[0].group("news", &content).await;
        assert_eq!(honest.json().await["content"], content);
        slowest = slowest.max(begun.elapsed());
        sent += 1;
    }
    hostile.await.expect("no panic");
    assert!(sent > 0 && slowest < Duration::from_secs(5), "{sent} in at most {slowest:?}");
    assert!(cluster.gateways[0].is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_stop_sending_is_closed_with_4429() {
    let cluster = flooded_cluster("--max-messages-per-second 5 --max-joins-per-second 2").await;
    let mut client = honest_client(cluster.gateway_addresses[0], "news").await;
    for _ in 0..1_000 {
        client.say(r#"{"type":"ping"}"#).await;
    }
    let (messages, code) = client.closed().await;
    assert_eq!(code, 4429);
    assert!(messages >= 100, "{messages}");
}

/// A PROXY header from an address.
fn proxied(client: &str, request: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 4660 80\r\n{request}").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_headers_that_never_end_keep_nobody_out() {
    let trusted = "--proxy-protocol --trusted-proxies 127.0.0.0/29";
    let cluster = Cluster::of(1)
        .gateway(&format!("{trusted} --max-connections 400 --handshake-limit 1s"))
        .publisher(&format!("{trusted} --max-connections 400 --head-limit 1s"))
        .start()
        .await;
    for port in [cluster.gateway_addresses[0], cluster.push[0].address] {
        let begun = Instant::now();
        let slow = (0..300).map(|at| {
            let beginnings =
                [&b"PROXY TCP4 192.0."[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\xff", b""];
            send_from(HOSTILE, port, beginnings[at % 3])
        });
        let mut slow = join_all(slow).await;
        let request = proxied("192.0.2.1", "GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(answer_to(HONEST, port, &request).await.status, 200);
        // One more byte now and then does not help.
        let trickle = join_all(slow.iter_mut().map(|stream| async {
            while stream.write_all(b"1").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }));
        within("the end of all", trickle).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoofed_proxy_header_is_never_believed() {
    let trusted = "--proxy-protocol --trusted-proxies 127.0.0.3 --max-connections-per-address 1";
    let cluster = Cluster::of(1).gateway(trusted).publisher(trusted).start().await;
    let request = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for port in [cluster.gateway_addresses[0], cluster.push[0].address] {
        // From anywhere else, the connection ends without an answer.
        let mut spoofed = send_from(HOSTILE, port, &proxied("192.0.2.1", request)).await;
        let mut answer = Vec::new();
        let _ = within("the end", spoofed.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
        // Behind the proxy's own header, another one is no request.
        let twice = proxied("192.0.2.1", str::from_utf8(&proxied("192.0.2.9", request)).unwrap());
        assert_eq!(answer_to(HONEST, port, &twice).await.status, 400);
        // Another client, because the end of a connection takes a moment.
        assert_eq!(answer_to(HONEST, port, &proxied("192.0.2.2", request)).await.status, 200);
    }
    let gateway = cluster.gateway_addresses[0];
    let open = |client| proxied(client, &handshake("/"));
    let mut held = send_from(HONEST, gateway, &open("192.0.2.3")).await;
    let mut status_line = [0; 12];
    within("an answer", held.read_exact(&mut status_line)).await.expect("an answer");
    assert_eq!(&status_line, b"HTTP/1.1 101");
    assert_eq!(answer_to(HONEST, gateway, &open("192.0.2.3")).await.status, 503);
    assert_eq!(answer_to(HONEST, gateway, &open("192.0.2.4")).await.status, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_changes_the_limits_and_closes_nobody() {
    let broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    let broker_address = broker.address("the broker listens").await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let write = |max: usize| {
        let settings = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nbroker = \"{broker_address}\"\n\
             max_connections_per_address = {max}\n"
        );
        std::fs::write(file.path(), settings).expect("it can be written");
    };
    write(2);
    let config = file.path().to_str().expect("UTF-8");
    let gateway_process = Process::start(&["gateway", "--config", config]);
    let gateway = gateway_process.address("the gateway listens").await;
    gateway_process.said("the gateway takes connections").await;
    let request = handshake("/");
    let status = async || answer_to(HOSTILE, gateway, request.as_bytes()).await.status;
    let mut held = Vec::new();
    for _ in 0..2 {
        let stream = connect_from(HOSTILE, gateway).await;
        held.push(Websocket::open(stream, &[], None).await.greeted().await);
    }
    assert_eq!(status().await, 503);
    write(1);
    gateway_process.reread().await;
    assert_eq!(status().await, 503);
    write(3);
    gateway_process.signal(Signal::HUP);
    campanile_harness::eventually("a third connection", async || {
        (status().await == 101).then_some(())
    })
    .await;
    assert_eq!(gateway_process.count("only with a restart"), 0);
    for client in held {
        client.leave_for_good().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_need_networks_that_are_trusted() {
    for (flags, named) in [
        ("gateway --proxy-protocol", "--trusted-proxies"),
        ("publisher --proxy-protocol", "--trusted-proxies"),
        ("gateway --trusted-proxies 10.0.0.1/8", "10.0.0.0/8"),
        ("gateway --trusted-proxies proxy.internal", "10.0.0.0/8,192.0.2.7"),
    ] {
        let mut process = Process::start(&flags.split(' ').collect::<Vec<_>>());
        let status = process.ended().await;
        assert!(!status.success(), "{flags}");
        assert!(process.count(named) > 0, "{flags}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abused_heads_and_paths_get_an_error_and_harm_nobody() {
    let mut cluster = Cluster::of(1).start().await;
    let mut honest = honest_client(cluster.gateway_addresses[0], "news").await;
    let long = "x".repeat(70 << 10);
    let many = "X-Header: x\r\n".repeat(1_000);
    for target in ["/../../etc/passwd", "//", "/%00", "/%2e%2e/", "/events/..", "*", "x", "/é"] {
        for port in [cluster.gateway_addresses[0], cluster.push[0].address] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let status = answer_to(HOSTILE, port, request.as_bytes()).await.status;
            assert!((400..500).contains(&status), "{target}: {status}");
        }
    }
    for head in [
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
            .to_owned(),
    ] {
        for port in [cluster.gateway_addresses[0], cluster.push[0].address] {
            let answer = answer_to(HOSTILE, port, head.as_bytes()).await;
            let shown: String = head.chars().take(80).collect();
            assert!(answer.status >= 400 && answer.status < 500, "{shown:?}: {answer:?}");
        }
    }
    cluster.push[0].group("news", "after").await;
    assert_eq!(honest.json().await["content"], "after");
    assert!(cluster.gateways[0].is_running() && cluster.publishers[0].is_running());
    let panicked = cluster.gateways[0].count("panicked") + cluster.publishers[0].count("panicked");
    assert_eq!(panicked, 0);
}
