//! Pushes to a user: they reach every connection of the user, on whatever gateway, and nobody else.

use campanile_harness::{Cluster, EventStream, Websocket, connect, exchange, on_disk, within};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A client of `campanile.v1`, with its welcome.
async fn v1(cluster: &Cluster, gateway: usize, query: &str) -> (Websocket, Value) {
    let stream = connect(cluster.gateway_addresses[gateway], None).await;
    let mut client = Websocket::open_with(stream, query, Some("campanile.v1")).await;
    let welcome = client.json().await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (client, welcome)
}

/// The audiences and contents of the next events, up to and without `last`.
async fn events_until(client: &mut Websocket, last: &str) -> Vec<(Value, String)> {
    let mut events = Vec::new();
    loop {
        let event = client.json().await;
        match event["content"].as_str() {
            Some(content) if content == last => return events,
            Some(content) => events.push((event["to"].clone(), content.to_owned())),
            None => assert!(event["type"] == "position", "{event}"),
        }
    }
}

fn to_user(user: &str, content: &str) -> (Value, String) {
    (json!({ "user": user }), content.to_owned())
}

fn answered(answer: &campanile_harness::Answer) -> Value {
    serde_json::from_str(&answer.body).expect("JSON")
}

#[tokio::test]
async fn a_push_to_a_user_reaches_exactly_its_connections() {
    let cluster = Cluster::of(2).gateway("--workers 2").start().await;
    let (mut one, welcome) = v1(&cluster, 0, "?user=42").await;
    assert_eq!(welcome["user"], "42");
    let (mut two, at) = v1(&cluster, 1, "?user=42&group=a").await;
    let stream = connect(cluster.gateway_addresses[1], None).await;
    let mut plain = Websocket::open_with(stream, "?user=42", None).await.greeted().await;
    let (mut other, _) = v1(&cluster, 0, "?user=43").await;
    // A group that is called like the user is another audience.
    let (mut nobody, welcome) = v1(&cluster, 1, "?group=42").await;
    assert_eq!(welcome.get("user"), None);

    let push = &cluster.push[0];
    let counted = [("to_user", "42"), ("content", "counted"), ("wait", "delivered")];
    let receipt = answered(&push.get_json(&counted).await);
    let counts = ["gateways", "matched", "written"].map(|name| receipt[name].clone());
    assert_eq!(counts, [json!(2), json!(3), json!(3)], "{receipt}");
    let (worker, connection) = (at["worker"].to_string(), at["connection"].to_string());
    let except = [
        ("to_user", "42"),
        ("content", "not to two"),
        ("except_worker_id", &*worker),
        ("except_connection_id", &*connection),
    ];
    push.ok(&except).await;
    let items = [
        json!({ "content": "batch", "to": { "user": "42" } }),
        json!({ "content": "to the other", "to": { "user": "43" } }),
        json!({ "content": "to the group", "to": { "group": "42" } }),
    ];
    assert!(push.batch(&items).await.iter().all(|answer| answer["status"] == 200));
    push.everyone("last").await;

    let all = ["counted", "not to two", "batch"].map(|content| to_user("42", content));
    assert_eq!(events_until(&mut one, "last").await, all);
    assert_eq!(events_until(&mut two, "last").await, [all[0].clone(), all[2].clone()]);
    assert_eq!(plain.texts_until("last").await, ["counted", "not to two", "batch"]);
    assert_eq!(events_until(&mut other, "last").await, [to_user("43", "to the other")]);
    let group = (json!({ "group": "42" }), "to the group".to_owned());
    assert_eq!(events_until(&mut nobody, "last").await, [group]);
}

#[tokio::test]
async fn a_user_resumes_on_another_gateway_and_nobody_else_gets_its_events() {
    let directory = TempDir::new().expect("a directory");
    let mut cluster = Cluster::of(2).broker(&on_disk(directory.path())).start().await;
    let (_, welcome) = v1(&cluster, 0, "?user=42").await;
    let since = welcome["position"].as_str().expect("a position").to_owned();
    let missed = ["one", "two"];
    for content in missed {
        let position = [("to_user", "42"), ("content", content), ("id", content)];
        let first = cluster.push[0].receipt(&position).await;
        assert_eq!(cluster.push[0].receipt(&position).await.sequence, first.sequence, "a repeat");
    }
    let elsewhere = [("to_user", "43"), ("content", "one"), ("id", "one")];
    assert_eq!(cluster.push[0].get(&elsewhere).await.status, 409, "the user is compared");
    // The log on disk knows users, too.
    cluster.broker.kill().await;
    cluster.start_broker_again().await;

    let expected = missed.map(|content| to_user("42", content));
    for gateway in [0, 1] {
        let (mut back, welcome) = v1(&cluster, gateway, &format!("?user=42&since={since}")).await;
        assert_eq!((&welcome["recovered"], &welcome["user"]), (&json!(true), &json!("42")));
        let (mut thief, welcome) = v1(&cluster, gateway, &format!("?user=43&since={since}")).await;
        assert_eq!(welcome["recovered"], true);
        let (mut group, _) = v1(&cluster, gateway, &format!("?group=42&since={since}")).await;
        let (mut new, welcome) = v1(&cluster, gateway, "?user=42&since=first").await;
        assert_eq!(
            welcome["history"],
            json!({ "events": 2 + gateway, "complete": true }),
            "{welcome}"
        );
        let stream = connect(cluster.gateway_addresses[gateway], None).await;
        let query = format!("?user=42&since={since}");
        let mut stream = EventStream::open(stream, &query, None).await.expect("a stream");
        let last = format!("last {gateway}");
        cluster.push[0].everyone(&last).await;
        let before = &["last 0"][..gateway];
        for own in [&mut back, &mut new] {
            let events = events_until(own, &last).await;
            assert_eq!((&events[..2], events.len()), (&expected[..], 2 + before.len()));
        }
        for stranger in [&mut thief, &mut group] {
            let events = events_until(stranger, &last).await;
            let contents: Vec<_> = events.iter().map(|(_, content)| &**content).collect();
            assert_eq!(contents, before, "a position gives no right to events");
        }
        let mut contents = Vec::new();
        let sync = loop {
            let block = within("a block", stream.next()).await.expect("an open stream");
            match (block.event.as_deref(), block.data) {
                (Some("sync"), Some(data)) => contents.push(data),
                (None, Some(data)) if data == last => break contents.remove(0),
                (None, Some(data)) => contents.push(data),
                _ => {}
            }
        };
        assert!(sync.contains(r#""user":"42""#), "{sync}");
        assert_eq!(contents, [&missed[..], before].concat());
    }
}

#[tokio::test]
async fn a_user_must_have_a_name_like_a_group() {
    let cluster = Cluster::of(1).gateway("--max-groups 1").start().await;
    for query in ["?user=", "?user=%0a", "?user=a&user=b"] {
        let request = format!("GET /events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = exchange(cluster.gateway_addresses[0], request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("parameter user"), "{}", answer.body);
    }
    // It counts for no group, before and after the join of one.
    let (mut client, _) = v1(&cluster, 0, "?user=42").await;
    client.join("a").await;
    client.say(r#"{"type":"join","group":"b"}"#).await;
    assert_eq!(client.json().await["code"], "too_many_groups");
}
