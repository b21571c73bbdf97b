//! A gateway whose clients need tokens, by its settings file.

#[path = "tokens/issuer.rs"]
mod issuer;

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::{Process, Signal, command, output_of};
use issuer::{fresh, now, settings, token};
use serde_json::json;
use tempfile::TempDir;

fn write_settings(file: &Path, secret_file: &Path, more: &str) {
    let text = settings(secret_file) + more + "\n[log]\nlevel = \"debug\"\n";
    std::fs::write(file, text).expect("it can be written");
}

/// A client that shows its token as the page of a browser does.
fn connect(gateway: SocketAddr, target: &str, token: &str) -> Client {
    let offer = format!(
        "Sec-WebSocket-Protocol: campanile.v1, base64url.bearer.campanile.{}",
        URL_SAFE_NO_PAD.encode(token)
    );
    Client::open_with(gateway, &request(target, &[&offer]))
}

#[track_caller]
fn assert_refused(client: &mut Client, code: &str, close: u16) {
    assert_eq!(client.json()["code"], code);
    client.expect_close(close);
}

#[tokio::test]
async fn a_gateway_lets_in_whom_its_settings_name_and_logs_no_token() {
    let directory = TempDir::new().expect("a directory");
    let (file, key) = (directory.path().join("campanile.toml"), directory.path().join("key"));
    let secret = fresh();
    std::fs::write(&key, format!("{secret}\n")).expect("it can be written");
    write_settings(&file, &key, "");
    let broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    let broker = broker_address(&broker).await;
    let config = file.to_str().expect("UTF-8");
    let mut gateway = Process::start(&[
        "gateway",
        "--config",
        config,
        "--listen",
        "127.0.0.1:0",
        "--broker",
        &broker.to_string(),
    ]);
    let address = gateway.address("the gateway listens").await;
    gateway.said("the gateway takes connections").await;

    let good = token(&secret, json!({ "sub": "42", "jti": "first" }));
    let mut client = connect(address, "/?group=news", &good);
    let welcome = client.json();
    assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("42")));
    let mut by_url = Client::open_v1(address, &format!("/?group=news&tok%65n={good}"));
    assert_eq!(by_url.json()["type"], "welcome");
    assert_refused(&mut connect(address, "/?group=secret", &good), "not_allowed", 4403);
    let expired = token(&secret, json!({ "exp": now() - 60 }));
    assert_refused(&mut connect(address, "/", &expired), "expired", 4401);
    let foreign = token(&fresh(), json!({}));
    assert_refused(&mut connect(address, "/", &foreign), "invalid_token", 4401);
    gateway.said("the token has expired 6").await;
    gateway.said("the signature of the token is wrong").await;

    write_settings(&file, &key, "[tokens.deny]\njti = [\"first\"]");
    gateway.signal(Signal::HUP);
    assert_refused(&mut client, "invalid_token", 4401);
    assert_refused(&mut connect(address, "/", &good), "invalid_token", 4401);
    let other = token(&secret, json!({ "sub": "42", "jti": "second" }));
    let mut client = connect(address, "/?group=news", &other);
    assert_eq!(client.json()["type"], "welcome");

    // A file that is wrong changes nothing.
    write_settings(&file, &directory.path().join("missing"), "[guests]\ngroups = [\"*\"]");
    gateway.signal(Signal::HUP);
    let line = gateway.said("the settings stay as they were").await;
    assert!(line.contains("tokens.keys[0].secret_file: "), "{line}");
    assert_refused(&mut connect(address, "/", &good), "invalid_token", 4401);

    gateway.signal(Signal::TERM);
    client.expect_close(1001);
    assert!(gateway.ended().await.success());
    let log = gateway.log().join("\n");
    for secret in [secret, good, expired, foreign, other] {
        let encoded = URL_SAFE_NO_PAD.encode(&secret);
        for part in [&*secret, &encoded, secret.rsplit('.').next().unwrap_or_default()] {
            assert!(!log.contains(part), "{part} is in {log}");
        }
    }
}

async fn broker_address(broker: &Process) -> SocketAddr {
    broker.address("the broker listens").await
}

#[test]
fn a_token_is_explained_by_the_keys_of_the_settings() {
    let directory = TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (secret, shown) = (path("secret"), path("token"));
    std::fs::write(&secret, fresh()).expect("it can be written");
    let run = |args: &[&str]| command(args).output().expect("it runs");
    let made = run(&["token", "make", "--key-file", &secret, "--user", "42"]);
    std::fs::write(&shown, made.stdout).expect("it can be written");
    let url = "[tokens]\njwks_url = \"https://id.example/keys\"\n".to_owned();
    let by_flag = format!("[gateway]\ntoken_keys = {secret:?}\n");
    let by_list = format!("[[tokens.keys]]\nsecret_file = {secret:?}\n");
    for (settings, code, sentence) in [
        (by_flag, 0, "accepted: the user \"42\""),
        (by_list, 0, "accepted: the user \"42\""),
        (String::new(), 2, "the settings have no keys for tokens"),
        (url, 2, "[tokens] jwks_url only, which is not fetched here"),
    ] {
        std::fs::write(path("settings"), settings).expect("it can be written");
        let output = run(&["token", "show", "--config", &path("settings"), &shown]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_wrong_key_is_an_error_before_the_gateway_starts() {
    let directory = TempDir::new().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, "hunter2\n").expect("it can be written");
    let key = key.to_str().expect("UTF-8");
    for (args, part) in [
        (["gateway", "--token-keys", key], "a secret of 7 bytes is too short for HS256"),
        (
            ["gateway", "--token-keys", "/etc/no-key"],
            "/etc/no-key: it cannot be read: No such file",
        ),
        (["gateway", "--token-cookie", "session"], "--token-cookie needs a list of origins"),
        (["gateway", "--token-cookie", "a;b"], "accepted are letters, digits"),
    ] {
        let output = output_of(&mut command(&args));
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!output.status.success() && said.contains(part), "{args:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// Runs `campanile token`, and returns its code and what it printed.
fn token_tool(args: &[&str]) -> (Option<i32>, String) {
    let output = command(&[&["token"], args].concat()).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[test]
fn a_key_is_read_for_a_token_as_a_gateway_reads_it() {
    let directory = TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let (key, made, settings) = (path("key"), path("token"), path("settings.toml"));
    // The spaces belong to the secret.
    std::fs::write(&key, format!("{}  \n", fresh())).expect("it can be written");
    let joins = ["--join=user/1", "--join=user/2", "--group=user/*"];
    let (code, token) = token_tool(&[&["make", "--key-file", &key][..], &joins].concat());
    assert_eq!(code, Some(0), "{token}");
    std::fs::write(&made, token).expect("it can be written");
    let show = |text: String| {
        std::fs::write(&settings, text).expect("it can be written");
        token_tool(&["show", &made, "--config", &settings])
    };
    let (code, said) = show(format!("[[tokens.keys]]\nsecret_file = {key:?}\n"));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = show(format!("[gateway]\ntoken_keys = {key:?}\nmax_groups = 2\n"));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = show(format!("[gateway]\ntoken_keys = {key:?}\nmax_groups = 1\n"));
    assert!(code == Some(1) && said.contains("refused (invalid_token)"), "{said}");
}
