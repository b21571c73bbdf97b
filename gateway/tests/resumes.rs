//! Returning clients, and what their gateway requests on its link. A scripted broker sees every request, and
//! sends messages at moments at which a real broker rarely would.

#[path = "resumes/blocks.rs"]
mod blocks;
#[path = "resumes/bounds.rs"]
mod bounds;
#[path = "resumes/counting.rs"]
mod counting;
mod harness;
#[path = "resumes/interest.rs"]
mod interest;

use std::time::Duration;

use campanile_gateway::GatewayConfig;
use campanile_harness::client::raw::stream::Stream;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::group;
use campanile_harness::link::script::{Link, Script, at, event, past};
use campanile_harness::{Block, DEADLINE};
use campanile_messages::link::Gap;
use campanile_messages::{Audience, FromBroker, Position};
use serde_json::{Value, json};

use harness::Gateway;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

fn start(change: impl FnOnce(&mut GatewayConfig)) -> (Script, Gateway, Link) {
    Gateway::scripted(7, change)
}

fn news() -> Audience {
    group("news")
}

/// The events of a log that ends at 7.
fn log() -> Vec<FromBroker> {
    vec![
        event(2, &news(), "two"),
        event(3, &news(), "three"),
        event(5, &Audience::Everyone, "five"),
        event(6, &news(), "six"),
    ]
}

/// A client that has sent its request and waits for the answer.
fn ask(gateway: &Gateway, target: &str) -> Client {
    let mut client = Client::raw(gateway.address);
    client.send(&request(target, &[V1]));
    client
}

/// A client that has received its welcome.
#[track_caller]
fn join_in(gateway: &Gateway, target: &str) -> Client {
    let mut client = Client::open_v1(gateway.address, target);
    let welcome = client.json();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    client
}

#[track_caller]
fn expect_recovered(client: &mut Client, since: u64) {
    let welcome = client.json();
    let fields = (&welcome["type"], &welcome["recovered"], &welcome["position"]);
    let position = json!(at(since).to_string());
    assert_eq!(fields, (&json!("welcome"), &Value::Bool(true), &position), "{welcome}");
}

#[track_caller]
fn expect_lost(client: &mut Client, reason: &str, position: Position) {
    let welcome = client.json();
    assert_eq!(welcome["recovered"], false, "{welcome}");
    assert_eq!(welcome["reason"], reason, "{welcome}");
    assert_eq!(welcome["position"], position.to_string(), "{welcome}");
}

#[test]
fn a_storm_of_resuming_clients_costs_one_fetch_per_audience() {
    let (_script, gateway, link) = start(|config| {
        config.workers = 2;
        // The first clients get no answer before the last ones have come.
        config.handshake_limit = DEADLINE;
    });
    let mut clients: Vec<_> =
        (0..2_000).map(|_| ask(&gateway, "/?group=news&since=0000000000000001-2")).collect();
    let (number, mut audiences, _) = link.fetch();
    link.send(past(number, &audiences, &log()));
    for client in &mut clients {
        client.upgraded();
        expect_recovered(client, 2);
        client.expect_event(3, "three");
        client.expect_event(5, "five");
        client.expect_event(6, "six");
    }
    link.publish(8, &news(), "eight");
    clients.iter_mut().for_each(|client| client.expect_event(8, "eight"));
    link.expect_no_fetch();
    audiences.sort();
    assert_eq!(audiences, [Audience::Everyone, news()]);
}

#[test]
fn events_that_the_gateway_has_are_not_fetched() {
    let (_script, gateway, link) = start(|_| {});
    let mut first = join_in(&gateway, "/?group=news");
    link.send([
        event(8, &news(), "eight"),
        event(9, &Audience::Everyone, "nine"),
        event(11, &news(), "eleven"),
    ]);
    for (sequence, content) in [(8, "eight"), (9, "nine"), (11, "eleven")] {
        first.expect_event(sequence, content);
    }
    let mut back = Client::open_v1(gateway.address, "/?group=news&since=0000000000000001-8");
    expect_recovered(&mut back, 8);
    back.expect_event(9, "nine");
    back.expect_event(11, "eleven");
    let mut stream =
        Stream::open(gateway.address, "/events?group=news&since=0000000000000001-9", &[]);
    assert_eq!(stream.synced()["recovered"], true);
    assert_eq!(stream.message(), (at(11).to_string(), "eleven".to_owned()));
    // The same holds for a single group that is joined later.
    let mut later = join_in(&gateway, "/");
    later.say(&json!({"type": "join", "group": "news", "since": at(8).to_string()}));
    later.expect_event(11, "eleven");
    assert_eq!(later.json(), json!({"type": "joined", "group": "news", "recovered": true}));
    link.expect_no_fetch();
}

#[test]
fn fetched_events_come_before_live_ones_in_order_and_each_once() {
    let (_script, gateway, link) = start(|_| {});
    let mut client = ask(&gateway, "/?group=news&since=0000000000000001-2");
    let (number, audiences, _) = link.fetch();
    let mut log = log();
    for sequence in 8..20 {
        let audience = if sequence % 3 == 0 { Audience::Everyone } else { news() };
        log.push(event(sequence, &audience, "live"));
        link.send(log.last().cloned());
    }
    // Some of the live events came before the broker was asked.
    let mut answer = past(number, &audiences, &log);
    let rest = answer.split_off(answer.len() / 2);
    link.send(answer);
    link.said();
    link.send(rest);
    link.publish(20, &news(), "last");
    client.upgraded();
    expect_recovered(&mut client, 2);
    for (sequence, content) in [(3, "three"), (5, "five"), (6, "six")] {
        client.expect_event(sequence, content);
    }
    (8..20).for_each(|sequence| client.expect_event(sequence, "live"));
    client.expect_event(20, "last");
    client.say(&json!({"type": "ping"}));
    assert_eq!(client.json(), json!({"type": "pong"}));
}

#[test]
fn a_fetch_that_is_lost_with_the_link_is_repeated_on_the_next() {
    let (script, gateway, link) = start(|_| {});
    let mut client = ask(&gateway, "/?group=news&since=0000000000000001-2");
    let (number, audiences, _) = link.fetch();
    // This is only a part of the answer.
    link.send(past(number, &audiences, &log()).into_iter().take(2));
    link.said();
    drop(link);
    let link = script.accept(at(7), None);
    let (number, again, _) = link.fetch();
    // An audience that arrived completely is not asked for again.
    assert_eq!((audiences, &*again), (vec![Audience::Everyone, news()], &[news()][..]));
    link.send(past(number, &again, &log()));
    client.upgraded();
    expect_recovered(&mut client, 2);
    for (sequence, content) in [(3, "three"), (5, "five"), (6, "six")] {
        client.expect_event(sequence, content);
    }
    link.expect_no_fetch();
}

#[test]
fn a_gap_is_sent_to_clients_whose_dialect_has_a_message_for_it() {
    let (script, gateway, link) = start(|_| {});
    let mut v1 = join_in(&gateway, "/");
    let mut plain = Client::open(gateway.address);
    plain.recv();
    let mut stream = Stream::open(gateway.address, "/events", &[]);
    stream.synced();
    link.publish(8, &Audience::Everyone, "eight");
    v1.expect_event(8, "eight");
    assert_eq!(plain.recv().payload, b"eight");
    assert_eq!(stream.message().1, "eight");
    drop(link);
    let from = Position { epoch: 2, sequence: 4 };
    let link = script.accept(from, Some(Gap::EpochChanged));
    link.publish(5, &Audience::Everyone, "five");

    let said = json!({"type": "gap", "reason": "epoch_changed", "position": from.to_string()});
    assert_eq!(v1.json(), said);
    v1.expect_event(5, "five");

    assert_eq!(plain.recv().payload, b"five");

    let gap = stream.next();
    let said = json!({"reason": "epoch_changed", "position": from.to_string()});
    assert_eq!((gap.event.as_deref(), gap.id.clone()), (Some("gap"), Some(from.to_string())));
    assert_eq!(gap.json(), said);
    assert_eq!(stream.message(), ("0000000000000002-5".to_owned(), "five".to_owned()));

    // The events of the other log were dropped.
    let mut back = Client::open_v1(gateway.address, "/?since=0000000000000001-7");
    expect_lost(&mut back, "epoch_changed", Position { epoch: 2, sequence: 5 });
    link.expect_no_fetch();
}

#[test]
fn events_that_the_broker_has_dropped_are_reported_as_expired() {
    let (_script, gateway, link) = start(|_| {});
    let log = [event(6, &news(), "six")];
    let mut expired = ask(&gateway, "/?group=news&since=0000000000000001-2");
    let (number, audiences, _) = link.fetch();
    let mut answer = past(number, &audiences, &log);
    for past in &mut answer {
        if let FromBroker::Past { audience: Audience::Group(_), expired, complete_after, .. } = past
        {
            (*expired, *complete_after) = (3, 3);
        }
    }
    link.send(answer);
    expired.upgraded();
    expect_lost(&mut expired, "expired", at(7));
    // The gateway knows the answer to these by now.
    let mut again = Client::open_v1(gateway.address, "/?group=news&since=0000000000000001-2");
    expect_lost(&mut again, "expired", at(7));
    let mut within = Client::open_v1(gateway.address, "/?group=news&since=0000000000000001-3");
    expect_recovered(&mut within, 3);
    within.expect_event(6, "six");
    let mut ahead = Client::open_v1(gateway.address, "/?group=news&since=0000000000000001-8");
    expect_lost(&mut ahead, "epoch_changed", at(7));
    link.expect_no_fetch();
}

#[test]
fn an_answer_that_is_out_of_order_does_no_harm() {
    let (_script, gateway, link) = start(|config| {
        config.linger = Duration::ZERO;
        config.recent_bytes = 700;
    });
    let mut first = ask(&gateway, "/?group=news&since=0000000000000001-2");
    let (number, audiences, _) = link.fetch();
    // One event is ahead of the stream, two are in the wrong order, one is for another group.
    let log = [(100, "news"), (6, "news"), (5, "news")];
    let log = log.map(|(sequence, name)| event(sequence, &group(name), "x"));
    let mut answer = past(number, &audiences, &log);
    let other = event(4, &group("other"), "x");
    for message in &mut answer {
        if let FromBroker::Past { audience: Audience::Group(_), events, .. } = message {
            *events += 1;
        }
    }
    answer.insert(answer.len() - 1, other);
    link.send(answer);
    first.upgraded();
    expect_recovered(&mut first, 2);
    first.expect_event(6, "x");
    drop(first);
    while link.interest_in(&news()).1.is_some() {}
    let mut second = join_in(&gateway, "/");
    for sequence in 101..110 {
        link.publish(sequence, &Audience::Everyone, "live");
        second.expect_event(sequence, "live");
    }
}

#[test]
fn a_leave_ends_a_join_that_waits_for_missed_events() {
    let (_script, gateway, link) = start(|_| {});
    let mut client = join_in(&gateway, "/");
    client.say(&json!({"type": "join", "group": "news", "since": at(2).to_string()}));
    let (number, audiences, _) = link.fetch();
    client.say(&json!({"type": "leave", "group": "news"}));
    assert_eq!(client.json(), json!({"type": "left", "group": "news"}));
    link.send(past(number, &audiences, &log()));
    link.publish(8, &news(), "eight");
    link.publish(9, &Audience::Everyone, "nine");
    client.expect_event(9, "nine");
    // The group can be joined again with a position.
    client.say(&json!({"type": "join", "group": "news", "since": at(3).to_string()}));
    client.expect_event(6, "six");
    client.expect_event(8, "eight");
    assert_eq!(client.json(), json!({"type": "joined", "group": "news", "recovered": true}));
}

#[test]
fn a_mark_does_not_overtake_events_that_a_client_waits_for() {
    let (_script, gateway, link) = start(|config| config.ping_after = Duration::from_millis(100));
    let mut settled = join_in(&gateway, "/");
    let mut joining = join_in(&gateway, "/");
    joining.say(&json!({"type": "join", "group": "news", "since": at(2).to_string()}));
    let (number, audiences, _) = link.fetch();
    let mut coming = ask(&gateway, "/?group=news&since=0000000000000001-3");
    coming.upgraded();
    let position = |head| json!({"type": "position", "id": at(head).to_string()});
    // By the second mark, the registry has looked at every client since the first.
    for head in [50, 51] {
        link.send([FromBroker::Mark { head }]);
        assert_eq!(settled.json(), position(head));
    }
    joining.say(&json!({"type": "ping"}));
    assert_eq!(joining.json(), json!({"type": "pong"}));
    link.send(past(number, &audiences, &log()));
    joining.expect_event(3, "three");
    joining.expect_event(6, "six");
    assert_eq!(joining.json(), json!({"type": "joined", "group": "news", "recovered": true}));
    assert_eq!(joining.json(), position(51));
    // The other client also waits for the events for everyone.
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &log()));
    expect_recovered(&mut coming, 3);
    coming.expect_event(5, "five");
    coming.expect_event(6, "six");
    assert_eq!(coming.json(), position(51));
}

/// A client that no longer reads, and whose connection is full.
fn jam(gateway: &Gateway, link: &Link, sequence: u64) -> Client {
    let jammed = join_in(gateway, "/?group=jam&group=news");
    link.publish(sequence, &group("jam"), &"x".repeat(15 << 20));
    jammed
}

#[test]
fn an_event_stream_continues_when_the_link_breaks() {
    let (script, gateway, link) = start(|_| {});
    let mut stream = Stream::open(gateway.address, "/events?group=news", &[]);
    stream.synced();
    link.publish(8, &news(), "eight");
    assert_eq!(stream.message().0, at(8).to_string());
    drop(link);
    let link = script.accept(at(8), None);
    // A new link may carry an event again.
    link.publish(8, &news(), "eight");
    link.publish(9, &news(), "nine");
    let nine =
        Block { id: Some(at(9).to_string()), data: Some("nine".to_owned()), ..Block::default() };
    assert_eq!(stream.next(), nine);
}
