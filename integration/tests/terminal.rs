//! `campanile push`, `campanile tail` and `campanile top`, with real clusters.

#[path = "tokens/issuer.rs"]
mod issuer;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use campanile_harness::tls::Files;
use campanile_harness::{
    Cluster, Process, Signal, command, eventually, on_disk, output_of, reserved_port,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use issuer::{fresh, now, settings, token};

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A `campanile tail` with its output in the log of the returned process.
fn tail(gateway: SocketAddr, args: &[&str]) -> Process {
    Process::start(&[&["tail", "--url", &url(gateway)], args].concat())
}

/// The lines of JSON that a `campanile tail --json` has printed.
fn printed(tail: &Process) -> Vec<Value> {
    let lines = tail.log().into_iter().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
}

fn push(publisher: SocketAddr, args: &[&str]) -> Output {
    output_of(&mut command(&[&["push", "--url", &url(publisher)], args].concat()))
}

/// Pushes until as many connections listen.
async fn listening(cluster: &Cluster, parameters: &[(&str, &str)], connections: u64) {
    eventually("the connections listen", async || {
        let receipt = cluster.push[0].receipt(parameters).await;
        (receipt.matched == connections).then_some(())
    })
    .await;
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8").trim_end()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_printed_with_its_receipt() {
    let cluster = Cluster::of(1).start().await;
    let (gateway, publisher) = (cluster.gateway_addresses[0], cluster.push[0].address);
    let news = tail(gateway, &["--json", "--group", "news", "--group", "a&b"]);
    let plain = tail(gateway, &["--group", "news"]);
    listening(&cluster, &[("content", "ready"), ("to_group", "news")], 2).await;
    let said = push(publisher, &["--to-group", "news", "one\ntwo"]);
    let said_text = text(&said.stdout);
    assert!(
        said_text.ends_with(", kept in memory; 2 connections at 1 gateway listened"),
        "{said:?}"
    );
    let receipt = push(publisher, &["--to-group", "a&b", "--json", "--wait", "delivered", "three"]);
    let receipt: Value = serde_json::from_slice(&receipt.stdout).expect("JSON");
    assert_eq!((&receipt["matched"], &receipt["written"]), (&json!(1), &json!(1)), "{receipt}");
    let repeats = [(); 2].map(|()| push(publisher, &["--id", "order-42", "everyone"]));
    assert_eq!(repeats[0].stdout, repeats[1].stdout);
    assert!(push(publisher, &["--to-user", "nobody", "hidden"]).status.success());

    let mut command = command(&["push", "--url", &url(publisher), "-"]);
    let mut binary = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let written = binary.stdin.take().expect("piped").write_all(b"\xff\n");
    written.expect("it reads all");
    assert!(binary.wait().expect("it ends").success());
    news.said("content_base64").await;
    let contents: Vec<_> = printed(&news).into_iter().filter(|e| e["content"] != "ready").collect();
    let position = |event: &Value| event["position"].as_str().expect("a string").to_owned();
    assert!(
        said_text.starts_with(&format!("accepted at {}, ", position(&contents[0]))),
        "{said:?}"
    );
    assert_eq!(contents[1]["position"], receipt["position"]);
    let contents: Vec<_> = contents
        .iter()
        .map(|event| {
            event["content"].as_str().or(event["content_base64"].as_str()).expect("either")
        })
        .collect();
    assert_eq!(contents, ["one\ntwo", "three", "everyone", "/wo="]);
    plain.said("/wo=").await;
    let lines: Vec<_> = plain.log().into_iter().filter(|line| line != "ready").collect();
    assert_eq!(lines, ["one", "two", "everyone", "/wo="]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_over_a_gateway_that_restarts_misses_nothing() {
    let mut cluster = Cluster::of(1).start().await;
    let tail = tail(cluster.gateway_addresses[0], &["--json", "--group", "g", "--since", "first"]);
    let mut expected = Vec::new();
    for round in 0..3 {
        for (number, group) in ["g", "g", "other"].iter().enumerate() {
            let content = format!("{group} {round} {number}");
            cluster.push[0].group(group, &content).await;
            if *group == "g" {
                expected.push(content);
            }
        }
        if round == 1 {
            tail.said("g 0 0").await;
            // One event comes while there is no gateway.
            cluster.gateways[0].kill().await;
            tail.said("trying again in").await;
            cluster.push[0].group("g", "alone").await;
            expected.push("alone".to_owned());
            cluster.replace_gateway_that_ended(0).await;
        }
    }
    let gateway = &cluster.gateways[0];
    tail.said("connected again, nothing is missing").await;
    // An orderly end, too.
    gateway.signal(Signal::TERM);
    cluster.gateways[0].ended().await;
    cluster.push[0].group("g", "last").await;
    expected.push("last".to_owned());
    cluster.replace_gateway_that_ended(0).await;
    tail.said("\"last\"").await;
    let contents: Vec<_> = printed(&tail)
        .iter()
        .map(|event| event["content"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(contents, expected, "each once and in order");
    assert_eq!(tail.count("events may be missing"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_says_when_the_broker_has_lost_its_log() {
    let mut cluster = Cluster::of(1).start().await;
    let tail = tail(cluster.gateway_addresses[0], &["--json"]);
    listening(&cluster, &[("content", "before")], 1).await;
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    tail.said("events may be missing here: the broker has started a new log").await;
    eventually("there is a push", async || {
        let answer = cluster.push[0].get(&[("content", "after")]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    tail.said("\"after\"").await;
    let gaps = printed(&tail).iter().filter(|line| line["gap"] == "epoch_changed").count();
    assert_eq!(gaps, 1, "{:?}", tail.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_begins_with_the_past_and_continues_where_it_stopped() {
    let directory = TempDir::new().expect("a directory");
    let cluster = Cluster::of(1).broker(&on_disk(directory.path())).start().await;
    for content in ["one", "two", "three"] {
        cluster.push[0].group("g", content).await;
    }
    let mut last = tail(cluster.gateway_addresses[0], &["--group", "g", "--last", "2"]);
    last.said("three").await;
    assert_eq!((last.count("one"), last.count("two")), (0, 1));
    last.said("2 earlier events follow; there were more before them").await;
    last.signal(Signal::INT);
    assert_eq!(last.ended().await.code(), Some(130));
    let line = last.said("interrupted; --since ").await;
    let position = line.split(' ').nth(2).expect("a position").to_owned();
    cluster.push[0].group("g", "four").await;
    let since = tail(cluster.gateway_addresses[0], &["--group", "g", "--since", &position]);
    since.said("four").await;
    assert_eq!(since.log(), ["four"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_ends_quietly_when_nobody_reads_it() {
    let cluster = Cluster::of(1).start().await;
    let mut command = command(&["tail", "--url", &url(cluster.gateway_addresses[0])]);
    let mut tail = command.spawn().expect("it starts");
    listening(&cluster, &[("content", "x")], 1).await;
    drop(tail.stdout.take());
    // Nothing is pushed any more.
    let ended = eventually("it ends", async || tail.try_wait().expect("our child")).await;
    assert_eq!(ended.code(), Some(0));
    let output = tail.wait_with_output().expect("it has ended");
    assert_eq!(text(&output.stderr), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_is_an_exit_code_and_the_sentence() {
    let directory = TempDir::new().expect("a directory");
    let key_file = directory.path().join("shop.key");
    let key = key_file.to_str().expect("UTF-8");
    let make = ["key", "make", "--name", "shop", "--scope", "group:news", "--key-file", key];
    let entry = output_of(&mut command(&make)).stdout;
    let file = directory.path().join("campanile.toml");
    std::fs::write(&file, text(&entry)).expect("it can be written");
    let flags = format!("--config {}", file.display());
    let cluster = Cluster::of(0).publisher(&flags).start().await;
    let publisher = cluster.push[0].address;
    let refused = |args: &[&str], code: i32, part: &str| {
        let output = push(publisher, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(part), "{args:?}: {said}");
        assert_eq!((said.lines().count(), text(&output.stdout)), (1, ""), "{said}");
    };
    refused(&["--to-group", "news", "x"], 1, "401 Unauthorized: ");
    refused(&["--key-file", key, "x"], 1, "403 Forbidden: ");
    refused(&["--key-file", key, "--to-group", "news", ""], 1, "content is empty");
    refused(&["--key-file", "/etc/no-key", "x"], 2, "--key-file /etc/no-key: it cannot be read");
    refused(&["--ca", "/nonexistent", "x"], 2, "--ca /nonexistent: it cannot be read");
    refused(&["--key-file", "-", "-"], 2, "cannot both come from standard input");
    refused(&["--to-group", "a", "--to-user", "b", "x"], 2, "cannot be used with");
    assert!(push(publisher, &["--key-file", key, "--to-group", "news", "x"]).status.success());

    let secret = std::fs::read_to_string(&key_file).expect("it is there");
    let mut by_variable = command(&["push", "--url", &url(publisher), "--to-group", "news", "x"]);
    let output = output_of(by_variable.env("CAMPANILE_KEY", secret.trim_end()));
    assert!(output.status.success(), "{output:?}");
    let (_reserved, nobody) = reserved_port();
    let output = push(nobody, &["x"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refused") && !said.contains("unknown"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_the_cluster_and_that_its_broker_is_away() {
    let flags = "--admin-listen=127.0.0.1:0";
    let mut cluster = Cluster::of(1).publisher(flags).gateway(flags).start().await;
    let admin = url(cluster.publishers[0].address("operators are answered").await);
    let _client = cluster.client_v1(0, &["news"]).await;
    cluster.push[0].group("news", "one").await;
    assert_eq!(cluster.push[0].get_raw("\u{1b}[2J=1&content=x").await.status, 400);

    // The output is not a terminal, so it is one picture.
    let output = output_of(&mut command(&["top", "--url", &admin]));
    let picture = text(&output.stdout);
    assert!(output.status.success() && text(&output.stderr).is_empty(), "{output:?}");
    let line = |part: &str| {
        let line = picture.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("{part} is not in\n{picture}"))
    };
    assert!(line("BROKER").contains("durability memory  links 2"), "{picture}");
    assert!(line("per second").contains("accepted 0"), "{picture}");
    assert_eq!(picture.lines().filter(|line| line.contains("  ready  ")).count(), 2, "{picture}");
    let refused = picture.lines().skip_while(|line| !line.contains("REASON")).nth(1);
    assert!(refused.is_some_and(|line| line.contains("400") && line.contains("push")), "{picture}");
    assert!(!picture.contains('\u{1b}'), "{picture}");

    let output = output_of(&mut command(&["top", "--json", "--once", "--server", &admin]));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(seen["gateways"][0]["totals"]["deliveries"], 1);

    let follow = Process::start(&["top", "--json", "--url", &admin]);
    follow.said("\"broker\":{").await;
    cluster.broker.kill().await;
    follow.said("503 Service Unavailable: this publisher has no link to its broker").await;
    let output = output_of(&mut command(&["top", "--once", "--url", &admin]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("has no link to its broker"), "{output:?}");
    let before = printed(&follow).len();
    cluster.start_broker_again().await;
    eventually("it goes on", async || (printed(&follow).len() > before).then_some(())).await;

    let elsewhere = url(cluster.gateways[0].address("operators are answered").await);
    let output = output_of(&mut command(&["top", "--url", &elsewhere]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("has no /cluster: accepted is the listener for operators"), "{said}");
}

/// A gateway over TLS that wants tokens, and a publisher over TLS.
async fn guarded(files: &Files, secret: &str) -> Cluster {
    files.write("secret", secret);
    let grace = "--token-grace 100ms";
    let text = format!("[gateway]\n{}{}", files.settings(), settings(&files.path("secret")));
    files.write("settings", text.replace("[tokens]\n", "[tokens]\nleeway = \"0s\"\n"));
    let flags = format!("{grace} --config {}", files.shown("settings"));
    Cluster::of(1).gateway(&flags).publisher(&files.flags()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_with_a_token_over_tls_ends_when_it_expires() {
    let (files, secret) = (Files::new(&["localhost", "127.0.0.1"]), fresh());
    let cluster = guarded(&files, &secret).await;
    let (ca, file) = (files.shown("ca.pem"), files.shown("token"));
    let gateway = format!("https://{}", cluster.gateway_addresses[0]);
    let follow = |ca: &str| {
        Process::start(&[
            "tail",
            "--url",
            &gateway,
            "--ca",
            ca,
            "--group",
            "news",
            "--token-file",
            &file,
        ])
    };

    files.write("token", token(&secret, json!({ "exp": now() - 60 })));
    let mut expired = follow(&ca);
    assert_eq!(expired.ended().await.code(), Some(1));
    expired.said("error: 401 Unauthorized: the token has expired").await;

    files.write("token", token(&secret, json!({ "exp": now() + 6 })));
    let mut good = follow(&ca);
    let publisher = format!("https://{}", cluster.push[0].address);
    let push = |ca: &str| {
        let args = ["push", "--url", &publisher, "--ca", ca, "--to-group", "news", "--json", "hi"];
        output_of(&mut command(&args))
    };
    let listens = async || text(&push(&ca).stdout).contains("\"matched\":1").then_some(());
    eventually("it listens", listens).await;
    good.said("hi").await;
    let strange = Files::new(&["127.0.0.1"]).authority;
    files.write("strange.pem", strange.pem());
    let output = push(&files.shown("strange.pem"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("certificate"), "{output:?}");
    assert_eq!(good.ended().await.code(), Some(1));
    good.said("error: the token has expired").await;
    assert!(Path::new(&file).exists());
}
