//! `campanile.v1`: JSON messages in text frames, in both directions.

mod publishing;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_edge::Secret;
use campanile_edge::websocket::{self, Message, Opcode, frame};
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

    fn close(&self, code: CloseCode, group: Option<&str>) -> Bytes {
        let error = code.error().and_then(|error| self.refusal(error, code.reason(), group));
        match error {
            Some(error) => [error, code.frame()].concat().into(),
            None => code.frame(),
        }
    }

    fn disconnect(&self, code: CloseCode, reason: &str) -> Bytes {
        let error = code.error().and_then(|error| self.refusal(error, reason, None));
        let close = websocket::close(code.code(), reason);
        [error.unwrap_or_default(), close].concat().into()
    }

    /// A browser does not show the status of a refused handshake to its page, which would try again for
    /// ever.
    fn refusal(&self, code: &str, sentence: &str, group: Option<&str>) -> Option<Bytes> {
        let (message, tag) = (sentence.to_owned(), SaidTag::default());
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
mod tests;
