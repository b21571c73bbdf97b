//! Peers of a later release, which has one more field at the end of every struct.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serializer};

use super::*;
use crate::hello::Feature;

/// A MessagePack value.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Value {
    /// Takes a value in which every struct is a map of its fields, and turns each of them into an array
    /// with one more element. (A map with the name of a variant as its key is an enum.)
    fn grown(self) -> Self {
        match self {
            Self::Map(entries) => {
                let is_variant = matches!(&entries[..], [(Self::Text(key), _)]
                    if key.starts_with(|first: char| first.is_ascii_uppercase()));
                if is_variant {
                    let grown = |(key, value): (Self, Self)| (key, value.grown());
                    return Self::Map(entries.into_iter().map(grown).collect());
                }
                let has =
                    |name: &str| entries.iter().any(|(key, _)| *key == Self::Text(name.into()));
                // A later release has to write a field that is left out where no other is behind it.
                let is_left_out =
                    has("except") && !has("from") || has("away") && !has("is_without_counts");
                let left_out = is_left_out.then_some(Self::Nil);
                let fields = entries.into_iter().map(|(_, value)| value.grown()).chain(left_out);
                let later = Self::Map(vec![(Self::Text("Later".into()), Self::Array(vec![]))]);
                Self::Array(fields.chain([later]).collect())
            }
            Self::Array(items) => Self::Array(items.into_iter().map(Self::grown).collect()),
            other => other,
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Array(items) => {
                let mut array = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| array.serialize_element(item))?;
                array.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of the link protocol")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Nil)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
                Ok(Value::Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Value::Map(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The bytes of a value, with one more field in each of its structs.
fn grown<T: Serialize>(value: &T) -> Vec<u8> {
    let named = rmp_serde::to_vec_named(value).expect("MessagePack");
    let value: Value = rmp_serde::from_slice(&named).expect("MessagePack");
    rmp_serde::to_vec(&value.grown()).expect("MessagePack")
}

/// A frame with one more field in each struct of its head.
fn frame_of<H: Serialize>((head, content): (H, Option<Bytes>)) -> Bytes {
    let mut frame = grown(&head);
    if let Some(content) = content {
        rmp::encode::write_bin(&mut frame, &content).expect("memory");
    }
    frame.into()
}

/// A first frame with one more field in each struct, of a side that speaks one more version.
fn first_frame<B: Serialize>(body: &B) -> Bytes {
    [&b"\xa9campanile\x04\x05"[..], &grown(body)].concat().into()
}

#[test]
fn structs_grow_at_every_level() {
    let attach =
        ToBroker::<ContentKind>::Attach { cursor: Some(Position { epoch: 1, sequence: 2 }) };
    let expected = b"\x81\xa6Attach\x92\x93\x01\x02\x81\xa5Later\x90\x81\xa5Later\x90";
    assert_eq!(grown(&attach), expected);
}

#[test]
fn more_fields_in_any_message_are_ignored() {
    for message in messages_to_broker() {
        let frame = frame_of(split(|replace| message.clone().try_map_content(replace)));
        assert_eq!(ToBroker::decode(frame), Ok(message));
    }
    for message in messages_from_broker() {
        let frame = frame_of(split(|replace| message.clone().try_map_content(replace)));
        assert_eq!(FromBroker::decode(frame), Ok(message));
    }
}

#[test]
fn more_fields_of_a_trace_are_ignored() {
    let (publish, event) = traced();
    let frame = frame_of(split(|replace| publish.clone().try_map_content(replace)));
    assert_eq!(ToBroker::decode(frame), Ok(publish));
    let frame = frame_of(split(|replace| event.clone().try_map_content(replace)));
    assert_eq!(FromBroker::decode(frame), Ok(event));
}

#[test]
fn more_fields_in_the_first_frames_are_ignored() {
    let later = Offer { versions: Versions { least: 4, most: 5 }, ..offer() };
    assert_eq!(decode_hello(first_frame(&later)), Ok(later));
    let welcome = Welcome {
        head: Position { epoch: 1, sequence: 300 },
        durability: Durability::Disk,
        workers: vec![WorkerId(5)],
        log: Some(LogIdentity::own(7)),
    };
    let challenge =
        Challenge { method: "hmac".to_owned(), nonce: Nonce([7; 32]), proof: Mac([8; 32]) };
    for answer in [
        HelloAnswer::welcome(welcome),
        HelloAnswer::Challenge(challenge),
        HelloAnswer::Refused { reason: "no".to_owned() },
    ] {
        assert_eq!(decode_answer(first_frame(&answer)), Ok(answer));
    }
    let proof = Proof { proof: Mac([8; 32]) };
    assert_eq!(decode_proof(first_frame(&proof)), Ok(proof));
}

#[test]
fn a_release_with_one_more_version_and_feature_is_accepted() {
    let features = Features::ours().with(Feature("later"));
    let later = Offer { versions: Versions { least: 4, most: 5 }, features, ..offer() };
    let read = decode_hello(first_frame(&later)).expect("a hello");
    assert_eq!(read, later);
    assert_eq!(read.agree(), Ok(Agreement::ours()));
}

#[test]
fn a_field_that_is_missing_takes_its_default() {
    /// A message, and a struct in it, as a later release may have them.
    #[derive(Debug, PartialEq, Deserialize)]
    enum Later {
        Counted {
            number: u64,
            tally: LaterTally,
            #[serde(default)]
            closed: Option<u64>,
        },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct LaterTally {
        matched: u64,
        written: u64,
        too_slow: u64,
        #[serde(default)]
        expired: u64,
    }

    let tally = Tally { matched: 3, written: 2, too_slow: 1 };
    let ours = body(FromBroker::Counted { number: 1, tally }.encode());
    let (read, rest) = decode_head::<Later>(ours).expect("a message");
    let tally = LaterTally { matched: 3, written: 2, too_slow: 1, expired: 0 };
    assert_eq!(read, Later::Counted { number: 1, tally, closed: None });
    assert!(rest.is_empty());
}

#[test]
fn an_earlier_release_takes_missing_counts_for_a_silent_gateway() {
    /// The message as releases have it that know no answers without counts.
    #[derive(Debug, PartialEq, Deserialize)]
    enum Earlier {
        Accepted {
            number: u64,
            sequence: u64,
            gateways: u32,
            matched: u64,
            counting: u32,
            away: u32,
        },
    }

    let read = |matched, counting, away| {
        let message = FromBroker::Accepted { number: 1, sequence: 2, matched, counting, away };
        decode_head::<Earlier>(body(message.encode())).expect("a message").0
    };
    let earlier = |gateways, matched, counting, away| Earlier::Accepted {
        number: 1,
        sequence: 2,
        gateways,
        matched,
        counting,
        away,
    };
    let matched = Some(Matched { gateways: 3, connections: 4 });
    assert_eq!(read(matched, 2, 1), earlier(3, 4, 2, 1));
    assert_eq!(read(None, 0, 0), earlier(0, 0, 0, 1));
}

#[test]
fn a_struct_that_is_sent_as_a_map_is_malformed() {
    // A misspelled optional field of a map would be lost without anybody noticing.
    let except = |name: &str| {
        let text = |text: &str| Value::Text(text.to_owned());
        let address =
            vec![(text("worker"), Value::Number(1)), (text("connection"), Value::Number(2))];
        let event = vec![
            (text("sequence"), Value::Number(1)),
            (text("audience"), text("Everyone")),
            (text(name), Value::Map(address)),
            (text("content"), text("t")),
        ];
        let message = Value::Map(vec![(text("Event"), Value::Map(event))]);
        [&rmp_serde::to_vec(&message).expect("MessagePack")[..], b"\xc4\x02hi"].concat()
    };
    for name in ["except", "exept"] {
        let read = FromBroker::decode(except(name).into());
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{name}: {read:?}");
    }
    // The same in a list of structs.
    let want = [&b"\x81\xa5Fetch\x93\x01\x91"[..], b"\x82\xa5since\x07\xa9audiences\x90", b"\x09"];
    let read = ToBroker::decode(want.concat().into());
    assert!(matches!(read, Err(DecodeError::Malformed(_))), "{read:?}");
}
