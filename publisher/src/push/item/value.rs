//! The values of an item's fields, whatever their type.
//!
//! They are read by hand. A derived reader would refuse a value of a wrong type with an error that names
//! neither the field nor the value, and it would not read on, so that it would stay unknown whether the
//! rest of the item is JSON at all.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::push::shown::Shown;

/// The value of a field, unless it is an object that the field accepts.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Number(u64),
    /// Something that no field accepts.
    Other(Shown),
}

impl Value<'_> {
    /// Returns the value as a sentence shows it.
    pub(super) fn shown(&self) -> Shown {
        match self {
            Self::Text(text) => Shown::from(&**text),
            Self::Bytes(bytes) => Shown::from(*bytes),
            Self::Number(number) => Shown::plain(&number.to_string()),
            Self::Other(shown) => shown.clone(),
        }
    }
}

/// A visitor that takes a value of any type.
pub(super) trait AnyVisitor<'de>: Sized {
    type Taken;

    fn simple(self, value: Value<'de>) -> Self::Taken;

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Self::Taken, A::Error>;
}

/// Makes a visitor and a seed of an [`AnyVisitor`].
pub(super) struct Any<V>(pub(super) V);

impl<'de, V: AnyVisitor<'de>> DeserializeSeed<'de> for Any<V> {
    type Value = V::Taken;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Taken, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, V: AnyVisitor<'de>> Visitor<'de> for Any<V> {
    type Value = V::Taken;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Taken, E> {
        Ok(self.0.simple(Value::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Taken, E> {
        Ok(self.0.simple(Value::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<V::Taken, E> {
        Ok(self.0.simple(Value::Bytes(bytes)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V::Taken, E> {
        Ok(self.0.simple(Value::Number(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<V::Taken, E> {
        Ok(self.0.simple(match u64::try_from(number) {
            Ok(number) => Value::Number(number),
            Err(_) => other(&number.to_string()),
        }))
    }

    fn visit_f32<E: Error>(self, number: f32) -> Result<V::Taken, E> {
        Ok(self.0.simple(other(&format!("{number:?}"))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<V::Taken, E> {
        Ok(self.0.simple(other(&format!("{number:?}"))))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Taken, E> {
        Ok(self.0.simple(other(if value { "true" } else { "false" })))
    }

    fn visit_unit<E: Error>(self) -> Result<V::Taken, E> {
        Ok(self.0.simple(other("null")))
    }

    /// An extension type of MessagePack.
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Taken, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(self.0.simple(other("an extension type")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<V::Taken, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.0.simple(other("[..]")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Taken, A::Error> {
        self.0.object(map)
    }
}

fn other<'a>(shown: &str) -> Value<'a> {
    Value::Other(Shown::plain(shown))
}

/// Skips an object where none is accepted.
pub(super) fn skip_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Value<'de>, A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(other("{..}"))
}

struct SimpleOnly;

impl<'de> AnyVisitor<'de> for SimpleOnly {
    type Taken = Value<'de>;

    fn simple(self, value: Value<'de>) -> Value<'de> {
        value
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Value<'de>, A::Error> {
        skip_object(map)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(SimpleOnly))
    }
}
