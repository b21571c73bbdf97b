//! The fields of an object.

use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserialize, IgnoredAny, MapAccess};

use super::value::{Any, AnyVisitor, Value, skip_object};
use crate::push::shown::Shown;

/// Reads the fields of an object one after the other.
pub(super) trait Fields<'de> {
    /// The names of the fields.
    type Name: Deserialize<'de>;

    /// Reads the value of a field, which is the next value of the map.
    fn take<A: MapAccess<'de>>(&mut self, name: Self::Name, map: &mut A) -> Result<(), A::Error>;

    /// Takes note of a field with an unknown name.
    fn refuse(&mut self, name: Shown);
}

/// Reads an object to its end, also if some of its fields are wrong.
///
/// # Errors
/// The format's: the input is not JSON or MessagePack.
pub(super) fn read_fields<'de, A, F>(mut map: A, mut fields: F) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    F: Fields<'de>,
{
    while let Some(name) = map.next_key_seed(Any(Name(PhantomData)))? {
        match name {
            Ok(name) => fields.take(name, &mut map)?,
            Err(UnknownName(name)) => {
                fields.refuse(name);
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(())
}

/// No field has this name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnknownName(Shown);

impl de::Error for UnknownName {
    fn custom<T: std::fmt::Display>(reason: T) -> Self {
        Self(Shown::from(&*reason.to_string()))
    }

    fn unknown_field(name: &str, _known: &'static [&'static str]) -> Self {
        Self(Shown::from(name))
    }
}

/// Reads the name of a field.
struct Name<N>(PhantomData<N>);

impl<'de, N: Deserialize<'de>> AnyVisitor<'de> for Name<N> {
    type Taken = Result<N, UnknownName>;

    #[inline(always)]
    fn simple(self, name: Value<'de>) -> Self::Taken {
        match name {
            Value::Text(name) => N::deserialize(StrDeserializer::new(&name)),
            other => Err(UnknownName(other.shown())),
        }
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Self::Taken, A::Error> {
        skip_object(map).map(|object| Err(UnknownName(object.shown())))
    }
}
