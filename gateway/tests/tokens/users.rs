//! Which user a client is, and what it gets because of that.

use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::script::{Link, Script, at};
use campanile_messages::{Audience, Position, UserName};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

use super::harness::Gateway;
use super::issuer::{access, token, with_guests};
use super::{V1, assert_refused, bearer, start_with};

fn user(name: &str) -> Audience {
    Audience::User(UserName::new(name.to_owned()).expect("a name"))
}

/// A gateway that wants tokens, and the link to its broker.
fn linked() -> (Gateway, Link) {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |config| {
        config.access = watch::channel(Arc::new(access())).1;
    });
    let link = script.accept(at(5), None);
    (gateway.until_ready(), link)
}

/// A client with a token of this user, and its welcome.
fn client_of(gateway: &Gateway, name: &str, target: &str) -> (Client, Value) {
    let token = bearer(&token(json!({ "sub": name }), json!({})));
    let mut client = Client::raw(gateway.address);
    client.send(&request(target, &[V1, &token]));
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    let welcome = client.json();
    (client, welcome)
}

#[test]
fn a_client_gets_the_events_of_the_user_that_its_token_is_for() {
    let (gateway, link) = linked();
    let (mut client, welcome) = client_of(&gateway, "42", "/");
    assert_eq!(welcome["user"], "42");
    assert_eq!(link.interest_in(&user("42")).1, Some(1));
    let (mut other, _) = client_of(&gateway, "43", "/");
    link.interest_in(&user("43"));
    link.publish(6, &user("42"), "to 42");
    link.publish(7, &user("43"), "to 43");
    let event = client.json();
    assert_eq!((&event["to"], &event["content"]), (&json!({ "user": "42" }), &json!("to 42")));
    assert_eq!(other.json()["content"], "to 43", "and nothing before it");
}

#[test]
fn a_position_of_another_user_gives_none_of_its_events() {
    let (gateway, link) = linked();
    let Position { epoch, .. } = at(0);
    let target = format!("/?since={epoch:016x}-3");
    let client = {
        let token = bearer(&token(json!({ "sub": "43" }), json!({})));
        let mut client = Client::raw(gateway.address);
        client.send(&request(&target, &[V1, &token]));
        client
    };
    let (_, audiences, _) = link.fetch();
    assert_eq!(audiences, [Audience::Everyone, user("43")]);
    drop(client);
}

#[test]
fn a_url_names_no_user_where_there_are_tokens_or_guests() {
    for access in [access(), with_guests(access(), "public/*")] {
        let gateway = start_with(access, |_| {});
        for token in [None, Some(token(json!({ "sub": "42" }), json!({})))] {
            let token = token.map(|token| bearer(&token));
            let headers: Vec<&str> = [V1].into_iter().chain(token.as_deref()).collect();
            let mut client = Client::raw(gateway.address);
            client.send(&request("/?user=42", &headers));
            client.read_head();
            assert_refused(&mut client, "bad_request", 1008);
            let mut plain = Client::raw(gateway.address);
            plain.send(&request("/?user=42", &headers[1..]));
            let (status, _, body) = plain.response();
            assert_eq!(status, 400);
            assert!(body.contains("only a token says which user"), "{body}");
        }
    }
}
