//! The numbers that a broker and a publisher show to their operators, against what really happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use campanile_harness::link::Peer;
use campanile_harness::tls::Files;
use campanile_harness::{Process, Websocket, connect, eventually, exchange};
use campanile_messages::{Audience, GroupName};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// What is fixed of an event's place in the log, besides its content and three times the name of its group.
const EACH_BYTES: u64 = 640;

/// One scrape: the text, and the values by name and labels.
struct Scraped(String);

impl Scraped {
    async fn of(admin: SocketAddr, key: &str) -> Self {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = exchange(admin, request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self(answer.body)
    }

    /// The value of a series, which is there if anything was ever counted under its labels.
    fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    fn count(&self, series: &str) -> u64 {
        self.value(series) as u64
    }

    /// All series of a metric that are not zero, by their labels.
    fn all(&self, name: &str) -> BTreeMap<String, u64> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(&format!("{name}{{")));
        let series = lines.filter_map(|line| line.split_once("} "));
        series
            .map(|(labels, value)| (labels.to_owned(), value.parse().expect("a whole number")))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The names and types of everything that begins like this.
    fn types(&self, prefixes: &[&str]) -> BTreeSet<(String, String)> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let types = lines.filter_map(|line| line.split_once(' '));
        types
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }
}

/// The names and types in the table of a section of the page about metrics.
fn documented(section: &str) -> BTreeSet<(String, String)> {
    let page = include_str!("../../docs/metrics.md");
    let (_, after) = page.split_once(&format!("\n## {section}\n")).expect("the section");
    let table = after.split("\n## ").next().expect("at least one part");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| row.split_once("` | "));
    rows.map(|(name, rest)| (name, rest.split(" |").next().expect("a type")))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// A cluster in one process, with keys and a data directory.
struct Up {
    process: Process,
    admin: SocketAddr,
    _directory: TempDir,
}

const CERTIFICATE: &str = "campanile_certificate_expiry_seconds";

const OPS: &str = "cpk_ops-for-this-test-only";
const SHOP: &str = "cpk_shop-for-this-test-only";
const SLOW: &str = "cpk_slow-for-this-test-only";

impl Up {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let entry = |name: &str, key: &str, scope: &str, more: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, key).expect("it can be written");
            format!(
                "[[keys]]\nname = {name:?}\nsecret_file = {path:?}\nscopes = [{scope:?}]\n{more}\n"
            )
        };
        let file = directory.path().join("campanile.toml");
        let text = entry("ops", OPS, "read", "")
            + &entry("shop", SHOP, "group:news", "")
            + &entry("slow", SLOW, "group:news", "per_second = 1\nburst = 1");
        std::fs::write(&file, text).expect("it can be written");
        let data = directory.path().join("data");
        let process = Process::start(&[
            "up",
            "--config",
            file.to_str().expect("UTF-8"),
            "--data-dir",
            data.to_str().expect("UTF-8"),
            "--broker-listen=127.0.0.1:0",
            "--gateway-listen=127.0.0.1:0",
            "--publisher-listen=127.0.0.1:0",
            "--gateway-admin-listen=127.0.0.1:0",
        ]);
        let admin = process.address("operators are answered").await;
        Self { process, admin, _directory: directory }
    }

    async fn listener(&self, service: &str) -> SocketAddr {
        let line = self.process.said(&format!("  {service} ")).await;
        let address = line.split_whitespace().nth(1).and_then(|address| address.parse().ok());
        address.expect("an address")
    }

    async fn scrape(&self) -> Scraped {
        Scraped::of(self.admin, OPS).await
    }
}

/// The status of a push with a key.
async fn push(publisher: SocketAddr, query: &str, key: &str) -> u16 {
    let key = match key {
        "" => String::new(),
        key => format!("Authorization: Bearer {key}\r\n"),
    };
    let request =
        format!("GET /?{query} HTTP/1.1\r\nHost: localhost\r\n{key}Connection: close\r\n\r\n");
    exchange(publisher, request.as_bytes()).await.status
}

async fn batch(publisher: SocketAddr, items: &Value) -> Vec<u64> {
    let body = items.to_string();
    let request = format!(
        "POST /batch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SHOP}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(publisher, request.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answers = answer.json();
    let answers = answers.as_array().expect("an array");
    answers.iter().map(|answer| answer["status"].as_u64().expect("a status")).collect()
}

async fn stream(publisher: SocketAddr, items: &[Value]) -> Vec<u64> {
    let mut request = format!("ws://{publisher}/stream").into_client_request().expect("a request");
    let value = format!("Bearer {SHOP}").parse().expect("a value");
    request.headers_mut().insert("Authorization", value);
    let (mut stream, _) = connect_async(request).await.expect("a stream");
    let mut statuses = Vec::new();
    for item in items {
        stream.send(Message::text(item.to_string())).await.expect("it reads");
    }
    for _ in items {
        let answer = stream.next().await.expect("an answer").expect("a message");
        let answer: Value = serde_json::from_str(answer.to_text().expect("a text")).expect("JSON");
        statuses.push(answer["status"].as_u64().expect("a status"));
    }
    stream.close(None).await.expect("it closes");
    statuses
}

#[tokio::test]
async fn every_push_is_counted_once_by_kind_result_and_key() {
    let up = Up::start().await;
    let (gateway, publisher) = (up.listener("gateway").await, up.listener("publisher").await);
    let mut client = Websocket::v1(gateway, &["news"]).await;
    let to_news = |content: &str| format!("to_group=news&content={content}");
    // The first push waits until there is a link.
    for content in ["1", "22", "333"] {
        assert_eq!(push(publisher, &to_news(content), SHOP).await, 200);
    }
    for (query, key, status) in [
        ("to_group=news&content=first&id=a", SHOP, 200),
        ("to_group=news&content=first&id=a", SHOP, 200),
        ("to_group=news&content=other&id=a", SHOP, 409),
        ("to_group=secret&content=x", SHOP, 403),
        ("to_group=news", SHOP, 400),
        ("to_group=news&content=x", "", 401),
        ("to_group=news&content=x", "cpk_unknown", 401),
        ("to_group=news&content=slow", SLOW, 200),
        ("to_group=news&content=slow", SLOW, 429),
        ("content=x&to_group=news", OPS, 403),
    ] {
        assert_eq!(push(publisher, query, key).await, status, "{query}");
    }
    let item = |group: &str, content: &str| json!({ "to": { "group": group }, "content": content });
    let items = json!([item("news", "b1"), item("secret", "b2"), {}, item("news", "b4")]);
    assert_eq!(batch(publisher, &items).await, [200, 403, 400, 200]);
    let items = [item("news", "s1"), item("news", "s2"), item("secret", "s3"), json!({})];
    assert_eq!(stream(publisher, &items).await, [200, 200, 403, 400]);

    // A scrape changes nothing.
    let _ = up.scrape().await;
    let scraped = up.scrape().await;
    let expected = [
        ("batch", "200", "shop", 2),
        ("batch", "400", "shop", 1),
        ("batch", "403", "shop", 1),
        ("push", "200", "shop", 5),
        ("push", "200", "slow", 1),
        ("push", "400", "shop", 1),
        ("push", "401", "", 2),
        ("push", "403", "ops", 1),
        ("push", "403", "shop", 1),
        ("push", "409", "shop", 1),
        ("push", "429", "slow", 1),
        ("stream", "200", "shop", 2),
        ("stream", "400", "shop", 1),
        ("stream", "403", "shop", 1),
    ];
    let series = |(kind, result, key, count): (&str, &str, &str, u64)| {
        (format!("kind=\"{kind}\",result=\"{result}\",key=\"{key}\""), count)
    };
    let pushes = scraped.all("campanile_publisher_pushes_total");
    assert_eq!(pushes, expected.map(series).into());
    let limits = scraped.all("campanile_publisher_limit_hits_total");
    assert_eq!(limits, [("limit=\"max_pushes_per_second\"".to_owned(), 1)].into());
    // 8 pushes and the batch were handed to the broker.
    let took = "campanile_publisher_push_duration_seconds_count{wait=\"accepted\"}";
    assert_eq!(scraped.count(took), 8);
    assert_eq!(scraped.count("campanile_publisher_link_up"), 1);
    assert_eq!(scraped.count("campanile_publisher_link_connects_total"), 1);
    for name in ["in_flight", "pending_bytes"] {
        assert_eq!(scraped.count(&format!("campanile_publisher_{name}")), 0, "{name}");
    }

    // What the broker made of them: 3 and 1 and 1 pushes, 2 items of the batch, 2 of the stream.
    let publishes = scraped.all("campanile_broker_publishes_total");
    let result = |result: &str, count| (format!("result=\"{result}\""), count);
    let expected = [result("accepted", 9), result("conflict", 1), result("duplicate", 1)];
    assert_eq!(publishes, expected.into());
    let contents = ["1", "22", "333", "first", "slow", "b1", "b4", "s1", "s2"];
    let bytes: u64 = contents.iter().map(|content| content.len() as u64).sum();
    for (name, value) in [
        ("head_sequence", 9),
        ("log_events", 9),
        ("log_bytes", bytes + 9 * (EACH_BYTES + 3 * 4)),
        ("ids", 1),
        ("staged_bytes", 0),
        ("disk_waits", 0),
        ("link_events_total", 9),
        ("epochs_total", 1),
        ("links{role=\"gateway\"}", 1),
        ("links{role=\"publisher\"}", 1),
        ("links_opened_total{role=\"gateway\"}", 1),
        ("links_opened_total{role=\"publisher\"}", 1),
    ] {
        assert_eq!(scraped.count(&format!("campanile_broker_{name}")), value, "{name}");
    }
    assert!(scraped.value("campanile_broker_log_oldest_age_seconds") > 0.0);
    let writes = scraped.count("campanile_broker_write_duration_seconds_count");
    assert!((1..=9).contains(&writes), "{writes} batches for 9 events");
    assert!(scraped.value("campanile_broker_write_duration_seconds_sum") > 0.0);
    assert_eq!(client.contents_until("s2").await.len(), 8);

    let expected = &documented("Broker") | &documented("Publisher");
    let exposed = scraped.types(&["campanile_broker_", "campanile_publisher_"]);
    assert_eq!(exposed, expected);
    let general =
        ["process_", "campanile_build", "campanile_log", "campanile_watchdog", "campanile_otlp"];
    let mut general = scraped.types(&general);
    // Nothing here speaks TLS.
    general.insert((CERTIFICATE.to_owned(), "gauge".to_owned()));
    assert_eq!(general, documented("Every process"));
}

#[tokio::test]
async fn callers_of_a_broker_are_counted_by_what_became_of_them() {
    let flags = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--max-links=2"];
    let process = Process::start(&[&["broker"], &flags[..]].concat());
    let broker = process.address("the broker listens").await;
    let admin = process.address("operators are answered").await;
    let name = |name: &str| format!("campanile_broker_{name}");

    let news = Audience::Group(GroupName::new("news".to_owned()).expect("a name"));
    let (gateway, _) = Peer::listener(broker, std::slice::from_ref(&news)).await;
    let publisher = Peer::publisher(broker).await;
    let mut third = Peer::connect(broker).await;
    let instance = campanile_messages::InstanceId(7);
    let refused = third.hello(instance, campanile_harness::link::PUBLISHER).await;
    assert!(refused.expect_err("too many").contains("2 links already"));
    let mut http = connect(broker, None).await;
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it reads");
    let _silent = connect(broker, None).await;
    drop(connect(broker, None).await);
    eventually("all of them are counted", async || {
        let refused = Scraped::of(admin, "").await.all(&name("links_refused_total"));
        let reason = |reason: &str| (format!("reason=\"{reason}\""), 1);
        (refused == ["full", "other", "silent"].map(reason).into()).then_some(())
    })
    .await;
    let scraped = Scraped::of(admin, "").await;
    for (series, value) in [
        ("links{role=\"gateway\"}", 1),
        ("links{role=\"publisher\"}", 1),
        ("links_opened_total{role=\"gateway\"}", 1),
        ("links_opened_total{role=\"publisher\"}", 1),
    ] {
        assert_eq!(scraped.count(&name(series)), value, "{series}");
    }
    drop((gateway, publisher));
    eventually("both links are gone", async || {
        let scraped = Scraped::of(admin, "").await;
        let links = scraped.all(&name("links"));
        links.is_empty().then_some(())
    })
    .await;
    let opened = Scraped::of(admin, "").await.all(&name("links_opened_total"));
    assert_eq!(opened.values().sum::<u64>(), 2, "what was opened stays counted");
}

#[tokio::test]
async fn operators_see_when_the_certificates_expire() {
    let files = Files::new(&["push.test"]);
    // The year 4096, which is the default of the library that made it.
    const DEFAULT: u64 = 67_090_118_400;
    let flags = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--broker=127.0.0.1:1"];
    let (cert, key) = (files.shown("cert.pem"), files.shown("key.pem"));
    let tls = ["publisher", "--tls-cert", &cert, "--tls-key", &key];
    let process = Process::start(&[&tls[..], &flags].concat());
    let admin = process.address("operators are answered").await;
    let expiring = || async { Scraped::of(admin, "").await.all(CERTIFICATE) };
    let service = "service=\"publisher\"".to_owned();
    assert_eq!(expiring().await, [(service.clone(), DEFAULT)].into());

    let own = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["push.test".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    files.write("cert.pem", params.self_signed(&own).expect("a certificate").pem());
    files.write("key.pem", own.serialize_pem());
    process.reread().await;
    assert_eq!(expiring().await, [(service, 2_208_988_800)].into());
}
