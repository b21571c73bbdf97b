//! New listeners that ask for the past: all that is kept, or the newest events.

use campanile_harness::{
    Cluster, EventStream, Feed, Heard, NO_GROUPS, Protocol, Recovery, Websocket, connect, exchange,
    on_disk, open_feed, recovered, within,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A listener of either protocol that can resume.
enum Listening {
    V1(Box<Websocket>),
    Events(EventStream),
}

impl Listening {
    async fn open(cluster: &Cluster, is_v1: bool, query: &str) -> (Self, Value) {
        let stream = connect(cluster.gateway_addresses[0], None).await;
        if is_v1 {
            let mut client = Websocket::open_with(stream, query, Some("campanile.v1")).await;
            let welcome = client.json().await;
            assert_eq!(welcome["type"], "welcome", "{welcome}");
            return (Self::V1(Box::new(client)), welcome);
        }
        let mut stream = EventStream::open(stream, query, None).await.expect("a stream");
        assert_eq!(stream.status, 200);
        let block = loop {
            let block = within("a sync", stream.next()).await.expect("an open stream");
            if block.event.as_deref() == Some("sync") {
                break block;
            }
        };
        let sync: Value = serde_json::from_str(&block.data.expect("data")).expect("JSON");
        assert_eq!(block.id.as_deref(), sync["position"].as_str(), "{sync}");
        (Self::Events(stream), sync)
    }

    /// The contents of the next events, up to and without `last`.
    async fn until(&mut self, last: &str) -> Vec<String> {
        match self {
            Self::V1(client) => client.contents_until(last).await,
            Self::Events(stream) => {
                let mut contents = Vec::new();
                loop {
                    let block = within("an event", stream.next()).await.expect("an open stream");
                    match block.data {
                        Some(data) if block.event.is_none() && data == last => return contents,
                        Some(data) if block.event.is_none() => contents.push(data),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Opens a listener, and returns its hello and the events of the past that it gets. An event for it
/// alone, which is not in the log, marks the end of them.
async fn heard(cluster: &Cluster, is_v1: bool, query: &str) -> (Value, Vec<String>) {
    let (mut listening, hello) = Listening::open(cluster, is_v1, query).await;
    let (worker, connection) = (hello["worker"].to_string(), hello["connection"].to_string());
    let to = [("to_worker_id", &*worker), ("to_connection_id", &*connection), ("content", "last")];
    cluster.push[0].ok(&to).await;
    let contents = listening.until("last").await;
    assert_eq!(hello.get("recovered"), None, "it is no resume: {hello}");
    (hello["history"].clone(), contents)
}

fn history(events: usize, complete: bool) -> Value {
    json!({ "events": events, "complete": complete })
}

/// Pushes to groups a and b in turn, to everyone, and to another group.
async fn push_some(cluster: &Cluster) {
    let push = &cluster.push[0];
    push.group("a", "1 a").await;
    push.group("b", "2 b").await;
    push.everyone("3").await;
    push.group("other", "4 other").await;
    push.group("a", "5 a").await;
}

#[tokio::test]
async fn a_new_listener_hears_what_is_kept_and_then_goes_on_live() {
    for is_v1 in [true, false] {
        let cluster = Cluster::of(1).start().await;
        let (told, contents) = heard(&cluster, is_v1, "?group=a&since=first").await;
        assert_eq!((told, contents), (history(0, true), vec![]));
        push_some(&cluster).await;
        let query = "?group=a&group=b&since=first";
        let (mut listening, hello) = Listening::open(&cluster, is_v1, query).await;
        cluster.push[0].group("b", "live").await;
        assert_eq!(listening.until("live").await, ["1 a", "2 b", "3", "5 a"]);
        assert_eq!(hello["history"], history(4, true));
        let (told, contents) = heard(&cluster, is_v1, "?group=nothing&since=first").await;
        assert_eq!((told, contents), (history(1, true), vec!["3".to_owned()]));
    }
}

#[tokio::test]
async fn the_newest_are_of_all_audiences_together() {
    for is_v1 in [true, false] {
        let cluster = Cluster::of(1).start().await;
        push_some(&cluster).await;
        for (query, told, contents) in [
            ("?group=a&group=b&last=3", history(3, false), &["2 b", "3", "5 a"][..]),
            ("?group=a&group=b&last=4", history(4, true), &["1 a", "2 b", "3", "5 a"]),
            ("?group=a&group=b&last=1000", history(4, true), &["1 a", "2 b", "3", "5 a"]),
            ("?last=1&group=a", history(1, false), &["5 a"]),
            ("?group=nothing&last=3", history(1, true), &["3"]),
        ] {
            let heard = heard(&cluster, is_v1, query).await;
            let contents = contents.iter().map(|content| (*content).to_owned()).collect();
            assert_eq!(heard, (told, contents), "{query}");
        }
    }
}

#[tokio::test]
async fn a_history_that_is_too_long_is_its_newest_whole_events() {
    let cluster = Cluster::of(1).gateway("--max-replay 4KiB").start().await;
    let content = |number: usize| format!("{number:02} {}", "x".repeat(997));
    for number in 0..10 {
        cluster.push[0].group("a", &content(number)).await;
    }
    for is_v1 in [true, false] {
        let (told, contents) = heard(&cluster, is_v1, "?group=a&since=first").await;
        assert_eq!(told, history(3, false));
        assert_eq!(contents, [7, 8, 9].map(content));
    }
    let large = "x".repeat(8 << 10);
    let pushed = cluster.push[0].post(&[("to_group", "a")], Some("text/plain"), large.clone());
    assert_eq!(pushed.await.status, 200);
    for is_v1 in [true, false] {
        let (told, contents) = heard(&cluster, is_v1, "?group=a&last=3").await;
        assert_eq!((told, contents), (history(1, false), vec![large.clone()]));
    }
}

#[tokio::test]
async fn what_the_log_has_dropped_is_said_to_be_missing() {
    let cluster = Cluster::of(1).broker("--log-size 64KiB").start().await;
    cluster.push[0].group("quiet", "kept?").await;
    for number in 0..40 {
        let content = format!("{number} {}", "x".repeat(4 << 10));
        let pushed = cluster.push[0].post(&[("to_group", "a")], Some("text/plain"), content);
        assert_eq!(pushed.await.status, 200);
    }
    for is_v1 in [true, false] {
        let (told, contents) = heard(&cluster, is_v1, "?group=a&since=first").await;
        assert_eq!(told["complete"], false);
        assert_eq!(told["events"], contents.len());
        assert!((1..40).contains(&contents.len()), "{}", contents.len());
        assert!(contents.last().is_some_and(|content| content.starts_with("39 ")));
        let (told, contents) = heard(&cluster, is_v1, "?group=quiet&since=first").await;
        assert_eq!((told, contents), (history(0, false), vec![]));
        // The gateway has kept none of these events, but knows that they existed.
        let (told, contents) = heard(&cluster, is_v1, "?group=never&last=5").await;
        assert_eq!((told, contents), (history(0, true), vec![]));
    }
}

#[tokio::test]
async fn a_log_on_disk_is_heard_after_its_broker_was_killed() {
    let directory = TempDir::new().expect("a directory");
    let mut cluster = Cluster::of(1).broker(&on_disk(directory.path())).start().await;
    push_some(&cluster).await;
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    for is_v1 in [true, false] {
        let (told, contents) = heard(&cluster, is_v1, "?group=a&last=2").await;
        assert_eq!((told, contents), (history(2, false), vec!["3".to_owned(), "5 a".to_owned()]));
    }
}

#[tokio::test]
async fn a_listener_lost_before_its_history_continues_in_front_of_it() {
    let cluster = Cluster::of(1).start().await;
    push_some(&cluster).await;
    for is_v1 in [true, false] {
        let (listening, hello) = Listening::open(&cluster, is_v1, "?group=a&last=2").await;
        drop(listening);
        let since = hello["position"].as_str().expect("a position");
        let mut feed = recovered(&cluster, 0, Protocol::Events, &["a"], since).await;
        assert_eq!(feed.event().await.1, "3");
        assert_eq!(feed.event().await.1, "5 a");
    }
}

#[tokio::test]
async fn the_last_event_id_wins_over_what_the_url_asks_for() {
    let cluster = Cluster::of(1).start().await;
    let position = cluster.push[0].position(&[("content", "seen")]).await;
    cluster.push[0].everyone("missed").await;
    for query in ["?since=first", "?last=7"] {
        let stream = connect(cluster.gateway_addresses[0], None).await;
        let opened = EventStream::open(stream, query, Some(&position)).await;
        let mut stream = opened.expect("a stream");
        let mut data = Vec::new();
        while data.len() < 2 {
            data.extend(within("a block", stream.next()).await.expect("an open stream").data);
        }
        assert!(data[0].contains("\"recovered\":true"), "{query}: {data:?}");
        assert_eq!(data[1], "missed", "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_400_with_what_can() {
    let cluster = Cluster::of(1).start().await;
    let gateway = cluster.gateway_addresses[0];
    let v1 = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (query, said) in [
        ("last=0", "parameter last: \"0\", a number from 1 to 1000 is accepted"),
        ("last=1001", "parameter last: \"1001\", a number from 1 to 1000 is accepted"),
        ("last=all", "parameter last: \"all\", a number from 1 to 1000 is accepted"),
        ("last=1&since=first", "parameters since and last exclude each other"),
        ("last=1&last=1", "parameter last: given more than once"),
    ] {
        let request = format!("GET /events?{query} HTTP/1.1\r\nHost: {gateway}\r\n\r\n");
        let answer = exchange(gateway, request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(answer.body.contains(said), "{query}: {}", answer.body);
    }
    for query in ["since=first", "last=3"] {
        let request = format!("GET /?{query} HTTP/1.1\r\nHost: {gateway}\r\n{v1}\r\n");
        let answer = exchange(gateway, request.as_bytes()).await;
        assert_eq!(answer.status, 400, "plain {query}: {}", answer.body);
        assert!(answer.body.contains("open it with campanile.v1"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_join_does_not_begin_with_the_past() {
    let cluster = Cluster::of(1).start().await;
    push_some(&cluster).await;
    let (mut feed, _): (Feed, _) = open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, None).await;
    feed.join("a", Some("first")).await;
    let (group, recovery) = ("a".to_owned(), Recovery::NotRecovered("malformed".to_owned()));
    assert_eq!(feed.next_but_marks().await, Heard::Joined { group, recovery });
}
