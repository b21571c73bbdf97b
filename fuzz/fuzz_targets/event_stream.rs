//! A reader of server-sent events gets exactly what was pushed.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use campanile_gateway::dialects::Rules;
use campanile_gateway::dialects::events::Events;
use campanile_messages::{Audience, Content, Position};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(data);
    let content = match ByteString::try_from(bytes.clone()) {
        Ok(text) if first & 1 == 0 => Content::Text(text),
        _ => Content::Binary(bytes),
    };
    let position =
        (first & 2 == 0).then(|| Position { epoch: u64::from(first), sequence: data.len() as u64 });
    // Two events in a row, because the first must not run into the second.
    let logged = position.map(|position| (position, &Audience::Everyone));
    let stream = Events.event(logged, &content, None).repeat(2);
    let events = read(str::from_utf8(&stream).expect("UTF-8"));
    assert_eq!(events.len(), 2);
    for Event { name, id, data } in events {
        assert_eq!(id, position.map(|position| position.to_string()));
        match &*name {
            "" => assert_eq!((data.as_bytes(), content.kind()), (&content.as_bytes()[..], TEXT)),
            "binary" => {
                assert_eq!(STANDARD.decode(&data).expect("base64"), &content.as_bytes()[..]);
                assert!(content.kind() != TEXT || content.as_bytes().contains(&b'\r'));
            }
            other => panic!("an event called {other:?}"),
        }
    }
});

const TEXT: campanile_messages::ContentKind = campanile_messages::ContentKind::Text;

#[derive(Default)]
struct Event {
    name: String,
    id: Option<String>,
    data: String,
}

/// Reads the events of a complete stream as in section 9.2.6 of the HTML standard. Lines end with CR LF,
/// LF or CR.
fn read(stream: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut event = Event::default();
    for line in stream.replace("\r\n", "\n").split(['\r', '\n']) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let mut done = std::mem::take(&mut event);
                if done.data.pop().is_some() {
                    events.push(done);
                }
            }
            "event" => value.clone_into(&mut event.name),
            "data" => event.data.extend([value, "\n"]),
            "id" if !value.contains('\0') => event.id = Some(value.to_owned()),
            _ => {}
        }
    }
    events
}
