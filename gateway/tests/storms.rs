//! Many clients that return at once, and a broker that does not return.

mod harness;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use campanile_gateway::GatewayConfig;
use campanile_harness::DEADLINE;
use campanile_harness::client::raw::stream::{self, Stream};
use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::script::{at, event, past};
use campanile_harness::link::{Fetched, Publisher, Tap, group};
use campanile_messages::frame::encode_answer;
use campanile_messages::hello::{HelloAnswer, VERSIONS};
use campanile_messages::link::Welcome;
use campanile_messages::{Audience, Durability, EncodedFrame, FromBroker, WorkerId};
use serde_json::json;

use harness::{Gateway, broker};

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

fn ask(gateway: &Gateway, target: &str) -> Client {
    let mut client = Client::raw(gateway.address);
    client.send(&request(target, &[V1]));
    client
}

/// The size at which a gateway could stop reading its link for ever: more than 4 MiB of deliveries per
/// worker, where each client and event counts 64 bytes.
#[test]
fn a_storm_larger_than_the_queue_of_a_worker_is_served() {
    const CLIENTS: usize = 1_500;
    const MISSED: u64 = 500;
    let (_script, gateway, link) =
        Gateway::scripted(MISSED, |config| config.handshake_limit = DEADLINE);
    let news = group("news");
    let log: Vec<_> = (1..=MISSED).map(|sequence| event(sequence, &news, "missed")).collect();
    let target = "/?group=news&since=0000000000000001-0";
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| ask(&gateway, target)).collect();
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &log));
    // It is delivered only if the gateway still reads its link.
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
    let (_script, gateway, link) = Gateway::scripted(7, |config| config.max_replay_bytes = 1_000);
    let groups: Vec<_> = (0..60).map(|name| format!("group=g{name}")).collect();
    let target = format!("/?{}&since=0000000000000001-0", groups.join("&"));
    let mut client = ask(&gateway, &target);
    let (number, audiences, max_bytes) = link.fetch();
    assert_eq!((audiences.len(), max_bytes), (61, 1_000));
    // A broker sends the newest events, up to the first one that exceeds the limit.
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

/// How many events without content are in the log, for groups that nobody at the gateway listened to.
const TINY: u64 = 80_000;

/// One client asks for all of them at once, and `check` reads its answer from the welcome on. Returns
/// the fetches that the broker had to answer.
fn ask_for_a_log_of_tiny_events(
    change: impl FnOnce(&mut GatewayConfig),
    check: impl FnOnce(&mut Client),
) -> Vec<Fetched> {
    let broker = broker();
    let tap = Tap::before(broker);
    let gateway = Gateway::start_on(tap.address, change).until_ready();
    let mut bystander = Client::open_v1(gateway.address, "/?group=live");
    let since = bystander.json()["position"].as_str().expect("a position").to_owned();
    assert!(since.ends_with("-0"), "{since}");
    let names: Vec<_> = (0..10).map(|number| format!("g{number}")).collect();
    let mut publisher = Publisher::connect(broker);
    publisher.publish_all((0..TINY).map(|number| group(&names[number as usize % names.len()])));
    assert_eq!(tap.fetches(), []);

    let groups: Vec<_> = names.iter().map(|name| format!("group={name}")).collect();
    let target = format!("/?{}&since={since}", groups.join("&"));
    let mut client = ask(&gateway, &target);
    let mut live = TINY;
    let mut expect_live_events = |bystander: &mut Client| {
        // A new one each time: the broker ends a link that is silent for as long as the client may read.
        let mut publisher = Publisher::connect(broker);
        for _ in 0..20 {
            live += 1;
            let begun = Instant::now();
            publisher.publish(group("live"), "live");
            bystander.expect_event(live, "live");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    };
    expect_live_events(&mut bystander);
    client.upgraded();
    check(&mut client);
    expect_live_events(&mut bystander);
    client.say(&json!({"type": "ping"}));
    assert_eq!(client.json(), json!({"type": "pong"}));
    tap.fetches()
}

#[test]
fn a_client_that_missed_too_many_tiny_events_costs_one_fetch() {
    let fetches = ask_for_a_log_of_tiny_events(
        |_| {},
        |client| {
            let welcome = client.json();
            assert_eq!(welcome["recovered"], false, "{welcome}");
            assert_eq!(welcome["reason"], "too_far", "{welcome}");
        },
    );
    let [Fetched { max_bytes, events }] = fetches[..] else { panic!("{fetches:?}") };
    assert_eq!(max_bytes, 1 << 20);
    // Each counts 64 bytes, and the last one exceeds the limit.
    assert_eq!(events, max_bytes / 64 + 1);
}

#[test]
fn a_client_gets_80_000_tiny_events_with_one_fetch() {
    let fetches = ask_for_a_log_of_tiny_events(
        |config| config.max_replay_bytes = 16 << 20,
        |client| {
            let welcome = client.json();
            assert_eq!(welcome["recovered"], true, "{welcome}");
            (1..=TINY).for_each(|sequence| client.expect_event(sequence, ""));
        },
    );
    assert_eq!(fetches, [Fetched { max_bytes: 16 << 20, events: TINY }]);
}

/// Expects that clients of every kind are closed, each in the way that makes it come back.
#[track_caller]
fn expect_sent_away(plain: &mut Client, v1: &mut Client, stream: &mut Stream) {
    for websocket in [plain, v1] {
        let reason = "no link to the broker, try again later or elsewhere";
        websocket.expect_close_saying(1013, reason);
    }
    let last = stream.next();
    assert!(last.retry.is_some_and(|retry| retry >= 500), "{last:?}");
    stream.client.expect_end();
}

/// Expects that new clients are refused, each in the way that makes it come back.
#[track_caller]
fn expect_newcomers_refused(gateway: &Gateway) {
    let (status, head, _) = refused(gateway, &request("/", &[V1]));
    assert!(status == 503 && head.contains("Retry-After: "), "{head}");
    let (status, _, body) = refused(gateway, &stream::request("/events", &[]));
    assert!(status == 200 && body.starts_with("retry: "), "{body}");
}

fn clients_of_every_kind(gateway: &Gateway) -> (Client, Client, Stream) {
    let mut plain = Client::open(gateway.address);
    plain.recv();
    let mut v1 = Client::open_v1(gateway.address, "/");
    v1.json();
    let mut stream = Stream::open(gateway.address, "/events", &[]);
    stream.synced();
    (plain, v1, stream)
}

fn short_absence(config: &mut GatewayConfig) {
    config.return_limit = Duration::from_millis(300);
    config.drain = Duration::from_millis(200);
}

#[test]
fn clients_are_sent_away_after_too_long_without_a_link() {
    let (script, gateway, link) = Gateway::scripted(7, short_absence);
    let (mut plain, mut v1, mut stream) = clients_of_every_kind(&gateway);
    // Nobody accepts the next link yet.
    drop(link);
    expect_sent_away(&mut plain, &mut v1, &mut stream);
    expect_newcomers_refused(&gateway);

    let link = script.accept(at(7), None);
    link.said();
    let mut back = Client::open_v1(gateway.address, "/");
    assert_eq!(back.json()["type"], "welcome");
    link.publish(8, &Audience::Everyone, "eight");
    back.expect_event(8, "eight");
}

/// Checks that a broker which never accepts the gateway again counts as no broker.
fn clients_leave_when_each_link_is_answered_with(answer: Vec<EncodedFrame>) {
    let (script, gateway, link) = Gateway::scripted(7, short_absence);
    let (mut plain, mut v1, mut stream) = clients_of_every_kind(&gateway);
    let links = script.turn_away(answer);
    drop(link);
    expect_sent_away(&mut plain, &mut v1, &mut stream);
    expect_newcomers_refused(&gateway);
    // The gateway continues to ask, and accepts no clients in the meantime.
    let asked = links.load(Ordering::SeqCst);
    assert!(asked > 0, "the gateway was not turned away");
    let begun = Instant::now();
    while links.load(Ordering::SeqCst) < asked + 2 {
        assert!(begun.elapsed() < DEADLINE, "the gateway gave up");
        expect_newcomers_refused(&gateway);
    }
}

fn welcome(workers: &[u64]) -> EncodedFrame {
    let workers = workers.iter().copied().map(WorkerId).collect();
    let welcome = Welcome { head: at(7), durability: Durability::Memory, workers, log: None };
    encode_answer(&HelloAnswer::welcome(welcome))
}

#[test]
fn a_broker_that_refuses_the_worker_ids_counts_as_absent() {
    let reason = "worker id 0 belongs to another gateway";
    let refused = HelloAnswer::Refused { reason: reason.to_owned() };
    clients_leave_when_each_link_is_answered_with(vec![encode_answer(&refused)]);
}

#[test]
fn a_broker_of_another_version_counts_as_absent() {
    let refused = HelloAnswer::Refused { reason: "another version".to_owned() };
    let mut head = encode_answer(&refused).head.to_vec();
    let magic = head.windows(9).position(|window| window == b"campanile").expect("the magic word");
    for version in &mut head[magic + 9..magic + 11] {
        assert_eq!(u16::from(*version), VERSIONS.most);
        *version += 1;
    }
    let frame = EncodedFrame { head: head.into(), content: None };
    clients_leave_when_each_link_is_answered_with(vec![frame]);
}

#[test]
fn a_broker_that_gives_too_many_worker_ids_counts_as_absent() {
    clients_leave_when_each_link_is_answered_with(vec![welcome(&[0, 1])]);
}

#[test]
fn a_broker_that_welcomes_and_ends_each_link_counts_as_absent() {
    let goodbye = FromBroker::Goodbye { reason: "not your line".to_owned() };
    clients_leave_when_each_link_is_answered_with(vec![welcome(&[0]), goodbye.encode()]);
}

#[test]
fn a_link_that_returns_keeps_the_clients_that_are_still_there() {
    let (script, gateway, link) = Gateway::scripted(7, |config| {
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
