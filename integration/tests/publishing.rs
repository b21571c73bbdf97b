//! What clients publish, in a cluster of real processes whose gateways want tokens.

use std::net::SocketAddr;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::{Cluster, on_disk};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A token of a user who may listen to all chats and publish to them.
fn token(secret: &str, user: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let groups = json!({ "chat/*": ["subscribe", "publish"] });
    let claims = json!({
        "aud": "campanile", "sub": user, "exp": now.as_secs() + 3_600,
        "campanile": { "groups": groups },
    });
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&claims.to_string()));
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a key");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}

/// A client in the group chat/7, which has received its welcome.
fn client(gateway: SocketAddr, token: &str) -> Client {
    let offer = format!(
        "Sec-WebSocket-Protocol: campanile.v1, base64url.bearer.campanile.{}",
        URL_SAFE_NO_PAD.encode(token)
    );
    let mut client = Client::open_with(gateway, &request("/?group=chat/7", &[&offer]));
    assert_eq!(client.json()["type"], "welcome");
    client
}

fn publish(id: &str, content: &str) -> Value {
    json!({ "type": "publish", "group": "chat/7", "content": content, "id": id, "ref": id })
}

/// Reads up to the answer to a publish and an event with this content. Returns the position of the answer,
/// if it was awaited, and the contents of all events of the user.
#[track_caller]
fn heard(client: &mut Client, answers: usize, last: &str) -> (Vec<String>, Vec<String>) {
    let (mut positions, mut contents) = (Vec::new(), Vec::new());
    while positions.len() < answers || contents.last().is_none_or(|content| content != last) {
        let said = client.json();
        match said["type"].as_str() {
            Some("published") => {
                positions.push(said["position"].as_str().expect("a string").to_owned())
            }
            Some("event") => {
                assert_eq!(said["from"], json!({ "user": "42" }), "{said}");
                contents.push(said["content"].as_str().expect("a string").to_owned());
            }
            Some("position") => {}
            _ => panic!("{said}"),
        }
    }
    (positions, contents)
}

#[tokio::test]
async fn what_a_client_publishes_comes_once_across_a_killed_broker() {
    let directory = TempDir::new().expect("a directory");
    let secret = format!("{:032x}", rand::random::<u128>());
    let key = directory.path().join("key");
    std::fs::write(&key, &secret).expect("it can be written");
    let gateways = format!("--token-keys {}", key.display());
    let data = on_disk(&directory.path().join("data"));
    let mut cluster = Cluster::of(2).broker(&data).gateway(&gateways).start().await;
    let addresses = cluster.gateway_addresses.clone();
    let mut sender = client(addresses[0], &token(&secret, "42"));
    let mut other = client(addresses[1], &token(&secret, "43"));

    let sent: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    sent.iter().for_each(|content| sender.say(&publish(content, content)));
    let (positions, contents) = heard(&mut sender, 20, "19");
    assert_eq!(contents, sent);
    assert_eq!(heard(&mut other, 0, "19").1, sent);

    cluster.broker.kill().await;
    // This one waits for the next broker.
    sender.say(&publish("20", "20"));
    cluster.start_broker_again().await;
    let (later, contents) = heard(&mut sender, 1, "20");
    assert_eq!((later.len(), contents), (1, vec!["20".to_owned()]));
    // A repeat by another connection of the same user, at the other gateway.
    let mut again = client(addresses[1], &token(&secret, "42"));
    again.say(&publish("7", "7"));
    let repeated = again.json();
    assert_eq!(
        (&repeated["type"], &repeated["position"]),
        (&json!("published"), &json!(positions[7]))
    );
    again.say(&publish("21", "21"));
    heard(&mut again, 1, "21");
    assert_eq!(heard(&mut sender, 0, "21").1, ["21"]);
    assert_eq!(heard(&mut other, 0, "21").1, ["20", "21"]);
    for process in cluster.processes() {
        assert_eq!(process.count(&secret), 0);
    }
}
