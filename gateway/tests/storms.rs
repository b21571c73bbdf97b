//! Many clients that come back at once, and a broker that stays away.

mod harness;

use std::time::{Duration, Instant};

use campanile_gateway::GatewayConfig;
use campanile_messages::{Audience, FromBroker};
use serde_json::json;

use harness::client::{Client, DEADLINE, request};
use harness::peers::{Link, Script, at, event, group, past};
use harness::servers::Gateway;
use harness::stream::Stream;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

fn start(head: u64, change: impl FnOnce(&mut GatewayConfig)) -> (Script, Gateway, Link) {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, change);
    let link = script.accept(at(head), None);
    (script, gateway.until_ready(), link)
}

fn ask(gateway: &Gateway, target: &str) -> Client {
    let mut client = Client::raw(gateway.address);
    client.send(&request(target, &[V1]));
    client
}

/// The size at which a gateway could go deaf: more than 4 MiB of deliveries per worker, counted
/// with 64 bytes for each client and event.
#[test]
fn a_storm_larger_than_the_queue_of_a_worker_is_served_and_live_events_go_on() {
    const CLIENTS: usize = 1_500;
    const MISSED: u64 = 500;
    let (_script, gateway, link) = start(MISSED, |config| config.handshake_limit = DEADLINE);
    let news = group("news");
    let log: Vec<_> = (1..=MISSED).map(|sequence| event(sequence, &news, "missed")).collect();
    let target = "/?group=news&since=0000000000000001-0";
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| ask(&gateway, target)).collect();
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &log));
    // What is not read on the link behind this is not delivered.
    link.publish(MISSED + 1, &news, "live");
    for client in &mut clients {
        client.upgraded();
        assert_eq!(client.json()["recovered"], true);
        (1..=MISSED).for_each(|sequence| client.expect_event(sequence, "missed"));
        client.expect_event(MISSED + 1, "live");
    }
    link.publish(MISSED + 2, &Audience::Everyone, "still there");
    clients.iter_mut().for_each(|client| client.expect_event(MISSED + 2, "still there"));
    link.expect_no_fetch();
}

#[test]
fn a_client_that_has_missed_too_much_costs_one_bounded_fetch() {
    let (_script, gateway, link) = start(7, |config| config.max_replay_bytes = 1_000);
    let groups: Vec<_> = (0..60).map(|name| format!("group=g{name}")).collect();
    let target = format!("/?{}&since=0000000000000001-0", groups.join("&"));
    let mut client = ask(&gateway, &target);
    let (number, audiences, max_bytes) = link.fetch();
    assert_eq!((audiences.len(), max_bytes), (61, 1_000));
    // What a broker sends: the newest, up to the first with which it is too much.
    let (g1, g2) = (group("g1"), group("g2"));
    let newest = [event(6, &g1, &"x".repeat(600)), event(7, &g2, &"x".repeat(600))];
    let mut answer = past(number, &audiences, &newest);
    for message in &mut answer {
        if let FromBroker::Past { complete_after, .. } = message {
            *complete_after = 5;
        }
    }
    link.send(answer);
    client.upgraded();
    let welcome = client.json();
    assert_eq!((&welcome["recovered"], &welcome["reason"]), (&json!(false), &json!("too_far")));
    let mut again = Client::open_v1(gateway.address, &target);
    assert_eq!(again.json()["reason"], "too_far");
    link.expect_no_fetch();
}

#[test]
fn without_a_link_for_too_long_clients_are_sent_away_and_newcomers_refused() {
    let (script, gateway, link) = start(7, |config| {
        config.return_limit = Duration::from_millis(300);
        config.drain = Duration::from_millis(200);
    });
    let mut plain = Client::open(gateway.address);
    plain.recv();
    let mut v1 = Client::open_v1(gateway.address, "/");
    v1.json();
    let mut stream = Stream::open(gateway.address, "/events", &[]);
    stream.synced();
    // Nobody accepts the next link yet.
    drop(link);
    plain.expect_close(1013);
    v1.expect_close(1013);
    let last = stream.next();
    assert!(last.retry.is_some_and(|retry| retry >= 500), "{last:?}");
    stream.client.expect_end();

    let (status, head, _) = refused(&gateway, &request("/", &[V1]));
    assert!(status == 503 && head.contains("Retry-After: "), "{head}");
    let (status, _, body) = refused(&gateway, &harness::stream::request("/events", &[]));
    assert!(status == 200 && body.starts_with("retry: "), "{body}");

    let link = script.accept(at(7), None);
    link.said();
    let mut back = Client::open_v1(gateway.address, "/");
    assert_eq!(back.json()["type"], "welcome");
    link.publish(8, &Audience::Everyone, "eight");
    back.expect_event(8, "eight");
}

#[test]
fn a_link_that_returns_keeps_the_clients_that_are_still_there() {
    let (script, gateway, link) = start(7, |config| {
        config.return_limit = Duration::from_millis(1);
        config.drain = DEADLINE;
    });
    let mut clients: Vec<_> = (0..20).map(|_| Client::open_v1(gateway.address, "/")).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.json()["type"], "welcome"));
    drop(link);
    let begun = Instant::now();
    // The first of them are being sent away.
    while !ask(&gateway, "/").read_head().starts_with("HTTP/1.1 503 ") {
        assert!(begun.elapsed() < DEADLINE, "nobody is sent away");
    }
    let link = script.accept(at(7), None);
    link.publish(8, &Audience::Everyone, "eight");
    let stayed =
        clients.iter_mut().map(Client::recv).filter(|frame| frame.payload.ends_with(b"}")).count();
    assert!(stayed >= 10, "{stayed} of 20 stayed");
}

fn refused(gateway: &Gateway, request: &[u8]) -> (u16, String, String) {
    let mut client = Client::raw(gateway.address);
    client.send(request);
    client.response()
}
