//! A gateway that gets the keys of tokens from a URL. How often it asks is tested in
//! `src/jwks/schedule.rs`, because no test waits for half a minute.

#[path = "tokens/issuer.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod issuer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::{Cluster, Process, command, eventually, exchange, start_gateway, within};
use issuer::{fresh, sign, token};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// An issuer of tokens that shows its public keys on a port of this host.
struct Issuer {
    url: String,
    shared: Arc<Mutex<Shown>>,
}

#[derive(Default)]
struct Shown {
    answer: String,
    fetches: usize,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url =
            format!("http://{}/jwks.json?secret=of-the-url", listener.local_addr().expect("bound"));
        let shared = Arc::new(Mutex::new(Shown::default()));
        let shown = shared.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut asked).await.expect("a request") > 0
                {}
                let answer = {
                    let mut shown = shown.lock().expect("no panic");
                    shown.fetches += 1;
                    shown.answer.clone()
                };
                // Who asked may have given up.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let issuer = Self { url, shared };
        issuer.answer("500 Internal Server Error", "");
        issuer
    }

    fn answer(&self, status: &str, body: &str) {
        let len = body.len();
        self.shared.lock().expect("no panic").answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}"
        );
    }

    fn fetches(&self) -> usize {
        self.shared.lock().expect("no panic").fetches
    }
}

/// A private key, and its public part as an issuer shows it.
fn make_key(kid: &str) -> (EncodingKey, Value) {
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let shown = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid,
                        "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw()) });
    (EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("a key"), shown)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

async fn get(gateway: SocketAddr, path: &str, token: &str) -> (u16, String) {
    let token = bearer(token);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{token}\r\nConnection: close\r\n\r\n");
    let answer = exchange(gateway, request.as_bytes()).await;
    (answer.status, answer.body)
}

async fn health(gateway: SocketAddr) -> (u16, String) {
    let request = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(gateway, request.as_bytes()).await;
    (answer.status, answer.body)
}

fn connect(gateway: SocketAddr, token: &str) -> Client {
    let v1 = "Sec-WebSocket-Protocol: campanile.v1";
    Client::open_with(gateway, &request("/?group=news", &[v1, &bearer(token)]))
}

#[track_caller]
fn assert_told_to_wait(gateway: SocketAddr, token: &str) {
    let mut client = connect(gateway, token);
    assert_eq!(client.json()["code"], "no_keys");
    client.expect_close(1013);
}

/// Asserts that a gateway that has a link shows in its metrics whether it is ready.
async fn assert_shown(gateway: &Process, ready: bool) {
    let admin = gateway.address("operators are answered").await;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let shown = exchange(admin, request.as_bytes()).await.body;
    let ready = format!("\ncampanile_gateway_ready {}\n", u8::from(ready));
    assert!(shown.contains(&ready) && shown.contains("\ncampanile_gateway_link_up 1\n"), "{shown}");
}

/// A gateway that is linked, and waits for keys.
async fn start(issuer: &Issuer) -> (Cluster, Process, SocketAddr, NamedTempFile) {
    let cluster = Cluster::of(0).start().await;
    let file = NamedTempFile::new().expect("a file");
    let text = format!("[tokens]\naudience = \"tests\"\njwks_url = {:?}\n", issuer.url);
    std::fs::write(file.path(), text).expect("it takes the text");
    let config = format!("--config={}", file.path().display());
    let flags = [config, "--admin-listen=127.0.0.1:0".to_owned()];
    let gateway = start_gateway(cluster.broker_address, &flags);
    let address = gateway.address("the gateway listens").await;
    gateway.said("linked to the broker").await;
    (cluster, gateway, address, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn until_keys_have_come_nobody_is_blamed_for_a_token() {
    let issuer = Issuer::start().await;
    let (_cluster, gateway, address, _file) = start(&issuer).await;
    let (key, shown) = make_key("first");
    let good = sign(&key, Algorithm::EdDSA, "first", json!({ "sub": "42" }));
    let said = gateway.said("cannot fetch token keys").await;
    assert!(said.contains("status 500") && !said.contains("of-the-url"), "{said}");
    eventually("only the keys are missing", async || {
        (health(address).await.1.contains("no_keys")).then_some(())
    })
    .await;
    assert_eq!(health(address).await.0, 503);
    assert_shown(&gateway, false).await;
    let (status, body) = get(address, "/position", &good).await;
    assert_eq!(status, 503, "{body}");
    // A browser's EventSource gives up for ever after any status but 200.
    let (status, body) = get(address, "/events?group=news", &good).await;
    assert!(status == 200 && body.starts_with("retry: ") && !body.contains("event:"), "{body}");
    let mut plain = Client::raw(address);
    plain.send(&request("/?group=news", &[&bearer(&good)]));
    assert!(plain.read_head().starts_with("HTTP/1.1 503 "));
    assert_told_to_wait(address, &good);
    // Answers that are no keys change nothing; a secret that comes over the net is no key.
    let secret = fresh();
    let oct = json!({ "kty": "oct", "kid": "one", "alg": "HS256",
                      "k": URL_SAFE_NO_PAD.encode(&secret) });
    issuer.answer("200 OK", &json!({ "keys": [oct] }).to_string());
    let asked = issuer.fetches();
    eventually("the answer was read", async || (issuer.fetches() > asked).then_some(())).await;
    assert_told_to_wait(address, &good);
    issuer.answer("200 OK", &json!({ "keys": [oct, shown] }).to_string());
    let said = gateway.said("the keys for tokens have come").await;
    assert!(said.contains("keys=1"), "{said}");
    eventually("it is ready", async || (health(address).await.0 == 200).then_some(())).await;
    assert_shown(&gateway, true).await;
    assert_eq!(connect(address, &good).json()["type"], "welcome");
    let mut refused = connect(address, &token(&secret, json!({ "sub": "42" })));
    assert_eq!(refused.json()["code"], "invalid_token");
    refused.expect_close(4401);
    assert!(gateway.log().iter().all(|line| !line.contains("of-the-url")));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_unknown_keys_do_not_make_it_ask_at_once() {
    let issuer = Issuer::start().await;
    let ((key, shown), (other, _)) = (make_key("first"), make_key("second"));
    issuer.answer("200 OK", &json!({ "keys": [shown] }).to_string());
    let (_cluster, gateway, address, _file) = start(&issuer).await;
    gateway.said("the keys for tokens have come").await;
    eventually("it is ready", async || (health(address).await.0 == 200).then_some(())).await;
    let asked = issuer.fetches();
    for number in 0..100 {
        let unknown = sign(&other, Algorithm::EdDSA, &format!("key {number}"), json!({}));
        let (status, body) = get(address, "/events", &unknown).await;
        // Its key may be one of the next fetch, and an event stream comes back only after a 200.
        assert!(status == 200 && body.starts_with("retry: ") && !body.contains("event:"), "{body}");
        assert_eq!(get(address, "/position", &unknown).await.0, 401);
    }
    let good = sign(&key, Algorithm::EdDSA, "first", json!({}));
    assert_eq!(connect(address, &good).json()["type"], "welcome");
    assert_eq!(issuer.fetches(), asked);
}

#[tokio::test]
async fn keys_come_from_this_host_without_authorities_of_the_system() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let here = listener.local_addr().expect("bound");
    let settings = NamedTempFile::new().expect("a file");
    for (scheme, line) in [("http", None), ("https", Some("cannot fetch token keys"))] {
        let url = format!("[tokens]\njwks_url = \"{scheme}://{here}/\"\n");
        std::fs::write(settings.path(), url).expect("it can be written");
        let mut gateway = command(&["gateway", "--listen=127.0.0.1:0", "--config"]);
        gateway.arg(settings.path());
        gateway.envs([("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")]);
        let gateway = Process::run("gateway without authorities", gateway);
        match line {
            Some(line) => _ = gateway.said(line).await,
            None => _ = within("it asks for the keys", listener.accept()).await,
        }
        assert_eq!(gateway.count("no token keys can be fetched"), 0);
    }
}
