//! What is wrong with an item, beyond what can be wrong with any push.

use crate::push::shown::Shown;

/// What `to` may be.
pub(super) const AUDIENCES: &str =
    "\"everyone\", {\"group\":..} or {\"worker\":..,\"connection\":..} is accepted";

/// What `except` may be.
pub(super) const EXCEPTION: &str = "{\"worker\":..,\"connection\":..} is accepted";

/// The fields of an item.
const FIELDS: &str = "content or content_base64, to, except, id, wait and timeout";

/// Why an item is no push. Each of them is answered 400, and harms no other item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// What its reader does not take: not the format, or a number out of range.
    #[error("the item cannot be read as {format}: {reason}")]
    Malformed {
        /// JSON or MessagePack.
        format: &'static str,
        /// What its reader says; nothing in it is of the caller's making.
        reason: String,
    },
    /// Half of a character, which no UTF-8 can say: what is left of an emoji that was cut in two.
    #[error(
        "the item has {escape}, half of a surrogate pair: whole characters are accepted, cut a text \
         between them"
    )]
    LoneSurrogate {
        /// The escape, as it was sent.
        escape: Shown,
    },
    /// Some other value.
    #[error("the item is {value}: an object with {FIELDS} is accepted")]
    NoObject {
        /// What was given.
        value: Shown,
    },
    /// A field of another API, or of another version of this one.
    #[error("{name} is no field of an item: {FIELDS} are accepted")]
    UnknownField {
        /// Its name.
        name: Shown,
    },
    /// The same within `to`.
    #[error("{name} is no audience: to is missing, or {AUDIENCES}")]
    UnknownAudience {
        /// Its name.
        name: Shown,
    },
    /// The same within `except`.
    #[error("{name} is no field of except: {EXCEPTION}")]
    UnknownException {
        /// Its name.
        name: Shown,
    },
    /// A value of another type.
    #[error("{field} is {value}: {accepted}")]
    WrongType {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: Shown,
        /// What would be taken.
        accepted: &'static str,
    },
    /// Nothing to push.
    #[error(
        "content is missing: give what to push as content (text) or as content_base64 (binary)"
    )]
    NoContent,
    /// Both kinds of content.
    #[error("content and content_base64 exclude each other: give one of them")]
    TwoContents,
    /// Binary content that cannot be decoded.
    #[error(
        "content_base64 is {value}: {reason}; base64 with its padding is accepted (RFC 4648, \
         section 4)"
    )]
    NotBase64 {
        /// What was given.
        value: Shown,
        /// What is wrong with it.
        reason: base64::DecodeError,
    },
    /// An empty `to`.
    #[error("to is empty: {AUDIENCES}")]
    NoAudience,
    /// Half an address.
    #[error(
        "{field} has {given} and no {missing}: one connection is addressed by worker and connection \
         together"
    )]
    HalfAddress {
        /// Of `to` or `except`.
        field: &'static str,
        /// The id that is there.
        given: &'static str,
        /// The id that is not.
        missing: &'static str,
    },
    /// An empty `except`.
    #[error("except is empty: {EXCEPTION}")]
    NoException,
    /// A group and a connection.
    #[error("to has a group and a connection, which exclude each other: {AUDIENCES}")]
    TwoAudiences,
}
