//! Tokens that expire, are renewed, or are revoked while their clients are connected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_gateway::Access;
use campanile_harness::DEADLINE;
use campanile_harness::client::raw::stream::Stream;
use campanile_harness::client::raw::{CLOSE, Client, FIN, request};
use campanile_harness::link::{Publisher, group};
use campanile_messages::Audience;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::harness::Gateway;
use super::issuer::{access, now, offer, token};
use super::{assert_refused, bearer};

/// A gateway, its broker, and what changes its access.
fn start(grace: Duration) -> (Gateway, SocketAddr, watch::Sender<Arc<Access>>) {
    let channel = super::harness::broker();
    let (sender, receiver) = watch::channel(Arc::new(access()));
    let gateway = Gateway::start_on(channel, |config| {
        config.access = receiver;
        config.token_grace = grace;
    });
    (gateway.until_ready(), channel, sender)
}

/// A token of a user that is valid for some seconds.
fn for_seconds(user: &str, seconds: u64, groups: Value) -> String {
    token(json!({ "sub": user, "exp": now() + seconds }), groups)
}

fn both() -> Value {
    json!({ "news": ["subscribe"], "eu": ["subscribe"] })
}

fn open(gateway: &Gateway, token: &str) -> Client {
    let request = request("/?group=news&group=eu", &[&offer(token)]);
    let mut client = Client::open_with(gateway.address, &request);
    assert_eq!(client.json()["type"], "welcome");
    client
}

/// Publishes on a link of its own: a link that was quiet for 9 s is over.
fn publish(broker: SocketAddr, audience: Audience, content: &'static str) {
    Publisher::connect(broker).publish(audience, content);
}

/// The next message that is no event.
fn answer(client: &mut Client) -> Value {
    loop {
        let message = client.json();
        if message["type"] != "event" && message["type"] != "position" {
            return message;
        }
    }
}

#[test]
fn a_renewed_client_stays_and_one_that_is_not_renewed_is_closed() {
    let (gateway, broker, _access) = start(Duration::from_secs(3));
    let old = for_seconds("42", 2, both());
    let (mut client, mut other) = (open(&gateway, &old), open(&gateway, &old));
    let asked = answer(&mut client);
    assert_eq!(asked["type"], "token");
    assert!(asked["expires_in"].as_u64().is_some_and(|left| left <= 1), "{asked}");
    let new = for_seconds("42", 3_600, json!({ "news": ["subscribe"] }));
    client.say(&json!({ "type": "auth", "token": new }));
    let left = json!({ "type": "left", "group": "eu", "reason": "not_allowed" });
    assert_eq!(answer(&mut client), left);
    let renewed = answer(&mut client);
    assert_eq!(renewed["type"], "renewed");
    assert!(renewed["expires_in"].as_u64().is_some_and(|left| left > 3_500), "{renewed}");
    client.say(&json!({ "type": "join", "group": "eu" }));
    assert_eq!(answer(&mut client)["code"], "not_allowed");
    assert_eq!(answer(&mut other)["type"], "token");
    assert_refused(&mut other, "expired", 4401);
    // By now the old token and its grace are over for the first client, too.
    publish(broker, group("eu"), "not for it");
    publish(broker, group("news"), "still here");
    assert_eq!(client.json()["content"], "still here");
}

#[test]
fn a_refused_renewal_changes_nothing_until_the_old_token_is_over() {
    let (gateway, broker, _access) = start(Duration::from_secs(3));
    let mut client = open(&gateway, &for_seconds("42", 3, both()));
    let past = now() - 3_600;
    for (token, code) in [
        (for_seconds("43", 3_600, both()), "not_allowed"),
        (token(json!({}), both()), "not_allowed"),
        (token(json!({ "sub": "42", "exp": past }), both()), "expired"),
        (token(json!({ "sub": "42", "aud": "other" }), both()), "invalid_token"),
        ("junk".to_owned(), "invalid_token"),
    ] {
        client.say(&json!({ "type": "auth", "token": token }));
        let error = answer(&mut client);
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
        assert!(!error.to_string().contains(&token), "{error}");
    }
    publish(broker, group("eu"), "still in its groups");
    assert_eq!(client.json()["content"], "still in its groups");
    assert_eq!(answer(&mut client)["type"], "token");
    assert_refused(&mut client, "expired", 4401);
}

/// The groups that a token puts its client into stay as long as a new one puts it there, too.
#[test]
fn a_renewed_token_keeps_the_groups_of_its_join() {
    let (gateway, _broker, _access) = start(Duration::from_secs(3));
    let of = |join: Value| {
        let campanile = json!({ "join": join });
        token(json!({ "sub": "42", "campanile": campanile }), Value::Null)
    };
    let request = request("/", &[&offer(&of(json!(["a", "b"])))]);
    let mut client = Client::open_with(gateway.address, &request);
    assert_eq!(client.json()["type"], "welcome");
    client.say(&json!({ "type": "auth", "token": of(json!(["b"])) }));
    let left = json!({ "type": "left", "group": "a", "reason": "not_allowed" });
    assert_eq!(client.json(), left);
    assert_eq!(client.json()["type"], "renewed");
    client.say(&json!({ "type": "join", "group": "b" }));
    assert_eq!(client.json(), json!({ "type": "joined", "group": "b" }));
}

#[test]
fn an_expired_event_stream_continues_with_a_new_token() {
    let (gateway, broker, _access) = start(Duration::from_millis(100));
    let old = bearer(&for_seconds("42", 2, both()));
    let mut stream = Stream::open(gateway.address, "/events?group=news", &[&old]);
    stream.synced();
    publish(broker, group("news"), "first");
    let first = stream.next();
    assert_eq!(first.data.as_deref(), Some("first"));
    let last_id = first.id.expect("an id");
    let expired = stream.next();
    assert_eq!(expired.event.as_deref(), Some("expired"), "{expired:?}");
    assert_eq!(expired.id, None, "the last id stays");
    assert_eq!(expired.json(), json!({ "reason": "expired" }));
    publish(broker, group("news"), "missed");
    let (new, last) = (for_seconds("42", 60, both()), format!("Last-Event-ID: {last_id}"));
    let mut stream = Stream::open(gateway.address, "/events?group=news", &[&bearer(&new), &last]);
    assert_eq!(stream.synced()["recovered"], true);
    assert_eq!(stream.next().data.as_deref(), Some("missed"));
    // The old token does not open another one. Until the leeway is over, it expires at once.
    let past = bearer(&token(json!({ "exp": now() - 31 }), both()));
    let mut refused = Client::raw(gateway.address);
    refused.send(&campanile_harness::client::raw::stream::request("/events", &[&past, &last]));
    assert!(refused.response().1.contains("WWW-Authenticate: Bearer error=\"expired\""));
}

#[test]
fn a_plain_websocket_is_closed_when_its_token_has_expired() {
    let (gateway, _broker, _access) = start(Duration::from_millis(100));
    let token = bearer(&for_seconds("42", 1, both()));
    let mut client = Client::open_with(gateway.address, &request("/?group=news", &[&token]));
    assert!(client.recv().payload.starts_with(b"workerID:"));
    client.expect_close(4401);
}

#[test]
fn a_deny_list_ends_connections_within_a_second_and_holds_for_new_ones() {
    let (gateway, broker, access) = start(Duration::from_secs(25));
    let named = |id: &str, user: &str| token(json!({ "jti": id, "sub": user }), both());
    let (revoked, fine, shut_out) = (named("a", "1"), named("b", "1"), named("c", "2"));
    let mut first = open(&gateway, &revoked);
    let mut second = open(&gateway, &fine);
    let mut third = open(&gateway, &shut_out);
    let mut stream = Stream::open(gateway.address, "/events", &[&bearer(&revoked)]);
    stream.synced();
    let mut plain = Client::open_with(gateway.address, &request("/", &[&bearer(&shut_out)]));
    plain.recv();
    let changed = Instant::now();
    access.send_modify(|access| {
        let mut denying = Access::clone(access);
        denying.deny.ids.insert("a".to_owned());
        denying.deny.users.insert("2".to_owned());
        *access = Arc::new(denying);
    });
    assert_refused(&mut first, "invalid_token", 4401);
    assert_refused(&mut third, "not_allowed", 4403);
    assert_eq!(stream.next().json(), json!({ "reason": "invalid_token" }));
    plain.expect_close(4403);
    assert!(changed.elapsed() < Duration::from_secs(1), "{:?}", changed.elapsed());
    publish(broker, Audience::Everyone, "still here");
    assert_eq!(second.json()["content"], "still here");
    let connect = |token: &str| Client::open_with(gateway.address, &request("/", &[&offer(token)]));
    assert_refused(&mut connect(&revoked), "invalid_token", 4401);
    assert_refused(&mut connect(&shut_out), "not_allowed", 4403);
    // A denied token renews nothing.
    second.say(&json!({ "type": "auth", "token": revoked }));
    assert_eq!(answer(&mut second)["code"], "invalid_token");
}

#[test]
fn new_tokens_have_a_rate() {
    let (gateway, _broker, _access) = start(Duration::from_secs(25));
    let token = for_seconds("42", 3_600, both());
    let mut client = open(&gateway, &token);
    let begun = Instant::now();
    for _ in 0..30 {
        client.say(&json!({ "type": "auth", "token": token }));
    }
    let answers: Vec<Value> = (0..30).map(|_| answer(&mut client)).collect();
    let renewed = answers.iter().filter(|answer| answer["type"] == "renewed").count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer["type"] == "error").collect();
    let more = usize::try_from(begun.elapsed().as_secs()).expect("few") + 1;
    assert!((10..=10 + more).contains(&renewed), "{renewed} in {:?}", begun.elapsed());
    assert_eq!(renewed + refused.len(), 30);
    for error in refused {
        assert_eq!(error["code"], "rate_limited", "{error}");
        assert!(error.to_string().contains("at most 1 per second"), "{error}");
    }
    client.say(&json!({ "type": "ping" }));
    assert_eq!(answer(&mut client), json!({ "type": "pong" }));
}

/// Other keys, or none, are for new clients.
#[test]
fn a_change_of_the_keys_lets_connected_clients_stay() {
    let (gateway, broker, access) = start(Duration::from_secs(25));
    let token = for_seconds("42", 3_600, both());
    let mut client = open(&gateway, &token);
    access.send_modify(|access| {
        let mut without = Access::clone(access);
        let verifier = without.tokens.as_ref().expect("a verifier");
        without.tokens = Some(verifier.with_keys(Default::default()));
        *access = Arc::new(without);
    });
    let mut refused = Client::open_with(gateway.address, &request("/", &[&offer(&token)]));
    assert_refused(&mut refused, "invalid_token", 4401);
    publish(broker, group("news"), "still here");
    assert_eq!(client.json()["content"], "still here");
    client.say(&json!({ "type": "auth", "token": token }));
    assert_eq!(answer(&mut client)["code"], "invalid_token");
}

#[test]
fn a_crowd_whose_tokens_expire_together_renews_without_a_reconnect() {
    const CLIENTS: usize = 500;
    let (gateway, broker, _access) = start(Duration::from_secs(25));
    let expires = now() + 8;
    let old = token(json!({ "sub": "42", "exp": expires }), both());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| open(&gateway, &old)).collect();
    let new = for_seconds("42", 3_600, both());
    for client in &mut clients {
        let asked = answer(client);
        assert_eq!(asked["type"], "token", "{asked}");
        client.say(&json!({ "type": "auth", "token": new }));
    }
    for client in &mut clients {
        assert_eq!(answer(client)["type"], "renewed");
    }
    publish(broker, group("eu"), "to all");
    for client in &mut clients {
        assert_eq!(client.json()["content"], "to all");
    }
    assert!(now() < expires + DEADLINE.as_secs());
    drop(gateway);
    let close = clients[0].recv();
    assert_eq!((close.first, close.closing().0), (FIN | CLOSE, 1001));
}
