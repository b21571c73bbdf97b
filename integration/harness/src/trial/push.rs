//! A push of the load: its audience, its content, its outcome. Pure.

use std::time::Duration;

use campanile_messages::Position;

/// The audience of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    Everyone,
    /// The group of this number.
    Group(u8),
}

impl Audience {
    /// The group's name, if it is one.
    pub fn group(self) -> Option<String> {
        match self {
            Self::Everyone => None,
            Self::Group(number) => Some(group_name(number)),
        }
    }

    /// The group of this name, if it is one of the load's.
    pub fn of_group(name: &str) -> Option<Self> {
        let number = name.strip_prefix("group ")?.parse().ok()?;
        (group_name(number) == name).then_some(Self::Group(number))
    }
}

/// The name of the group of this number.
pub fn group_name(number: u8) -> String {
    format!("group {number}")
}

/// One push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub number: u64,
    pub audience: Audience,
    /// How many bytes follow the content's head, so that events have many sizes.
    pub padding: usize,
    /// Whether it carries an id, and is repeated with it.
    pub has_id: bool,
    /// When it was first tried, since the start of the run.
    pub tried_at: Duration,
    pub outcome: PushOutcome,
    /// When the outcome was known, since the start of the run.
    pub answered_at: Duration,
}

/// The outcome of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// 200: it is in the log at this position.
    Accepted(Position),
    /// 504, or the connection was lost: it may be in the log.
    Unknown,
    /// 503 or no connection, each time: it is not in the log.
    Refused,
    /// An answer without a reason.
    Wrong(String),
}

/// The content of a push: its number, when it was first tried, and its padding.
pub fn content(number: u64, tried_at: Duration, padding: usize) -> String {
    format!("{number} {} {padding} {}", tried_at.as_micros(), "~".repeat(padding))
}

/// The number and the time of a content; `None` if it is not exactly that of a push.
pub fn parse_content(text: &str) -> Option<(u64, Duration)> {
    let mut parts = text.splitn(4, ' ');
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (number, micros, padding) = (number()?, number()?, number()?);
    let tried_at = Duration::from_micros(micros);
    let padding = usize::try_from(padding).ok().filter(|padding| *padding <= text.len())?;
    (content(number, tried_at, padding) == text).then_some((number, tried_at))
}
