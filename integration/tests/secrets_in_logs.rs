//! Processes that log everything, and get every secret that there is, in good requests and in bad ones:
//! none of it is in a log.

#[path = "tokens/issuer.rs"]
mod issuer;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use campanile_harness::client::raw::{Client, FIN, TEXT, frame, request};
use campanile_harness::tls::Authority;
use campanile_harness::{Process, Signal, command, eventually};
use issuer::{fresh, now, settings, token};
use rustls::{ALL_VERSIONS, ClientConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What must not be logged, with a name that a failed test may show.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, name: &str, secret: &str) {
        self.0.push((name.to_owned(), secret.to_owned()));
    }

    /// Each line of a private key counts.
    fn add_pem(&mut self, name: &str, pem: &str) {
        for line in pem.lines().filter(|line| !line.starts_with("-----")) {
            self.add(name, line);
        }
    }

    /// A token, and its signature alone.
    fn add_token(&mut self, name: &str, token: &str) {
        self.add(name, token);
        let (_, signature) = token.rsplit_once('.').expect("a token has three parts");
        self.add(&format!("the signature of {name}"), signature);
    }

    fn assert_in_no_log(&self, processes: &[&Process]) {
        assert!(self.0.len() > 10);
        for process in processes {
            let log = process.log().join("\n");
            let lower = log.to_lowercase();
            for (name, secret) in &self.0 {
                let bytes = secret.as_bytes();
                let list: Vec<_> = bytes.iter().take(12).map(u8::to_string).collect();
                let percent: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                for (form, is_there) in [
                    ("raw", log.contains(secret.as_str())),
                    ("base64", log.contains(&STANDARD_NO_PAD.encode(secret))),
                    ("base64url", log.contains(&URL_SAFE_NO_PAD.encode(secret))),
                    ("percent-encoded", lower.contains(&percent)),
                    ("hexadecimal", lower.contains(&hex)),
                    ("list of bytes", log.contains(&list.join(", "))),
                ] {
                    assert!(!is_there, "{name} is in a log, {form}: {}", line_with(&log, secret));
                }
            }
        }
    }
}

fn line_with<'a>(log: &'a str, secret: &str) -> &'a str {
    log.lines().find(|line| line.contains(secret)).unwrap_or("(encoded)")
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The files of a cluster, and who is trusted by its clients.
struct Files {
    directory: TempDir,
    trusting: Arc<ClientConfig>,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("it can be written");
    }

    /// Starts a process that logs everything.
    fn start(&self, args: &[&str], variables: &[(&str, &str)]) -> Process {
        let config = self.path("campanile.toml");
        let mut command = command(args);
        command.args(["--config", config.to_str().expect("UTF-8"), "--listen=127.0.0.1:0"]);
        command.env("CAMPANILE_LOG", "trace").envs(variables.iter().copied());
        Process::run(args[0], command)
    }

    /// Sends bytes over TLS, and reads until the other side ends the connection, or says a message.
    fn send(&self, to: SocketAddr, bytes: &[u8]) -> Client {
        let mut client = Client::secure(to, &self.trusting, "push.test");
        client.send(bytes);
        client
    }

    /// The status of a request.
    fn status(&self, to: SocketAddr, head: &str) -> u16 {
        let bytes = format!("{head}\r\nHost: push.test\r\nConnection: close\r\n\r\n");
        self.send(to, bytes.as_bytes()).response().0
    }
}

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

/// Shows a token in every way, in requests that are answered and in those that are refused.
fn show_to_gateway(files: &Files, gateway: SocketAddr, token: &str, is_good: bool) {
    let bearer = format!("Authorization: Bearer {token}");
    let offer = format!("{V1}, base64url.bearer.campanile.{}", URL_SAFE_NO_PAD.encode(token));
    let cookie = format!("Cookie: session={token}");
    let (page, stranger) = ("Origin: https://app.example", "Origin: https://evil.example");
    let escaped = percent_encoded(token);
    let answers = |bytes: &[u8]| -> Value {
        let mut client = files.send(gateway, bytes);
        client.upgraded();
        client.json()
    };
    for (target, headers) in [
        ("/?group=news".to_owned(), vec![V1, &bearer]),
        ("/?group=news".to_owned(), vec![&*offer]),
        ("/?group=news".to_owned(), vec![V1, &cookie, page]),
        (format!("/?token={token}"), vec![V1]),
        (format!("/?t%6fken={escaped}"), vec![V1]),
    ] {
        let answer = answers(&request(&target, &headers));
        assert_eq!(answer["type"] == "welcome", is_good, "{target} {headers:?} {answer}");
    }
    let answer = answers(&request("/", &[V1, &cookie, stranger]));
    assert_eq!(answer["code"], "origin_not_allowed");
    // By the first message, and then by others, some of which are wrong.
    let mut client = files.send(gateway, &request("/?group=news", &[V1]));
    client.upgraded();
    client.say(&json!({ "type": "auth", "token": token }));
    assert_eq!(client.json()["type"] == "welcome", is_good);
    if is_good {
        for message in [
            json!({ "type": "auth", "token": token }),
            json!({ "type": "auth", "token": format!("{token}x") }),
            json!({ "type": "auth", "tokn": token }),
            json!({ "type": token }),
            json!({ "type": "join", "group": token }),
            json!([token]),
        ] {
            client.say(&message);
            client.json();
        }
        client.send(&frame(FIN | TEXT, token.as_bytes()));
        assert_eq!(client.json()["type"], "error");
    }
    for head in [
        format!("GET /position HTTP/1.1\r\n{bearer}"),
        format!("GET /position?token={token} HTTP/1.1"),
        format!("GET /position?token={token}&token={token} HTTP/1.1\r\n{bearer}"),
        format!("GET /position?tok={token} HTTP/1.1"),
        format!("GET /nowhere?token={escaped} HTTP/1.1"),
        format!("GET /{token} HTTP/1.1"),
        format!("GET /campanile.js?token={token} HTTP/1.1"),
        format!("GET http://push.test/?token={token} HTTP/1.1"),
        format!("GET /?token={token} HTTP/9.9"),
        format!("GET /?token={token}%zz HTTP/1.1"),
        format!("POST /?token={token} HTTP/1.1\r\nContent-Length: 0"),
        format!("GET / HTTP/1.1\r\nAuthorization: Basic {token}\r\n{bearer}"),
        format!("GET / HTTP/1.1\r\nBad Header {token}: x"),
        format!("GET / HTTP/1.1\r\nX: {token}{}", "x".repeat(70 << 10)),
        token.to_owned(),
    ] {
        let status = files.status(gateway, &head);
        assert!(status == 200 || (400..506).contains(&status), "{status}");
    }
}

/// The same for a key.
fn show_to_publisher(files: &Files, publisher: SocketAddr, key: &str, is_good: bool) {
    let bearer = format!("Authorization: Bearer {key}");
    let escaped = percent_encoded(key);
    for head in [
        format!("GET /?content=x HTTP/1.1\r\n{bearer}"),
        format!("GET /?content=x&key={key} HTTP/1.1"),
        format!("GET /?content=x&k%65y={escaped} HTTP/1.1"),
    ] {
        assert_eq!(files.status(publisher, &head) == 200, is_good, "{}", head.len());
    }
    for first in [
        json!({ "type": "auth", "key": key }).to_string(),
        json!({ "type": "auth", "kye": key }).to_string(),
        json!([key]).to_string(),
        key.to_owned(),
    ] {
        let mut stream = files.send(publisher, &request("/stream", &[]));
        assert!(stream.read_head().starts_with("HTTP/1.1 101 "));
        stream.send(&frame(FIN | TEXT, first.as_bytes()));
        stream.recv();
    }
    for head in [
        format!("GET /?content=x&content=y&key={key} HTTP/1.1"),
        format!("GET /?key={key} HTTP/1.1\r\n{bearer}\r\n{bearer}"),
        format!("GET /?content=x&ky={key} HTTP/1.1"),
        format!("GET /{key} HTTP/1.1"),
        format!("GET /batch?key={escaped} HTTP/1.1"),
        format!("GET /?key={key}%zz HTTP/1.1"),
        format!("GET /?key={key} HTTP/9.9"),
        format!("DELETE /?key={key} HTTP/1.1"),
        format!("GET / HTTP/1.1\r\nAuthorization: Basic {key}"),
        format!("GET / HTTP/1.1\r\nBad Header {key}: x"),
        format!("GET / HTTP/1.1\r\nX: {key}{}", "x".repeat(70 << 10)),
        key.to_owned(),
    ] {
        let status = files.status(publisher, &head);
        assert!((400..506).contains(&status), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_logs_a_secret_that_it_was_given() {
    let authority = Authority::new();
    let trusting = authority.client(ALL_VERSIONS);
    let files = Files { directory: TempDir::new().expect("a directory"), trusting };
    let mut secrets = Secrets::default();
    let [cluster, second, strange, api, other_api, wrong_api, signing] =
        std::array::from_fn(|_| fresh());
    let (api, other_api, wrong_api) =
        (format!("cpk_{api}"), format!("cpk_{other_api}"), format!("cpk_{wrong_api}"));
    for (name, secret) in [
        ("the cluster secret", &cluster),
        ("the second cluster secret", &second),
        ("another cluster secret", &strange),
        ("an API key", &api),
        ("the other API key", &other_api),
        ("an unknown API key", &wrong_api),
        ("the secret of tokens", &signing),
    ] {
        secrets.add(name, secret);
    }
    let issued = authority.issue(&["push.test", "127.0.0.1"]);
    secrets.add_pem("the private key of TLS", &issued.key);
    for (name, text) in [
        ("ca.pem", &authority.pem()),
        ("cert.pem", &issued.chain),
        ("key.pem", &issued.key),
        ("cluster", &cluster),
        ("strange", &strange),
        ("api", &api),
        ("signing", &signing),
    ] {
        files.write(name, text);
    }
    let [ca, cert, key, cluster_file, strange_file, api_file] =
        ["ca.pem", "cert.pem", "key.pem", "cluster", "strange", "api"].map(|name| files.path(name));
    let tls = format!("tls_cert = {cert:?}\ntls_key = {key:?}\n");
    let link = format!("broker_ca = {ca:?}\nlink_cert = {cert:?}\nlink_key = {key:?}\n");
    let text = format!(
        "[broker]\n{tls}client_ca = {ca:?}\nsecret_file = {cluster_file:?}\n\
         [gateway]\n{tls}{link}secret_file = {cluster_file:?}\ntoken_cookie = \"session\"\n\
         allow_origin = [\"https://app.example\"]\ntoken_in_url = true\n\
         [publisher]\n{tls}{link}key_in_url = true\n\
         [[keys]]\nname = \"shop\"\nscopes = [\"everyone\"]\nsecret_file = {api_file:?}\n\
         {}",
        settings(&files.path("signing"))
    );
    files.write("campanile.toml", &text);
    let by_variable = [("CAMPANILE_PUBLISHER_SECRET", cluster.as_str())];

    let mut broker = files.start(&["broker"], &[]);
    let at = format!("tls://{}", broker.address("the broker listens").await);
    let mut gateway = files.start(&["gateway", "--access-log", "--broker", &at], &[]);
    let mut publisher = files.start(&["publisher", "--access-log", "--broker", &at], &by_variable);
    let strange_file = strange_file.to_str().expect("UTF-8");
    let stranger = files
        .start(&["gateway", "--broker", &at, "--secret-file", strange_file], &by_variable[..0]);
    gateway.said("the gateway takes connections").await;
    publisher.said("linked to the broker").await;
    stranger.said("no link to the broker").await;
    let listens = gateway.address("the gateway listens").await;
    let pushes = publisher.address("the publisher listens").await;

    let good = token(&signing, json!({ "sub": "42", "jti": "first" }));
    let expired = token(&signing, json!({ "sub": "42", "exp": now() - 3_600 }));
    let forged = token(&strange, json!({ "sub": "42" }));
    secrets.add_token("a good token", &good);
    secrets.add_token("an expired token", &expired);
    secrets.add_token("a forged token", &forged);
    let show = || {
        show_to_gateway(&files, listens, &good, true);
        show_to_gateway(&files, listens, &expired, false);
        show_to_gateway(&files, listens, &forged, false);
        show_to_publisher(&files, pushes, &api, true);
        show_to_publisher(&files, pushes, &wrong_api, false);
        // In the wrong place.
        show_to_gateway(&files, listens, &wrong_api, false);
        show_to_publisher(&files, pushes, &good, false);
    };
    tokio::task::block_in_place(show);

    let all = [&broker, &gateway, &publisher];
    files.write("cluster", &format!("{cluster}\n{second}\n"));
    for process in all {
        process.reread().await;
    }
    // Files that hold something else than they should.
    let broken = issued.key.replacen("MI", "M!", 1);
    for (name, text, right) in [
        ("key.pem", &broken, &issued.key),
        ("key.pem", &signing, &issued.key),
        ("cluster", &cluster[..9].to_owned(), &cluster),
        ("cluster", &format!("{cluster}\n{second}\n{strange}\n{cluster}\n"), &cluster),
        ("api", &format!("{api}\n{other_api}\n"), &api),
        ("api", &format!("{api} {other_api}"), &api),
        ("signing", &issued.key, &signing),
        ("signing", &signing[..9].to_owned(), &signing),
    ] {
        files.write(name, text);
        for process in all {
            let lines = process.log().len();
            process.signal(Signal::HUP);
            eventually("the files were read", async || {
                let log = process.log();
                let of = |line: &String| {
                    line.contains("the settings were read again")
                        || line.contains("the settings stay as they were")
                };
                log[lines..].iter().any(of).then_some(())
            })
            .await;
        }
        files.write(name, right);
    }
    for process in all {
        process.reread().await;
    }
    secrets.add("a part of the cluster secret", &cluster[..9]);
    secrets.add("a part of the secret of tokens", &signing[..9]);
    assert!(gateway.count("TRACE") > 10 && publisher.count("TRACE") > 10, "they log everything");
    for process in [&mut gateway, &mut publisher, &mut broker] {
        process.signal(Signal::TERM);
        assert!(process.ended().await.success());
    }
    secrets.assert_in_no_log(&[&broker, &gateway, &publisher, &stranger]);
}

#[test]
fn content_and_keys_in_a_wrong_place_of_a_url_are_not_logged() {
    let away = ["--listen=127.0.0.1:0", "--broker=127.0.0.1:1"];
    let start = |service: &str| {
        let mut command = command(&[&[service], &away[..]].concat());
        command.env("CAMPANILE_LOG", "trace");
        Process::run(service, command)
    };
    let (mut publisher, mut gateway, secret) = (start("publisher"), start("gateway"), fresh());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ask = |process: &Process, says: &str, target: String| {
        let address = runtime.block_on(process.address(says));
        let mut client = Client::raw(address);
        let head = format!("{target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close");
        client.send(format!("{head}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        let (status, _, body) = client.response();
        assert_eq!(status, 400, "{target}: {body}");
    };
    for target in [
        format!("POST /?{secret}"),
        format!("POST /?content={secret}%E9"),
        format!("POST /?content=100%{secret}"),
        format!("POST /?{secret}%zz=x"),
        format!("POST /batch?content={secret}"),
    ] {
        ask(&publisher, "the publisher listens", target);
    }
    for target in [
        format!("GET /events?{secret}"),
        format!("GET /events?{secret}%zz"),
        format!("GET /events?{secret}%ff"),
        format!("GET /events?group={secret}%ff"),
    ] {
        ask(&gateway, "the gateway listens", target);
    }
    for process in [&mut publisher, &mut gateway] {
        process.signal(Signal::TERM);
        assert!(runtime.block_on(process.ended()).success());
    }
    // All of them were logged, without what they were asked for.
    assert_eq!(publisher.count("incident=\"bad_request\""), 5);
    assert_eq!(gateway.count("incident=\"unknown_parameter\""), 1);
    assert_eq!(gateway.count("incident=\"bad_request\""), 3);
    for process in [&publisher, &gateway] {
        assert_eq!(process.count(&secret), 0, "{:?}", process.log());
    }
}
