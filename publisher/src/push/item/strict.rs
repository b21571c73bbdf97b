//! An object's fields, each known and at most once.
//!
//! serde's derive can refuse the others, too (`deny_unknown_fields`), but only with a text in an error of
//! the format: it does not tell in which object the field was, and the rest of the item is not read.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::value::Value;
use crate::push::shown::Shown;

/// The first field that must not be there.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is given more than once.
    Repeated(&'static str),
    /// There is no field of this name.
    Unknown(Shown),
}

/// Reads all of an object, also where a field of it must not be there.
///
/// # Errors
/// The outer one is the format's, whose text is broken.
pub(super) fn read_fields<'de, A, O>(map: A) -> Result<Result<O, Fault>, A::Error>
where
    A: MapAccess<'de>,
    O: Deserialize<'de>,
{
    let mut fields = Fields { map, names: &[], seen: 0, fault: None };
    let object = O::deserialize(&mut fields)?;
    Ok(match fields.fault {
        None => Ok(object),
        Some(fault) => Err(fault),
    })
}

/// Passes on an object's fields up to the first that must not be there, and reads over the others.
struct Fields<A> {
    map: A,
    /// The names of the fields, as the derive knows them.
    names: &'static [&'static str],
    /// A bit for each of them.
    seen: u32,
    fault: Option<Fault>,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for &mut Fields<A> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.names = fields;
        visitor.visit_map(self)
    }

    /// For one that takes whatever there is.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(&mut self.map)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<Value<'de>>()? else { return Ok(None) };
        let known = match &key {
            Value::Text(text) => self.names.iter().position(|name| name == text),
            _ => None,
        };
        match known {
            Some(at) if self.seen & (1 << at) == 0 => {
                self.seen |= 1 << at;
                return seed.deserialize(BorrowedStrDeserializer::new(self.names[at])).map(Some);
            }
            Some(at) => self.fault = Some(Fault::Repeated(self.names[at])),
            None => self.fault = Some(Fault::Unknown(key.shown())),
        }
        self.map.next_value::<IgnoredAny>()?;
        while self.map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
