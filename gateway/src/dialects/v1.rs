//! `campanile.v1`: JSON messages in text frames, in both directions.

mod publishing;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_edge::Secret;
use campanile_edge::websocket::{Message, Opcode, frame};
use campanile_messages::link::Gap;
use campanile_messages::{Audience, Content, GroupName, Position, UserName};
use serde::{Deserialize, Serialize};

use super::publish::Tag;
use super::request::{Request, RequestError};
use super::said::{SaidGap, SaidGreeting, SaidResumed};
use super::{Greeting, Rules};
use crate::resume::{Resumed, Since};
use crate::websocket::CloseCode;
use publishing::RawPublish;

/// The name of the subprotocol in the handshake.
pub const SUBPROTOCOL: &str = "campanile.v1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    since: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content_base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ref")]
    reference: Option<Cow<'a, str>>,
    echo: Option<bool>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
}

/// Reads a client's message.
///
/// # Errors
/// What is wrong with it, to be sent back with [`error`](Rules::error).
pub fn read(text: &str) -> Result<Request, RequestError> {
    // Some libraries begin every string with a byte order mark, which is not JSON.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // serde would accept an array for a struct, too.
    if !text.trim_start().starts_with('{') {
        return Err(RequestError::Malformed("a JSON object is accepted".to_owned()));
    }
    let raw: RawRequest<'_> = serde_json::from_str(text)
        .map_err(|error| RequestError::Malformed(shorten(&error.to_string())))?;
    let group = |group: Option<Cow<'_, str>>| {
        let group = group.ok_or_else(|| RequestError::InvalidGroup("missing".to_owned()))?;
        GroupName::new(group.into_owned())
            .map_err(|error| RequestError::InvalidGroup(error.to_string()))
    };
    if raw.since.is_some() && raw.r#type != "join" {
        return Err(RequestError::Malformed("field since is accepted in a join only".to_owned()));
    }
    if raw.token.is_some() && raw.r#type != "auth" {
        return Err(RequestError::Malformed("field token is accepted in an auth only".to_owned()));
    }
    let RawRequest { group: name, content, content_base64, id, reference, echo, .. } = raw;
    let publish = RawPublish { group: name, content, content_base64, id, reference, echo };
    if raw.r#type == "publish" {
        let publish = publish.check().map_err(Box::new)?;
        return Ok(Request::Publish(Box::new(publish)));
    }
    if let Some(field) = publish.given() {
        let sentence = format!("field {field} is accepted in a publish only");
        return Err(RequestError::Malformed(sentence));
    }
    let name = publish.group;
    match &*raw.r#type {
        "auth" => match raw.token {
            Some(token) => Ok(Request::Auth(Secret::new(token.into_owned()))),
            None => Err(RequestError::Malformed("an auth needs the field token".to_owned())),
        },
        "join" => {
            let since = raw.since.map(|since| Since::read(&since));
            group(name).map(|group| Request::Join(group, since))
        }
        "leave" => group(name).map(Request::Leave),
        "ping" => Ok(Request::Ping),
        unknown => Err(RequestError::UnknownType(shorten(unknown))),
    }
}

/// Shortens what a client sent, so that an error does not send all of it back.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said<'a> {
    Welcome(SaidGreeting<'a>),
    Event(SaidEvent<'a>),
    Joined {
        group: &'a str,
        #[serde(flatten)]
        resumed: Option<SaidResumed>,
    },
    Left {
        group: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
    },
    Token {
        expires_in: u64,
    },
    Renewed {
        expires_in: u64,
    },
    Position {
        id: String,
    },
    Gap(SaidGap),
    Pong,
    Published {
        position: String,
        #[serde(flatten)]
        tag: SaidTag<'a>,
    },
    Error {
        code: &'a str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        #[serde(flatten)]
        tag: SaidTag<'a>,
    },
}

#[derive(Default, Serialize)]
struct SaidTag<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ref")]
    reference: Option<&'a str>,
}

impl<'a> From<&'a Tag> for SaidTag<'a> {
    fn from(Tag { id, reference }: &'a Tag) -> Self {
        Self { id: id.as_deref(), reference: reference.as_deref() }
    }
}

#[derive(Serialize)]
struct SaidEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    to: SaidAudience<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<SaidSender<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
}

#[derive(Serialize)]
struct SaidSender<'a> {
    user: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum SaidAudience<'a> {
    Everyone,
    Connection,
    Group(&'a str),
    User(&'a str),
}

impl Said<'_> {
    fn frame(&self) -> Bytes {
        let text = serde_json::to_vec(self).expect("plain strings and numbers are JSON");
        frame(Opcode::Text, &text)
    }
}

/// The rules of `campanile.v1`.
pub struct V1;

impl Rules for V1 {
    fn subprotocol(&self) -> Option<&'static str> {
        Some(SUBPROTOCOL)
    }

    fn read(&self, message: &Message) -> Option<Result<Request, RequestError>> {
        Some(match message {
            Message::Text(text) => read(text),
            _ => Err(RequestError::NotText),
        })
    }

    fn greeting(&self, greeting: &Greeting<'_>) -> Bytes {
        Said::Welcome(greeting.into()).frame()
    }

    fn event(
        &self,
        logged: Option<(Position, &Audience)>,
        content: &Content,
        from: Option<&UserName>,
    ) -> Bytes {
        let (content, content_base64) = match content {
            Content::Text(text) => (Some(&**text), None),
            Content::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        let to = match logged {
            None => SaidAudience::Connection,
            Some((_, Audience::Everyone)) => SaidAudience::Everyone,
            Some((_, Audience::Group(group))) => SaidAudience::Group(group),
            Some((_, Audience::User(user))) => SaidAudience::User(user),
        };
        let id = logged.map(|(position, _)| position.to_string());
        let from = from.map(|user| SaidSender { user });
        Said::Event(SaidEvent { id, to, from, content, content_base64 }).frame()
    }

    fn close(&self, code: CloseCode) -> Bytes {
        let error = code.error().and_then(|error| self.refusal(error, code.reason()));
        match error {
            Some(error) => [error, code.frame()].concat().into(),
            None => code.frame(),
        }
    }

    /// A browser does not show the status of a refused handshake to its page, which would try again for
    /// ever.
    fn refusal(&self, code: &str, sentence: &str) -> Option<Bytes> {
        let message = sentence.to_owned();
        let (group, tag) = (None, SaidTag::default());
        Some(Said::Error { code, message, group, tag }.frame())
    }

    fn position(&self, position: Position) -> Option<Bytes> {
        Some(Said::Position { id: position.to_string() }.frame())
    }

    fn gap(&self, gap: Gap, position: Position) -> Option<Bytes> {
        Some(Said::Gap(SaidGap::new(gap, position)).frame())
    }

    fn joined(&self, group: &GroupName, resumed: Option<Resumed>) -> Option<Bytes> {
        Some(Said::Joined { group, resumed: resumed.map(Into::into) }.frame())
    }

    fn left(&self, group: &GroupName, reason: Option<&'static str>) -> Option<Bytes> {
        Some(Said::Left { group, reason }.frame())
    }

    fn can_renew(&self) -> bool {
        true
    }

    fn token(&self, expires_in: u64) -> Option<Bytes> {
        Some(Said::Token { expires_in }.frame())
    }

    fn renewed(&self, expires_in: u64) -> Option<Bytes> {
        Some(Said::Renewed { expires_in }.frame())
    }

    fn pong(&self) -> Option<Bytes> {
        Some(Said::Pong.frame())
    }

    fn published(&self, tag: &Tag, position: Position) -> Option<Bytes> {
        let (position, tag) = (position.to_string(), tag.into());
        Some(Said::Published { position, tag }.frame())
    }

    fn error(&self, error: &RequestError) -> Option<Bytes> {
        let group = error.group().map(|group| &**group);
        let (code, message) = (error.code(), error.to_string());
        let tag = error.tag().map(Into::into).unwrap_or_default();
        Some(Said::Error { code, message, group, tag }.frame())
    }
}

#[cfg(test)]
mod tests {
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
        let greeting =
            |resumed| Greeting { address, position, resumed, history: None, identity: None };
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
                some(V1.error(&RequestError::GatewayFull {
                    group: GroupName::new("a").expect("a name"),
                })),
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
        assert_eq!(
            read(r#"{"type":"join","group":"뉴스"}"#),
            Ok(Request::Join(group("뉴스"), None))
        );
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
}
