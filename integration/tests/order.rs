//! Every client sees its events in the log's order, whoever pushes.

use std::collections::BTreeMap;

use campanile_harness::{Cluster, PushApi};
use futures_util::future::join_all;

const EVENTS_PER_CALLER: usize = 250;
const GROUPS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("nobody")];

/// An accepted event: its audience and its content.
type Event = (Option<&'static str>, String);

/// One caller that pushes one event after the other: what was accepted, by sequence.
async fn push_in_turn(push: PushApi, caller: usize) -> BTreeMap<u64, Event> {
    let mut accepted = BTreeMap::new();
    for number in 0..EVENTS_PER_CALLER {
        let content = format!("{caller}/{number}");
        let group = GROUPS[(caller + number) % GROUPS.len()];
        let to = group.map(|group| ("to_group", group));
        let parameters: Vec<_> = to.into_iter().chain([("content", &*content)]).collect();
        let sequence = push.receipt(&parameters).await.sequence;
        let last = accepted.last_key_value().map_or(0, |(last, _)| *last);
        assert!(sequence > last, "{content} is before the event that this caller pushed first");
        accepted.insert(sequence, (group, content));
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_see_the_events_of_many_publishers_in_one_order() {
    let cluster = Cluster::of(2).publishers(2).gateway("--workers 2").start().await;
    let mut readers = Vec::new();
    for gateway in [0, 0, 1, 1] {
        for groups in [&[][..], &["a"], &["b"], &["a", "b"]] {
            let mut plain = cluster.client(gateway, groups).await;
            let mut v1 = cluster.client_v1(gateway, groups).await;
            let plain = tokio::spawn(async move { plain.texts_until("last").await });
            let v1 = tokio::spawn(async move {
                let mut events = Vec::new();
                loop {
                    let event = v1.json().await;
                    let text = |name: &str| event[name].as_str().expect("a text").to_owned();
                    if text("content") == "last" {
                        return events;
                    }
                    events.push((text("id"), text("content")));
                }
            });
            readers.push((groups, plain, v1));
        }
    }
    let callers = (0..8).map(|caller| push_in_turn(cluster.push[caller % 2].clone(), caller));
    let accepted: Vec<_> = join_all(callers.map(tokio::spawn)).await;
    let last = cluster.push[0].receipt(&[("content", "last")]).await;

    let mut log = BTreeMap::new();
    for accepted in accepted {
        for (sequence, event) in accepted.expect("no panic") {
            assert_eq!(log.insert(sequence, event), None, "two events have a sequence");
        }
    }
    assert_eq!(log.len(), 8 * EVENTS_PER_CALLER);
    for (groups, plain, v1) in readers {
        let listens = |group: Option<&str>| group.is_none_or(|group| groups.contains(&group));
        let expected = log.iter().filter(|(_, (group, _))| listens(*group));
        let expected: Vec<_> = expected
            .map(|(sequence, (_, content))| (format!("{}-{sequence}", last.epoch), content.clone()))
            .collect();
        let contents: Vec<_> = expected.iter().map(|(_, content)| content.clone()).collect();
        assert!(plain.await.expect("no panic") == contents, "a plain client of {groups:?}");
        assert!(v1.await.expect("no panic") == expected, "a v1 client of {groups:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targeted_pushes_of_one_caller_arrive_in_order() {
    let cluster = Cluster::of(2).start().await;
    let mut client = cluster.client(0, &[]).await;
    for number in 0..100 {
        cluster.push[0].to(&client, &format!("one {number}")).await;
        cluster.push[0].everyone(&format!("all {number}")).await;
    }
    // Events for one connection are not in the log, so they have no fixed place among broadcasts.
    let (mut targeted, mut broadcast) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let content = client.text().await;
        match content.split_once(' ') {
            Some(("one", number)) => targeted.push(number.to_owned()),
            Some(("all", number)) => broadcast.push(number.to_owned()),
            _ => panic!("{content}"),
        }
    }
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(targeted, expected);
    assert_eq!(broadcast, expected);
}
