//! What operators see of a whole cluster, at any of its publishers.

#[path = "cluster/connections.rs"]
mod connections;

use std::net::SocketAddr;

use campanile_harness::link::{Peer, offer};
use campanile_harness::{Answer, Cluster, eventually, exchange};
use campanile_messages::InstanceId;
use campanile_messages::frame::encode_hello;
use campanile_messages::hello::Features;
use campanile_messages::link::Role;
use serde_json::{Value, json};

async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

/// Asks until this many gateways answer.
async fn cluster_of(gateways: usize, admin: SocketAddr) -> Value {
    eventually("all are seen", async || {
        let seen = get(admin, "/cluster").await;
        let seen: Value = serde_json::from_str(&seen.body).ok()?;
        let all = seen["gateways"].as_array()?.len() == gateways;
        (all && seen["publishers"].as_array()?.len() == 1).then_some(seen)
    })
    .await
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn sum(list: &Value, number: &str) -> u64 {
    let numbers = self::list(list).iter().map(|it| it.pointer(number).and_then(Value::as_u64));
    numbers.map(|number| number.expect("a number")).sum()
}

#[tokio::test]
async fn a_publisher_shows_every_process_with_its_numbers() {
    let admin = "--admin-listen=127.0.0.1:0";
    let cluster_ = Cluster::of(2).publisher(admin).gateway("--workers 2").start().await;
    let admin = cluster_.publishers[0].address("operators are answered").await;
    let mut plain = cluster_.client(0, &["news"]).await;
    let _other = cluster_.client(0, &["news"]).await;
    let mut v1 = cluster_.client_v1(1, &["news"]).await;
    let push = &cluster_.push[0];
    for content in ["one", "two", "three"] {
        push.group("news", content).await;
    }
    let hostile = "<script>alert(1)</script>";
    let refused = push.get(&[("content", "x"), (hostile, "1")]).await;
    assert_eq!(refused.status, 400);
    let refused_again = push.get(&[("content", "x"), (hostile, "1")]).await;
    assert_eq!(refused_again.body, refused.body);
    // A client that publishes makes its gateway open a second link.
    let publish = json!({ "type": "publish", "group": "news", "content": "four" });
    v1.say(&publish.to_string()).await;
    plain.texts_until("four").await;
    plain.leave_for_good().await;

    let seen = eventually("everything is counted", async || {
        let seen = cluster_of(2, admin).await;
        let deliveries = sum(&seen["gateways"], "/totals/deliveries");
        let connections = sum(&seen["gateways"], "/workers/0/connections")
            + sum(&seen["gateways"], "/workers/1/connections");
        // Something that is not an event, such as a confirmation, may wait at the moment.
        let lag_bytes = sum(&seen["gateways"], "/lag/bytes");
        (deliveries == 12 && connections == 2 && lag_bytes == 0).then_some(seen)
    })
    .await;
    let broker = &seen["broker"];
    assert_eq!(broker["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(broker["durability"], "memory");
    assert_eq!(broker["log"]["events"], 4);
    assert_eq!(broker["links"], 3, "the second link of a gateway is not a process");
    let totals = json!({
        "accepted": 4, "duplicates": 0, "conflicts": 0, "busy": 0, "delivered": 0, "gone": 0,
        "link_events": 8, "replayed": 0, "epochs": 1,
    });
    assert_eq!(broker["totals"], totals);
    let position = broker["position"].as_str().expect("a position");
    assert!(position.contains(broker["epoch"].as_str().expect("an epoch")), "{position}");

    let gateways = list(&seen["gateways"]);
    assert_eq!(gateways[0]["connections"], json!({ "plain": 1, "v1": 0, "events": 0 }));
    assert_eq!(gateways[1]["connections"], json!({ "plain": 0, "v1": 1, "events": 0 }));
    assert_eq!(gateways[0]["totals"]["closed"], json!({ "1000": 1 }));
    assert_eq!(gateways[1]["totals"]["publishes"], json!({ "accepted": 1 }));
    for gateway in gateways {
        assert_eq!(gateway["ready"], true, "{gateway}");
        assert_eq!(gateway["lag"], json!({ "events": 0, "bytes": 0 }));
        assert!(gateway["address"].as_str().is_some_and(|at| at.starts_with("127.0.0.1:")));
        assert!(gateway["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
        assert!(gateway["uptime"].as_f64().is_some_and(|uptime| uptime > 0.0));
        assert!(gateway["delivery_seconds"]["count"].as_u64().is_some_and(|count| count > 0));
    }
    let publisher = &seen["publishers"][0];
    let pushes = json!([
        { "kind": "push", "result": "200", "count": 3 },
        { "kind": "push", "result": "400", "count": 2 },
    ]);
    assert_eq!(publisher["totals"]["pushes"], pushes);
    assert_eq!(publisher["push_seconds"]["count"], 3);
    let refused_pushes = list(&publisher["refused"]);
    assert_eq!(refused_pushes.len(), 1, "those that are alike are one entry");
    assert_eq!(refused_pushes[0]["count"], 2);
    assert_eq!(refused_pushes[0]["status"], 400);
    let sentence = refused_pushes[0]["sentence"].as_str().expect("a sentence");
    assert!(refused.body.contains("script"), "{}", refused.body);
    // What was quoted may be a content or a key in a wrong place.
    assert!(sentence.starts_with("\"..\" is not a parameter: content, to_group"), "{sentence}");
    assert_eq!(seen["silent"], json!([]));

    drop(cluster_.broker);
    let answer = eventually("it is noticed", async || {
        let answer = get(admin, "/cluster").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.body, "this publisher has no link to its broker: try again\n");
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    let cluster_ = Cluster::of(0).publisher("--admin-listen=127.0.0.1:0").start().await;
    let admin = cluster_.publishers[0].address("operators are answered").await;
    let (_silent, _) = Peer::gateway_of(cluster_.broker_address, InstanceId(0xa), &[]).await;
    // An earlier release does not know such questions.
    let mut earlier = Peer::connect(cluster_.broker_address).await;
    let mut offer = offer(InstanceId(0xb), Role::Gateway { workers: 1, held: vec![] });
    offer.features = Features::default();
    earlier.send_frame(encode_hello(&offer)).await;
    earlier.welcome().await.expect("welcome");

    let seen = cluster_of(1, admin).await;
    let earlier = &seen["gateways"][0];
    assert_eq!(earlier["instance"], "000000000000000b");
    assert_eq!((&earlier["asked"], &earlier["version"]), (&json!(false), &Value::Null));
    assert_eq!(earlier["lag"], json!({ "events": 0, "bytes": 0 }));
    let silent = list(&seen["silent"]);
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert_eq!(silent[0]["instance"], "000000000000000a");
    assert_eq!((&silent[0]["role"], &silent[0]["reason"]), (&json!("gateway"), &json!("silent")));
    assert!(silent[0]["address"].as_str().is_some_and(|at| at.starts_with("127.0.0.1:")));
}
