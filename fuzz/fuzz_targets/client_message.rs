//! What a `campanile.v1` client sends. An error is JSON, and not much longer than a sentence.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campanile_gateway::dialects::{Publish, Request, Rules, v1};
use campanile_gateway::resume::Since;
use campanile_messages::Content;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match v1::read(text) {
        Ok(Request::Join(group, since)) => {
            let mut join = json!({ "type": "join", "group": &*group });
            if let Some(since) = since {
                join["since"] = match since {
                    Since::At(position) => json!(position.to_string()),
                    Since::Malformed => json!(""),
                    Since::History(_) => panic!("a join does not begin with the past"),
                };
            }
            assert_repeats(&join, text);
        }
        Ok(Request::Leave(group)) => {
            assert_repeats(&json!({ "type": "leave", "group": &*group }), text);
        }
        Ok(Request::Auth(token)) => {
            let token = str::from_utf8(token.expose()).expect("it came in a string of JSON");
            assert_repeats(&json!({ "type": "auth", "token": token }), text);
        }
        Ok(Request::Publish(publish)) => {
            let Publish { group, content, id, echo, tag } = *publish;
            let mut again = json!({ "type": "publish", "group": &*group, "echo": echo });
            match content {
                Content::Text(text) => again["content"] = json!(&*text),
                Content::Binary(bytes) => again["content_base64"] = json!(STANDARD.encode(bytes)),
            }
            assert_eq!(tag.id.as_deref(), id.as_deref());
            if let Some(id) = id {
                again["id"] = json!(&*id);
            }
            if let Some(reference) = tag.reference {
                assert!(reference.len() <= 64);
                again["ref"] = json!(&*reference);
            }
            assert_repeats(&again, text);
        }
        Ok(Request::Ping) => assert_repeats(&json!({ "type": "ping" }), text),
        Err(error) => {
            let frame = v1::V1.error(&error).expect("it has words for it");
            let header = if frame[1] < 126 { 2 } else { 4 };
            let said: Value = serde_json::from_slice(&frame[header..]).expect("JSON");
            assert_eq!(said["type"], "error");
            assert!(said["message"].as_str().expect("a text").chars().count() < 1_500);
        }
    }
});

/// Checks that the same request in another form is read as the same.
fn assert_repeats(again: &Value, text: &str) {
    assert_eq!(v1::read(&again.to_string()), v1::read(text));
}
