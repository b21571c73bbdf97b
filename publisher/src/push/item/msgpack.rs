//! Items in MessagePack: a map, with texts as its keys. (`rmp-serde` would take a text that is not
//! UTF-8 for binary.)

use std::borrow::Cow;

use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};

use super::error::ItemError;
use super::{Draft, Field, Value};
use crate::ApiError;
use crate::push::Push;
use crate::push::shown::Shown;

/// Reads one item.
///
/// # Errors
/// What is wrong with it.
pub fn read(message: &[u8], max_content_bytes: usize) -> Result<Push, ApiError> {
    let mut draft = Draft::default();
    let mut reader = Reader(message);
    reader.item(&mut draft)?;
    match reader.0.len() {
        0 => draft.finish(max_content_bytes),
        left => Err(malformed(&format!("{left} bytes follow it"))),
    }
}

fn malformed(reason: &str) -> ApiError {
    ItemError::Malformed { format: "MessagePack", reason: reason.to_owned() }.into()
}

fn cut_off() -> ApiError {
    malformed("it is cut off")
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn item(&mut self, draft: &mut Draft) -> Result<(), ApiError> {
        match self.value()? {
            Found::Map(len) => self.fields(len, draft),
            Found::Value(value) => {
                draft.fail(ItemError::NoObject { value: value.shown() });
                Ok(())
            }
        }
    }

    fn fields(&mut self, len: u32, draft: &mut Draft) -> Result<(), ApiError> {
        for _ in 0..len {
            let field = self.name(draft, Draft::field)?;
            match self.value()? {
                Found::Value(value) => draft.take(field, value),
                Found::Map(len) if matches!(field, Field::To | Field::Except) => {
                    self.object(len, field, draft)?;
                }
                Found::Map(len) => draft.take(field, self.other_map(len)?),
            }
        }
        Ok(())
    }

    /// The value of `to` or `except`.
    fn object(&mut self, len: u32, field: Field, draft: &mut Draft) -> Result<(), ApiError> {
        let find = draft.begin(field);
        for _ in 0..len {
            let field = self.name(draft, find)?;
            match self.value()? {
                Found::Value(value) => draft.take(field, value),
                Found::Map(len) => draft.take(field, self.other_map(len)?),
            }
        }
        Ok(())
    }

    fn name(
        &mut self,
        draft: &mut Draft,
        find: fn(&mut Draft, &str) -> Field,
    ) -> Result<Field, ApiError> {
        let value = match self.value()? {
            Found::Value(value) => value,
            Found::Map(len) => self.other_map(len)?,
        };
        Ok(match value {
            Value::Text(name) => find(draft, &name),
            other => {
                draft.fail(ItemError::UnknownField { name: other.shown() });
                Field::Unknown
            }
        })
    }

    fn other_map(&mut self, len: u32) -> Result<Value<'a>, ApiError> {
        self.skip(u64::from(len) * 2)?;
        Ok(Value::Other(Shown::from("{..}")))
    }

    fn value(&mut self) -> Result<Found<'a>, ApiError> {
        let marker = self.marker()?;
        let number = |number: i64| match u64::try_from(number) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Other(Shown::from(&*number.to_string())),
        };
        let fixed = |value: &str| Value::Other(Shown::from(value));
        Ok(Found::Value(match marker {
            Marker::FixMap(len) => return Ok(Found::Map(len.into())),
            Marker::Map16 => return Ok(Found::Map(self.unsigned(2)? as u32)),
            Marker::Map32 => return Ok(Found::Map(self.unsigned(4)? as u32)),
            Marker::FixStr(len) => self.text(len.into())?,
            Marker::Str8 => self.long_text(1)?,
            Marker::Str16 => self.long_text(2)?,
            Marker::Str32 => self.long_text(4)?,
            Marker::Bin8 => self.binary(1)?,
            Marker::Bin16 => self.binary(2)?,
            Marker::Bin32 => self.binary(4)?,
            Marker::FixPos(value) => Value::Number(value.into()),
            Marker::U8 => Value::Number(self.unsigned(1)?),
            Marker::U16 => Value::Number(self.unsigned(2)?),
            Marker::U32 => Value::Number(self.unsigned(4)?),
            Marker::U64 => Value::Number(self.unsigned(8)?),
            Marker::FixNeg(value) => number(value.into()),
            Marker::I8 => number((self.unsigned(1)? as i8).into()),
            Marker::I16 => number((self.unsigned(2)? as i16).into()),
            Marker::I32 => number((self.unsigned(4)? as i32).into()),
            Marker::I64 => number(self.unsigned(8)? as i64),
            Marker::F32 => {
                let value = f32::from_bits(self.unsigned(4)? as u32);
                Value::Other(Shown::from(&*format!("{value:?}")))
            }
            Marker::F64 => {
                let value = f64::from_bits(self.unsigned(8)?);
                Value::Other(Shown::from(&*format!("{value:?}")))
            }
            Marker::Null => fixed("null"),
            Marker::True => fixed("true"),
            Marker::False => fixed("false"),
            other => {
                self.skip_behind(other)?;
                fixed(if is_array(other) { "[..]" } else { "an extension type" })
            }
        }))
    }

    fn marker(&mut self) -> Result<Marker, ApiError> {
        match read_marker(&mut self.0).map_err(|_| cut_off())? {
            Marker::Reserved => Err(malformed("it has the byte 0xc1")),
            marker => Ok(marker),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], ApiError> {
        let len = usize::try_from(len).map_err(|_| cut_off())?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number of so many bytes.
    fn unsigned(&mut self, len: usize) -> Result<u64, ApiError> {
        let mut bytes = [0; 8];
        self.0.read_exact_buf(&mut bytes[8 - len..]).map_err(|_| cut_off())?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&mut self, len: u64) -> Result<Value<'a>, ApiError> {
        let bytes = self.take(len)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Err(_) => Err(malformed("a str is not UTF-8, binary content is a bin")),
        }
    }

    fn long_text(&mut self, len_bytes: usize) -> Result<Value<'a>, ApiError> {
        let len = self.unsigned(len_bytes)?;
        self.text(len)
    }

    fn binary(&mut self, len_bytes: usize) -> Result<Value<'a>, ApiError> {
        let len = self.unsigned(len_bytes)?;
        self.take(len).map(Value::Bytes)
    }

    /// Skips so many values, with all that is in them. Each takes a byte at least, so this ends with
    /// the message, however deep and long it claims to be.
    fn skip(&mut self, values: u64) -> Result<(), ApiError> {
        let mut left = values;
        while left > 0 {
            let marker = self.marker()?;
            left = (left - 1).saturating_add(self.skip_head(marker)?);
        }
        Ok(())
    }

    fn skip_behind(&mut self, marker: Marker) -> Result<(), ApiError> {
        let values = self.skip_head(marker)?;
        self.skip(values)
    }

    /// Skips what stands behind a marker; answers how many values are in it.
    fn skip_head(&mut self, marker: Marker) -> Result<u64, ApiError> {
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

enum Found<'a> {
    Value(Value<'a>),
    /// So many pairs follow.
    Map(u32),
}

fn is_array(marker: Marker) -> bool {
    matches!(marker, Marker::FixArray(_) | Marker::Array16 | Marker::Array32)
}
