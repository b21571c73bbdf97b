//! The walk at the top of `docs/deploy.md`: a cluster with TLS, a cluster secret, tokens and keys, from one
//! settings file.

#[path = "deploy/guide.rs"]
mod guide;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use campanile_harness::client::raw::{Client, request};
use campanile_harness::tls::Authority;
use campanile_harness::{Process, Signal, command};
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What an operator adds to the documented example.
const SETTINGS: &str = r#"
[broker]
listen = "127.0.0.1:0"
secret_file = "cluster.secret"
tls_cert = "server.pem"
tls_key = "server.key"
data_dir = "data"

[gateway]
listen = "127.0.0.1:0"
broker = "tls://127.0.0.1:2206"
broker_ca = "ca.pem"
secret_file = "cluster.secret"
tls_cert = "server.pem"
tls_key = "server.key"
drain = "200ms"

[publisher]
listen = "127.0.0.1:0"
broker = "tls://127.0.0.1:2206"
broker_ca = "ca.pem"
secret_file = "cluster.secret"
tls_cert = "server.pem"
tls_key = "server.key"

[[tokens.keys]]
algorithm = "HS256"
secret_file = "token.secret"

[log]
level = "debug"

"#;

/// A folder with the files of a cluster, in which every process runs.
struct Folder {
    dir: TempDir,
    authority: Authority,
}

impl Folder {
    /// Certificates and a cluster secret, and the example with the settings of the cluster.
    fn new() -> Self {
        let folder =
            Self { dir: TempDir::new().expect("a directory"), authority: Authority::new() };
        let issued = folder.authority.issue(&["localhost", "127.0.0.1"]);
        folder.write("ca.pem", &folder.authority.pem());
        folder.write("server.pem", &issued.chain);
        folder.write("server.key", &issued.key);
        folder.write("cluster.secret", &fresh());
        let example = folder.tool(&["config"]);
        folder.write("campanile.toml", &(example + SETTINGS));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("it can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).expect("it can be read").trim().to_owned()
    }

    /// Runs a command to its end, and returns what it prints.
    fn tool(&self, args: &[&str]) -> String {
        let output = command(args).current_dir(&self.dir).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Makes a key in a file of its own, and adds its entry to the settings.
    fn add_key(&self, file: &str) {
        let entry =
            self.tool(&["key", "make", "--name", "shop", "--scope", "group:*", "--key-file", file]);
        let settings =
            fs::OpenOptions::new().append(true).open(self.dir.path().join("campanile.toml"));
        settings.and_then(|mut file| file.write_all(entry.as_bytes())).expect("it can be written");
    }

    fn token(&self) -> String {
        let args =
            ["token", "make", "--key-file", "token.secret", "--user", "42", "--group", "news"];
        self.tool(&args).trim().to_owned()
    }

    /// Starts a process.
    fn start(&self, args: &[&str]) -> Process {
        let mut command = command(args);
        command.current_dir(&self.dir);
        Process::run(&args.join(" "), command)
    }

    /// Starts a service of the cluster.
    fn service(&self, name: &str, broker: Option<SocketAddr>) -> Process {
        let broker = broker.map(|address| format!("tls://{address}"));
        let mut args = vec![name, "--config", "campanile.toml"];
        args.extend(broker.iter().flat_map(|broker| ["--broker", broker]));
        self.start(&args)
    }

    /// What `curl` gets, with the status behind it.
    fn curl(&self, url: &str, bearer: Option<&str>) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "30", "--cacert", "ca.pem", "-w", " %{http_code}", url]);
        curl.args(
            bearer
                .iter()
                .flat_map(|bearer| ["-H".to_owned(), format!("Authorization: Bearer {bearer}")]),
        );
        let output = curl.current_dir(&self.dir).stdin(Stdio::null()).output().expect("it runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A client of `campanile.v1` over TLS, and its welcome.
    fn connect(&self, gateway: SocketAddr, target: &str) -> (Client, Value) {
        let mut client = Client::secure(gateway, &self.authority.client(ALL_VERSIONS), "localhost");
        let bearer = format!("Authorization: Bearer {}", self.token());
        client.send(&request(target, &["Sec-WebSocket-Protocol: campanile.v1", &bearer]));
        client.upgraded();
        let welcome = client.json();
        (client, welcome)
    }
}

/// A secret for this test alone.
fn fresh() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_settings_file_makes_a_guarded_cluster() {
    let folder = Folder::new();
    folder.add_key("shop.key");
    // What the services of a host do not use may be missing there.
    let broker = folder.service("broker", None);
    let link = broker.address("the broker listens").await;
    let publishers = [(); 2].map(|()| folder.service("publisher", Some(link)));
    folder.write("token.secret", &fresh());
    let gateways = [(); 2].map(|()| folder.service("gateway", Some(link)));
    let checked = folder.tool(&["config", "--check", "campanile.toml"]);
    assert_eq!(checked, "campanile.toml: everything is valid\n");
    let mut push = Vec::new();
    for publisher in &publishers {
        push.push(publisher.address("the publisher listens").await);
        publisher.said("linked to the broker").await;
    }
    let mut listen = Vec::new();
    for gateway in &gateways {
        listen.push(gateway.address("the gateway listens").await);
        gateway.said("the gateway takes connections").await;
    }

    // Listen, push, renew, resume.
    let (mut client, welcome) = folder.connect(listen[0], "/?group=news");
    assert_eq!(welcome["user"], "42", "{welcome}");
    let key = folder.read("shop.key");
    let to = |publisher: usize, query: &str| format!("https://{}/?{query}", push[publisher]);
    assert_eq!(folder.curl(&to(0, "to_group=news&content=1"), Some(&key)), "ok 200");
    client.expect_event(1, "1");
    client.say(&json!({ "type": "auth", "token": folder.token() }));
    assert_eq!(client.json()["type"], "renewed");
    gateways[0].signal(Signal::TERM);
    client.expect_close(1001);
    assert_eq!(folder.curl(&to(1, "to_group=news&content=2"), Some(&key)), "ok 200");
    let position = welcome["position"].as_str().expect("a position");
    let since = format!("/?group=news&since={}-1", position.rsplit_once('-').expect("two parts").0);
    let (mut client, welcome) = folder.connect(listen[1], &since);
    assert_eq!(welcome["recovered"], true, "{welcome}");
    client.expect_event(2, "2");

    // Everybody else is refused with a sentence.
    let events = |group: &str| format!("https://{}/events?group={group}", listen[1]);
    let token = folder.token();
    for (url, bearer, status, sentence) in [
        (events("news"), None, 401, "this gateway needs a token"),
        (events("news"), Some(&*key), 401, "the token is not valid"),
        (events("eu"), Some(&*token), 403, "not allowed to listen to the group \"eu\""),
        (to(1, "to_group=news&content=3"), None, 401, "a key is needed"),
        (to(1, "to_group=news&content=3"), Some(&*token), 401, "this key is not known here"),
        (to(1, "content=3"), Some(&*key), 403, "this key lacks the scope \"everyone\""),
        (to(1, "content=3").replace("https", "http"), Some(&*key), 400, "this port speaks TLS"),
    ] {
        let said = folder.curl(&url, bearer);
        assert!(said.contains(sentence) && said.ends_with(&format!(" {status}")), "{url}: {said}");
    }
    let stranger = folder.start(&[
        "gateway",
        "--listen=127.0.0.1:0",
        "--broker-ca=ca.pem",
        "--broker",
        &format!("tls://{link}"),
    ]);
    let sentence = "this broker has links only with those who prove the cluster's secret";
    stranger.said(sentence).await;
    broker.said(sentence).await;

    // The key is replaced without a restart.
    folder.add_key("shop-2.key");
    let new_key = folder.read("shop-2.key");
    let with_new = || folder.curl(&to(1, "to_group=news&content=3"), Some(&new_key));
    assert!(with_new().ends_with(" 401"));
    publishers[1].reread().await;
    assert_eq!(with_new(), "ok 200");
    client.expect_event(3, "3");

    // Nobody has logged a secret.
    let secrets = ["cluster.secret", "token.secret"].map(|name| folder.read(name));
    for process in [&broker, &stranger].into_iter().chain(&gateways).chain(&publishers) {
        for secret in secrets.iter().chain([&key, &new_key, &token]) {
            assert_eq!(process.count(secret), 0, "{secret}");
        }
    }
}
