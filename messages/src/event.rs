//! What is pushed, and for whom.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::{Address, GroupName, UserName};

/// The largest content that any part of a cluster can be configured to take: 16 MiB.
pub const MAX_CONTENT_BYTES: usize = 16 << 20;

/// Who an event is for. (An event for one connection goes to an [`Address`] and is
/// not numbered: it lives as long as that connection does.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Audience {
    /// Every connection of every gateway.
    Everyone,
    /// The connections that listen to a group.
    Group(GroupName),
    /// The connections of a user. On the wire and in the log already; no gateway listens to one yet.
    User(UserName),
}

impl Audience {
    /// The name of the group or user; empty for everyone.
    pub fn name(&self) -> &str {
        match self {
            Self::Everyone => "",
            Self::Group(name) => name,
            Self::User(name) => name,
        }
    }
}

/// What an event carries. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Reaches a websocket as a TEXT frame.
    Text(ByteString),
    /// Reaches a websocket as a BINARY frame.
    Binary(Bytes),
}

impl Content {
    /// The bytes, whichever kind they are of.
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The same content in an allocation of its own: a received one is a slice of the read buffer that
    /// it came in, and keeps the whole of that.
    pub fn own(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(ByteString::from(&**text)),
            Self::Binary(bytes) => Self::Binary(Bytes::copy_from_slice(bytes)),
        }
    }

    /// Text or binary.
    pub fn kind(&self) -> ContentKind {
        match self {
            Self::Text(_) => ContentKind::Text,
            Self::Binary(_) => ContentKind::Binary,
        }
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self::Text(ByteString::from_static(text))
    }
}

/// Stands for the content in the head of a link frame; the bytes follow the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentKind {
    /// UTF-8.
    #[serde(rename = "t")]
    Text,
    /// Any bytes.
    #[serde(rename = "b")]
    Binary,
}

/// One numbered event of the log, in the epoch of the link that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<C = Content> {
    /// Where the event stands in the broker's log, from 1.
    pub sequence: u64,
    /// Who it is for.
    pub audience: Audience,
    /// The one connection of the audience that does not get it.
    pub except: Option<Address>,
    /// What it says.
    pub content: C,
}
