//! Who a client is, by its token: where the token can be, how it is refused, and what it allows.

#[path = "tokens/first_message.rs"]
mod first_message;
#[path = "tokens/guests.rs"]
mod guests;
mod harness;
#[path = "tokens/issuer.rs"]
mod issuer;
#[path = "tokens/paths.rs"]
mod paths;
#[path = "tokens/renewal.rs"]
mod renewal;
#[path = "tokens/users.rs"]
mod users;

use std::net::SocketAddr;
use std::sync::Arc;

use campanile_edge::AllowOrigins;
use campanile_gateway::{Access, GatewayConfig};
use campanile_harness::client::raw::stream::{self, Stream};
use campanile_harness::client::raw::{Client, FIN, TEXT, request};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use harness::Gateway;
use issuer::{access, named_key, offer, secret_of_another, token, token_signed_with, with_guests};

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

/// A gateway that wants tokens.
fn start() -> Gateway {
    start_with(access(), |_| {})
}

fn start_with(access: Access, change: impl FnOnce(&mut GatewayConfig)) -> Gateway {
    Gateway::start(|config| {
        config.access = watch::channel(Arc::new(access)).1;
        change(config);
    })
}

fn answer(gateway: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut client = Client::raw(gateway);
    client.send(request);
    client.response()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A token for news and all chats.
fn good() -> String {
    token(json!({ "sub": "42" }), json!({ "news": ["subscribe"], "chat/*": ["subscribe"] }))
}

#[track_caller]
fn assert_challenged(head: &str, challenge: &str) {
    assert!(head.contains(&format!("\r\nWWW-Authenticate: {challenge}\r\n")), "{head}");
}

/// The `error` and the close code of a websocket that opens only to be refused.
#[track_caller]
fn assert_refused(client: &mut Client, code: &str, close: u16) {
    let error = client.json();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    client.expect_close(close);
}

#[test]
fn a_token_is_taken_from_every_place() {
    let gateway = start_with(access(), |config| {
        config.token_cookie = Some("session".to_owned());
        config.allow_origins = "https://app.example".parse().expect("a list");
    });
    let token = good();
    let by_url = format!("/?group=news&token={token}");
    let cookie = format!("Cookie: session={token}");
    let origin = "Origin: https://app.example";
    for (target, headers) in [
        ("/?group=news", vec![V1.to_owned(), bearer(&token)]),
        ("/?group=news", vec![offer(&token)]),
        ("/?group=news", vec![V1.to_owned(), cookie, origin.to_owned()]),
        (&*by_url, vec![V1.to_owned()]),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut client = Client::raw(gateway.address);
        client.send(&request(target, &headers));
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{headers:?}: {head}");
        assert!(head.contains("Sec-WebSocket-Protocol: campanile.v1\r\n"), "{head}");
        assert!(!head.contains("base64url"), "the token is echoed: {head}");
        let welcome = client.json();
        assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("42")));
        let expires_in = welcome["expires_in"].as_u64().expect("seconds");
        assert!((3_500..=3_600).contains(&expires_in), "{welcome}");
    }
}

#[test]
fn every_dialect_takes_a_token() {
    let gateway = start();
    let token = bearer(&good());
    let mut plain = Client::open_with(gateway.address, &request("/?group=news", &[&token]));
    let greeting = plain.recv();
    assert_eq!(greeting.first, FIN | TEXT);
    assert!(greeting.payload.starts_with(b"workerID:"));
    let mut events = Stream::open(gateway.address, "/events?group=news", &[&token]);
    let sync = events.synced();
    assert_eq!(sync["user"], "42", "{sync}");
    let position = answer(gateway.address, &stream::request("/position", &[&token]));
    assert_eq!(position.0, 200);
}

#[test]
fn without_a_token_everything_but_the_page_is_401() {
    let gateway = start();
    for request in [
        request("/", &[]),
        stream::request("/events", &[]),
        stream::request("/position", &[]),
        stream::request("/events", &["Authorization: Basic YTpi"]),
    ] {
        let (status, head, body) = answer(gateway.address, &request);
        assert_eq!(status, 401, "{head}");
        assert_challenged(&head, "Bearer");
        assert!(body.contains("needs a token"), "{body}");
    }
    for path in ["/", "/campanile.js", "/health/live"] {
        assert_eq!(answer(gateway.address, &stream::request(path, &[])).0, 200, "{path}");
    }
    let preflight =
        b"OPTIONS /events HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n";
    let (status, head, _) = answer(gateway.address, preflight);
    assert_eq!(status, 204);
    assert!(head.contains("Access-Control-Allow-Headers: authorization,"), "{head}");
}

#[test]
fn a_bad_token_gets_one_word_and_not_the_cause() {
    let gateway = start();
    let groups = || json!({ "news": ["subscribe"] });
    let header = |header: &str, token: &str| {
        let (_, rest) = token.split_once('.').expect("three parts");
        format!("{}.{rest}", issuer::segment(header))
    };
    let foreign = token_signed_with(&secret_of_another(), json!({}), groups());
    for (token, word) in [
        (token(json!({ "exp": issuer::now() - 3_600 }), groups()), "expired"),
        (token(json!({ "nbf": issuer::now() + 3_600 }), groups()), "invalid_token"),
        (token(json!({ "aud": "other" }), groups()), "invalid_token"),
        (token(json!({ "iss": "https://evil.example" }), groups()), "invalid_token"),
        (token(json!({ "exp": null }), groups()), "invalid_token"),
        (foreign, "invalid_token"),
        (header(r#"{"alg":"none"}"#, &good()), "invalid_token"),
        (header(r#"{"alg":"HS256","kid":"x"}"#, &good()), "invalid_token"),
        ("junk".to_owned(), "invalid_token"),
        (String::new(), "invalid_token"),
        ("a".repeat(9_000), "invalid_token"),
    ] {
        let (status, head, body) = answer(gateway.address, &request("/", &[&bearer(&token)]));
        if token.is_empty() {
            // There is no such header without a token.
            assert_eq!(status, 401);
            continue;
        }
        assert_eq!(status, 401, "{token}: {head}");
        assert_challenged(&head, &format!("Bearer error=\"{word}\""));
        assert!(!body.contains(&token) && body.len() < 100, "{body}");
        let mut client = Client::open_with(gateway.address, &request("/", &[&offer(&token)]));
        assert_refused(&mut client, word, 4401);
        let (status, head, _) =
            answer(gateway.address, &stream::request("/events", &[&bearer(&token)]));
        assert_eq!(status, 401);
        assert_challenged(&head, &format!("Bearer error=\"{word}\""));
    }
}

#[test]
fn two_tokens_that_differ_are_400() {
    let gateway = start();
    let other = token(json!({ "sub": "43" }), json!({}));
    let target = format!("/?token={}", good());
    let (status, _, body) = answer(gateway.address, &request(&target, &[&bearer(&other)]));
    assert_eq!(status, 400);
    assert!(body.contains("two tokens that differ"), "{body}");
    assert!(!body.contains(&other) && !body.contains(&good()), "{body}");
    let (status, _, _) = answer(
        gateway.address,
        &stream::request(&target.replace("/?", "/events?"), &[&bearer(&other)]),
    );
    assert_eq!(status, 400);
}

#[test]
fn a_group_needs_the_right_to_subscribe_wherever_it_is_named() {
    let gateway = start();
    let token = token(
        json!({ "sub": "42" }),
        json!({ "news": ["subscribe"], "chat/*": ["publish", "presence"] }),
    );
    for (target, group) in [
        ("/?group=news&group=chat/7", "chat/7"),
        ("/?group=secret", "secret"),
        ("/?group=secret&since=first", "secret"),
    ] {
        let (status, head, body) = answer(
            gateway.address,
            &request(&target.replace("&since=first", ""), &[&bearer(&token)]),
        );
        assert_eq!(status, 403, "{target}: {head}");
        assert_challenged(&head, "Bearer error=\"insufficient_scope\"");
        assert!(body.contains("not allowed to listen to the group"), "{body}");
        let mut client = Client::open_with(gateway.address, &request(target, &[&offer(&token)]));
        let error = client.json();
        assert_eq!((&error["code"], &error["group"]), (&json!("not_allowed"), &json!(group)));
        client.expect_close(4403);
        let events = target.replace("/?", "/events?");
        let (status, _, _) = answer(gateway.address, &stream::request(&events, &[&bearer(&token)]));
        assert_eq!(status, 403, "{events}");
    }
    let mut client =
        Client::open_with(gateway.address, &request("/?group=news", &[&offer(&token)]));
    let position = client.json()["position"].clone();
    for join in [
        json!({ "type": "join", "group": "secret" }),
        json!({ "type": "join", "group": "chat/7", "since": position }),
    ] {
        client.say(&join);
        let error = client.json();
        assert_eq!((&error["code"], &error["group"]), (&json!("not_allowed"), &join["group"]));
    }
    client.say(&json!({ "type": "ping" }));
    assert_eq!(client.json(), json!({ "type": "pong" }));
}

#[test]
fn the_groups_of_join_need_no_other_right() {
    let gateway = start();
    let campanile = json!({ "groups": {}, "join": ["user/42", "inbox"] });
    let token = token(json!({ "sub": "42", "campanile": campanile }), Value::Null);
    let mut client = Client::open_with(gateway.address, &request("/", &[&offer(&token)]));
    assert_eq!(client.json()["type"], "welcome");
    // A join of a group that is joined is answered at once.
    for group in ["user/42", "inbox"] {
        client.say(&json!({ "type": "join", "group": group }));
        assert_eq!(client.json(), json!({ "type": "joined", "group": group }));
    }
    client.say(&json!({ "type": "join", "group": "user/43" }));
    assert_eq!(client.json()["code"], "not_allowed");
    let full = start_with(access(), |config| config.max_groups = 1);
    let mut client = Client::open_with(full.address, &request("/", &[&offer(&token)]));
    assert_refused(&mut client, "too_many_groups", 1008);
}

#[test]
fn a_cookie_counts_only_from_an_allowed_page() {
    let gateway = start_with(access(), |config| {
        config.token_cookie = Some("session".to_owned());
        config.allow_origins = "https://app.example".parse().expect("a list");
    });
    let cookie = format!("Cookie: session={}", good());
    let (evil, app) = ("Origin: https://evil.example", "Origin: https://app.example");
    for headers in [vec![V1, &cookie], vec![V1, &cookie, "Sec-Fetch-Site: same-origin"]] {
        let mut client = Client::open_with(gateway.address, &request("/", &headers));
        assert_refused(&mut client, "origin_not_allowed", 1008);
    }
    assert_eq!(answer(gateway.address, &request("/", &[&cookie, evil])).0, 403);
    let status = |headers: &[&str]| {
        let mut client = Client::raw(gateway.address);
        client.send(&stream::request("/events", headers));
        let head = client.read_head();
        head["HTTP/1.1 ".len()..][..3].to_owned()
    };
    assert_eq!(status(&[&cookie, app]), "200");
    assert_eq!(status(&[&cookie, "Sec-Fetch-Site: same-origin"]), "200");
    for stranger in [evil, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "X: y"] {
        assert_eq!(status(&[&cookie, stranger]), "403", "{stranger}");
    }
    // Without the name of a cookie, none is looked at.
    let without = start_with(access(), |config| {
        config.allow_origins = AllowOrigins::Only(vec!["https://app.example".to_owned()]);
    });
    assert_eq!(answer(without.address, &request("/", &[&cookie, app])).0, 401);
}

#[test]
fn an_open_gateway_does_not_look_at_tokens() {
    let gateway = start_with(Access::default(), |_| {});
    let mut client = Client::open_with(gateway.address, &request("/?group=x", &[&offer("junk")]));
    let welcome = client.json();
    assert_eq!(welcome["type"], "welcome");
    assert!(welcome.get("user").is_none() && welcome.get("expires_in").is_none(), "{welcome}");
    client.say(&json!({ "type": "auth", "token": "junk" }));
    assert_eq!(client.json()["code"], "no_token_to_renew");
    let (status, _, body) = answer(gateway.address, &request("/?token=junk", &[]));
    assert_eq!(status, 400);
    assert!(body.contains("unknown parameter \"token\""), "{body}");
}

#[test]
fn guests_may_do_what_is_configured_for_them() {
    let gateway = start_with(with_guests(access(), "public/*"), |_| {});
    let mut client = Client::open_with(gateway.address, &request("/?group=public/a", &[V1]));
    let welcome = client.json();
    assert_eq!(welcome["type"], "welcome");
    assert!(welcome.get("user").is_none(), "{welcome}");
    client.say(&json!({ "type": "join", "group": "news" }));
    assert_eq!(client.json()["code"], "not_allowed");
    client.say(&json!({ "type": "join", "group": "public/b" }));
    assert_eq!(client.json(), json!({ "type": "joined", "group": "public/b" }));
    client.say(&json!({ "type": "auth", "token": good() }));
    assert_eq!(client.json()["code"], "no_token_to_renew");
    let mut client = Client::open_with(gateway.address, &request("/?group=news", &[V1]));
    assert_refused(&mut client, "not_allowed", 4403);
    // A wrong token does not make a guest.
    let mut client = Client::open_with(gateway.address, &request("/", &[&offer("junk")]));
    assert_refused(&mut client, "invalid_token", 4401);
    let mut client =
        Client::open_with(gateway.address, &request("/?group=news", &[&offer(&good())]));
    assert_eq!(client.json()["user"], "42");
    assert_eq!(answer(gateway.address, &stream::request("/position", &[])).0, 403);
    // Where only guests are let in, no token is valid.
    let only = start_with(with_guests(Access::default(), "public/*"), |_| {});
    assert_eq!(answer(only.address, &request("/", &[&bearer(&good())])).0, 401);
}

#[test]
fn before_its_keys_came_a_gateway_is_not_ready_and_refuses_for_now() {
    let awaits = Access { awaits_keys: true, ..Access::default() };
    let (sender, receiver) = watch::channel(Arc::new(awaits));
    let mut unknown: Arc<Notify> = Arc::default();
    let gateway = Gateway::start(|config| {
        config.access = receiver;
        unknown = config.unknown_key.clone();
    });
    let ready = || answer(gateway.address, &stream::request("/health/ready", &[]));
    assert_eq!((ready().0, &*ready().2), (503, "no_keys\n"));
    let token = good();
    let (status, head, _) = answer(gateway.address, &request("/", &[&bearer(&token)]));
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("Retry-After: 1\r\n"), "{head}");
    assert_eq!(answer(gateway.address, &stream::request("/events", &[&bearer(&token)])).0, 200);
    let mut client = Client::open_with(gateway.address, &request("/", &[&offer(&token)]));
    assert_refused(&mut client, "no_keys", 1013);
    let mut later = Client::open_with(gateway.address, &request("/", &[V1]));
    later.say(&json!({ "type": "auth", "token": token }));
    assert_refused(&mut later, "no_keys", 1013);
    assert!(unknown.notified().now_or_never().is_some(), "nobody was asked for the keys");
    sender.send_replace(Arc::new(access()));
    assert_eq!(ready().0, 200);
    let mut client = Client::open_with(gateway.address, &request("/", &[&offer(&token)]));
    assert_eq!(client.json()["type"], "welcome");
}

/// A browser gives up an event stream for good on any other status than 200.
#[test]
fn an_event_stream_with_an_unknown_key_comes_back_where_keys_are_fetched() {
    let unknown = |keys_are_fetched| {
        let fetched = start_with(Access { keys_are_fetched, ..named_key() }, |_| {});
        let token = bearer(&issuer::token_of_key("of tomorrow"));
        let answer = |target| answer(fetched.address, &stream::request(target, &[&token]));
        let (status, head, body) = answer("/events");
        assert_eq!(answer("/position").0, 401);
        assert_eq!(body.starts_with("retry: "), status == 200, "{head}{body}");
        status
    };
    assert_eq!([true, false].map(unknown), [200, 401]);
    // Any other wrong token is wrong for good.
    let fetched = start_with(Access { keys_are_fetched: true, ..access() }, |_| {});
    let junk = stream::request("/events", &[&bearer("junk")]);
    assert_eq!(answer(fetched.address, &junk).0, 401);
}
