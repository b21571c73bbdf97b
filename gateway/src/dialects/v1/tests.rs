//! The JSON of each message, and what is read.

use campanile_messages::{Address, ConnectionId, UserName, WorkerId};
use proptest::prelude::*;

use super::*;
use crate::dialects::Identity;
use crate::resume::Lost;

fn text(frame: &Bytes) -> &str {
    let head = if frame[1] == 126 { 4 } else { 2 };
    std::str::from_utf8(&frame[head..]).expect("UTF-8")
}

#[test]
fn each_message_is_one_json_object() {
    let position = Position { epoch: 0xab, sequence: 7 };
    let address = Address { worker: WorkerId(3), connection: ConnectionId(9) };
    let greeting = |resumed| Greeting { address, position, resumed, history: None, identity: None };
    let some = |frame: Option<Bytes>| frame.expect("campanile.v1 has this message");
    let group = GroupName::new("a\"b").expect("a name");
    let user = UserName::new("4\"2").expect("a name");
    for (frame, expected) in [
        (
            V1.greeting(&greeting(None)),
            r#"{"type":"welcome","worker":3,"connection":9,"position":"00000000000000ab-7"}"#,
        ),
        (
            V1.greeting(&greeting(Some(Err(Lost::TooFar)))),
            r#"{"type":"welcome","worker":3,"connection":9,"position":"00000000000000ab-7","recovered":false,"reason":"too_far"}"#,
        ),
        (
            V1.event(Some((position, &Audience::Everyone)), &"hi".into(), None),
            r#"{"type":"event","id":"00000000000000ab-7","to":"everyone","content":"hi"}"#,
        ),
        (
            V1.event(Some((position, &Audience::Group(group.clone()))), &"\n".into(), None),
            r#"{"type":"event","id":"00000000000000ab-7","to":{"group":"a\"b"},"content":"\n"}"#,
        ),
        (
            V1.event(Some((position, &Audience::Everyone)), &"hi".into(), Some(&user)),
            r#"{"type":"event","id":"00000000000000ab-7","to":"everyone","from":{"user":"4\"2"},"content":"hi"}"#,
        ),
        (
            V1.event(None, &Content::Binary(Bytes::from_static(&[0xff])), None),
            r#"{"type":"event","to":"connection","content_base64":"/w=="}"#,
        ),
        (some(V1.joined(&group, None)), r#"{"type":"joined","group":"a\"b"}"#),
        (
            some(V1.joined(&group, Some(Ok(())))),
            r#"{"type":"joined","group":"a\"b","recovered":true}"#,
        ),
        (some(V1.position(position)), r#"{"type":"position","id":"00000000000000ab-7"}"#),
        (
            some(V1.gap(Gap::Expired, position)),
            r#"{"type":"gap","reason":"expired","position":"00000000000000ab-7"}"#,
        ),
        (
            some(
                V1.error(&RequestError::GatewayFull {
                    group: GroupName::new("a").expect("a name"),
                }),
            ),
            r#"{"type":"error","code":"gateway_full","message":"this gateway has no room for more groups: try another gateway","group":"a"}"#,
        ),
        (
            V1.greeting(&Greeting {
                identity: Some(Identity { user: Some("4\"2"), expires_in: Some(60) }),
                ..greeting(None)
            }),
            r#"{"type":"welcome","worker":3,"connection":9,"position":"00000000000000ab-7","user":"4\"2","expires_in":60}"#,
        ),
        (
            V1.greeting(&Greeting { identity: Some(Identity::named("42")), ..greeting(None) }),
            r#"{"type":"welcome","worker":3,"connection":9,"position":"00000000000000ab-7","user":"42"}"#,
        ),
        (
            V1.event(Some((position, &Audience::User(user.clone()))), &"hi".into(), None),
            r#"{"type":"event","id":"00000000000000ab-7","to":{"user":"4\"2"},"content":"hi"}"#,
        ),
        (some(V1.left(&group, None)), r#"{"type":"left","group":"a\"b"}"#),
        (
            some(V1.left(&group, Some("not_allowed"))),
            r#"{"type":"left","group":"a\"b","reason":"not_allowed"}"#,
        ),
        (some(V1.token(6)), r#"{"type":"token","expires_in":6}"#),
        (some(V1.renewed(60)), r#"{"type":"renewed","expires_in":60}"#),
        (some(V1.pong()), r#"{"type":"pong"}"#),
        (
            some(V1.error(&RequestError::NotText)),
            r#"{"type":"error","code":"not_text","message":"a binary message is not accepted: messages are JSON in text frames"}"#,
        ),
    ] {
        assert_eq!(text(&frame), expected);
    }
}

#[test]
fn requests_are_read_and_anything_else_is_an_error() {
    let group = |name: &'static str| GroupName::new(name).expect("a name");
    assert_eq!(read(r#"{"type":"join","group":"뉴스"}"#), Ok(Request::Join(group("뉴스"), None)));
    assert_eq!(
        read(r#"{"type":"join","group":"a","since":"?"}"#),
        Ok(Request::Join(group("a"), Some(Since::Malformed)))
    );
    assert_eq!(
        read(r#"{"group":"a\n","type":"leave"}"#).map_err(|e| e.code()),
        Err("invalid_group")
    );
    assert_eq!(read(r#"{"type":"leave","group":"a"}"#), Ok(Request::Leave(group("a"))));
    let auth = Request::Auth(Secret::new("a.b"));
    assert_eq!(read(r#"{"type":"auth","token":"a.b"}"#), Ok(auth.clone()));
    assert!(!format!("{auth:?}").contains("a.b"));
    assert_eq!(read(r#" {"type":"ping"} "#), Ok(Request::Ping));
    assert_eq!(read("\u{feff}{\"type\":\"ping\"}"), Ok(Request::Ping));
    for (text, code) in [
        ("", "malformed"),
        ("[]", "malformed"),
        (r#"["join","a"]"#, "malformed"),
        ("\u{feff}\u{feff}{\"type\":\"ping\"}", "malformed"),
        ("{}", "malformed"),
        (r#"{"type":"join","group":"a","sinse":"P"}"#, "malformed"),
        (r#"{"type":"leave","group":"a","since":"P"}"#, "malformed"),
        (r#"{"type":"publish"}"#, "invalid_group"),
        (r#"{"type":"push"}"#, "unknown_type"),
        (r#"{"type":"auth"}"#, "malformed"),
        (r#"{"type":"auth","token":5}"#, "malformed"),
        (r#"{"type":"ping","token":"a"}"#, "malformed"),
        (r#"{"type":"join"}"#, "invalid_group"),
        (r#"{"type":"join","group":""}"#, "invalid_group"),
    ] {
        assert_eq!(read(text).map_err(|error| error.code()), Err(code), "{text}");
    }
    let nested = "[".repeat(100_000);
    assert_eq!(read(&nested).map_err(|error| error.code()), Err("malformed"));
}

proptest! {
    #[test]
    fn no_string_panics_and_every_error_is_short(text: String) {
        if let Err(refused) = read(&text) {
            prop_assert!(V1.error(&refused).is_some_and(|frame| frame.len() < 1_000));
        }
    }
}
