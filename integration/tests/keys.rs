//! API keys, by what processes with a settings file do with them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use campanile_harness::{Process, Signal, command, eventually, exchange, output_of};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

fn run(args: &[&str]) -> Output {
    output_of(&mut command(args))
}

/// Makes a key. Returns it, and its entry in a settings file.
fn make(scopes: &[&str]) -> (String, String) {
    let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
    let args: Vec<_> = ["key", "make", "--name", "shop"].into_iter().chain(scopes).collect();
    let made = run(&args);
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).expect("UTF-8");
    let key = text.lines().find(|line| line.starts_with("cpk_")).expect("a key").to_owned();
    let entry = &text[text.find("[[keys]]").expect("an entry")..];
    (key, entry.to_owned())
}

fn write(file: &Path, entries: &[&str]) {
    std::fs::write(file, entries.join("\n")).expect("it can be written");
}

/// The status of a push with a key, on a connection of its own.
async fn push(publisher: SocketAddr, target: &str, key: Option<&str>) -> u16 {
    let key = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{key}\r\n");
    exchange(publisher, request.as_bytes()).await.status
}

#[tokio::test]
async fn a_key_is_rotated_by_a_hangup_and_never_logged() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("campanile.toml");
    let ((old, old_entry), (new, new_entry)) = (make(&["everyone"]), make(&["group:news"]));
    let (strange, _) = make(&["everyone"]);
    write(&file, &[&old_entry]);
    let path = file.to_str().expect("UTF-8");
    let listen = ["--broker-listen", "--gateway-listen", "--publisher-listen"];
    let mut args = vec!["up", "--config", path];
    args.extend(listen.iter().flat_map(|flag| [flag, "127.0.0.1:0"]));
    let mut command = command(&args);
    command.env("CAMPANILE_LOG", "trace");
    let mut up = Process::run("up", command);
    let line = up.said("  publisher  ").await;
    let address = line.split(' ').next_back().expect("an address");
    let publisher: SocketAddr = address.parse().expect("an address");

    assert_eq!(push(publisher, "/?content=a", None).await, 401);
    assert_eq!(push(publisher, "/?content=a", Some(&strange)).await, 401);
    assert_eq!(push(publisher, "/?content=a", Some(&old)).await, 200);
    assert_eq!(push(publisher, &format!("/?content=a&key={old}"), None).await, 200);
    let escaped: String = old.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(push(publisher, &format!("/?content=a&k%65y={escaped}"), None).await, 200);
    for target in ["/?key=", "/batch?key=", "/position?a=b&key=", "ftp://h/?key="] {
        let status = push(publisher, &format!("{target}{strange}"), None).await;
        assert!((400..500).contains(&status), "{target}: {status}");
    }

    let mut request = format!("ws://{publisher}/stream").into_client_request().expect("a request");
    let value = format!("Bearer {old}").parse().expect("a value");
    request.headers_mut().insert("Authorization", value);
    let (mut stream, _) = connect_async(request).await.expect("a stream");
    stream.send(Message::text(json!({ "content": "a" }).to_string())).await.expect("it reads");
    let answer = stream.next().await.expect("an answer").expect("a message");
    let answer: Value = serde_json::from_str(answer.to_text().expect("a text")).expect("JSON");
    assert_eq!(answer["status"], 200);

    write(&file, &[&old_entry, &new_entry]);
    up.reread().await;
    assert_eq!(push(publisher, "/?content=a", Some(&old)).await, 200);
    assert_eq!(push(publisher, "/?content=a&to_group=news", Some(&new)).await, 200);
    assert_eq!(push(publisher, "/?content=a", Some(&new)).await, 403);

    let broken = new_entry.replace("group:news", "gruop:news");
    write(&file, &[&broken]);
    up.signal(Signal::HUP);
    let line = up.said("the settings stay as they were").await;
    assert!(line.contains("scopes") && line.contains("gruop:news"), "{line}");
    assert_eq!(push(publisher, "/?content=a", Some(&old)).await, 200);

    write(&file, &[&new_entry]);
    up.reread().await;
    let ended = eventually("the stream ends", async || match stream.next().await {
        Some(Ok(Message::Close(frame))) => Some(frame),
        Some(Ok(_)) => None,
        other => panic!("{other:?}"),
    });
    assert_eq!(ended.await.map(|frame| u16::from(frame.code)), Some(4401));
    assert_eq!(push(publisher, "/?content=a", Some(&old)).await, 401);
    assert_eq!(push(publisher, "/?content=a&to_group=news", Some(&new)).await, 200);

    up.signal(Signal::TERM);
    assert!(up.ended().await.success());
    let log = up.log().join("\n");
    assert!(log.contains("not pushed"), "the log has every detail");
    for secret in [&old, &new, &strange, &escaped] {
        // A piece of a secret is a secret, too.
        let piece = &secret[8..24];
        assert!(!log.contains(piece), "{:?}", log.lines().find(|line| line.contains(piece)));
    }
}

#[tokio::test]
async fn a_hangup_gives_back_nothing_of_a_rate() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("campanile.toml");
    let (key, entry) = make(&["everyone"]);
    let listen = "listen = \"127.0.0.1:0\"\n";
    let services = ["broker", "gateway", "publisher"].map(|name| format!("[{name}]\n{listen}"));
    let settings = |burst| format!("{}{entry}per_second = 1\nburst = {burst}\n", services.concat());
    write(&file, &[&settings(1_000)]);
    let up = Process::start(&["up", "--config", file.to_str().expect("UTF-8")]);
    let line = up.said("  publisher  ").await;
    let address = line.split(' ').next_back().expect("an address");
    let publisher: SocketAddr = address.parse().expect("an address");
    let left = async || -> u32 {
        let target = "GET /?content=a HTTP/1.1\r\nHost: localhost\r\n";
        let request = format!("{target}Authorization: Bearer {key}\r\n\r\n");
        let head = exchange(publisher, request.as_bytes()).await.head.to_lowercase();
        let (_, left) = head.split_once(";r=").expect("a rate");
        let digits = left.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).expect("a number")
    };
    // One comes back in a second, and nobody waits for that.
    for _ in 0..60 {
        left().await;
    }
    up.reread().await;
    let after = left().await;
    assert!(after < 980, "{after}");
    write(&file, &[&settings(2_000)]);
    up.reread().await;
    let after = left().await;
    assert!((1_900..1_980).contains(&after), "of another rate, as many are used: {after}");
}

#[test]
fn a_key_is_read_from_a_file_and_wrong_ones_are_explained() {
    let directory = TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let made =
        run(&["key", "make", "--name", "shop", "--scope", "everyone", "--key-file", &path("key")]);
    let entry = String::from_utf8(made.stdout).expect("UTF-8");
    let hash = run(&["key", "hash", "--file", &path("key")]);
    let hash = String::from_utf8(hash.stdout).expect("UTF-8");
    assert!(entry.contains(hash.trim_end()), "{entry}");
    let scope = run(&["key", "make", "--name", "shop", "--scope", "all"]);
    let said = String::from_utf8(scope.stderr).expect("UTF-8");
    assert!(
        said.contains("there is no scope \"all\": a scope is everyone, group:PATTERN"),
        "{said}"
    );
    std::fs::write(
        path("settings"),
        "[[keys]]\nname = 'a'\nsha256 = 'cpk_hunter2'\nscopes = ['read']",
    )
    .expect("it can be written");
    let refused = run(&["publisher", "--config", &path("settings")]);
    let said = String::from_utf8(refused.stderr).expect("UTF-8");
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("keys[0].sha256") && !said.contains("hunter2"), "{said}");
    assert!(said.contains("the SHA-256 of a key is 64 hexadecimal digits"), "{said}");
}
