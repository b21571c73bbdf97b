//! The operator's page, as far as it can be seen without a browser: who gets in, for how long, and with what
//! headers.

#[path = "console/pages.rs"]
mod pages;

use std::net::SocketAddr;
use std::path::PathBuf;

use campanile_harness::{Answer, Process, eventually, exchange, within};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A publisher with keys, which has no broker.
struct Guarded {
    directory: TempDir,
    keys: [(&'static str, &'static str, String); 3],
    process: Process,
    admin: SocketAddr,
}

impl Guarded {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let key = || format!("cpk_{:032x}", rand::random::<u128>());
        let keys = [
            ("ops", "'read', 'manage'", key()),
            ("looker", "'read'", key()),
            ("shop", "'everyone'", key()),
        ];
        let settings = directory.path().join("campanile.toml");
        let args = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--config"];
        write(&directory, &keys);
        let process = Process::start(&[&args[..], &[settings.to_str().expect("UTF-8")]].concat());
        let admin = process.address("operators are answered").await;
        Self { directory, keys, process, admin }
    }

    fn key(&self, name: &str) -> &str {
        &self.keys.iter().find(|(of, ..)| *of == name).expect("a key").2
    }

    async fn ask(&self, line: &str, headers: &str, body: &str) -> Answer {
        ask(self.admin, line, headers, body).await
    }

    fn origin(&self) -> String {
        format!("Origin: http://{}\r\n", self.admin)
    }

    async fn sign_in_with(&self, key: &str, headers: &str) -> Answer {
        self.ask("POST /console/session", headers, &format!("key={key}")).await
    }

    /// Signs in, and returns the headers with the cookie and with the proof.
    async fn sign_in(&self, name: &str) -> (String, String) {
        let answer = self.sign_in_with(self.key(name), &self.origin()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let cookie = answer.header("set-cookie").expect("a cookie");
        let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
        let proof = answer.json()["proof"].as_str().expect("a proof").to_owned();
        (cookie, format!("Campanile-Proof: {proof}\r\n"))
    }
}

fn write(directory: &TempDir, keys: &[(&str, &str, String)]) {
    let entry = |(name, scopes, key): &(&str, &str, String)| {
        let path: PathBuf = directory.path().join(name);
        std::fs::write(&path, key).expect("it can be written");
        format!("[[keys]]\nname = {name:?}\nsecret_file = {path:?}\nscopes = [{scopes}]\n")
    };
    let settings: String = keys.iter().map(entry).collect();
    std::fs::write(directory.path().join("campanile.toml"), settings).expect("it can be written");
}

async fn ask(admin: SocketAddr, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {admin}\r\n{headers}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    exchange(admin, request.as_bytes()).await
}

#[tokio::test]
async fn a_key_is_exchanged_for_a_session_that_can_be_ended() {
    let guarded = Guarded::start().await;
    let state = async |headers: &str| {
        guarded.ask("GET /console/session", headers, "").await.json()["state"].clone()
    };
    assert_eq!(guarded.ask("GET /console", "", "").await.status, 200, "the form is for everybody");
    assert_eq!(state("").await, "out");
    let own = guarded.origin();
    let without = guarded.ask("POST /console/session", &own, "kee=a").await;
    assert_eq!(without.status, 400, "{}", without.body);
    let too_long = guarded.sign_in_with(&"a".repeat(5_000), &own).await;
    assert_eq!(too_long.status, 413, "{}", too_long.body);
    let wrong = guarded.sign_in_with("cpk_wrong", &own).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let no_scope = guarded.sign_in_with(guarded.key("shop"), &own).await;
    assert_eq!(no_scope.status, 403);
    assert!(no_scope.body.contains("lacks the scope read"), "{}", no_scope.body);
    for foreign in
        ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: none\r\n"]
    {
        let refused = guarded.sign_in_with(guarded.key("ops"), foreign).await;
        assert_eq!((refused.status, refused.header("set-cookie")), (403, None), "{foreign}");
    }

    let signed_in = guarded.sign_in_with(guarded.key("ops"), &own).await;
    let cookie = signed_in.header("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once(';').expect("attributes");
    assert_eq!(attributes, " Path=/; Max-Age=28800; HttpOnly; SameSite=Strict");
    let (name, id) = pair.split_once('=').expect("a pair");
    assert_eq!(name, format!("campanile-session-{}", guarded.admin.port()));
    let proof = signed_in.json()["proof"].as_str().expect("a proof").to_owned();
    assert_eq!((id.len(), proof.len()), (64, 64), "256 bits");
    let over_tls = format!("Origin: https://{}\r\n", guarded.admin);
    let over_tls = guarded.sign_in_with(guarded.key("ops"), &over_tls).await;
    let secure = over_tls.header("set-cookie").expect("a cookie");
    assert!(secure.starts_with("__Host-campanile-session-"), "{secure}");
    assert!(secure.ends_with("; Secure"), "{secure}");

    let cookie = format!("Cookie: theme=dark; {pair}\r\n");
    let session = guarded.ask("GET /console/session", &cookie, "").await.json();
    assert_eq!((&session["key"], &session["manage"]), (&"ops".into(), &true.into()));
    // It is let in, and there is no broker.
    assert_eq!(guarded.ask("GET /cluster", &cookie, "").await.status, 503);
    assert_eq!(guarded.ask("GET /metrics", &cookie, "").await.status, 200);
    assert_eq!(guarded.ask("GET /cluster", "", "").await.status, 401);
    let twice = format!("{}; {pair}\r\n", cookie.trim());
    assert_eq!(guarded.ask("GET /cluster", &twice, "").await.status, 401);

    assert_eq!(guarded.ask("DELETE /console/session", &cookie, "").await.status, 403);
    let both = format!("{cookie}{own}");
    let ended = guarded.ask("DELETE /console/session", &both, "").await;
    assert_eq!(ended.status, 204);
    assert!(ended.header("set-cookie").expect("a cookie").contains("=; Path=/; Max-Age=0"));
    assert_eq!(guarded.ask("GET /cluster", &cookie, "").await.status, 401);
    assert_eq!(state(&cookie).await, "out");
    let secrets = [id, &proof, guarded.key("ops"), guarded.key("shop")];
    let log = guarded.process.log();
    assert!(log.iter().all(|line| secrets.iter().all(|secret| !line.contains(secret))));
}

#[tokio::test]
async fn a_change_needs_the_scope_and_the_origin_of_the_page() {
    let guarded = Guarded::start().await;
    let own = guarded.origin();
    let ((cookie, proof), (looker, its_proof)) =
        (guarded.sign_in("ops").await, guarded.sign_in("looker").await);
    let (ops, looker) = (format!("{cookie}{proof}"), format!("{looker}{its_proof}"));
    let push = async |headers: &str| {
        let answer = guarded.ask("POST /console/push", headers, "content=hi&to_group=news").await;
        (answer.status, answer.body)
    };
    assert_eq!(push("").await.0, 401);
    let refused = push(&ops).await;
    assert!(refused.0 == 403 && refused.1.contains("another origin"), "{}", refused.1);
    for foreign in ["https://evil.example", "http://127.0.0.1:1", "null"] {
        assert_eq!(push(&format!("{ops}Origin: {foreign}\r\n")).await.0, 403, "{foreign}");
    }
    // Other ports of this host get the cookie, and could forge the origin.
    for of_others in ["", "Campanile-Proof: a\r\n", &its_proof] {
        let refused = push(&format!("{cookie}{of_others}{own}")).await;
        assert!(refused.0 == 403 && refused.1.contains("keeps besides it"), "{}", refused.1);
    }
    let refused = push(&format!("{looker}{own}")).await;
    assert!(refused.0 == 403 && refused.1.contains("lacks the scope manage"), "{}", refused.1);
    // It may change something, but not push to this group.
    let refused = push(&format!("{ops}{own}")).await;
    assert!(refused.0 == 403 && refused.1.contains("group:news"), "{}", refused.1);
    let by_key = format!("Authorization: Bearer {}\r\n", guarded.key("ops"));
    assert!(push(&by_key).await.1.contains("group:news"), "curl needs no origin");
    assert!(push(&format!("{by_key}{ops}")).await.1.contains("another origin"));
    let disconnect =
        async |headers: &str| guarded.ask("DELETE /users/42?reason=test", headers, "").await.status;
    assert_eq!(disconnect("").await, 401);
    assert_eq!(disconnect(&ops).await, 403);
    assert_eq!(disconnect(&format!("{ops}Origin: http://127.0.0.1:1\r\n")).await, 403);
    assert_eq!(disconnect(&format!("{looker}{own}")).await, 403);
    assert_eq!(disconnect(&format!("{ops}{own}")).await, 503, "there is no broker");
    let metrics = guarded.ask("GET /metrics", &ops, "").await.body;
    let counted = "campanile_publisher_pushes_total{kind=\"push\",result=\"403\",key=\"ops\"} 2\n";
    assert!(metrics.contains(counted), "composed pushes are counted: {metrics}");
}

#[tokio::test]
async fn failed_attempts_are_limited_by_address_and_right_keys_pass() {
    let guarded = Guarded::start().await;
    let own = guarded.origin();
    let by_key = |key: &str| format!("Authorization: Bearer {key}\r\n");
    let foreign = "Origin: https://evil.example\r\n";
    // In every way that may fail: each of these counts.
    for attempt in 0..3 {
        let key = format!("cpk_{attempt}");
        assert_eq!(guarded.sign_in_with(&key, &own).await.status, 401);
        assert_eq!(guarded.sign_in_with(&key, foreign).await.status, 403);
        assert_eq!(guarded.ask("GET /metrics", &by_key(&key), "").await.status, 401);
    }
    assert_eq!(guarded.sign_in_with(guarded.key("shop"), &own).await.status, 403);
    let lines = || guarded.process.log().iter().filter(|line| line.contains("sign in")).count();
    for answer in [
        guarded.sign_in_with("cpk_11", &own).await,
        guarded.sign_in_with(guarded.key("ops"), foreign).await,
        guarded.sign_in_with(guarded.key("shop"), &own).await,
        guarded.ask("GET /metrics", &by_key("cpk_11"), "").await,
        guarded.ask("GET /cluster", &by_key("cpk_11"), "").await,
    ] {
        assert_eq!(answer.status, 429);
        assert!(answer.body.starts_with("too many attempts"), "{}", answer.body);
        let after = answer.header("retry-after").and_then(|value| value.parse::<u64>().ok());
        assert!(after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{}", answer.head);
    }
    guarded.sign_in("ops").await;
    guarded.process.said("an operator has signed in").await;
    let left_out = || {
        let log = guarded.process.log();
        let of_kind = log.iter().filter(|line| line.contains("incident=\"sign_in\""));
        let counts = of_kind.filter_map(|line| {
            line.split_once("left_out=")?.1.split(' ').next()?.parse::<u32>().ok()
        });
        counts.sum::<u32>()
    };
    let what = "all attempts are told, and the log is not flooded";
    eventually(what, async || (left_out() == 10 - 5).then_some(())).await;
    assert_eq!(lines(), 5, "as many as of any incident of one address");
    let metrics = guarded.ask("GET /metrics", &by_key(guarded.key("ops")), "").await;
    assert_eq!(metrics.status, 200, "scrapers go on");
}

#[tokio::test]
async fn a_session_and_its_open_page_end_with_the_key() {
    let mut guarded = Guarded::start().await;
    let (own, (cookie, _)) = (guarded.origin(), guarded.sign_in("ops").await);
    let open = async |headers: &[(&'static str, &str)]| {
        let url = format!("ws://{}/console/live", guarded.admin);
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        within("an answer", connect_async(request)).await
    };
    let (own, pair) = (&own["Origin: ".len()..own.len() - 2], &cookie["Cookie: ".len()..]);
    let pair = pair.trim_end();
    for (headers, status) in [
        (&[("origin", own)][..], 401),
        (&[("cookie", pair)], 403),
        (&[("cookie", pair), ("origin", "https://evil.example")], 403),
    ] {
        match open(headers).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "{headers:?}"),
            other => panic!("{headers:?}: {other:?}"),
        }
    }
    let (mut page, _) = open(&[("cookie", pair), ("origin", own)]).await.expect("it is let in");
    let mut next = async || -> serde_json::Value {
        let message = within("a message", page.next()).await.expect("one").expect("no error");
        serde_json::from_str(message.to_text().expect("text")).expect("JSON")
    };
    assert!(next().await["history"].is_array(), "what is kept comes first");
    let second = next().await;
    assert_eq!(second["unavailable"], "this publisher has no link to its broker: try again");
    assert_eq!(second["reason"], "no_broker");

    guarded.keys[0].2 = format!("cpk_{:032x}", rand::random::<u128>());
    write(&guarded.directory, &guarded.keys);
    guarded.process.reread().await;
    let closed = async {
        loop {
            if let Message::Close(frame) = page.next().await.expect("more").expect("no error") {
                return frame.expect("a code");
            }
        }
    };
    let frame = within("the page is closed", closed).await;
    assert_eq!(
        (u16::from(frame.code), &*frame.reason),
        (4401, "the session is over: sign in again")
    );
    assert_eq!(guarded.ask("GET /cluster", &cookie, "").await.status, 401);
}

#[tokio::test]
async fn every_file_of_the_page_has_strict_headers() {
    let args = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let publisher = Process::start(&args);
    let admin = publisher.address("operators are answered").await;
    let page = ask(admin, "GET /console", "", "").await;
    let files = page.body.split('"').filter(|part| part.starts_with("console/"));
    let mut paths: Vec<_> = files.map(|file| format!("/{file}")).collect();
    assert!(paths.len() >= 2, "{}", page.body);
    paths.push("/console".to_owned());
    for path in &paths {
        let answer = ask(admin, &format!("GET {path}"), "", "").await;
        assert_eq!(answer.status, 200, "{path}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let policy = answer.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{part} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let redirect = ask(admin, "GET /console/", "", "").await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("../console")));
    // Without keys nobody signs in, but pages of other origins change nothing.
    let session = ask(admin, "GET /console/session", "", "").await.json();
    assert_eq!((&session["state"], &session["manage"]), (&"in".into(), &true.into()));
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(ask(admin, "POST /console/push", foreign, "content=a").await.status, 403);
    let by_proxy = ask(admin, "GET /console/session", "Via: 1.1 proxy\r\n", "").await.json();
    assert_eq!(by_proxy["state"], "shut");
    let empty = ask(admin, "POST /console/push", "", "content=").await;
    assert_eq!(empty.status, 400, "{}", empty.body);
}
