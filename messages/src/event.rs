//! What is pushed, and who it is for.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::{Address, GroupName, UserName};

/// The largest content that any part of a cluster can be configured to accept: 16 MiB.
pub const MAX_CONTENT_BYTES: usize = 16 << 20;

/// Who an event is for. (An event for one connection is sent to an [`Address`] and has no number,
/// because it is useless once that connection is gone.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Audience {
    /// Every connection of every gateway.
    Everyone,
    /// The connections that listen to a group.
    Group(GroupName),
    /// The connections of a user.
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

/// What was pushed. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Sent to websockets as a text frame.
    Text(ByteString),
    /// Sent to websockets as a binary frame.
    Binary(Bytes),
}

impl Content {
    /// The bytes, text or not.
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// A copy in an allocation of its own. A content that was received is a slice of a read buffer, and
    /// would keep the whole buffer in memory.
    pub fn own(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(ByteString::from(&**text)),
            Self::Binary(bytes) => Self::Binary(Bytes::copy_from_slice(bytes)),
        }
    }

    /// Whether it is text or binary.
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

/// Stands for the content in the head of a frame; the bytes follow behind the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentKind {
    /// UTF-8.
    #[serde(rename = "t")]
    Text,
    /// Any bytes.
    #[serde(rename = "b")]
    Binary,
}

/// An event of the log. Its sequence belongs to the epoch of the link on which it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<C = Content> {
    /// Its number in the broker's log, from 1.
    pub sequence: u64,
    /// Who it is for.
    pub audience: Audience,
    /// The one connection of the audience that does not get it.
    pub except: Option<Address>,
    /// What was pushed.
    pub content: C,
    /// The user whose client published it. `None` for an event of a backend, and for one of a client
    /// without a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UserName>,
}
