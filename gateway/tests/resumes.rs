//! Returning clients, and what their gateway requests on its link. A scripted broker sees every request, and
//! sends messages at moments at which a real broker rarely would.

mod harness;

use std::thread::sleep;
use std::time::{Duration, Instant};

use campanile_gateway::GatewayConfig;
use campanile_harness::client::raw::stream::Stream;
use campanile_harness::client::raw::{self, Client, request};
use campanile_harness::link::group;
use campanile_harness::link::script::{Link, Script, at, audiences_of, event, past};
use campanile_harness::{Block, DEADLINE};
use campanile_messages::link::{Gap, RequestTicket, Tally};
use campanile_messages::{Audience, FromBroker, Position, ToBroker};
use serde_json::{Value, json};
use socket2::SockRef;

use harness::Gateway;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

/// Longer than the bridge waits between two searches for interest to withdraw. Nothing outside shows
/// that it has searched, so the tests wait for this time.
const EXPIRES_WITHIN: Duration = Duration::from_millis(2_200);

fn start(change: impl FnOnce(&mut GatewayConfig)) -> (Script, Gateway, Link) {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, change);
    let link = script.accept(at(7), None);
    (script, gateway.until_ready(), link)
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

/// Waits until the withdrawal of an audience is reported, and confirms what is reported before it.
fn withdrawal_of(link: &Link, audience: &Audience) -> u64 {
    loop {
        match link.interest_in(audience) {
            (revision, None) => return revision,
            (revision, Some(_)) => link.confirm(revision),
        }
    }
}

#[test]
fn interest_that_returns_during_its_withdrawal_leaves_no_hole() {
    let (_script, gateway, link) = start(|config| config.linger = Duration::ZERO);
    let mut first = join_in(&gateway, "/?group=news");
    link.publish(8, &news(), "old");
    first.expect_event(8, "old");
    link.confirm_by_itself(false);
    drop(first);
    let withdrawn = withdrawal_of(&link, &news());
    let mut second = ask(&gateway, "/?group=news");
    second.upgraded();
    // The broker does not know of the withdrawal yet, and some of these events arrive after the bridge
    // has learned of the second client.
    for sequence in 9..=30 {
        link.publish(sequence, &news(), "before");
        sleep(Duration::from_millis(10));
    }
    // These events do not come.
    link.skip_to(40);
    link.confirm(withdrawn);
    let (revision, listeners) = link.interest_in(&news());
    assert_eq!(listeners, Some(1));
    link.confirm_by_itself(true);
    link.confirm(revision);
    assert_eq!(second.json()["position"], at(40).to_string());
    link.publish(41, &news(), "after");
    second.expect_event(41, "after");

    let mut third = ask(&gateway, "/?group=news&since=0000000000000001-30");
    let (number, audiences, _) = link.fetch();
    assert!(audiences.contains(&news()), "the gateway thinks that it has all of {audiences:?}");
    let log = [event(35, &news(), "between"), event(41, &news(), "after")];
    link.send(past(number, &audiences, &log));
    third.upgraded();
    expect_recovered(&mut third, 30);
    third.expect_event(35, "between");
    third.expect_event(41, "after");
}

#[test]
fn interest_that_returns_before_its_withdrawal_leaves_no_hole() {
    // Either the earlier report is confirmed in the end, or the link is lost first.
    for confirms in [true, false] {
        let (script, gateway, mut link) = start(|config| config.linger = Duration::ZERO);
        let mut first = join_in(&gateway, "/?group=news");
        link.publish(8, &news(), "eight");
        first.expect_event(8, "eight");
        link.confirm_by_itself(false);
        drop(first);
        let revision = loop {
            if let (revision, Some(0)) = link.interest_in(&news()) {
                break revision;
            }
        };
        sleep(EXPIRES_WITHIN);
        link.publish(9, &news(), "nine");
        link.said();
        let mut second = ask(&gateway, "/?group=news");
        second.upgraded();
        if confirms {
            link.confirm_by_itself(true);
            link.confirm(revision);
        } else {
            drop(link);
            link = script.accept(at(9), None);
        }
        second.json();
        link.publish(10, &news(), "ten");
        second.expect_event(10, "ten");

        let mut third = ask(&gateway, "/?group=news&since=0000000000000001-8");
        let (number, audiences, _) = link.fetch();
        assert!(audiences.contains(&news()), "the gateway thinks that it has all of news");
        let log = [(8, "eight"), (9, "nine"), (10, "ten")];
        let log = log.map(|(sequence, content)| event(sequence, &news(), content));
        link.send(past(number, &audiences, &log));
        third.upgraded();
        expect_recovered(&mut third, 8);
        third.expect_event(9, "nine");
        third.expect_event(10, "ten");
    }
}

#[test]
fn a_fetch_that_nobody_waits_for_leaves_no_hole() {
    let (script, gateway, link) = start(|config| config.linger = Duration::ZERO);
    let mut leaves = ask(&gateway, "/?group=news&since=0000000000000001-2");
    leaves.upgraded();
    link.fetch();
    drop(link);
    drop(leaves);
    sleep(EXPIRES_WITHIN);
    let link = script.accept(at(7), None);
    let ToBroker::Interest { changes, .. } = link.recv() else { panic!("no interest") };
    assert_eq!(changes, [], "nobody is there");
    // If the broker is asked anyway, it answers.
    for said in link.said() {
        if let ToBroker::Fetch { number, wants, .. } = said {
            link.send(past(number, &audiences_of(&wants), &log()));
        }
    }
    // A gateway without listeners gets no events.
    link.skip_to(9);
    let mut back = ask(&gateway, "/?group=news&since=0000000000000001-7");
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &[event(8, &news(), "eight")]));
    back.upgraded();
    expect_recovered(&mut back, 7);
    back.expect_event(8, "eight");
}

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

const TICKET: RequestTicket = RequestTicket { link: 3, number: 9 };

fn counted(sequence: u64, content: &str, within: Duration) -> [FromBroker; 2] {
    let within_millis = within.as_millis() as u32;
    [
        FromBroker::Count { ticket: TICKET, sequence, within_millis },
        event(sequence, &news(), content),
    ]
}

fn tally(matched: u64, written: u64, too_slow: u64) -> (RequestTicket, Tally) {
    (TICKET, Tally { matched, written, too_slow })
}

#[test]
fn an_event_is_counted_over_all_workers_and_dialects() {
    let (_script, gateway, link) = start(|config| config.workers = 2);
    let within = Duration::from_secs(10);
    link.send(counted(8, "nobody", within));
    assert_eq!(link.counted(), tally(0, 0, 0));
    let mut v1: Vec<_> = (0..3).map(|_| join_in(&gateway, "/?group=news")).collect();
    let mut plain = Client::open_with(gateway.address, &request("/?group=news", &[]));
    plain.recv();
    let mut stream = Stream::open(gateway.address, "/events?group=news", &[]);
    stream.synced();
    let _other = join_in(&gateway, "/?group=other");
    link.send(counted(9, "nine", within));
    assert_eq!(link.counted(), tally(5, 5, 0));
    v1.iter_mut().for_each(|client| client.expect_event(9, "nine"));
    assert_eq!(plain.recv().payload, b"nine");
    assert_eq!(stream.message().1, "nine");
    // A client that still waits for missed events does not listen yet.
    let _waits = ask(&gateway, "/?group=news&since=0000000000000001-2");
    link.fetch();
    link.send(counted(10, "ten", within));
    assert_eq!(link.counted(), tally(5, 5, 0));
}

/// A client that no longer reads, and whose connection is full.
fn jam(gateway: &Gateway, link: &Link, sequence: u64) -> Client {
    let jammed = join_in(gateway, "/?group=jam&group=news");
    link.publish(sequence, &group("jam"), &"x".repeat(15 << 20));
    jammed
}

#[test]
fn a_count_waits_for_a_slow_client_only_as_long_as_asked() {
    let (_script, gateway, link) = start(|config| config.max_outbox_bytes = 64 << 20);
    let _jammed = jam(&gateway, &link, 8);
    let mut reads = join_in(&gateway, "/?group=news");
    let (begun, within) = (Instant::now(), Duration::from_millis(700));
    link.send(counted(9, "nine", within));
    reads.expect_event(9, "nine");
    assert_eq!(link.counted(), tally(2, 1, 0));
    assert!(begun.elapsed() >= within, "answered after {:?}", begun.elapsed());
}

#[test]
fn a_client_that_reads_late_is_counted_when_it_has_read() {
    let (_script, gateway, link) = start(|config| config.max_outbox_bytes = 64 << 20);
    let mut jammed = jam(&gateway, &link, 8);
    link.send(counted(9, "nine", Duration::from_secs(30)));
    jammed.expect_event(8, &"x".repeat(15 << 20));
    jammed.expect_event(9, "nine");
    assert_eq!(link.counted(), tally(1, 1, 0));
}

#[test]
fn a_client_that_is_closed_as_too_slow_is_counted_as_such() {
    // Its outbox is either full before the count begins, or becomes full during it.
    for max_outbox_bytes in [1 << 20, 16 << 20] {
        let (_script, gateway, link) = start(|config| config.max_outbox_bytes = max_outbox_bytes);
        let _jammed = jam(&gateway, &link, 8);
        let _reads = join_in(&gateway, "/?group=news");
        link.send(counted(9, "nine", Duration::from_secs(30)));
        link.publish(10, &group("jam"), &"x".repeat(15 << 20));
        assert_eq!(link.counted(), tally(2, 1, 1));
    }
}

#[test]
fn a_client_that_leaves_during_a_count_is_only_matched() {
    let (_script, gateway, link) = start(|config| config.max_outbox_bytes = 64 << 20);
    let jammed = jam(&gateway, &link, 8);
    let mut reads = join_in(&gateway, "/?group=news");
    link.send(counted(9, "nine", Duration::from_secs(30)));
    reads.expect_event(9, "nine");
    drop(jammed);
    assert_eq!(link.counted(), tally(2, 1, 0));
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
