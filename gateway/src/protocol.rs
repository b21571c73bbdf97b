//! How the gateway and its clients talk, and above all `campanile.v1`: what a client may say, and the
//! texts that it hears. Pure.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_messages::link::Gap;
use campanile_messages::{Address, Audience, Content, GroupName, Position};
use serde::{Deserialize, Serialize};

use crate::history::SaidHistory;
use crate::subscriptions::Since;
use crate::websocket::encode::{Opcode, frame};

/// More errors than this within [`ERROR_WINDOW`] are abuse.
const MAX_ERRORS: u32 = 100;

const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// How the gateway and a client talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A websocket: a greeting, then contents.
    Plain,
    /// A websocket: JSON both ways.
    V1,
    /// A stream of server-sent events.
    Events,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Listen to a group, and first hear what was missed since a position.
    Join(GroupName, Option<Since>),
    /// No longer listen to a group.
    Leave(GroupName),
    /// Answer [`pong`].
    Ping,
}

/// Why a message of a client is answered with an error. The connection lives on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No JSON object of the known fields.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A binary message.
    #[error("messages are JSON in text frames")]
    NotText,
    /// No such type.
    #[error("unknown type {0:?}, accepted: join, leave, ping")]
    UnknownType(String),
    /// A group that is missing or out of the rules.
    #[error("field group: {0}")]
    InvalidGroup(String),
    /// One group more than a connection may have.
    #[error("more than {max} groups")]
    TooManyGroups {
        /// The group that is not joined.
        group: GroupName,
        /// The most that a connection may have.
        max: usize,
    },
    /// A join that is to go on somewhere, of a group that is joined.
    #[error("the group is joined already: leave it first, then join it with since")]
    AlreadyJoined {
        /// The group that stays as it is.
        group: GroupName,
    },
    /// One group more than all connections of a gateway may have.
    #[error("this gateway listens to as many groups as it can")]
    GatewayFull {
        /// The group that is not joined.
        group: GroupName,
    },
}

impl RequestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NotText => "not_text",
            Self::UnknownType(_) => "unknown_type",
            Self::InvalidGroup(_) => "invalid_group",
            Self::TooManyGroups { .. } => "too_many_groups",
            Self::AlreadyJoined { .. } => "already_joined",
            Self::GatewayFull { .. } => "gateway_full",
        }
    }

    fn group(&self) -> Option<&GroupName> {
        match self {
            Self::TooManyGroups { group, .. }
            | Self::AlreadyJoined { group }
            | Self::GatewayFull { group } => Some(group),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    since: Option<Cow<'a, str>>,
}

/// Reads a client's message.
///
/// # Errors
/// What to answer with [`error`].
pub fn read(text: &str) -> Result<Request, RequestError> {
    // Some libraries begin every text with a byte order mark, which is no JSON.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // serde would take an array for a struct too.
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
        return Err(RequestError::Malformed("field since belongs to a join".to_owned()));
    }
    match &*raw.r#type {
        "join" => {
            let since = raw.since.map(|since| Since::read(&since));
            group(raw.group).map(|group| Request::Join(group, since))
        }
        "leave" => group(raw.group).map(Request::Leave),
        "ping" => Ok(Request::Ping),
        unknown => Err(RequestError::UnknownType(shorten(unknown))),
    }
}

/// An error must not send back all that a client made up.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Why what a client missed cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its position belongs to another log, or is ahead of this one.
    EpochChanged,
    /// Events behind its position are no longer kept.
    Expired,
    /// It has missed more than a client is told.
    TooFar,
    /// What it named is no position.
    Malformed,
}

impl Lost {
    /// The word for it in a message.
    pub fn word(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::Expired => "expired",
            Self::TooFar => "too_far",
            Self::Malformed => "malformed",
        }
    }
}

impl From<Gap> for Lost {
    fn from(gap: Gap) -> Self {
        match gap {
            Gap::EpochChanged => Self::EpochChanged,
            Gap::Expired => Self::Expired,
        }
    }
}

/// What came of a wish to go on from a position.
pub type Resumed = Result<(), Lost>;

/// How that is said.
#[derive(Debug, Clone, Copy, Serialize)]
struct SaidResumed {
    recovered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl From<Resumed> for SaidResumed {
    fn from(resumed: Resumed) -> Self {
        Self { recovered: resumed.is_ok(), reason: resumed.err().map(Lost::word) }
    }
}

/// Counts the errors of one connection.
#[derive(Debug, Default)]
pub struct Errors {
    since: Option<Instant>,
    count: u32,
}

impl Errors {
    /// Counts one more; `true` if that is abuse.
    pub fn count(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= ERROR_WINDOW) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
        self.count > MAX_ERRORS
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said<'a> {
    Welcome(Welcome),
    Event(SaidEvent<'a>),
    Joined {
        group: &'a str,
        #[serde(flatten)]
        resumed: Option<SaidResumed>,
    },
    Left {
        group: &'a str,
    },
    Position {
        id: String,
    },
    Gap(SaidGap),
    Pong,
    Error {
        code: &'a str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
    },
}

/// Where a client is, where its stream begins, and what came of its wish to go on from a position.
#[derive(Debug, Serialize)]
pub struct Welcome {
    worker: u64,
    connection: u64,
    position: String,
    #[serde(flatten)]
    resumed: Option<SaidResumed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<SaidHistory>,
}

impl Welcome {
    /// `resumed` is `None` for a client that had no such wish.
    pub fn new(address: Address, position: Position, resumed: Option<Resumed>) -> Self {
        Self {
            worker: address.worker.0,
            connection: address.connection.0,
            position: position.to_string(),
            resumed: resumed.map(Into::into),
            history: None,
        }
    }

    /// The same for a new listener that first hears of the past.
    pub fn with_history(self, history: SaidHistory) -> Self {
        Self { history: Some(history), ..self }
    }
}

/// Why a live stream does not go on where it stood, and where it does.
#[derive(Debug, Serialize)]
pub struct SaidGap {
    reason: &'static str,
    position: String,
}

impl SaidGap {
    /// What is said of a gap.
    pub fn new(gap: Gap, position: Position) -> Self {
        Self { reason: Lost::from(gap).word(), position: position.to_string() }
    }
}

#[derive(Serialize)]
struct SaidEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    to: SaidAudience<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
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

/// The first message.
pub fn welcome(welcome: Welcome) -> Bytes {
    Said::Welcome(welcome).frame()
}

/// An event; `None` for the place and the audience of one that is for this connection alone, which
/// has no place in the log.
pub fn event(logged: Option<(Position, &Audience)>, content: &Content) -> Bytes {
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
    Said::Event(SaidEvent { id, to, content, content_base64 }).frame()
}

/// The client listens to the group from here on; what it had missed, if it asked, came before.
pub fn joined(group: &GroupName, resumed: Option<Resumed>) -> Bytes {
    Said::Joined { group, resumed: resumed.map(Into::into) }.frame()
}

/// Nothing is missing up to here.
pub fn position(position: Position) -> Bytes {
    Said::Position { id: position.to_string() }.frame()
}

/// Events may be missing here.
pub fn gap(gap: Gap, position: Position) -> Bytes {
    Said::Gap(SaidGap::new(gap, position)).frame()
}

/// The client does not listen to the group.
pub fn left(group: &GroupName) -> Bytes {
    Said::Left { group }.frame()
}

/// The answer to a ping.
pub fn pong() -> Bytes {
    Said::Pong.frame()
}

/// The only message to a client that is not let in: it must not come back with the same request.
pub fn refused(code: &str, message: &str) -> Bytes {
    Said::Error { code, message: message.to_owned(), group: None }.frame()
}

/// The answer to a message that is none.
pub fn error(error: &RequestError) -> Bytes {
    let group = error.group().map(|group| &**group);
    Said::Error { code: error.code(), message: error.to_string(), group }.frame()
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, WorkerId};
    use proptest::prelude::*;

    use super::*;

    fn text(frame: &Bytes) -> &str {
        let head = if frame[1] == 126 { 4 } else { 2 };
        std::str::from_utf8(&frame[head..]).expect("UTF-8")
    }

    #[test]
    fn the_texts_that_a_client_hears() {
        let position = Position { epoch: 0xab, sequence: 7 };
        let address = Address { worker: WorkerId(3), connection: ConnectionId(9) };
        let group = GroupName::new("a\"b").expect("a name");
        for (frame, expected) in [
            (
                welcome(Welcome::new(address, position, None)),
                r#"{"type":"welcome","worker":3,"connection":9,"position":"00000000000000ab-7"}"#,
            ),
            (
                welcome(Welcome::new(address, position, Some(Err(Lost::TooFar)))),
                r#"{"type":"welcome","worker":3,"connection":9,"position":"00000000000000ab-7","recovered":false,"reason":"too_far"}"#,
            ),
            (
                event(Some((position, &Audience::Everyone)), &"hi".into()),
                r#"{"type":"event","id":"00000000000000ab-7","to":"everyone","content":"hi"}"#,
            ),
            (
                event(Some((position, &Audience::Group(group.clone()))), &"\n".into()),
                r#"{"type":"event","id":"00000000000000ab-7","to":{"group":"a\"b"},"content":"\n"}"#,
            ),
            (
                event(None, &Content::Binary(Bytes::from_static(&[0xff]))),
                r#"{"type":"event","to":"connection","content_base64":"/w=="}"#,
            ),
            (joined(&group, None), r#"{"type":"joined","group":"a\"b"}"#),
            (joined(&group, Some(Ok(()))), r#"{"type":"joined","group":"a\"b","recovered":true}"#),
            (super::position(position), r#"{"type":"position","id":"00000000000000ab-7"}"#),
            (
                gap(Gap::Expired, position),
                r#"{"type":"gap","reason":"expired","position":"00000000000000ab-7"}"#,
            ),
            (
                error(&RequestError::GatewayFull { group: GroupName::new("a").expect("a name") }),
                r#"{"type":"error","code":"gateway_full","message":"this gateway listens to as many groups as it can","group":"a"}"#,
            ),
            (left(&group), r#"{"type":"left","group":"a\"b"}"#),
            (pong(), r#"{"type":"pong"}"#),
            (
                error(&RequestError::NotText),
                r#"{"type":"error","code":"not_text","message":"messages are JSON in text frames"}"#,
            ),
        ] {
            assert_eq!(text(&frame), expected);
        }
    }

    #[test]
    fn requests_are_read_and_anything_else_is_an_error_that_names_it() {
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
            (r#"{"type":"publish"}"#, "unknown_type"),
            (r#"{"type":"join"}"#, "invalid_group"),
            (r#"{"type":"join","group":""}"#, "invalid_group"),
        ] {
            assert_eq!(read(text).map_err(|error| error.code()), Err(code), "{text}");
        }
        let nested = "[".repeat(100_000);
        assert_eq!(read(&nested).map_err(|error| error.code()), Err("malformed"));
    }

    #[test]
    fn more_than_100_errors_a_minute_are_abuse() {
        let start = Instant::now();
        let mut errors = Errors::default();
        assert!((0..100).all(|_| !errors.count(start)));
        assert!(errors.count(start));
        assert!(!errors.count(start + ERROR_WINDOW));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_error_fits_a_short_answer(text: String) {
            if let Err(refused) = read(&text) {
                prop_assert!(error(&refused).len() < 1_000);
            }
        }
    }
}
