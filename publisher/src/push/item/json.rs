//! Items in JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::error::ItemError;
use super::{Draft, Field, Value};
use crate::ApiError;
use crate::push::Push;
use crate::push::shown::Shown;

/// Reads one item. A byte order mark before it is skipped.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str, max_content_bytes: usize) -> Result<Push, ApiError> {
    let text = without_mark(text);
    let mut draft = Draft::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Seed(Item(&mut draft)).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| unreadable(text, &error))?;
    draft.finish(max_content_bytes)
}

/// Reads an array of items; what is wrong with one of them is in its place. A byte order mark before
/// the array is skipped.
///
/// The grammar of JSON says where an item ends. So whatever the grammar allows and no item has (half
/// of a surrogate pair, a number of any size, a name twice, any depth) is wrong with that item alone.
///
/// # Errors
/// [`ApiError::BatchMalformed`], [`ApiError::NoArray`], [`ApiError::TooManyItems`].
pub fn read_array(
    text: &str,
    max_items: usize,
    max_content_bytes: usize,
) -> Result<Vec<Result<Push, ApiError>>, ApiError> {
    let text = without_mark(text);
    let mut array = Array { items: Vec::new(), max_items, max_content_bytes, no_array: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = match text.trim_ascii_start().as_bytes().first() {
        Some(b'[') => json.deserialize_seq(Seed(&mut array)),
        // Not read as what it is: a number out of range would hide that it is no array.
        _ => <&RawValue>::deserialize(&mut json).map(|raw| array.no_array = Some(kind(raw.get()))),
    };
    if array.items.len() > max_items {
        return Err(ApiError::TooManyItems { max_items });
    }
    read.and_then(|()| json.end())
        .map_err(|error| ApiError::BatchMalformed { reason: error.to_string() })?;
    match array.no_array {
        Some(value) => Err(ApiError::NoArray { value }),
        None => Ok(array.items),
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A value that is not an array, as a sentence shows it.
fn kind(raw: &str) -> Shown {
    if raw.starts_with('{') { Shown::from("{..}") } else { Shown::from(raw.trim_matches('"')) }
}

fn unreadable(text: &str, error: &serde_json::Error) -> ApiError {
    match lone_surrogate(text) {
        Some(escape) => ItemError::LoneSurrogate { escape: Shown::from(escape) }.into(),
        None => ItemError::Malformed { format: "JSON", reason: error.to_string() }.into(),
    }
}

/// The first escape that is half of a surrogate pair (RFC 8259, section 8.2).
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
            // The backslash, and whatever character stands behind it.
            None => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        rest = &escape[taken..];
    }
    None
}

/// The UTF-16 unit of a `\uXXXX` at the beginning of a text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
}

/// Takes whatever value there is.
trait Sink<'de>: Sized {
    type Output;

    fn value(self, value: Value<'de>) -> Self::Output;

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Output, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.value(Value::Other(Shown::from("{..}"))))
    }

    fn seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Output, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.value(Value::Other(Shown::from("[..]"))))
    }
}

struct Seed<S>(S);

impl<'de, S: Sink<'de>> DeserializeSeed<'de> for Seed<S> {
    type Value = S::Output;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Output, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink<'de>> Visitor<'de> for Seed<S> {
    type Value = S::Output;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Text(Cow::Owned(text))))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Number(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Other(Shown::from(&*number.to_string()))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Other(Shown::from(&*format!("{number:?}")))))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Other(Shown::from(if value { "true" } else { "false" }))))
    }

    fn visit_unit<E: Error>(self) -> Result<S::Output, E> {
        Ok(self.0.value(Value::Other(Shown::from("null"))))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S::Output, A::Error> {
        self.0.map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<S::Output, A::Error> {
        self.0.seq(seq)
    }
}

struct Item<'d>(&'d mut Draft);

impl<'de> Sink<'de> for Item<'_> {
    type Output = ();

    fn value(self, value: Value<'de>) {
        self.0.fail(ItemError::NoObject { value: value.shown() });
    }

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(draft) = self;
        while let Some(field) = map.next_key_seed(Seed(Name { draft, find: Draft::field }))? {
            match field {
                Field::Unknown => drop(map.next_value::<IgnoredAny>()?),
                Field::To | Field::Except => map.next_value_seed(Seed(Object { draft, field }))?,
                field => {
                    let value = map.next_value_seed(Seed(Any))?;
                    draft.take(field, value);
                }
            }
        }
        Ok(())
    }
}

/// The value of `to` or `except`.
struct Object<'d> {
    draft: &'d mut Draft,
    field: Field,
}

impl<'de> Sink<'de> for Object<'_> {
    type Output = ();

    fn value(self, value: Value<'de>) {
        self.draft.take(self.field, value);
    }

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { draft, field } = self;
        let find = draft.begin(field);
        while let Some(field) = map.next_key_seed(Seed(Name { draft, find }))? {
            let value = map.next_value_seed(Seed(Any))?;
            draft.take(field, value);
        }
        Ok(())
    }
}

struct Name<'d> {
    draft: &'d mut Draft,
    find: fn(&mut Draft, &str) -> Field,
}

impl<'de> Sink<'de> for Name<'_> {
    type Output = Field;

    fn value(self, value: Value<'de>) -> Field {
        match value {
            Value::Text(name) => (self.find)(self.draft, &name),
            _ => Field::Unknown,
        }
    }
}

struct Any;

impl<'de> Sink<'de> for Any {
    type Output = Value<'de>;

    fn value(self, value: Value<'de>) -> Value<'de> {
        value
    }
}

struct Array {
    items: Vec<Result<Push, ApiError>>,
    max_items: usize,
    max_content_bytes: usize,
    no_array: Option<Shown>,
}

impl<'de> Sink<'de> for &mut Array {
    type Output = ();

    fn value(self, value: Value<'de>) {
        self.no_array = Some(value.shown());
    }

    fn seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            self.items.push(read(item.get(), self.max_content_bytes));
            if self.items.len() > self.max_items {
                return Err(A::Error::custom("too many items"));
            }
        }
        Ok(())
    }
}
