//! What clients asked for of the past, and what is not known of it any more.

use campanile_harness::{Cluster, Frame, Protocol, Websocket, connect, open_feed};
use serde_json::{Value, json};

use super::operator::{Operator, at, push_large, push_to, says};

/// A client of `campanile.v1`, after its greeting.
async fn client(cluster: &Cluster, query: &str) -> Websocket {
    let stream = connect(cluster.gateway_addresses[0], None).await;
    Websocket::open_with(stream, query, Some("campanile.v1")).await.greeted().await
}

#[tokio::test]
async fn what_clients_ask_for_of_the_past_they_get_or_not() {
    let cluster = Cluster::of(1)
        .gateway("--workers 1 --max-replay 64KiB")
        .publisher("--admin-listen=127.0.0.1:0")
        .start()
        .await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let before = push_to(push, "news", "before").await;
    let first = push_to(push, "news", "first").await;
    let second = push_to(push, "news", "second").await;

    // As a part of the earlier events that it asks for.
    let listener = client(&cluster, "?group=news&last=1").await;
    let found = operator.until(&second, at(&listener), "recovered_by_replay").await;
    says(&found, "among the earlier ones that it asked for");
    assert_eq!(operator.at(&first, at(&listener)).await["reason"], "connected_later");

    // With a join.
    let mut joined = client(&cluster, "").await;
    let join = json!({"type": "join", "group": "news", "since": before});
    joined.say(&join.to_string()).await;
    operator.until(&first, at(&joined), "recovered_by_replay").await;
    let found = operator.at(&before, at(&joined)).await;
    assert_eq!(found["reason"], "connected_later", "{found}");

    // With a position of another log, and after too much.
    for _ in 0..3 {
        push_large(push, Some("news"), 32 << 10).await;
    }
    let other_log = "00000000deadbeef-1";
    let (epoch, _) = before.split_once('-').expect("a position");
    let beyond = format!("{epoch}-99999999");
    for (since, reason) in
        [(other_log, "epoch_changed"), (&*beyond, "epoch_changed"), (&*before, "too_far")]
    {
        let (_feed, hello) = open_feed(&cluster, 0, Protocol::V1, &["news"], Some(since)).await;
        let found =
            operator.until(&second, (hello.worker, hello.connection), "not_recovered").await;
        says(&found, reason);
    }
}

#[tokio::test]
async fn of_a_client_in_many_groups_the_last_64_it_left_are_known() {
    let cluster =
        Cluster::of(1).gateway("--workers 1").publisher("--admin-listen=127.0.0.1:0").start().await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let mut client = client(&cluster, "").await;
    let mut positions = Vec::new();
    for group in 0..66 {
        let group = format!("g{group}");
        client.join(&group).await;
        positions.push(push_to(push, &group, &group).await);
        assert_eq!(client.json().await["content"], *group);
        client.leave(&group).await;
    }
    for forgotten in &positions[..2] {
        let found = operator.at(forgotten, at(&client)).await;
        assert_eq!(found["reason"], "not_kept_any_more", "{found}");
        says(&found, "has joined and left so many groups since");
    }
    assert_eq!(operator.at(&positions[2], at(&client)).await["reason"], "written");
}

#[tokio::test]
async fn of_a_plain_client_it_is_said_what_can_be_known() {
    let cluster =
        Cluster::of(1).gateway("--workers 1").publisher("--admin-listen=127.0.0.1:0").start().await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let mut plain = cluster.client(0, &["news"]).await;
    let me = at(&plain);
    let got = push_to(push, "news", "one").await;
    assert_eq!(plain.next().await, Frame::Text("one".to_owned()));
    let other = push_to(push, "other", "two").await;
    let no_position = "a client of the plain dialect gets no positions, so it cannot ask";
    for (position, reason) in [(&got, "written"), (&other, "not_listening")] {
        let found = operator.until(position, me, reason).await;
        says(&found, no_position);
        assert_eq!(found["details"]["dialect"], "plain");
        assert!(found["details"]["last_position"].is_string(), "{found}");
    }
    plain.leave_for_good().await;
    let missed = push_to(push, "news", "three").await;
    let found = operator.until(&missed, me, "closed_before").await;
    says(&found, no_position);
    // One that comes back is another client, and so is one from the same address that can resume.
    let again = cluster.client(0, &["news"]).await;
    let found = operator.at(&missed, at(&again)).await;
    assert_eq!(found["reason"], "connected_later", "{found}");
    says(&found, no_position);
    let resumed = client(&cluster, &format!("?group=news&since={got}")).await;
    operator.until(&missed, at(&resumed), "recovered_by_replay").await;
    assert_eq!(operator.at(&missed, me).await["details"]["resumed_as"], Value::Null);
    assert_eq!(operator.until(&got, me, "written").await["details"]["state"], "ended");
}
