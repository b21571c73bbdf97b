//! Resumes at the bounds of memory: of what is kept, of what is replayed, and of a client's outbox.

use campanile_harness::client::raw;
use campanile_harness::link::group;
use campanile_harness::link::script::{at, event, past};
use campanile_messages::{Audience, FromBroker};
use serde_json::{Value, json};
use socket2::SockRef;

use super::{ask, expect_lost, expect_recovered, jam, join_in, news, start};

#[test]
fn a_client_that_missed_more_than_the_bound_is_not_recovered() {
    let (_script, gateway, link) = start(|config| config.max_replay_bytes = 1_000);
    let (half, large) = ("x".repeat(500), "y".repeat(50_000));
    for (group_name, log, recovers) in [
        ("small", vec![(3, "x"), (4, "y")], true),
        ("large", vec![(3, &*large)], true),
        ("many", vec![(3, &half), (4, &half)], false),
        ("two", vec![(3, &large), (4, "y")], false),
    ] {
        let mut client = ask(&gateway, &format!("/?group={group_name}&since=0000000000000001-2"));
        let (number, audiences, max_bytes) = link.fetch();
        assert_eq!(max_bytes, 1_000);
        let events: Vec<_> = log
            .iter()
            .map(|(sequence, content)| event(*sequence, &group(group_name), content))
            .collect();
        link.send(past(number, &audiences, &events));
        client.upgraded();
        if recovers {
            expect_recovered(&mut client, 2);
            log.iter().for_each(|(sequence, content)| client.expect_event(*sequence, content));
        } else {
            expect_lost(&mut client, "too_far", at(7));
        }
        client.say(&json!({"type": "ping"}));
        assert_eq!(client.json(), json!({"type": "pong"}), "{group_name}");
    }
}

#[test]
fn fetched_events_are_kept_until_every_waiting_client_has_them() {
    let (_script, gateway, link) = start(|config| config.recent_bytes = 4_000);
    let log: Vec<_> = (1..=7).map(|sequence| event(sequence, &news(), "x")).collect();
    let mut client = ask(&gateway, "/?group=news&since=0000000000000001-0");
    let (number, audiences, _) = link.fetch();
    let mut answer = past(number, &audiences, &log);
    let fetched = answer.pop();
    link.send(answer);
    let large = "y".repeat(2_000);
    link.publish(8, &Audience::Everyone, &large);
    link.said();
    link.send(fetched);
    client.upgraded();
    expect_recovered(&mut client, 0);
    (1..=7).for_each(|sequence| client.expect_event(sequence, "x"));
    client.expect_event(8, &large);
    link.expect_no_fetch();
}

#[test]
fn fetched_events_are_replayed_however_little_is_kept() {
    let (_script, gateway, link) = start(|config| config.recent_bytes = 1_000);
    let content = "x".repeat(5_000);
    let log: Vec<_> = (1..=7).map(|sequence| event(sequence, &news(), &content)).collect();
    let mut client = ask(&gateway, "/?group=news&since=0000000000000001-0");
    let (number, audiences, _) = link.fetch();
    let mut answer = past(number, &audiences, &log);
    let fetched = answer.pop();
    link.send(answer);
    link.said();
    link.send(fetched);
    client.upgraded();
    expect_recovered(&mut client, 0);
    (1..=7).for_each(|sequence| client.expect_event(sequence, &content));
    link.expect_no_fetch();
}

#[test]
fn a_client_that_rejoins_without_reading_fills_no_memory() {
    let (_script, gateway, link) = start(|config| {
        config.max_outbox_bytes = 64 << 10;
        config.max_replay_bytes = 256 << 10;
    });
    let mut client = join_in(&gateway, "/");
    SockRef::from(&client.stream).set_recv_buffer_size(64 << 10).expect("a socket");
    let content = "x".repeat(100_000);
    let log = [event(3, &news(), &content), event(6, &news(), &content)];
    for turn in 0..200 {
        client.say(&json!({"type": "join", "group": "news", "since": at(2).to_string()}));
        link.interest_in(&news());
        if turn == 0 {
            let (number, audiences, _) = link.fetch();
            link.send(past(number, &audiences, &log));
        }
        // This takes long enough for the answer to be written.
        (0..5).for_each(|_| drop(link.said()));
        client.say(&json!({"type": "leave", "group": "news"}));
        link.interest_in(&news());
    }
    client.say(&json!({"type": "ping"}));
    let mut replayed = 0;
    let mut refused = 0;
    loop {
        let frame = client.recv();
        if frame.first & 0xf == raw::CLOSE {
            assert_eq!(frame.closing().0, 4001);
            return;
        }
        let said: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        match said["type"].as_str() {
            Some("event") => replayed += 1,
            Some("joined") if said["recovered"] == false => refused += 1,
            Some("pong") => break,
            _ => {}
        }
    }
    assert!(refused > 0, "all of {replayed} events waited for a client that did not read");
}

#[test]
fn a_join_that_missed_nothing_gets_no_extra_room() {
    let (_script, gateway, link) = start(|_| {});
    let mut client = jam(&gateway, &link, 8);
    client.say(&json!({"type": "join", "group": "quiet", "since": at(8).to_string()}));
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &[]));
    (0..5).for_each(|_| drop(link.said()));
    client.expect_event(8, &"x".repeat(15 << 20));
    client.expect_close(4001);
}

#[test]
fn an_answer_in_parts_leaves_no_hole_where_little_is_kept() {
    // While clients wait, four times as much is kept, which is room for two events.
    let (_script, gateway, link) = start(|config| config.recent_bytes = 300);
    // While it waits for the answer, the requests of the others are collected.
    let mut first = ask(&gateway, "/?group=first&since=0000000000000001-6");
    let (number, audiences, _) = link.fetch();
    let mut short = ask(&gateway, "/?group=news&since=0000000000000001-4");
    link.interest_in(&news());
    let mut long = ask(&gateway, "/?group=news&group=other&since=0000000000000001-1");
    link.interest_in(&group("other"));
    link.said();
    link.said();
    link.send(past(number, &audiences, &[]));
    first.upgraded();
    expect_recovered(&mut first, 6);
    let (number, audiences, _) = link.fetch();
    assert!(audiences.contains(&news()) && audiences.contains(&group("other")));
    let past = |audience: &Audience, sequences: &[u64], complete_after| {
        let (audience, events) = (audience.clone(), sequences.len() as u32);
        let head =
            FromBroker::Past { audience: audience.clone(), events, expired: 0, complete_after };
        let events = sequences.iter().map(|sequence| event(*sequence, &audience, "x"));
        std::iter::once(head).chain(events).collect::<Vec<_>>()
    };
    // Both requests name the group, so the second answer has the events that the first left out. In
    // between, the gateway has time to drop the events that came first.
    link.send(past(&Audience::Everyone, &[], 1));
    link.send(past(&news(), &[5, 6, 7], 4));
    link.said();
    link.send(past(&news(), &[2, 3, 4], 1));
    link.send(past(&group("other"), &[], 1));
    link.said();
    link.send([FromBroker::Fetched { number, served: u32::MAX }]);
    for (client, first) in [(&mut short, 5), (&mut long, 2)] {
        client.upgraded();
        expect_recovered(client, first - 1);
        (first..=7).for_each(|sequence| client.expect_event(sequence, "x"));
    }
}
