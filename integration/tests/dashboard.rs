//! The dashboard in `deploy/` before a real Prometheus (Debian's package prometheus), which scrapes a busy
//! cluster: every query of every panel returns data.

#[path = "alerts/files.rs"]
mod files;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use campanile_harness::tls::Files;
use campanile_harness::{
    Cluster, DEADLINE, NO_GROUPS, Process, Protocol, PushApi, Websocket, encode, eventually,
    exchange, handshake, on_disk, open_feed, reserved_port, start_gateway, start_publisher, within,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use files::{deploy, queries_of_the_dashboard};

const ADMIN: &str = "--admin-listen 127.0.0.1:0 --admin-open metrics";

/// A cluster in which everything happens that a panel shows.
struct Busy {
    cluster: Cluster,
    data: TempDir,
    /// Their gateways and publishers are those of the cluster, and besides:
    guarded: Process,
    full: Process,
    with_keys: Process,
    with_tls: Process,
    key: String,
    listener: Websocket,
    _only: Websocket,
    http: reqwest::Client,
    _files: Files,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

impl Busy {
    async fn start() -> Self {
        let data = TempDir::new().expect("a directory");
        let (reserved, admin) = reserved_port();
        let broker = format!(
            "{} --admin-listen {admin} --admin-open metrics",
            on_disk(&data.path().join("log"))
        );
        let cluster = Cluster::of(1).broker(&broker).gateway(ADMIN).publisher(ADMIN).start().await;
        drop(reserved);
        let files = Files::new(&["localhost"]);
        let key = format!("cpk_{:032x}", rand::random::<u128>());
        files.write("key", &key);
        let secret = format!("[[tokens.keys]]\nsecret_file = {:?}\n", files.path("key"));
        files.write("gateway.toml", secret);
        files.write(
            "publisher.toml",
            format!(
                "[[keys]]\nname = \"shop\"\nsecret_file = {:?}\nscopes = [\"everyone\"]\n\
                 per_second = 1\n",
                files.path("key")
            ),
        );
        let at = cluster.broker_address;
        let with = |more: &str| words(&format!("{ADMIN} {more}"));
        let config = |name: &str| with(&format!("--config {}", files.shown(name)));
        let guarded = start_gateway(at, &config("gateway.toml"));
        let full = start_gateway(at, &with("--max-connections 1"));
        let with_keys = start_publisher(at, &config("publisher.toml"));
        let with_tls = start_publisher(at, &with(&files.flags()));
        let full_address = full.address("the gateway listens").await;
        full.said("the gateway takes connections").await;
        Self {
            listener: cluster.client(0, &[]).await,
            _only: Websocket::plain(full_address, NO_GROUPS).await,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            cluster,
            data,
            guarded,
            full,
            with_keys,
            with_tls,
            key,
            _files: files,
        }
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        let more = [&self.guarded, &self.full, &self.with_keys, &self.with_tls];
        self.cluster.processes().chain(more)
    }

    /// Once everything that does not need another broker.
    async fn round(&self) {
        let (cluster, push) = (&self.cluster, &self.cluster.push[0]);
        let gateway = cluster.gateway_addresses[0];
        let since = push.position(&[("content", "all")]).await;
        push.batch(&[serde_json::json!({ "content": "one of a batch" })]).await;
        push.to(&self.listener, "you").await;
        assert_eq!(push.get(&[]).await.status, 400);
        // Returns, and publishes.
        let mut client = cluster.client_v1(0, &["news"]).await;
        client.say(r#"{"type":"publish","group":"news","content":"mine"}"#).await;
        client.json().await;
        client.leave_for_good().await;
        drop(open_feed(cluster, 0, Protocol::V1, &["news"], Some(&since)).await);
        // Refused: a request, one too many, a token, a key and one that pushes too often.
        assert_eq!(exchange(gateway, handshake("/?what=1").as_bytes()).await.status, 400);
        let full = self.full.address("the gateway listens").await;
        assert_eq!(exchange(full, handshake("/").as_bytes()).await.status, 503);
        let guarded = self.guarded.address("the gateway listens").await;
        let bearer = "Authorization: Bearer no-token\r\nUpgrade:";
        let request = handshake("/").replacen("Upgrade:", bearer, 1);
        assert_eq!(exchange(guarded, request.as_bytes()).await.status, 401);
        let with_keys = self.with_keys.address("the publisher listens").await;
        for key in [&self.key, &self.key, "cpk_wrong"] {
            let request = self.http.get(PushApi::new(with_keys).url(&[("content", "x")]));
            let answer = within("an answer", request.bearer_auth(key).send()).await;
            assert!([200, 401, 429].contains(&answer.expect("an answer").status().as_u16()));
        }
        // Something that is no link.
        let mut link = TcpStream::connect(cluster.broker_address).await.expect("it listens");
        link.write_all(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n").await.expect("it reads");
        let _ = within("its end", link.read_to_end(&mut Vec::new())).await;
    }

    /// Lets the broker come back without its log.
    async fn lose_the_log(&mut self) {
        self.cluster.broker.kill().await;
        fs::remove_dir_all(self.data.path().join("log")).expect("it is there");
        self.cluster.start_broker_again().await;
        let push = &self.cluster.push[0];
        eventually("pushes are accepted again", async || {
            (push.get(&[("content", "again")]).await.status == 200).then_some(())
        })
        .await;
        let gateway = self.cluster.gateway_addresses[0];
        let ready = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        eventually("the gateway has its link again", async || {
            (exchange(gateway, ready).await.status == 200).then_some(())
        })
        .await;
    }
}

/// A Prometheus that scrapes these processes every second, as the docs say, and has the rules of `deploy/`.
async fn prometheus(directory: &TempDir, processes: impl Iterator<Item = &Process>) -> Process {
    let mut targets = Vec::new();
    for process in processes {
        targets.push(process.address("operators are answered").await.to_string());
    }
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nrule_files: [{:?}]\nscrape_configs:\n\
         - job_name: campanile\n  static_configs: [{{ targets: {targets:?} }}]\n",
        deploy("alerts.yml")
    );
    let (file, data) = (directory.path().join("prometheus.yml"), directory.path().join("data"));
    fs::write(&file, config).expect("it can be written");
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Process::run("prometheus", command)
}

#[tokio::test]
async fn every_panel_of_the_dashboard_has_data_from_a_busy_cluster() {
    let mut busy = Busy::start().await;
    let directory = TempDir::new().expect("a directory");
    let prometheus = prometheus(&directory, busy.processes()).await;
    let address = prometheus.address("Listening on").await;
    prometheus.said("Server is ready").await;
    busy.round().await;
    busy.lose_the_log().await;
    let mut missing = queries_of_the_dashboard("1m");
    let started = Instant::now();
    while !missing.is_empty() {
        assert!(started.elapsed() < DEADLINE, "no data: {missing:#?}");
        busy.round().await;
        let mut still_missing = Vec::new();
        for query in missing {
            let question = encode([("query", query.as_str())].into_iter());
            let request = busy.http.get(format!("http://{address}/api/v1/query?{question}"));
            let answer = within("an answer of Prometheus", request.send()).await.expect("one");
            let answer: Value =
                serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
            let result = answer["data"]["result"].as_array();
            let values = result.unwrap_or_else(|| panic!("{query}: {answer}")).iter();
            let mut numbers = values.map(|value| value["value"][1].as_str().expect("a number"));
            if !numbers.any(|number| number.parse::<f64>().expect("a number").is_finite()) {
                still_missing.push(query);
            }
        }
        missing = still_missing;
    }
}
