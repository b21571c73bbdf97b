//! The access log: a line for each push and for each connection that has ended, in both formats.

use std::net::SocketAddr;

use campanile_harness::client::raw::{Client, request, stream};
use campanile_harness::{
    Process, Signal, Websocket, command, connect, eventually, exchange, output_of,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// A name of a key or user that looks like the rest of a line, and like its end.
const HOSTILE: &str = "a\" status=1 \\\"},{\"level\":\u{2028}\u{1f514}";

/// `up` with a key, and a directory for its settings.
struct Cluster {
    up: Process,
    key: String,
    gateway: SocketAddr,
    publisher: SocketAddr,
    _directory: TempDir,
}

impl Cluster {
    async fn start(format: &str, flags: &[&str]) -> Self {
        let make =
            ["key", "make", "--name", HOSTILE, "--scope", "everyone", "--scope", "group:news"];
        let made = output_of(&mut command(&make));
        let made = String::from_utf8(made.stdout).expect("UTF-8");
        let key = made.lines().find(|line| line.starts_with("cpk_")).expect("a key").to_owned();
        let entry = &made[made.find("[[keys]]").expect("an entry")..];
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("campanile.toml");
        std::fs::write(&file, entry).expect("it can be written");
        let config = ["--config", file.to_str().expect("UTF-8"), "--log-format", format];
        let listen = ["--broker-listen", "--gateway-listen", "--publisher-listen"];
        let mut args = vec!["up", "--gateway-admin-listen=off", "--gateway-drain=100ms"];
        args.extend(listen.iter().flat_map(|flag| [flag, "127.0.0.1:0"]));
        let up = Process::start(&[&args[..], &config, flags].concat());
        let (gateway, publisher) = (at(&up, "  gateway  ").await, at(&up, "  publisher  ").await);
        Self { up, key, gateway, publisher, _directory: directory }
    }

    /// The status of a request with the key, or without one.
    async fn push(&self, head: &str, body: &str, has_key: bool) -> u16 {
        let key =
            if has_key { format!("Authorization: Bearer {}\r\n", self.key) } else { "".into() };
        let length = body.len();
        let request =
            format!("{head}\r\nHost: localhost\r\n{key}Content-Length: {length}\r\n\r\n{body}");
        exchange(self.publisher, request.as_bytes()).await.status
    }

    /// Pushes in each way, and lets a client of each kind come and go. Returns the address of the first.
    async fn be_used(&self) -> SocketAddr {
        let tcp = connect(self.gateway, None).await;
        let client = tcp.local_addr().expect("connected");
        let query = format!("?group=news&user={}", percent_encoded(HOSTILE));
        let mut listener =
            Websocket::open_with(tcp, &query, Some("campanile.v1")).await.greeted().await;
        let events = tokio::task::block_in_place(|| {
            let mut events = Client::raw(self.gateway);
            events.send(&stream::request("/events", &[]));
            events.read_until("event: sync");
            events
        });
        let get = "GET /?to_group=news&content=hello HTTP/1.1";
        assert_eq!(self.push(get, "", true).await, 200);
        listener.next().await;
        let secret = format!("GET /?content=hello&key={0}&tok={0} HTTP/1.1", self.key);
        assert_eq!(self.push(&secret, "", true).await, 400);
        assert_eq!(self.push(get, "", false).await, 401);
        let batch = r#"[{"content":"abc"},{"content":"de"},{"contents":"f"}]"#;
        let head = "POST /batch HTTP/1.1\r\nContent-Type: application/json";
        assert_eq!(self.push(head, batch, true).await, 200);
        let url = format!("ws://{}/stream", self.publisher);
        let mut request = url.into_client_request().expect("a URL");
        let bearer = format!("Bearer {}", self.key).parse().expect("ASCII");
        request.headers_mut().insert("Authorization", bearer);
        let (mut pushing, _) = connect_async(request).await.expect("a stream");
        let item = json!({ "content": "abcd", "to": { "group": "news" } });
        pushing.send(Message::text(item.to_string())).await.expect("it reads");
        pushing.next().await.expect("no end").expect("an answer");
        pushing.close(None).await.expect("it reads");
        drop(events);
        listener.leave_for_good().await;
        client
    }
}

async fn at(up: &Process, name: &str) -> SocketAddr {
    let line = up.said(name).await;
    line.split(' ').next_back().and_then(|address| address.parse().ok()).expect("an address")
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Expected fields of the lines, one after the other in each. As text, a string is escaped.
fn expected() -> Vec<Vec<(&'static str, Value)>> {
    let pushed = |key: Option<&str>, kind: &str, rest: Value| {
        let key = key.map(|key| ("key", json!(key)));
        let mut fields: Vec<_> = key.into_iter().chain([("kind", json!(kind))]).collect();
        for name in ["audience", "pushes", "bytes", "status"] {
            if !rest[name].is_null() {
                fields.push((name, rest[name].clone()));
            }
        }
        fields
    };
    let key = Some(HOSTILE);
    let of = |audience, pushes, bytes, status| json!({ "audience": audience, "pushes": pushes, "bytes": bytes, "status": status });
    vec![
        pushed(key, "push", of(json!("group"), 1, 5, 200)),
        pushed(key, "push", of(Value::Null, 1, 0, 400)),
        pushed(None, "push", of(Value::Null, 1, 0, 401)),
        pushed(key, "batch", of(json!("everyone"), 2, 5, 200)),
        pushed(key, "batch", of(Value::Null, 1, 0, 400)),
        pushed(key, "stream", of(json!("group"), 1, 4, 200)),
        vec![("user", json!(HOSTILE)), ("dialect", json!("v1"))],
        vec![("dialect", json!("events"))],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn as_text_each_push_and_connection_is_one_escaped_line() {
    let mut cluster = Cluster::start("text", &ON).await;
    let client = cluster.be_used().await;
    let expected = expected().into_iter().map(|fields| {
        let field = |(name, value): (&str, Value)| match value {
            Value::String(text) => format!("{name}={text:?}"),
            value => format!("{name}={value}"),
        };
        fields.into_iter().map(field).collect::<Vec<_>>().join(" ")
    });
    let lines = access_lines(&cluster.up, 8).await;
    for fields in expected {
        let matching = lines.iter().filter(|line| line.contains(&format!(" {fields} ")));
        assert_eq!(matching.count(), 1, "{fields} in {lines:#?}");
    }
    let line = lines.iter().find(|line| line.contains("dialect=\"v1\"")).expect("it is there");
    assert!(line.contains(" INFO campanile::access: a connection ended peer="), "{line}");
    assert!(line.contains(&format!("peer={client} ")), "{line}");
    assert!(line.contains(" code=1000 sent_bytes="), "{line}");
    let line = lines.iter().find(|line| line.contains("dialect=\"events\"")).expect("there");
    assert!(!line.contains("user=") && !line.contains("code="), "{line}");
    let mut last =
        tokio::task::block_in_place(|| Client::open_with(cluster.gateway, &request("/", &[])));
    cluster.up.signal(Signal::TERM);
    tokio::task::block_in_place(|| {
        last.recv();
        last.expect_close(1001);
    });
    drop(last);
    cluster.up.ended().await;
    assert_eq!(cluster.up.count("dialect=\"plain\""), 1);
    assert_eq!(cluster.up.count(" code=1001 "), 1);
    assert_eq!(cluster.up.count(&cluster.key), 0, "the log has a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_json_each_push_and_connection_is_one_object() {
    let cluster = Cluster::start("json", &ON).await;
    let client = cluster.be_used().await;
    let lines = access_lines(&cluster.up, 8).await;
    let lines: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for fields in expected() {
        let matching = lines
            .iter()
            .filter(|line| fields.iter().all(|(name, expected)| line[*name] == *expected));
        assert_eq!(matching.count(), 1, "{fields:?} in {lines:#?}");
    }
    for line in &lines {
        assert_eq!(
            (&line["target"], &line["level"]),
            (&json!("campanile::access"), &json!("INFO"))
        );
        let peer = line["peer"].as_str().expect("a peer");
        assert!(peer.parse::<SocketAddr>().is_ok_and(|peer| peer.ip().is_loopback()), "{peer}");
        assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{line}");
    }
    let line = lines.iter().find(|line| line["dialect"] == "v1").expect("it is there");
    assert_eq!((&line["peer"], &line["code"]), (&json!(client.to_string()), &json!(1000)));
    assert!(line["sent_bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{line}");
    assert_eq!(cluster.up.count(&cluster.key), 0, "the log has a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_flag_there_is_no_access_log() {
    let mut cluster = Cluster::start("text", &[]).await;
    cluster.be_used().await;
    cluster.up.signal(Signal::TERM);
    cluster.up.ended().await;
    assert_eq!(cluster.up.count("campanile::access"), 0);
}

const ON: [&str; 2] = ["--gateway-access-log", "--publisher-access-log"];

/// The lines of the access log, as soon as there are `count`.
async fn access_lines(up: &Process, count: usize) -> Vec<String> {
    let is_one = |line: &String| line.contains("campanile::access");
    let lines = || up.log().into_iter().filter(is_one).collect::<Vec<_>>();
    eventually("everything is logged", async || (lines().len() >= count).then_some(())).await;
    let lines = lines();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}
