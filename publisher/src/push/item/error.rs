//! What only items can have wrong.

use crate::push::shown::Shown;

/// What `to` may be.
pub(super) const AUDIENCES: &str =
    "\"everyone\", {\"group\":..}, {\"user\":..} or {\"worker\":..,\"connection\":..} is accepted";

/// What `except` may be.
pub(super) const EXCEPTION: &str = "{\"worker\":..,\"connection\":..} is accepted";

/// The fields of an item.
const FIELDS: &str = "content or content_base64, to, except, id, wait and timeout";

/// What is wrong with an item. The other items of its batch or stream are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// Not the format, or a number out of range.
    #[error("the item cannot be read as {format}: {reason}")]
    Malformed {
        format: &'static str,
        /// What the parser says. It contains nothing that the caller has sent.
        reason: String,
    },
    /// Half of a character, which UTF-8 cannot express: what is left of an emoji that was cut in two.
    #[error(
        "the item has {escape}, half of a surrogate pair: whole characters are accepted, so cut \
         strings between characters"
    )]
    LoneSurrogate { escape: Shown },
    #[error("the item is {value}: an object with {FIELDS} is accepted")]
    NoObject { value: Shown },
    /// A field that this version does not have.
    #[error("{name} is not a field of an item: {FIELDS} are accepted")]
    UnknownField { name: Shown },
    /// The same in `to`.
    #[error("{name} is not a field of to: leave to out for everyone, or {AUDIENCES}")]
    UnknownAudience { name: Shown },
    /// The same in `except`.
    #[error("{name} is not a field of except: {EXCEPTION}")]
    UnknownException { name: Shown },
    /// A value of another type.
    #[error("{field} is {value}: {accepted}")]
    WrongType { field: &'static str, value: Shown, accepted: &'static str },
    #[error(
        "content is missing: send what to push as content (text) or as content_base64 (binary)"
    )]
    NoContent,
    #[error("content and content_base64 exclude each other: send one of them")]
    TwoContents,
    #[error(
        "content_base64 is {value}: {reason}; base64 with its padding is accepted (RFC 4648, \
         section 4)"
    )]
    NotBase64 { value: Shown, reason: base64::DecodeError },
    #[error("to is empty: {AUDIENCES}")]
    NoAudience,
    /// Only one of the two ids of a connection is given.
    #[error("{field} has {given} but no {missing}: the address of a connection needs both")]
    HalfAddress { field: &'static str, given: &'static str, missing: &'static str },
    #[error("except is empty: {EXCEPTION}")]
    NoException,
    /// `to` has two of a group, a user and a connection.
    #[error("to has {one} and {other}, which exclude each other: {AUDIENCES}")]
    TwoAudiences {
        /// "a group" or "a user".
        one: &'static str,
        /// "a user" or "a connection".
        other: &'static str,
    },
}
