//! What a gateway answers when operators ask what became of an event. A scripted broker asks at moments at
//! which a real one rarely could, and about events that a real one does not keep.

mod harness;

use std::time::{Duration, Instant};

use campanile_gateway::GatewayConfig;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::group;
use campanile_harness::link::script::{Link, Script, at, event, past};
use campanile_messages::inquiry::trace::{ConnectionTrace, GatewayTrace};
use campanile_messages::inquiry::{Answer, Question, Traced, TracedEvent, pack, unpack};
use campanile_messages::link::{Gap, RequestTicket};
use campanile_messages::{
    Address, Audience, ConnectionId, FromBroker, Position, ToBroker, WorkerId,
};
use serde_json::{Value, json};

use harness::Gateway;

fn start(change: impl FnOnce(&mut GatewayConfig)) -> (Script, Gateway, Link) {
    Gateway::scripted(7, change)
}

fn news() -> Audience {
    group("news")
}

fn address(welcome: &Value) -> Address {
    let number = |name: &str| welcome[name].as_u64().unwrap_or_else(|| panic!("{welcome}"));
    Address { worker: WorkerId(number("worker")), connection: ConnectionId(number("connection")) }
}

/// A client that has received its welcome.
fn join_in(gateway: &Gateway, target: &str) -> (Client, Address) {
    let mut client = Client::open_v1(gateway.address, target);
    let welcome = client.json();
    (client, address(&welcome))
}

/// A client that has no welcome yet, and its address: it is the first one after this one.
fn ask(gateway: &Gateway, target: &str, last: Address) -> (Client, Address) {
    let mut client = Client::raw(gateway.address);
    client.send(&request(target, &["Sec-WebSocket-Protocol: campanile.v1"]));
    // The head of the response does not wait for the broker any longer.
    client.upgraded();
    let connection = ConnectionId(last.connection.0 + 1);
    (client, Address { connection, ..last })
}

/// What the gateway answers about an event.
fn traced(link: &Link, position: Position, audience: &Audience, at: Address) -> GatewayTrace {
    let event = Some(TracedEvent { audience: audience.clone(), except: None });
    let question = Question::Trace { position, at: Some(at), event };
    let content = pack(&question).expect("small");
    link.send([FromBroker::Asked { ticket: RequestTicket { link: 1, number: 1 }, content }]);
    loop {
        if let ToBroker::Told { content, .. } = link.recv() {
            let Some(Answer::Trace(traced)) = unpack(&content) else { panic!("{content:?}") };
            let Traced::Gateway(trace) = *traced else { panic!("{traced:?}") };
            return trace;
        }
    }
}

/// What became of an event at a connection.
fn verdict(link: &Link, position: Position, audience: &Audience, at: Address) -> ConnectionTrace {
    traced(link, position, audience, at).connection.expect("it is of this gateway")
}

/// The reasons of some events of the group `news`.
#[track_caller]
fn assert_reasons<const N: usize>(link: &Link, at: Address, reasons: [(Position, &str); N]) {
    for (position, reason) in reasons {
        let found = verdict(link, position, &news(), at);
        assert_eq!(found.reason, reason, "{position} at {at}: {}", found.sentence);
    }
}

#[test]
fn a_client_waits_until_its_missed_events_are_found() {
    let (_script, gateway, link) = start(|_| {});
    let (_first, known) = join_in(&gateway, "/");
    let (mut client, back) = ask(&gateway, "/?group=news&since=0000000000000001-2", known);
    let (number, audiences, _) = link.fetch();
    let found = verdict(&link, at(3), &news(), back);
    assert_eq!(found.reason, "waiting");
    assert!(found.sentence.contains("its gateway is looking for them"), "{}", found.sentence);
    assert_reasons(&link, back, [(at(2), "connected_later"), (at(7), "waiting")]);
    link.send(past(number, &audiences, &[event(3, &news(), "three")]));
    assert_eq!(client.json()["recovered"], true);
    client.expect_event(3, "three");
    assert_reasons(&link, back, [(at(2), "connected_later"), (at(3), "recovered_by_replay")]);
}

#[test]
fn a_client_without_a_greeting_gets_later_events() {
    let (_script, gateway, link) = start(|_| {});
    let (mut joining, known) = join_in(&gateway, "/");
    link.confirm_by_itself(false);
    joining.say(&json!({"type": "join", "group": "news"}));
    let (revision, _) = link.interest_in(&news());
    assert_reasons(&link, known, [(at(7), "connected_later")]);
    link.publish(8, &Audience::Everyone, "eight");
    joining.expect_event(8, "eight");
    let found = verdict(&link, at(8), &news(), known);
    assert_eq!(found.reason, "not_listening");
    assert!(found.sentence.contains("is not confirmed yet"), "{}", found.sentence);
    // The next report of interest has to wait for this confirmation.
    let (mut new, unknown) = ask(&gateway, "/?group=news", known);
    let found = verdict(&link, at(8), &news(), unknown);
    assert_eq!(found.reason, "connected_later");
    assert!(found.sentence.contains("is not greeted yet"), "{}", found.sentence);
    // The event is not there yet.
    assert_reasons(&link, unknown, [(at(9), "waiting")]);
    link.confirm_by_itself(true);
    link.confirm(revision);
    assert_eq!(new.json()["type"], "welcome");
    link.publish(9, &news(), "nine");
    new.expect_event(9, "nine");
    assert_reasons(&link, unknown, [(at(8), "connected_later"), (at(9), "written")]);
}

#[test]
fn the_edges_of_a_gap_are_told_apart() {
    let (script, gateway, link) = start(|_| {});
    let (mut stayed, stays) = join_in(&gateway, "/?group=news");
    let (mut left, leaves) = join_in(&gateway, "/?group=news");
    let (mut joined, joins) = join_in(&gateway, "/");
    link.publish(8, &news(), "eight");
    stayed.expect_event(8, "eight");
    left.expect_event(8, "eight");
    drop(link);
    joined.say(&json!({"type": "join", "group": "news"}));
    joined.say(&json!({"type": "ping"}));
    assert_eq!(joined.json(), json!({"type": "pong"}));
    let (mut new, comes) = ask(&gateway, "/?group=news", joins);

    // Nothing is left of what came meanwhile, so everybody begins with the last event that was lost.
    let link = script.accept(at(12), Some(Gap::Expired));
    let gap = json!({"type": "gap", "reason": "expired", "position": at(12).to_string()});
    assert_eq!((stayed.json(), left.json(), joined.json()), (gap.clone(), gap.clone(), gap));
    assert_eq!(joined.json()["type"], "joined");
    assert_eq!(address(&new.json()), comes);
    left.say(&json!({"type": "leave", "group": "news"}));
    assert_eq!(left.json()["type"], "left");
    link.publish(13, &news(), "thirteen");
    for client in [&mut stayed, &mut joined, &mut new] {
        client.expect_event(13, "thirteen");
    }

    let around = |reasons: [&'static str; 4]| {
        let [before, first, last, next] = reasons;
        [(at(8), before), (at(9), first), (at(12), last), (at(13), next)]
    };
    let lost = "not_recovered";
    assert_reasons(&link, stays, around(["written", lost, lost, "written"]));
    assert_reasons(&link, leaves, around(["written", lost, lost, "not_listening"]));
    let later = "not_listening";
    assert_reasons(&link, joins, around([later, later, later, "written"]));
    let later = "connected_later";
    assert_reasons(&link, comes, around([later, later, later, "written"]));
    let listeners = [8, 9, 12, 13].map(|p| traced(&link, at(p), &news(), stays).listeners);
    assert_eq!(listeners, [2, 0, 0, 3]);
    let found = verdict(&link, at(9), &news(), stays);
    assert!(found.sentence.ends_with("(expired)") && found.at.is_some(), "{found:?}");
}

#[test]
fn what_was_for_others_before_a_gap_is_not_lost() {
    let (script, gateway, link) = start(|_| {});
    let (mut client, at_client) = join_in(&gateway, "/?group=news");
    link.publish(8, &news(), "eight");
    client.expect_event(8, "eight");
    // The gateway has it, and none of its workers.
    link.publish(9, &group("others"), "nine");
    drop(link);
    let link = script.accept(at(12), Some(Gap::Expired));
    assert_eq!(client.json()["type"], "gap");
    // It was there, whoever that was for.
    let reason = |position| verdict(&link, position, &Audience::Everyone, at_client).reason;
    assert_eq!([9, 10].map(|p| reason(at(p))), ["written", "not_recovered"]);
}

#[test]
fn what_was_replayed_before_another_log_began_is_not_denied() {
    let (script, gateway, link) = start(|_| {});
    let (mut stayed, _) = join_in(&gateway, "/");
    let (mut client, ends) = join_in(&gateway, "/");
    client.say(&json!({"type": "join", "group": "news", "since": at(2).to_string()}));
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &[event(3, &news(), "three")]));
    client.expect_event(3, "three");
    assert_eq!(client.json()["recovered"], true);
    assert_eq!(client.json()["type"], "position");
    client.say(&json!({"type": "leave", "group": "news"}));
    assert_eq!(client.json()["type"], "left");
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(10);
    while verdict(&link, at(3), &news(), ends).details.is_none_or(|it| it.ended.is_none()) {
        assert!(Instant::now() < deadline, "the connection does not end");
    }
    assert_reasons(&link, ends, [(at(3), "recovered_by_replay"), (at(2), "connected_later")]);
    drop(link);
    let link = script.accept(Position { epoch: 2, sequence: 4 }, Some(Gap::EpochChanged));
    assert_eq!(stayed.json()["reason"], "epoch_changed");
    // The groups that it had left are forgotten.
    assert_reasons(&link, ends, [(at(3), "not_kept_any_more"), (at(9), "not_listening")]);
}

#[test]
fn the_lost_beginning_of_another_log_is_told_from_the_rest() {
    let (script, gateway, link) = start(|_| {});
    let (mut stayed, stays) = join_in(&gateway, "/?group=news");
    link.publish(8, &news(), "eight");
    stayed.expect_event(8, "eight");
    drop(link);
    let (mut new, comes) = ask(&gateway, "/?group=news", stays);
    let other = |sequence| Position { epoch: 2, sequence };
    let link = script.accept(other(4), Some(Gap::EpochChanged));
    assert_eq!(stayed.json()["reason"], "epoch_changed");
    assert_eq!(address(&new.json()), comes);
    link.publish(5, &news(), "five");
    stayed.expect_event(5, "five");
    new.expect_event(5, "five");
    let lost = "not_recovered";
    assert_reasons(&link, stays, [(other(1), lost), (other(4), lost), (other(5), "written")]);
    let later = "connected_later";
    assert_reasons(&link, comes, [(other(1), later), (other(4), later), (other(5), "written")]);
    assert_reasons(&link, stays, [(at(8), "not_kept_any_more")]);
}
