//! Items in JSON.

use std::fmt;

use campanile_channel::publishing::Push;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::ItemError;
use super::value::Any;
use super::{Draft, Item};
use crate::push::BadRequest;
use crate::push::shown::Shown;

/// Reads one item. A byte order mark before it is skipped.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str, max_content_bytes: usize) -> Result<Push, BadRequest> {
    let text = without_mark(text);
    let mut json = serde_json::Deserializer::from_str(text);
    let mut draft = Draft::default();
    json.deserialize_any(Any(Item(&mut draft)))
        .and_then(|()| json.end())
        .map_err(|error| unreadable(text, &error))?;
    draft.finish(max_content_bytes)
}

/// Reads an array of items. A wrong item has its error in its place. A byte order mark in front of the
/// array is skipped.
///
/// The grammar of JSON says where an item ends. So what the grammar allows and an item does not (half of a
/// surrogate pair, a number of any size, a repeated name, any depth) is an error of that item alone.
///
/// # Errors
/// `BadRequest::BatchMalformed`, `BadRequest::NoArray`, `BadRequest::TooManyItems`.
pub fn read_array(
    text: &str,
    max_items: usize,
    max_content_bytes: usize,
) -> Result<Vec<Result<Push, BadRequest>>, BadRequest> {
    let text = without_mark(text);
    let mut array = Array { items: Vec::new(), max_items, max_content_bytes };
    let mut no_array = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = match text.trim_ascii_start().as_bytes().first() {
        Some(b'[') => json.deserialize_seq(&mut array),
        // The value is not parsed, because a number out of range would hide that it is not an array.
        _ => <&RawValue>::deserialize(&mut json).map(|raw| no_array = Some(kind(raw.get()))),
    };
    if array.items.len() > max_items {
        return Err(BadRequest::TooManyItems { max_items });
    }
    read.and_then(|()| json.end())
        .map_err(|error| BadRequest::BatchMalformed { reason: error.to_string() })?;
    match no_array {
        Some(value) => Err(BadRequest::NoArray { value }),
        None => Ok(array.items),
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A value that is not an array, as a sentence shows it.
fn kind(raw: &str) -> Shown {
    match raw.as_bytes().first() {
        Some(b'{') => Shown::plain("{..}"),
        Some(b'"') => Shown::from(raw.trim_matches('"')),
        _ => Shown::plain(raw),
    }
}

#[cold]
fn unreadable(text: &str, error: &serde_json::Error) -> BadRequest {
    match lone_surrogate(text) {
        Some(escape) => ItemError::LoneSurrogate { escape: Shown::from(escape) }.into(),
        None => ItemError::Malformed { format: "JSON", reason: error.to_string() }.into(),
    }
}

/// Returns the first escape that is half of a surrogate pair (RFC 8259, section 8.2).
fn lone_surrogate(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        let taken = match unit(escape) {
            Some(0xd800..0xdc00) => match unit(&escape[6..]) {
                Some(0xdc00..0xe000) => 12,
                _ => return Some(&escape[..6]),
            },
            Some(0xdc00..0xe000) => return Some(&escape[..6]),
            Some(_) => 6,
            // The backslash and the character behind it.
            None => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        rest = &escape[taken..];
    }
    None
}

/// Returns the UTF-16 code unit of the escape with four hexadecimal digits that a string begins with.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
}

/// The items of an array, each read on its own.
struct Array {
    items: Vec<Result<Push, BadRequest>>,
    max_items: usize,
    max_content_bytes: usize,
}

impl<'de> Visitor<'de> for &mut Array {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            self.items.push(read(item.get(), self.max_content_bytes));
            if self.items.len() > self.max_items {
                return Err(A::Error::custom("too many items"));
            }
        }
        Ok(())
    }
}
