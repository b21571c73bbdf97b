//! A gateway that was without a link for longer than the broker keeps events.

use std::net::SocketAddr;

use campanile_harness::{Cluster, End, Mode, Proxy, Websocket, connect, eventually, start_gateway};
use serde_json::{Value, json};

use super::operator::{Operator, at, push_large, push_to, says};

/// A client of `campanile.v1` in the group `g` that continues after a position, before its greeting.
async fn returning(gateway: SocketAddr, since: &str) -> Websocket {
    let query = format!("?group=g&since={since}");
    Websocket::open_with(connect(gateway, None).await, &query, Some("campanile.v1")).await
}

/// The next message of this type.
async fn next_of(client: &mut Websocket, kind: &str) -> Value {
    loop {
        let said = client.json().await;
        if said["type"] == kind {
            return said;
        }
    }
}

#[tokio::test]
async fn what_a_gateway_lost_is_told_from_what_came_before_and_after() {
    let cluster = Cluster::of(0)
        .broker("--log-size 64KiB")
        .publisher("--admin-listen=127.0.0.1:0")
        .start()
        .await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let proxy = Proxy::to(cluster.broker_address).await;
    let gateway = start_gateway(proxy.address, &["--workers", "1"].map(str::to_owned));
    gateway.said("the gateway takes connections").await;
    let address = gateway.address("the gateway listens").await;
    let [mut stayed, mut left, mut ended] = [
        Websocket::v1(address, &["g"]).await,
        Websocket::v1(address, &["g"]).await,
        Websocket::v1(address, &["g"]).await,
    ];
    let mut joined = Websocket::v1(address, &[]).await;
    let before = push_to(push, "g", "before").await;
    for client in [&mut stayed, &mut left, &mut ended] {
        assert_eq!(client.json().await["content"], "before");
    }

    proxy.all(Mode::Cut(End::Reset));
    let mut lost = vec![push_large(push, Some("g"), 8 << 10).await];
    // A gateway that may come back with it is not denied.
    eventually("the broker has noticed that the link is gone", async || {
        let found = operator.at(&lost[0], at(&stayed)).await;
        let is_away = found["reason"] == "gateway_away";
        assert!(is_away || found["reason"] == "unknown_connection", "{found}");
        is_away.then_some(())
    })
    .await;
    for _ in 1..20 {
        lost.push(push_large(push, Some("g"), 8 << 10).await);
    }
    let ended = {
        let address = at(&ended);
        ended.leave_for_good().await;
        address
    };
    joined.say(r#"{"type":"join","group":"g"}"#).await;
    let never = Websocket::open(connect(address, None).await, &["g"], Some("campanile.v1")).await;
    drop(never);
    let new = Websocket::open(connect(address, None).await, &["g"], Some("campanile.v1")).await;
    let [back, back_inside] =
        [returning(address, &before).await, returning(address, &lost[4]).await];
    proxy.all(Mode::Pass);

    let gap = next_of(&mut stayed, "gap").await;
    assert_eq!((&gap["type"], &gap["reason"]), (&"gap".into(), &"expired".into()), "{gap}");
    let last = lost.iter().position(|position| gap["position"] == **position);
    let last = last.unwrap_or_else(|| panic!("{gap} is not one of {lost:?}"));
    left.say(r#"{"type":"leave","group":"g"}"#).await;
    next_of(&mut left, "left").await;
    next_of(&mut joined, "joined").await;
    let [new, back, back_inside] =
        [new.greeted().await, back.greeted().await, back_inside.greeted().await];
    let back_at_the_end = returning(address, &lost[last]).await.greeted().await;
    let back_before_it = returning(address, &lost[last - 1]).await.greeted().await;

    // The first event behind the gap, which the broker keeps.
    let next = &lost[last + 1];
    for client in [&stayed, &left] {
        operator.until(next, at(client), "written").await;
    }
    for (at, reason, part) in [
        (ended, "closed_before", "had ended before its gateway got the event, closed with 1000"),
        // Its greeting would have said which one it is.
        ((new.worker, new.connection - 1), "closed_before", "it was never greeted"),
        (at(&joined), "not_listening", "joined the group \"g\" later"),
        (at(&new), "connected_later", "was greeted later"),
        (at(&back), "not_recovered", "(expired)"),
        (at(&back_inside), "not_recovered", "(expired)"),
        (at(&back_before_it), "not_recovered", "(expired)"),
        (at(&back_at_the_end), "recovered_by_replay", "had missed it, and got it"),
    ] {
        let found = operator.at(next, at).await;
        assert_eq!(found["reason"], reason, "{found}");
        says(&found, part);
    }

    // The events at both ends of the gap, and in it. Nobody knows any more who they were for.
    let lost_by_gateway = "whoever it was for: the gateway lost it while it had no link";
    for position in [&lost[0], &lost[3], &lost[last - 1], &lost[last]] {
        let seen = operator.event(position).await;
        assert_eq!((&seen["event"]["known"], &seen["gateways"]), (&false.into(), &json!([])));
        for client in [&stayed, &left, &joined] {
            let found = operator.at(position, at(client)).await;
            assert_eq!(found["reason"], "not_kept_any_more", "{found}");
            says(&found, lost_by_gateway);
            assert!(found["at"].as_f64().is_some(), "{found}");
        }
        assert_eq!(operator.at(position, ended).await["reason"], "closed_before");
        assert_eq!(operator.at(position, at(&new)).await["reason"], "connected_later");
        let found = operator.at(position, at(&back)).await;
        assert_eq!(found["reason"], "not_kept_any_more", "{found}");
        says(&found, "whoever it was for: the client had missed it, and could not get it");
    }
    for (client, since) in
        [(&back_inside, 4), (&back_before_it, last - 1), (&back_at_the_end, last)]
    {
        let found = operator.at(&lost[since], at(client)).await;
        assert_eq!(found["reason"], "connected_later", "{found}");
        says(&found, "for a client that said it had everything up to");
    }
    // The one before the gap was written, if it was for them.
    for client in [&stayed, &left, &joined] {
        let found = operator.at(&before, at(client)).await;
        assert_eq!(found["reason"], "not_kept_any_more", "{found}");
        assert!(
            !found["sentence"].as_str().is_some_and(|said| said.contains("whoever")),
            "{found}"
        );
    }

    let after = push_to(push, "g", "after").await;
    for client in [&stayed, &joined, &new, &back, &back_inside, &back_at_the_end] {
        operator.until(&after, at(client), "written").await;
    }
    says(&operator.at(&after, at(&left)).await, "had left the group \"g\" before");
    assert_eq!(operator.at(&after, ended).await["reason"], "closed_before");
}
