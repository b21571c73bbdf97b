//! Items in JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::ItemError;
use super::{Draft, Field, Value};
use crate::ApiError;
use crate::request::Push;
use crate::shown::Shown;

/// Reads one item.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str, max_content_bytes: usize) -> Result<Push, ApiError> {
    let mut draft = Draft::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Seed(Item(&mut draft)).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| malformed(&error))?;
    draft.finish(max_content_bytes)
}

/// Reads an array of items; what is wrong with one of them is in its place.
///
/// # Errors
/// [`ApiError::BatchMalformed`], [`ApiError::NoArray`], [`ApiError::TooManyItems`].
pub fn read_array(
    text: &str,
    max_items: usize,
    max_content_bytes: usize,
) -> Result<Vec<Result<Push, ApiError>>, ApiError> {
    let mut array = Array { items: Vec::new(), max_items, max_content_bytes, no_array: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Seed(&mut array).deserialize(&mut json);
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

fn malformed(error: &serde_json::Error) -> ApiError {
    ItemError::Malformed { format: "JSON", reason: error.to_string() }.into()
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
        loop {
            let mut draft = Draft::default();
            if seq.next_element_seed(Seed(Item(&mut draft)))?.is_none() {
                return Ok(());
            }
            self.items.push(draft.finish(self.max_content_bytes));
            if self.items.len() > self.max_items {
                return Err(A::Error::custom("too many items"));
            }
        }
    }
}
