//! A key that is replaced at its URL, by what a gateway does with tokens. Not a test of processes, because
//! a process waits 30 s between two fetches for unknown keys.

#[path = "../../tests/tokens/issuer.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod issuer;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Instant;

use actix_rt::System;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_channel::broker::{self, BrokerConfig};
use campanile_edge::tokens::{Expected, Verifier};
use campanile_gateway::GatewayConfig;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::{DEADLINE, bind, eventually, until};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;

/// Instead of 30 s.
const PERIOD: Duration = Duration::from_millis(300);

/// What the URL has, when it was asked, and whether anybody answers there.
struct Issuer {
    answer: String,
    asked: Vec<Instant>,
    is_there: bool,
}

/// A URL on this host that answers with the keys, until nobody is there any more.
fn serve(issuer: Arc<Mutex<Issuer>>) -> SocketAddr {
    let (listener, address): (TcpListener, _) = bind();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut issuer = issuer.lock().expect("no panic");
            if !issuer.is_there {
                return;
            }
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                asked.extend(byte);
            }
            issuer.asked.push(Instant::now());
            let body = &issuer.answer;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
            let answer = format!("{head}Connection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).expect("it is read");
        }
    });
    address
}

/// A private key, and what the URL shows of it.
fn make_key(kid: &str) -> (EncodingKey, Value) {
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let shown = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid,
                        "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw()) });
    (EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("a key"), shown)
}

fn set(key: &Value) -> String {
    json!({ "keys": [key] }).to_string()
}

fn token(key: &EncodingKey, kid: &str) -> String {
    issuer::sign(key, Algorithm::EdDSA, kid, json!({}))
}

fn status(gateway: SocketAddr, token: &str) -> u16 {
    let mut client = Client::raw(gateway);
    let head = format!(
        "GET /position HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    client.send(head.as_bytes());
    client.response().0
}

/// The first message of the gateway to a websocket with a token.
fn first_message(gateway: SocketAddr, token: &str) -> Value {
    let v1 = "Sec-WebSocket-Protocol: campanile.v1";
    let bearer = format!("Authorization: Bearer {token}");
    Client::open_with(gateway, &request("/?group=news", &[v1, &bearer])).json()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn has(&self, sentence: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).contains(sentence)
    }
}

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A gateway with a broker, on threads of their own until the test process ends, whose keys come from there.
fn start(url: &str, log: Log) -> SocketAddr {
    let (listener, broker) = bind();
    std::thread::spawn(move || {
        let served = broker::serve(BrokerConfig::default(), vec![listener], std::future::pending());
        System::new().block_on(served)
    });
    let expected = Expected { audience: "tests".to_owned(), ..Expected::default() };
    let access = Access {
        tokens: Some(Verifier::new(Keys::default(), expected)),
        awaits_keys: true,
        keys_are_fetched: true,
        ..Access::default()
    };
    let url = Some(url.parse().expect("a URL"));
    let keys = Arc::new(TokenKeys::start(TokenSettings { access, url }));
    let (listener, gateway) = bind();
    let (is_ready, ready) = mpsc::channel();
    std::thread::spawn(move || {
        let config = GatewayConfig {
            broker: broker.to_string().into(),
            workers: 1,
            access: keys.access(),
            ..GatewayConfig::default()
        };
        let lines = move || log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(lines).finish();
        tracing::subscriber::with_default(lines, || {
            System::new().block_on(async {
                let unknown = config.unknown_key.clone();
                fetch_within(PERIOD, &keys, unknown, &Watchdog::none());
                let ready = move || is_ready.send(()).expect("the test lives");
                campanile_gateway::serve(config, vec![listener], ready, std::future::pending())
                    .await
            })
        })
    });
    ready.recv_timeout(DEADLINE).expect("the gateway reaches its broker");
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_at_the_url_is_fetched_when_a_token_names_it() {
    let ((old, shown_old), (new, shown_new), (strange, _)) =
        (make_key("old"), make_key("new"), make_key("strange"));
    let (old, new, strange) = (token(&old, "old"), token(&new, "new"), token(&strange, "strange"));
    let issuer = Issuer { answer: set(&shown_old), asked: Vec::new(), is_there: true };
    let issuer = Arc::new(Mutex::new(issuer));
    let asked = || issuer.lock().expect("no panic").asked.clone();
    let log = Log::default();
    let gateway = start(&format!("http://{}/", serve(issuer.clone())), log.clone());

    // Without a token before, which would make it ask again.
    until(|| log.has("the keys for tokens have come")).await;
    assert_eq!(status(gateway, &old), 200);
    until(|| asked()[0].elapsed() > PERIOD).await;
    issuer.lock().expect("no panic").answer = set(&shown_new);
    assert_eq!(status(gateway, &new), 401, "the first token with it");
    eventually("the new key", async || (status(gateway, &new) == 200).then_some(())).await;
    assert!(asked().len() >= 2);
    assert_eq!(first_message(gateway, &new)["type"], "welcome");
    assert_eq!(status(gateway, &old), 401, "the old key is gone");

    // Unknown keys do not make it ask more often.
    until(|| {
        assert_eq!(status(gateway, &strange), 401);
        asked().len() >= 5
    })
    .await;
    let gaps = asked().windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    assert!(gaps.iter().all(|gap| *gap >= PERIOD), "{gaps:?}");

    issuer.lock().expect("no panic").is_there = false;
    let failed = "cannot fetch token keys, so the keys stay as they are";
    until(|| {
        assert_eq!(status(gateway, &strange), 401);
        log.has(failed)
    })
    .await;
    assert_eq!(status(gateway, &new), 200);
    assert_eq!(first_message(gateway, &new)["type"], "welcome");
}
