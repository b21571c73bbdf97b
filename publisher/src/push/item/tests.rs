use std::time::Duration;

use campanile_channel::publishing::Target;
use campanile_messages::{Address, Audience, GroupName, IdempotencyKey, UserName};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::http::status;
use crate::push::BadRequest;

const MAX: usize = 100;

fn from_json(text: &str) -> Result<Push, BadRequest> {
    json::read(text, MAX)
}

fn sentence(text: &str) -> String {
    from_json(text).expect_err("refused").to_string()
}

/// Reads an item in both formats, which must be the same.
fn both(item: &serde_json::Value) -> Result<Push, BadRequest> {
    let packed = rmp_serde::to_vec(item).expect("MessagePack");
    let read = from_json(&item.to_string());
    assert_eq!(msgpack::read(&packed, MAX), read, "{item}");
    read
}

fn push(target: Target, content: impl Into<Content>) -> Push {
    Push::new(target, content.into())
}

fn everyone() -> Target {
    Target::Audience(Audience::Everyone)
}

#[test]
fn a_content_alone_is_for_everyone() {
    for item in [json!({ "content": "hi" }), json!({ "to": "everyone", "content": "hi" })] {
        assert_eq!(both(&item), Ok(push(everyone(), "hi")));
    }
    let binary = Content::Binary(Bytes::from_static(b"\xff\0"));
    let item = json!({ "content_base64": "/wA=" });
    assert_eq!(both(&item), Ok(push(everyone(), binary)));
    assert_eq!(from_json(r#"{"content":"\ud83d\udd14\n"}"#), Ok(push(everyone(), "🔔\n")));
}

#[test]
fn groups_users_and_connections_are_audiences_too() {
    let group = GroupName::new("news").expect("a name");
    let target = Target::Audience(Audience::Group(group));
    assert_eq!(
        both(&json!({ "content": "hi", "to": { "group": "news" } })),
        Ok(push(target, "hi"))
    );
    let user = UserName::new("news").expect("a name");
    let target = Target::Audience(Audience::User(user));
    assert_eq!(both(&json!({ "content": "hi", "to": { "user": "news" } })), Ok(push(target, "hi")));
    let worker = ID_LIMIT - 1;
    let address = Address { worker: WorkerId(worker), connection: ConnectionId(7) };
    let item = json!({ "to": { "connection": 7, "worker": worker }, "content": "hi" });
    assert_eq!(both(&item), Ok(push(Target::Connection(address), "hi")));
}

#[test]
fn one_connection_may_be_left_out() {
    let except = json!({ "worker": 3, "connection": 7 });
    let address = Address { worker: WorkerId(3), connection: ConnectionId(7) };
    for to in [json!("everyone"), json!({ "group": "news" }), json!({ "user": "42" })] {
        let item = json!({ "content": "hi", "to": to, "except": except });
        assert_eq!(both(&item).map(|push| push.except), Ok(Some(address)));
    }
    let one = json!({ "worker": 3, "connection": 7 });
    let item = json!({ "content": "hi", "to": one, "except": except });
    assert_eq!(both(&item), Err(BadRequest::ExceptForConnection));
    let accepted = "{\"worker\":..,\"connection\":..} is accepted";
    for (except, said) in [
        (json!("everyone"), format!("except is \"everyone\": {accepted}")),
        (json!(null), format!("except is null: {accepted}")),
        (json!([3, 7]), format!("except is [..]: {accepted}")),
        (json!({}), format!("except is empty: {accepted}")),
        (json!({ "group": "g" }), format!("\"group\" is not a field of except: {accepted}")),
        (json!({ "worker": 3 }), "except has worker but no connection: the address".to_owned()),
        (json!({ "connection": 7 }), "except has connection but no worker: the address".to_owned()),
        (
            json!({ "worker": "3", "connection": 7 }),
            "except.worker is \"3\": a whole number".to_owned(),
        ),
        (
            json!({ "worker": 3, "connection": ID_LIMIT }),
            "except.connection is 9007199254740992, which is not below 2^53".to_owned(),
        ),
    ] {
        let error = both(&json!({ "content": "hi", "except": except })).expect_err("refused");
        assert!(error.to_string().starts_with(&said), "{error}");
        assert_eq!(status(&error.into()), 400);
    }
}

#[test]
fn the_options_are_those_of_the_query() {
    let item = json!({ "content": "hi", "id": "order-42", "wait": "delivered", "timeout": "5s" });
    let id = Some(IdempotencyKey::new("order-42").expect("a key"));
    let timeout = Some(Duration::from_secs(5));
    let expected = Push { id, wait: Wait::Delivered, timeout, ..push(everyone(), "hi") };
    assert_eq!(both(&item), Ok(expected));
    for (item, said) in [
        (
            json!({ "content": "hi", "wait": "written" }),
            "wait is \"written\": it must be \"accepted\" or",
        ),
        (json!({ "content": "hi", "timeout": "31s" }), "timeout is \"31s\": a duration from"),
        (json!({ "content": "hi", "timeout": 5 }), "timeout is 5: a string is accepted"),
        (json!({ "content": "hi", "id": "" }), "id is \"\": a push's id must not be empty"),
        (
            json!({ "content": "hi", "id": "a", "to": { "worker": 1, "connection": 2 } }),
            "a push to one connection takes no id",
        ),
    ] {
        let error = both(&item).expect_err("refused").to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn an_error_names_the_value_and_what_is_accepted() {
    let audiences = "\"everyone\", {\"group\":..}, {\"user\":..} or {\"worker\":..,\"connection\":..} \
                     is accepted";
    for (item, said) in [
        (json!({}), "content is missing: send what to push as content (text) or as"),
        (json!({ "content": "" }), "content is empty: send at least one byte"),
        (json!({ "content_base64": "" }), "content is empty: send at least one byte"),
        (json!({ "content": null }), "content is null: a string is accepted"),
        (json!({ "content": ["a"] }), "content is [..]: a string is accepted"),
        (json!({ "content": { "a": 1 } }), "content is {..}: a string is accepted"),
        (json!({ "content": true }), "content is true: a string is accepted"),
        (json!({ "content": "a", "content_base64": "YQ==" }), "content and content_base64 exclude"),
        (json!({ "content_base64": "YQ" }), "content_base64 is \"YQ\": "),
        (json!({ "content_base64": "a b=" }), "content_base64 is \"a b=\": "),
        (json!({ "content_base64": 1 }), "content_base64 is 1: a string is accepted"),
        (
            json!({ "contents": "a" }),
            "\"contents\" is not a field of an item: content or content_base",
        ),
        (json!({ "content": "a", "to": "all" }), &format!("to is \"all\": {audiences}")),
        (json!({ "content": "a", "to": "null" }), &format!("to is \"null\": {audiences}")),
        (json!({ "content": "a", "to": null }), &format!("to is null: {audiences}")),
        (json!({ "content": "a", "to": [] }), &format!("to is [..]: {audiences}")),
        (json!({ "content": "a", "to": {} }), &format!("to is empty: {audiences}")),
        (
            json!({ "content": "a", "to": { "users": "u" } }),
            &format!("\"users\" is not a field of to: leave to out for everyone, or {audiences}"),
        ),
        (
            json!({ "content": "a", "to": { "group": "" } }),
            "to.group is \"\": a group name must not",
        ),
        (json!({ "content": "a", "to": { "group": 5 } }), "to.group is 5: a string is accepted"),
        (
            json!({ "content": "a", "to": { "group": "g", "worker": 1, "connection": 1 } }),
            "to has a group and a connection, which exclude each other",
        ),
        (json!({ "content": "a", "to": { "group": "g", "worker": 1 } }), "to has a group and a"),
        (json!({ "content": "a", "to": { "user": "" } }), "to.user is \"\": a user name must not"),
        (json!({ "content": "a", "to": { "user": 42 } }), "to.user is 42: a string is accepted"),
        (
            json!({ "content": "a", "to": { "group": "g", "user": "u" } }),
            "to has a group and a user, which exclude each other",
        ),
        (
            json!({ "content": "a", "to": { "user": "u", "connection": 1 } }),
            "to has a user and a connection, which exclude each other",
        ),
        (
            json!({ "content": "a", "to": { "worker": 1 } }),
            "to has worker but no connection: the address",
        ),
        (json!({ "content": "a", "to": { "connection": 1 } }), "to has connection but no worker"),
        (
            json!({ "content": "a", "to": { "worker": "1", "connection": 1 } }),
            "to.worker is \"1\": a whole number from 0 to below 2^53 is accepted",
        ),
        (json!({ "content": "a", "to": { "worker": -1 } }), "to.worker is -1: a whole number"),
        (json!({ "content": "a", "to": { "worker": 1.5 } }), "to.worker is 1.5: a whole number"),
        (
            json!({ "content": "a", "to": { "worker": 1, "connection": ID_LIMIT } }),
            "to.connection is 9007199254740992, which is not below 2^53: a decimal number",
        ),
        (json!("content"), "the item is \"content\": an object with content or content_base64, to"),
        (json!([]), "the item is [..]: an object with"),
        (json!(["content"]), "the item is [..]: an object with"),
        (json!({ "content": "a", "to": ["news"] }), &format!("to is [..]: {audiences}")),
        (json!(7), "the item is 7: an object with"),
    ] {
        let error = both(&item).expect_err("refused");
        assert!(error.to_string().starts_with(said), "{item}: {error}");
        assert_eq!(status(&error.into()), 400);
    }
    let over = both(&json!({ "content": "x".repeat(MAX + 1) })).expect_err("refused");
    assert_eq!(over, BadRequest::TooLarge { max_bytes: MAX });
}

#[test]
fn no_field_may_be_given_twice() {
    for (text, name) in [
        (r#"{"content":"a","content":"a"}"#, "content"),
        (r#"{"content_base64":"YQ==","content_base64":"YQ=="}"#, "content_base64"),
        (r#"{"content":"a","to":"everyone","to":"everyone"}"#, "to"),
        (r#"{"content":"a","to":{"group":"g"},"to":{"group":"g"}}"#, "to"),
        (r#"{"content":"a","to":{"group":"g","group":"g"}}"#, "to.group"),
        (r#"{"content":"a","to":{"user":"u","user":"u"}}"#, "to.user"),
        (r#"{"content":"a","to":{"worker":1,"worker":1,"connection":1}}"#, "to.worker"),
        (r#"{"content":"a","except":{"worker":1},"except":{"worker":1}}"#, "except"),
        (r#"{"content":"a","except":{"worker":1,"worker":1}}"#, "except.worker"),
        (r#"{"content":"a","id":"1","id":"1"}"#, "id"),
        (r#"{"content":"a","wait":"accepted","wait":"accepted"}"#, "wait"),
        (r#"{"content":"a","timeout":"1s","timeout":"1s"}"#, "timeout"),
    ] {
        assert_eq!(sentence(text), format!("{name} is given more than once: send it once"));
    }
}

#[test]
fn what_is_not_json_says_where() {
    for text in [
        "",
        "{",
        "{}}",
        "{\"content\":\"a\"",
        "{content:'a'}",
        "{\"content\":\"a\n\"}",
        "{\"content\":\"\\u12\"}",
        "\u{feff}\u{feff}{\"content\":\"a\"}",
        "{\"content\":1e999}",
        "{\"content\":01}",
    ] {
        let said = sentence(text);
        assert!(said.starts_with("the item cannot be read as JSON: "), "{said}");
        assert!(said.contains(" line 1 column ") || said.contains(" line 2 column "), "{said}");
    }
    let deep = format!("{{\"content\":{}", "[".repeat(1_000_000));
    assert!(sentence(&deep).contains("EOF while parsing"));
    assert!(sentence("{\"content\":99999999999999999999999}").starts_with("content is 1e23"));
}

#[test]
fn a_wrong_field_does_not_hide_broken_json() {
    for text in [
        "{\"x\":1",
        "{\"content\":1,}",
        "{\"content\":\"a\",\"content\":\"a\"",
        "{\"to\":{\"x\":1}",
        "{\"to\":{\"group\":\"a\",\"group\":\"a\",}}",
        "[}",
    ] {
        let said = sentence(text);
        assert!(said.starts_with("the item cannot be read as JSON: "), "{text}: {said}");
    }
    let packed = b"\x82\xa1x\x01\xa7content";
    let said = msgpack::read(packed, MAX).expect_err("refused").to_string();
    assert_eq!(said, "the item cannot be read as MessagePack: it is cut off");
    // The value of an unknown field is skipped, not parsed.
    assert!(sentence(r#"{"x":"\ud83d","y":1e999}"#).starts_with("\"x\" is not a field of an item"));
}

#[test]
fn half_of_a_character_is_named() {
    for (half, escape) in [
        (r"\ud83d", r"\\ud83d"),
        (r"\uD83D!", r"\\uD83D"),
        (r"\ud83d\n", r"\\ud83d"),
        (r"\ud83d\ude00\udE00", r"\\udE00"),
        (r"\ud83d\ud83d\ude00", r"\\ud83d"),
    ] {
        let said = sentence(&format!("{{\"content\":\"안{half}\"}}"));
        let expected = format!("the item has \"{escape}\", half of a surrogate pair: whole");
        assert!(said.starts_with(&expected), "{said}");
    }
    // An escaped backslash does not begin an escape.
    assert!(from_json(r#"{"content":"\\ud83d"}"#).is_ok());
    assert!(from_json(r#"{"content":"\ud83d\ude00"}"#).is_ok());
}

#[test]
fn a_byte_order_mark_before_an_item_is_skipped() {
    assert_eq!(from_json("\u{feff} {\"content\":\"a\"}"), Ok(push(everyone(), "a")));
    let kept = from_json("{\"content\":\"\u{feff}a\"}");
    assert_eq!(kept, Ok(push(everyone(), "\u{feff}a")));
}

#[test]
fn what_is_not_messagepack_says_why() {
    let sentence = |bytes: &[u8]| msgpack::read(bytes, MAX).expect_err("refused").to_string();
    let said = |reason: &str| format!("the item cannot be read as MessagePack: {reason}");
    for cut in [&b""[..], b"\x81", b"\x81\xa7content", b"\xdf\xff\xff\xff\xff", b"\x81\xdb\xff\xff"]
    {
        assert_eq!(sentence(cut), said("it is cut off"), "{cut:?}");
    }
    assert_eq!(sentence(b"\xc1"), said("it has the byte 0xc1"));
    assert_eq!(sentence(b"\x81\xa7content\xa1a\x00\x00"), said("2 bytes follow it"));
    let not_utf8 = "a str is not UTF-8, binary content is a bin";
    assert_eq!(sentence(b"\x81\xa7content\xa1\xff"), said(not_utf8));
    assert!(sentence(b"\x81\x01\xa1a").starts_with("1 is not a field of an item"));
    assert!(sentence(b"\x81\xa7content\xd4\x01\x02").starts_with("content is an extension type"));
    // Nested arrays to the end of the message, and one that claims to be longer than memory.
    assert_eq!(
        sentence(&[&b"\x81\xa7content"[..], &[0x91; 100_000]].concat()),
        said("it is cut off")
    );
    assert_eq!(sentence(b"\x81\xa7content\xdd\xff\xff\xff\xff"), said("it is cut off"));
    let deep = [&b"\x81\xa7content"[..], &[0x91; 100_000], b"\x00"].concat();
    assert!(sentence(&deep).starts_with("content is [..]: a string is accepted"));
}

#[test]
fn a_bin_is_binary_content_and_a_str_is_text() {
    let read = |bytes: &[u8]| msgpack::read(bytes, MAX).expect("an item").content;
    assert_eq!(read(b"\x81\xa7content\xa1a"), "a".into());
    assert_eq!(read(b"\x81\xa7content\xc4\x01a"), Content::Binary(Bytes::from_static(b"a")));
    for (head, len) in [(&b"\xd9\x21"[..], 33), (b"\xda\0\x21", 33), (b"\xdb\0\0\0\x21", 33)] {
        let message = [&b"\x81\xa7content"[..], head, &vec![b'x'; len]].concat();
        assert_eq!(read(&message).as_bytes().len(), len);
    }
}

proptest! {
    #[test]
    fn no_messagepack_panics(message: Vec<u8>) {
        let _ = msgpack::read(&message, MAX);
        let _ = msgpack::read(&[b"\x82\xa7content", &message[..]].concat(), MAX);
        let _ = msgpack::read(&[b"\x81\xa2to", &message[..]].concat(), MAX);
    }

    #[test]
    fn no_json_like_text_panics(text in r#"(\{|\}|\[|\]|:|,|"content"|"to"|"group"|"user"|"worker"|"a"|1|-1\.5e3|null|\PC){0,12}"#) {
        let _ = from_json(&text);
        let _ = json::read_array(&text, 3, MAX);
    }

    #[test]
    fn what_is_encoded_is_read_back(content in "\\PC{1,25}", group in "[^\\p{Cc}]{1,60}") {
        let item = json!({ "content": content, "to": { "group": group } });
        let group = GroupName::new(&*group).expect("a name");
        let content = Content::Text(content.into());
        prop_assert_eq!(both(&item), Ok(Push::new(Target::Audience(Audience::Group(group)), content)));
    }
}
