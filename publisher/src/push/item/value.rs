//! A field's value, whatever its type.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::strict::{Fault, read_fields};
use crate::push::shown::Shown;

/// A value. `O` is what its fields are read into if it is an object.
///
/// This is written by hand because serde's derive would refuse a value of another type with an error of
/// the format that names neither the field nor the value, and ends the reading of the item: whether the
/// rest of it is JSON at all would stay unknown.
#[derive(Debug)]
pub(super) enum Value<'a, O = NoFields> {
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Number(u64),
    Object(O),
    /// An object whose fields are wrong.
    Faulty(Fault),
    /// Something that no field accepts.
    Other(Shown),
}

impl<O> Value<'_, O> {
    /// The value as a sentence shows it.
    pub(super) fn shown(&self) -> Shown {
        match self {
            Self::Text(text) => Shown::from(&**text),
            Self::Bytes(bytes) => Shown::from(*bytes),
            Self::Number(number) => Shown::from(&*number.to_string()),
            Self::Object(_) | Self::Faulty(_) => Shown::from("{..}"),
            Self::Other(shown) => shown.clone(),
        }
    }
}

/// An object that no field accepts, whatever is in it.
#[derive(Debug)]
pub(super) struct NoFields;

impl<'de> Deserialize<'de> for NoFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads a field that is there. (For an `Option`, serde takes null for a field that is missing.)
pub(super) fn given<'de, D, O>(deserializer: D) -> Result<Option<Value<'de, O>>, D::Error>
where
    D: Deserializer<'de>,
    O: Deserialize<'de>,
{
    Value::deserialize(deserializer).map(Some)
}

impl<'de, O: Deserialize<'de>> Deserialize<'de> for Value<'de, O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue(PhantomData))
    }
}

struct AnyValue<O>(PhantomData<O>);

impl<'de, O: Deserialize<'de>> Visitor<'de> for AnyValue<O> {
    type Value = Value<'de, O>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(match u64::try_from(number) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Other(Shown::from(&*number.to_string())),
        })
    }

    fn visit_f32<E: Error>(self, number: f32) -> Result<Self::Value, E> {
        Ok(Value::Other(Shown::from(&*format!("{number:?}"))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Value::Other(Shown::from(&*format!("{number:?}"))))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Other(Shown::from(if value { "true" } else { "false" })))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Value::Other(Shown::from("null")))
    }

    /// An extension type of MessagePack.
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(Value::Other(Shown::from("an extension type")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other(Shown::from("[..]")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(match read_fields(map)? {
            Ok(object) => Value::Object(object),
            Err(fault) => Value::Faulty(fault),
        })
    }
}
