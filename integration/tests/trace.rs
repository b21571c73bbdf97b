//! "Why did this client not get that message?": each reason, in a situation that really has it.

#[path = "trace/gaps.rs"]
mod gaps;
#[path = "trace/operator.rs"]
mod operator;
#[path = "trace/past.rs"]
mod past;
#[path = "trace/silent.rs"]
mod silent;

use campanile_harness::{
    Cluster, Feed, NO_GROUPS, Protocol, Signal, Websocket, command, connect, eventually, exchange,
    on_disk, open_feed, output_of, start_gateway,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use operator::{Operator, at, push_large, push_to, says};

/// More than the kernel holds for a client that does not read.
const MANY_BYTES: usize = 12 << 20;

#[tokio::test]
async fn the_way_of_an_event_is_followed_through_the_cluster() {
    let directory = TempDir::new().expect("a directory");
    let cluster = Cluster::of(2)
        .broker(&on_disk(directory.path()))
        .publisher("--admin-listen=127.0.0.1:0")
        .start()
        .await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let mut client = cluster.client_v1(0, &["news"]).await;
    let _other = cluster.client_v1(1, &["other"]).await;
    let name = "<script>alert('\u{1f514}')</script>";
    let parameters = [("to_group", "news"), ("content", "hello"), ("id", name)];
    let position = push.position(&parameters).await;
    assert_eq!(client.json().await["content"], "hello");

    let trace = operator.event(&position).await;
    let event = &trace["event"];
    assert_eq!((&event["known"], &event["bytes"]), (&true.into(), &5.into()), "{trace}");
    assert_eq!((&event["audience"]["group"], &event["id"]), (&"news".into(), &name.into()));
    assert_eq!((&event["sent_to_gateways"], &event["matched"]), (&1.into(), &1.into()));
    assert!(event["publisher"]["instance"].is_string() && event["key"].is_null(), "{event}");
    let time = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no time in {trace}"));
    let accepted = time(&event["accepted"]);
    assert!(accepted <= time(&event["stored"]) && accepted <= time(&event["released"]));
    let gateways = trace["gateways"].as_array().expect("gateways");
    let got: Vec<_> = gateways.iter().filter(|gateway| gateway["sent"] == true).collect();
    assert_eq!((gateways.len(), got.len()), (2, 1), "{trace}");
    assert_eq!((&got[0]["listeners"], &got[0]["written"]), (&1.into(), &1.into()), "{trace}");
    assert!((time(&got[0]["received"]) - accepted).abs() < 20.0, "{trace}");

    assert_eq!(trace["silent"].as_array().map(Vec::len), Some(0));
    assert!(trace.get("connection").is_none());
}

#[tokio::test]
async fn the_tool_names_the_key_and_answers_in_lines_or_json() {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let key = format!("cpk_{}", "k".repeat(43));
    let key_file = file("key", &key);
    let scopes = r#"["everyone", "read"]"#;
    let entry =
        format!("[[keys]]\nname = \"shop\"\nsecret_file = {key_file:?}\nscopes = {scopes}\n");
    let config = file("campanile.toml", &entry);
    let flags = format!("--config {config} --admin-listen=127.0.0.1:0");
    let cluster = Cluster::of(1).publisher(&flags).start().await;
    let operator = Operator::of(&cluster).await;
    let mut client = cluster.client_v1(0, &[]).await;
    let head = "GET /?content=hello HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n";
    let request = format!("{head}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n");
    let receipt = exchange(cluster.push[0].address, request.as_bytes()).await;
    let position = receipt.json()["position"].as_str().expect("a receipt").to_owned();
    assert_eq!(client.json().await["content"], "hello");

    assert_eq!(operator.get(&format!("position={position}")).await.status, 401);
    let url = format!("http://{}", operator.0);
    let connection = format!("{}/{}", client.worker, client.connection);
    let run = |args: &[&str]| {
        let common = ["trace", &position, "--url", &url, "--key-file", &key_file];
        output_of(&mut command(&[&common, args].concat()))
    };
    let said = run(&["--connection", &connection]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("\n  key \"shop\"\n"), "{said:?}");
    assert!(text.contains(&format!("connection {connection}: written: ")), "{text}");
    let json: Value = serde_json::from_slice(&run(&["--json"]).stdout).expect("JSON");
    assert_eq!((&json["event"]["key"], &json["position"]), (&"shop".into(), &(&*position).into()));
    let refused =
        output_of(&mut command(&["trace", "nonsense", "--url", &url, "--key-file", &key_file]));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(error.contains("position=nonsense: accepted is"), "{error}");
    assert_eq!(run(&["--connection", "7"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_wrong_question_is_answered_with_a_sentence() {
    let cluster = Cluster::of(1).publisher("--admin-listen=127.0.0.1:0").start().await;
    let operator = Operator::of(&cluster).await;
    let position = cluster.push[0].position(&[("content", "x")]).await;
    let (epoch, _) = position.split_once('-').expect("a position");
    for (query, status, part) in [
        ("".to_owned(), 400, "position is missing: accepted is the position"),
        ("position=yesterday".to_owned(), 400, "position=yesterday: accepted is"),
        (format!("position={position}&worker=1"), 400, "worker without connection"),
        (format!("position={position}&worker=x&connection=1"), 400, "worker=x: accepted is"),
        (format!("position={epoch}-99"), 404, "there is no event"),
        (format!("position={epoch}-0"), 404, "there is no event"),
    ] {
        let answer = operator.get(&query).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        assert!(answer.body.contains(part), "{query}: {}", answer.body);
    }
    let other_log = operator.event("00000000deadbeef-1").await;
    assert_eq!(other_log["event"]["known"], false);
    let connection = operator.at("00000000deadbeef-1", (1, 1)).await;
    assert_eq!(connection["reason"], "not_kept_any_more");
    says(&connection, "belongs to another log");
}

#[tokio::test]
async fn a_connection_got_what_it_listened_to_at_that_position() {
    let cluster =
        Cluster::of(1).gateway("--workers 1").publisher("--admin-listen=127.0.0.1:0").start().await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let before = push.position(&[("content", "before")]).await;
    let mut client = cluster.client_v1(0, &["news"]).await;
    let me = at(&client);
    let news = push_to(push, "news", "one").await;
    assert_eq!(client.json().await["content"], "one");
    let written = operator.until(&news, me, "written").await;
    assert_eq!((&written["at"], &written["details"]["state"]), (&Value::Null, &"live".into()));
    assert_eq!(written["details"]["groups"][0], "news");
    let later = operator.at(&before, me).await;
    assert_eq!(later["reason"], "connected_later");
    assert!(later["at"].as_f64().is_some(), "{later}");

    // The three ways not to listen.
    let before_join = push_to(push, "chat", "a").await;
    says(&operator.at(&before_join, me).await, "did not listen to the group \"chat\"");
    client.join("chat").await;
    let joined_later = operator.at(&before_join, me).await;
    assert_eq!(joined_later["reason"], "not_listening");
    says(&joined_later, "joined the group \"chat\" later");
    let chat = push_to(push, "chat", "b").await;
    assert_eq!(client.json().await["content"], "b");
    operator.until(&chat, me, "written").await;
    client.leave("chat").await;
    let left = push_to(push, "chat", "c").await;
    let left_before = operator.at(&left, me).await;
    assert_eq!(left_before["reason"], "not_listening");
    says(&left_before, "had left the group \"chat\" before");
    operator.until(&chat, me, "written").await;
    client.join("chat").await;
    assert_eq!(operator.at(&left, me).await["reason"], "not_listening");

    let (worker, connection) = (me.0.to_string(), me.1.to_string());
    let excepted = [
        ("except_worker_id", &*worker),
        ("except_connection_id", &connection),
        ("to_group", "news"),
        ("content", "not for me"),
    ];
    let excepted = push.position(&excepted).await;
    assert_eq!(operator.at(&excepted, me).await["reason"], "excluded");

    // Somebody nobody knows.
    let never = operator.at(&news, (me.0, 1_000_000)).await;
    assert_eq!(never["reason"], "unknown_connection");
    says(&never, "has never had a connection 1000000");
    let nowhere = operator.at(&news, (me.0 + 1_000, 1)).await;
    assert_eq!(nowhere["reason"], "unknown_connection");
    says(&nowhere, "no gateway that has a link to the broker now has a worker");

    // It ends, and what it got before stays known.
    let position = push_to(push, "news", "last").await;
    while client.json().await["content"] != "last" {}
    client.leave_for_good().await;
    let ended = eventually("the end is known", async || {
        let ended = operator.at(&position, me).await;
        (ended["details"]["state"] == "ended").then_some(ended)
    })
    .await;
    assert_eq!((&ended["reason"], &ended["details"]["code"]), (&"written".into(), &1000.into()));
    assert!(ended["at"].as_f64().is_some() && ended["at"] == ended["details"]["ended"], "{ended}");
    assert_eq!(ended["details"]["address"], "127.0.0.1");
    let missed = push_to(push, "news", "missed").await;
    let closed = operator.at(&missed, me).await;
    assert_eq!(closed["reason"], "closed_before");
    says(&closed, "closed with 1000");
    assert!(closed["at"].as_f64().is_some(), "{closed}");

    // It comes back.
    let address = cluster.gateway_addresses[0];
    let stream = connect(address, None).await;
    let query = format!("?group=news&since={position}");
    let again = Websocket::open_with(stream, &query, Some("campanile.v1")).await.greeted().await;
    assert_eq!(
        operator.until(&missed, at(&again), "recovered_by_replay").await["reason"],
        "recovered_by_replay"
    );
    assert_eq!(operator.at(&position, at(&again)).await["reason"], "connected_later");
    // It may be asked too often within a second for the last question.
    let resumed = eventually("it is known who continued", async || {
        let resumed = operator.at(&missed, me).await;
        resumed["details"]["resumed_as"].is_object().then_some(resumed)
    })
    .await;
    let continued = json!({"worker": again.worker, "connection": again.connection});
    assert_eq!(resumed["details"]["resumed_as"], continued, "{resumed}");
    says(&resumed, "and got what it had missed");
    let (_feed, hello): (Feed, _) =
        open_feed(&cluster, 0, Protocol::Events, &["news"], Some("yesterday")).await;
    let malformed = (hello.worker, hello.connection);
    let lost = operator.until(&missed, malformed, "not_recovered").await;
    says(&lost, "malformed");
    assert_eq!(lost["details"]["dialect"], "events");

    let plain = cluster.client(0, NO_GROUPS).await;
    says(&operator.at(&missed, at(&plain)).await, "plain dialect gets no positions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_slow_reader_is_told_from_what_was_written() {
    let cluster = Cluster::of(1)
        .gateway("--workers 1 --max-outbox 64MiB --recent 256MiB")
        .publisher("--admin-listen=127.0.0.1:0")
        .start()
        .await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let strict = ["--workers", "1", "--max-outbox", "64KiB"].map(str::to_owned);
    let strict = start_gateway(cluster.broker_address, &strict);
    strict.said("the gateway takes connections").await;
    let strict = strict.address("the gateway listens").await;
    let slow = Websocket::with_small_buffer(cluster.gateway_addresses[0], &[]).await;
    let dropped = Websocket::with_small_buffer(strict, &[]).await;
    let stream = connect(cluster.gateway_addresses[0], Some(4096)).await;
    let slow_v1 = Websocket::open(stream, &[], Some("campanile.v1")).await.greeted().await;
    let (me, other) = (at(&slow), at(&dropped));
    let mut positions = Vec::new();
    for _ in 0..MANY_BYTES / (256 << 10) {
        positions.push(push_large(push, None, 256 << 10).await);
    }
    let (first, last) = (&positions[0], positions.last().expect("some"));
    operator.until(first, me, "written").await;
    let waiting = operator.until(last, me, "waiting").await;
    let bytes = |name: &str| waiting["details"][name].as_u64().unwrap_or(0);
    assert!(bytes("behind_bytes") > 0 && bytes("behind_bytes") <= bytes("waiting_bytes"));
    let seen = &operator.event(last).await["gateways"];
    let count = |name: &str| {
        seen.as_array()
            .expect("gateways")
            .iter()
            .map(|g| g[name].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    assert_eq!((count("waiting"), count("written")), (2, 0), "{seen}");

    // The other one was closed when its outbox was full.
    operator.until(first, other, "written").await;
    let closed = operator.at(last, other).await;
    assert_eq!(
        (&closed["reason"], &closed["details"]["code"]),
        (&"closed_before".into(), &4001.into())
    );
    let (mut written, mut missed) = (0, positions.len() - 1);
    let in_outbox = loop {
        assert!(missed - written > 1, "nothing was closed while it waited");
        let middle = (written + missed) / 2;
        match operator.at(&positions[middle], other).await["reason"].as_str() {
            Some("written") => written = middle,
            Some("closed_before") => missed = middle,
            Some("closed_while_waiting") => break &positions[middle],
            reason => panic!("{reason:?}"),
        }
    };
    let seen = &operator.event(in_outbox).await["gateways"];
    let gateways = seen.as_array().expect("gateways").iter();
    let too_slow: u64 =
        gateways.map(|gateway| gateway["closed_too_slow"].as_u64().unwrap_or(0)).sum();
    assert_eq!(too_slow, 1, "{seen}");

    // The others go away without having read it. One of them comes back.
    let returning = at(&slow_v1);
    drop((slow, slow_v1));
    let gone = operator.until(last, me, "closed_while_waiting").await;
    says(&gone, "bytes waited in its outbox");
    assert_eq!(operator.at(first, me).await["reason"], "written");
    operator.until(last, returning, "closed_while_waiting").await;
    let (_feed, back) =
        open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, Some(&positions[positions.len() - 2]))
            .await;
    let resumed = eventually("it is known where it resumed", async || {
        let gone = operator.at(last, returning).await;
        gone["details"]["resumed_as"].is_object().then_some(gone)
    })
    .await;
    assert_eq!(resumed["reason"], "closed_while_waiting", "{resumed}");
    let continued = json!({"worker": back.worker, "connection": back.connection});
    assert_eq!(resumed["details"]["resumed_as"], continued, "{resumed}");
    says(&resumed, "and got what it had missed");
}

#[tokio::test]
async fn what_is_expired_is_not_recovered_and_then_not_known() {
    let mut cluster = Cluster::of(1)
        .broker("--log-size 64KiB")
        .publisher("--admin-listen=127.0.0.1:0")
        .start()
        .await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let client = cluster.client_v1(0, &[]).await;
    let (me, since) = (at(&client), client.position.clone());
    client.leave_for_good().await;
    let mut last = String::new();
    for _ in 0..20 {
        last = push_large(push, Some("g"), 8 << 10).await;
    }
    operator.until(&last, me, "not_listening").await;
    let (_feed, hello) = open_feed(&cluster, 0, Protocol::V1, &["g"], Some(&since)).await;
    let again = (hello.worker, hello.connection);
    let lost = operator.until(&last, again, "not_recovered").await;
    says(&lost, "expired");
    let epoch = last.split_once('-').expect("a position").0;
    let oldest = operator.at(&format!("{epoch}-1"), again).await;
    assert_eq!(oldest["reason"], "not_kept_any_more");
    says(&oldest, "the broker does not keep the event any more: the oldest that it has is");

    // A broker without a disk begins another log. The gateway comes late, and gets what is in it.
    cluster.gateways[0].signal(Signal::STOP);
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    let first = push_to(&cluster.push[0], "g", "first").await;
    cluster.gateways[0].signal(Signal::CONT);
    operator.until(&first, again, "written").await;
    assert_eq!(operator.at(&last, again).await["reason"], "not_kept_any_more");
}
