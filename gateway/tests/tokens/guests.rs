//! Guests whose rights change, or end, while they are connected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_gateway::Access;
use campanile_harness::client::raw::stream::Stream;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::{Publisher, group};
use campanile_messages::Audience;
use serde_json::json;
use tokio::sync::watch;

use super::harness::{Gateway, broker};
use super::issuer::{access, offer, with_guests};
use super::{V1, assert_refused, good};

/// A gateway with guests, a publisher, and what changes its access.
fn start() -> (Gateway, Publisher, watch::Sender<Arc<Access>>) {
    let channel = broker();
    let (sender, receiver) = watch::channel(Arc::new(with_guests(access(), "public/*")));
    let gateway = Gateway::start_on(channel, |config| config.access = receiver).until_ready();
    (gateway, Publisher::connect(channel), sender)
}

fn guest(gateway: &Gateway) -> Client {
    let target = "/?group=public/a&group=public/b";
    let mut client = Client::open_with(gateway.address, &request(target, &[V1]));
    assert_eq!(client.json()["type"], "welcome");
    client
}

/// The client comes back, and the status tells it that it may not.
#[track_caller]
fn assert_ended(mut stream: Stream) {
    assert!(stream.next().retry.is_some(), "no end");
    stream.client.expect_end();
}

#[test]
fn guests_are_put_out_when_guests_are_not_let_in_any_more() {
    let (gateway, mut publisher, changed) = start();
    let mut client = guest(&gateway);
    let mut stream = Stream::open(gateway.address, "/events?group=public/a", &[]);
    stream.synced();
    let mut plain = Client::open_with(gateway.address, &request("/?group=public/a", &[]));
    plain.recv();
    let mut member = Client::open_with(gateway.address, &request("/", &[&offer(&good())]));
    assert_eq!(member.json()["user"], "42");
    let begun = Instant::now();
    changed.send_replace(Arc::new(access()));
    assert_refused(&mut client, "invalid_token", 4401);
    assert_ended(stream);
    plain.expect_close(4401);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    publisher.publish(Audience::Everyone, "still here");
    assert_eq!(member.json()["content"], "still here");
}

#[test]
fn guests_leave_the_groups_that_are_not_for_guests_any_more() {
    let (gateway, mut publisher, changed) = start();
    let mut client = guest(&gateway);
    let mut stream = Stream::open(gateway.address, "/events?group=public/a", &[]);
    stream.synced();
    // Nothing can tell the client of an event stream that it has left a group.
    let mut other = Stream::open(gateway.address, "/events?group=public/b", &[]);
    other.synced();
    changed.send_replace(Arc::new(with_guests(access(), "public/a")));
    let left = json!({ "type": "left", "group": "public/b", "reason": "not_allowed" });
    assert_eq!(client.json(), left);
    assert_ended(other);
    client.say(&json!({ "type": "join", "group": "public/b" }));
    assert_eq!(client.json()["code"], "not_allowed");
    for (to, content) in [("public/b", "not for guests"), ("public/a", "for guests")] {
        publisher.publish(group(to), content);
    }
    let event = client.json();
    assert_eq!((&event["type"], &event["content"]), (&json!("event"), &json!("for guests")));
    assert_eq!(stream.next().data.as_deref(), Some("for guests"));
}
