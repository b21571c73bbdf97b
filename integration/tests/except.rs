//! Pushes to everyone or to a group except one connection, as for a chat without an echo.

use campanile_harness::{
    Cluster, Feed, Heard, Hello, NO_GROUPS, PROTOCOLS, Protocol, Recovery, exchange, on_disk,
    open_feed, receipt, recovered,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A push to a group, except the connection that sends it.
fn from<'a>(
    worker: &'a str,
    connection: &'a str,
    group: &'a str,
    content: &'a str,
) -> [(&'a str, &'a str); 4] {
    [
        ("except_worker_id", worker),
        ("except_connection_id", connection),
        ("to_group", group),
        ("content", content),
    ]
}

fn ids(hello: &Hello) -> (String, String) {
    (hello.worker.to_string(), hello.connection.to_string())
}

#[tokio::test]
async fn a_chat_does_not_echo_to_its_sender() {
    let cluster = Cluster::of(2).gateway("--workers 2").start().await;
    let push = &cluster.push[0];
    let mut clients = Vec::new();
    for gateway in [0, 0, 0, 0, 1, 1] {
        clients.push(cluster.client_v1(gateway, &["chat"]).await);
    }
    let mut streams: Vec<(Feed, Hello)> = Vec::new();
    for protocol in PROTOCOLS {
        streams.push(open_feed(&cluster, 0, protocol, &["chat"], None).await);
    }
    let addresses: Vec<_> = clients
        .iter()
        .map(|client| (client.worker.to_string(), client.connection.to_string()))
        .chain(streams.iter().map(|(_, hello)| ids(hello)))
        .collect();
    for (number, (worker, connection)) in addresses.iter().enumerate() {
        push.ok(&from(worker, connection, "chat", &format!("from {number}"))).await;
    }
    push.everyone("last").await;
    let heard_by = |number: usize| -> Vec<_> {
        let others = (0..addresses.len()).filter(|other| *other != number);
        others.map(|other| format!("from {other}")).collect()
    };
    let count = clients.len();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.contents_until("last").await, heard_by(number), "{number}");
    }
    for (number, (feed, _)) in streams.iter_mut().enumerate() {
        assert_eq!(feed.contents_until("last").await, heard_by(count + number));
    }
}

#[tokio::test]
async fn many_pushes_at_once_leave_the_sender_out_too() {
    let cluster = Cluster::of(1).start().await;
    let mut sender = cluster.client(0, &["chat"]).await;
    let mut other = cluster.client(0, &["chat"]).await;
    let except = json!({ "worker": sender.worker, "connection": sender.connection });
    let item = |content: String, except: Option<&Value>| {
        let mut item = json!({ "content": content, "to": { "group": "chat" } });
        if let Some(except) = except {
            item["except"] = except.clone();
        }
        item
    };
    let items: Vec<_> = (0..1_000)
        .map(|number| item(number.to_string(), Some(&except).filter(|_| number % 3 == 0)))
        .chain([item("last".to_owned(), None)])
        .collect();
    let body = Value::from(items).to_string();
    let request = format!(
        "POST /batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(cluster.push[0].address, request.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let numbers: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    assert_eq!(other.texts_until("last").await, numbers);
    let not_from_itself: Vec<_> =
        (0..1_000).filter(|number| number % 3 != 0).map(|number| number.to_string()).collect();
    assert_eq!(sender.texts_until("last").await, not_from_itself);
}

#[tokio::test]
async fn the_sender_matches_and_is_not_written_to() {
    let cluster = Cluster::of(1).start().await;
    let mut sender = cluster.client(0, &["chat"]).await;
    let mut other = cluster.client(0, &["chat"]).await;
    let (worker, connection) = (sender.worker.to_string(), sender.connection.to_string());
    let mut parameters = from(&worker, &connection, "chat", "hi").to_vec();
    parameters.push(("wait", "delivered"));
    let answer = cluster.push[0].get_json(&parameters).await;
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((&json["matched"], &json["written"]), (&json!(2), &json!(1)), "{json}");
    assert_eq!(receipt(&answer).matched, 2);
    cluster.push[0].everyone("last").await;
    assert_eq!(other.texts_until("last").await, ["hi"]);
    assert_eq!(sender.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn the_position_of_the_sender_moves_on_all_the_same() {
    let cluster = Cluster::of(1).start().await;
    for protocol in PROTOCOLS {
        let (mut feed, hello) = open_feed(&cluster, 0, protocol, &["chat"], None).await;
        let (worker, connection) = ids(&hello);
        let push = &cluster.push[0];
        let position = push.position(&from(&worker, &connection, "chat", "mine")).await;
        // Long before the 25 s after which a quiet client is sent its position.
        let told = std::time::Instant::now();
        assert_eq!(feed.next().await, Heard::Mark(position.clone()), "{protocol}");
        assert!(told.elapsed().as_secs() < 15, "{protocol}: {:?}", told.elapsed());
        drop(feed);
        let mut feed = recovered(&cluster, 0, protocol, &["chat"], &position).await;
        push.group("chat", "last").await;
        assert_eq!(feed.contents_until("last").await, [""; 0], "{protocol}");
    }
}

#[tokio::test]
async fn a_sender_that_comes_back_under_a_new_address_gets_its_event() {
    let cluster = Cluster::of(1).start().await;
    for protocol in PROTOCOLS {
        let (feed, hello) = open_feed(&cluster, 0, protocol, &["chat"], None).await;
        let (worker, connection) = ids(&hello);
        cluster.push[0].ok(&from(&worker, &connection, "chat", "mine")).await;
        drop(feed);
        let mut feed = recovered(&cluster, 0, protocol, &["chat"], &hello.position).await;
        cluster.push[0].group("chat", "last").await;
        assert_eq!(feed.contents_until("last").await, ["mine"], "{protocol}");
    }
}

#[tokio::test]
async fn a_broker_that_was_killed_still_knows_who_was_left_out() {
    let directory = TempDir::new().expect("a directory");
    let mut cluster = Cluster::of(1).broker(&on_disk(directory.path())).start().await;
    let (mut sender, hello) = open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, None).await;
    let (mut other, _) = open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, None).await;
    let (worker, connection) = ids(&hello);
    let before = cluster.push[0].position(&[("content", "before")]).await;
    cluster.push[0].ok(&from(&worker, &connection, "chat", "mine")).await;
    cluster.push[0].group("chat", "to all").await;
    for feed in [&mut sender, &mut other] {
        assert_eq!(feed.event().await.1, "before");
    }
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    // The gateway keeps nothing of a group that nobody listens to, but the broker's log has it.
    for (feed, heard) in [(&mut sender, vec!["to all"]), (&mut other, vec!["mine", "to all"])] {
        feed.join("chat", Some(&before)).await;
        for content in heard {
            assert_eq!(feed.event().await.1, content);
        }
        let (group, recovery) = ("chat".to_owned(), Recovery::Recovered);
        assert_eq!(feed.next_but_marks().await, Heard::Joined { group, recovery });
    }
}

#[tokio::test]
async fn a_repeat_under_the_id_that_leaves_out_another_is_409() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &["chat"]).await;
    let with_id = |worker, connection| {
        let mut parameters = from(worker, connection, "chat", "hi").to_vec();
        parameters.push(("id", "order"));
        parameters
    };
    let push = &cluster.push[0];
    push.ok(&with_id("1", "2")).await;
    push.ok(&with_id("1", "2")).await;
    let without = [("to_group", "chat"), ("content", "hi"), ("id", "order")].to_vec();
    for parameters in [with_id("1", "3"), with_id("2", "2"), without] {
        let answer = push.get(&parameters).await;
        assert_eq!(answer.status, 409, "{parameters:?}: {}", answer.body);
    }
    push.everyone("last").await;
    assert_eq!(client.texts_until("last").await, ["hi"]);
}

#[tokio::test]
async fn half_an_exception_and_one_from_a_connection_are_400() {
    let cluster = Cluster::of(1).start().await;
    for (parameters, said) in [
        ("content=x&except_worker_id=1", "except_worker_id is given without except_connection_id"),
        ("content=x&except_connection_id=1", "except_connection_id is given without"),
        (
            "content=x&to_worker_id=1&to_connection_id=2&except_worker_id=1&except_connection_id=2",
            "a push to one connection cannot leave one out",
        ),
    ] {
        let answer = cluster.push[0].get_raw(parameters).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.starts_with(said), "{}", answer.body);
    }
}
