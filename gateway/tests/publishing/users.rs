//! What clients with a token publish: as whom, to which groups, and how often.

use std::sync::Arc;

use campanile_gateway::GatewayConfig;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::script::{Script, at};
use campanile_messages::hello::Features;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::harness::Gateway;
use super::{answer, issuer, publish, rate, refusal, welcomed};

/// A gateway that wants tokens.
fn start_with_tokens(change: impl FnOnce(&mut GatewayConfig)) -> Gateway {
    Gateway::start(|config| {
        config.access = watch::channel(Arc::new(issuer::access())).1;
        change(config);
    })
}

/// A client of a user that listens to all chats, and may publish to all but the silent one. Its page is not
/// in any list of origins, which a token replaces.
fn user(gateway: &Gateway, name: &str) -> Client {
    let rights = json!({ "chat/*": ["subscribe", "publish"], "silent": ["subscribe"] });
    let token = issuer::token(json!({ "sub": name }), rights);
    let headers = [&issuer::offer(&token), "Origin: https://app.example"];
    welcomed(Client::open_with(gateway.address, &request("/?group=chat/7", &headers))).0
}

fn chat(content: &str, more: Value) -> Value {
    publish(
        content,
        json!({ "group": "chat/7" }).as_object().map_or(Value::Null, |group| {
            let mut all = more.as_object().expect("fields").clone();
            all.extend(group.clone());
            Value::Object(all)
        }),
    )
}

/// The next event.
#[track_caller]
fn event(client: &mut Client) -> Value {
    loop {
        let said = client.json();
        if said["type"] == "event" {
            return said;
        }
    }
}

#[test]
fn an_event_names_the_user_who_published_it() {
    let gateway = start_with_tokens(|_| {});
    let (mut sender, mut other) = (user(&gateway, "42"), user(&gateway, "43"));
    sender.say(&chat("hi", json!({})));
    for client in [&mut other, &mut sender] {
        let event = event(client);
        assert_eq!(
            event,
            json!({
                "type": "event", "id": event["id"], "to": { "group": "chat/7" },
                "from": { "user": "42" }, "content": "hi",
            })
        );
    }
}

#[test]
fn a_token_allows_to_publish_to_the_groups_that_it_names() {
    let gateway = start_with_tokens(|_| {});
    let mut client = user(&gateway, "42");
    for group in ["silent", "news", "chat"] {
        let publish = publish("x", json!({ "group": group, "ref": group }));
        assert_eq!(refusal(&mut client, &publish), "not_allowed", "{group}");
    }
    client.say(&chat("x", json!({})));
    assert_eq!(answer(&mut client)["type"], "published");
}

#[test]
fn an_id_counts_for_all_connections_of_its_user_and_no_others() {
    let gateway = start_with_tokens(|_| {});
    let (mut one, mut same) = (user(&gateway, "42"), user(&gateway, "42"));
    let (mut other, mut listener) = (user(&gateway, "43"), user(&gateway, "44"));
    let order = |content: &str, echo: bool| chat(content, json!({ "id": "k", "echo": echo }));
    one.say(&order("hi", true));
    let first = answer(&mut one);
    assert_eq!((&first["type"], &first["id"]), (&json!("published"), &json!("k")), "{first}");
    // Another connection of the user is left out, which makes no other event of it.
    same.say(&order("hi", false));
    assert_eq!(answer(&mut same), first);
    same.say(&order("something else", true));
    assert_eq!(answer(&mut same)["code"], "id_taken");
    other.say(&order("mine", true));
    let second = answer(&mut other);
    assert_eq!(second["type"], "published");
    assert_ne!(second["position"], first["position"]);
    let contents =
        [event(&mut listener), event(&mut listener)].map(|event| event["content"].clone());
    assert_eq!(contents, ["hi", "mine"]);
}

#[test]
fn all_connections_of_a_user_share_its_rate() {
    let gateway = start_with_tokens(|config| config.limits = rate(1));
    let mut connections = [user(&gateway, "42"), user(&gateway, "42")];
    for client in &mut connections {
        (0..10).for_each(|_| client.say(&chat("x", json!({ "echo": false }))));
    }
    let answers: Vec<_> = connections
        .iter_mut()
        .flat_map(|client| (0..10).map(|_| answer(client)).collect::<Vec<_>>())
        .collect();
    let accepted = answers.iter().filter(|answer| answer["type"] == "published").count();
    assert!((10..18).contains(&accepted), "{answers:?}");
    let mut other = user(&gateway, "43");
    other.say(&chat("x", json!({})));
    assert_eq!(answer(&mut other)["type"], "published");
}

#[test]
fn a_broker_of_an_older_release_is_not_sent_what_a_user_publishes() {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |config| {
        config.access = watch::channel(Arc::new(issuer::access())).1;
    });
    let _link = script.accept(at(7), None);
    let gateway = gateway.until_ready();
    let mut client = user(&gateway, "42");
    client.say(&chat("x", json!({ "id": "k" })));
    let mut link = script.accept_publisher_with(at(7), Features::default());
    let said = answer(&mut client);
    assert_eq!((&said["code"], &said["id"]), (&json!("unavailable"), &json!("k")), "{said}");
    drop(link);
    // A broker that has been replaced by one of this release gets the next one.
    link = script.accept_publisher(at(7));
    client.say(&chat("y", json!({})));
    assert_eq!(link.published().1, "y");
}
