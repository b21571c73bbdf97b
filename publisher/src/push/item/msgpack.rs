//! Items in MessagePack: a map with strings as its keys.
//!
//! This is a reader of our own, because `rmp-serde` takes a string that is not UTF-8 for binary, and gives
//! up at a depth of 1,024, while this one skips whatever no field accepts.

use std::fmt;

use campanile_channel::publishing::Push;
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::error::ItemError;
use super::value::Any;
use super::{Draft, Item};
use crate::push::BadRequest;

/// Reads one item.
///
/// # Errors
/// What is wrong with it.
pub fn read(message: &[u8], max_content_bytes: usize) -> Result<Push, BadRequest> {
    let mut reader = Reader(message);
    let mut draft = Draft::default();
    reader
        .deserialize_any(Any(Item(&mut draft)))
        .and_then(|()| reader.end())
        .map_err(unreadable)?;
    draft.finish(max_content_bytes)
}

/// Reads a message that is not an item.
///
/// # Errors
/// What is wrong with it. This contains nothing that the caller has sent but names of fields.
pub(crate) fn read_other<'de, T: Deserialize<'de>>(message: &'de [u8]) -> Result<T, String> {
    let mut reader = Reader(message);
    let read = T::deserialize(&mut reader).and_then(|other| reader.end().map(|()| other));
    read.map_err(|Malformed(reason)| reason)
}

#[cold]
fn unreadable(Malformed(reason): Malformed) -> BadRequest {
    ItemError::Malformed { format: "MessagePack", reason }.into()
}

/// Why bytes are not MessagePack.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Malformed(String);

impl de::Error for Malformed {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

#[cold]
fn malformed(reason: &str) -> Malformed {
    Malformed(reason.to_owned())
}

#[cold]
fn cut_off() -> Malformed {
    malformed("it is cut off")
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        match self.marker()? {
            Marker::FixMap(len) => self.map(len.into(), visitor),
            Marker::Map16 => self.long_map(2, visitor),
            Marker::Map32 => self.long_map(4, visitor),
            Marker::FixArray(len) => self.array(len.into(), visitor),
            Marker::Array16 => self.long_array(2, visitor),
            Marker::Array32 => self.long_array(4, visitor),
            Marker::FixStr(len) => self.text(len.into(), visitor),
            Marker::Str8 => self.long_text(1, visitor),
            Marker::Str16 => self.long_text(2, visitor),
            Marker::Str32 => self.long_text(4, visitor),
            Marker::Bin8 => self.binary(1, visitor),
            Marker::Bin16 => self.binary(2, visitor),
            Marker::Bin32 => self.binary(4, visitor),
            Marker::FixPos(value) => visitor.visit_u64(value.into()),
            Marker::U8 => visitor.visit_u64(self.unsigned(1)?),
            Marker::U16 => visitor.visit_u64(self.unsigned(2)?),
            Marker::U32 => visitor.visit_u64(self.unsigned(4)?),
            Marker::U64 => visitor.visit_u64(self.unsigned(8)?),
            Marker::FixNeg(value) => visitor.visit_i64(value.into()),
            Marker::I8 => visitor.visit_i64((self.unsigned(1)? as i8).into()),
            Marker::I16 => visitor.visit_i64((self.unsigned(2)? as i16).into()),
            Marker::I32 => visitor.visit_i64((self.unsigned(4)? as i32).into()),
            Marker::I64 => visitor.visit_i64(self.unsigned(8)? as i64),
            Marker::F32 => visitor.visit_f32(f32::from_bits(self.unsigned(4)? as u32)),
            Marker::F64 => visitor.visit_f64(f64::from_bits(self.unsigned(8)?)),
            Marker::Null => visitor.visit_unit(),
            Marker::True => visitor.visit_bool(true),
            Marker::False => visitor.visit_bool(false),
            extension => {
                self.skip_head(extension)?;
                // Its content is skipped, so there is nothing left to read.
                visitor.visit_newtype_struct(de::value::UnitDeserializer::new())
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.skip(1)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// The elements of an array, or the keys and values of a map.
struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: u64,
}

impl<'de> Elements<'_, 'de> {
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Malformed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Malformed;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Malformed> {
        self.next(seed)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Malformed;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Malformed> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Malformed> {
        self.next(seed)?.ok_or_else(cut_off)
    }
}

impl<'a> Reader<'a> {
    /// # Errors
    /// There are bytes after what was read.
    fn end(&self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(malformed(&format!("{left} bytes follow it"))),
        }
    }

    fn map<V: Visitor<'a>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_map(Elements { reader: self, left: len * 2 })
    }

    fn long_map<V: Visitor<'a>>(
        &mut self,
        len_bytes: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let len = self.unsigned(len_bytes)?;
        self.map(len, visitor)
    }

    fn array<V: Visitor<'a>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_seq(Elements { reader: self, left: len })
    }

    fn long_array<V: Visitor<'a>>(
        &mut self,
        len_bytes: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let len = self.unsigned(len_bytes)?;
        self.array(len, visitor)
    }

    fn marker(&mut self) -> Result<Marker, Malformed> {
        match read_marker(&mut self.0).map_err(|_| cut_off())? {
            Marker::Reserved => Err(malformed("it has the byte 0xc1")),
            marker => Ok(marker),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| cut_off())?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads a big-endian number of `len` bytes.
    fn unsigned(&mut self, len: usize) -> Result<u64, Malformed> {
        let mut bytes = [0; 8];
        self.0.read_exact_buf(&mut bytes[8 - len..]).map_err(|_| cut_off())?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn text<V: Visitor<'a>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Malformed> {
        match str::from_utf8(self.take(len)?) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => Err(malformed("a str is not UTF-8, binary content is a bin")),
        }
    }

    fn long_text<V: Visitor<'a>>(
        &mut self,
        len_bytes: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let len = self.unsigned(len_bytes)?;
        self.text(len, visitor)
    }

    fn binary<V: Visitor<'a>>(
        &mut self,
        len_bytes: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let len = self.unsigned(len_bytes)?;
        visitor.visit_borrowed_bytes(self.take(len)?)
    }

    /// Skips values with all that is in them. Each takes at least one byte, so this ends with the message,
    /// however deep and long it claims to be.
    fn skip(&mut self, values: u64) -> Result<(), Malformed> {
        let mut left = values;
        while left > 0 {
            let marker = self.marker()?;
            left = (left - 1).saturating_add(self.skip_head(marker)?);
        }
        Ok(())
    }

    /// Skips what follows a marker, and returns how many values are inside.
    fn skip_head(&mut self, marker: Marker) -> Result<u64, Malformed> {
        let (bytes, values) = match marker {
            Marker::FixArray(len) => (0, len.into()),
            Marker::Array16 => (0, self.unsigned(2)?),
            Marker::Array32 => (0, self.unsigned(4)?),
            Marker::FixMap(len) => (0, u64::from(len) * 2),
            Marker::Map16 => (0, self.unsigned(2)? * 2),
            Marker::Map32 => (0, self.unsigned(4)? * 2),
            Marker::FixStr(len) => (len.into(), 0),
            Marker::Str8 | Marker::Bin8 => (self.unsigned(1)?, 0),
            Marker::Str16 | Marker::Bin16 => (self.unsigned(2)?, 0),
            Marker::Str32 | Marker::Bin32 => (self.unsigned(4)?, 0),
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixExt1 => (2, 0),
            Marker::FixExt2 => (3, 0),
            Marker::FixExt4 => (5, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            Marker::Ext8 => (self.unsigned(1)? + 1, 0),
            Marker::Ext16 => (self.unsigned(2)? + 1, 0),
            Marker::Ext32 => (self.unsigned(4)? + 1, 0),
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::Null
            | Marker::True
            | Marker::False
            | Marker::Reserved => (0, 0),
        };
        self.take(bytes)?;
        Ok(values)
    }
}
