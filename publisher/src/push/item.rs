//! One push of a batch or a publish stream. Items have the same fields in JSON ([`json`]) and in
//! MessagePack ([`msgpack`]). Pure.
//!
//! ```text
//! {"content": "hi"            | "content_base64": "aGk="      in MessagePack also a content of bin
//!  "to": "everyone"           | {"group": "news"} | {"user": "42"} | {"worker": 0, "connection": 7}
//!  "except": {"worker": 0, "connection": 8}
//!  "id": "order-42", "wait": "accepted" | "delivered", "timeout": "5s"}
//! ```
//!
//! Only the content is required. As in a query, nothing is repaired or skipped, and no field may be given
//! twice.

pub(crate) mod error;
mod fields;
pub mod json;
pub mod msgpack;
mod value;

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use campanile_channel::publishing::{Push, Wait};
use campanile_messages::ids::{ID_LIMIT, InvalidId};
use campanile_messages::{ConnectionId, Content, IdempotencyKey, WorkerId};
use serde::Deserialize;
use serde::de::MapAccess;

use super::check;
use super::query::{group, key, timeout, user, wait};
use super::target::{AddressPart, AudiencePart, GivenTarget, InvalidTarget};
use crate::push::BadRequest;
use crate::push::shown::Shown;
use error::ItemError;
use fields::{Fields, read_fields};
use value::{Any, AnyVisitor, Value};

/// The fields of an item.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ItemField {
    Content,
    ContentBase64,
    To,
    Except,
    Id,
    Wait,
    Timeout,
}

/// The fields of a `to` that is an object.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ToField {
    Group,
    User,
    Worker,
    Connection,
}

/// The fields of an `except`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ExceptField {
    Worker,
    Connection,
}

/// What has been read of an item, and the first thing that is wrong with it. An item is always read to
/// its end, because being no JSON or MessagePack at all is reported before everything else.
#[derive(Debug, Default)]
struct Draft {
    content: Option<Content>,
    /// Which of the two fields had the content.
    content_field: Option<&'static str>,
    target: GivenTarget,
    is_to_given: bool,
    is_to_everyone: bool,
    is_except_given: bool,
    id: Option<IdempotencyKey>,
    wait: Option<Wait>,
    timeout: Option<Duration>,
    error: Option<BadRequest>,
}

impl Draft {
    /// Keeps the error if it is the first one.
    fn check(&mut self, taken: Result<(), BadRequest>) {
        if let Err(error) = taken {
            self.fail(error);
        }
    }

    #[cold]
    fn fail(&mut self, error: impl Into<BadRequest>) {
        if self.error.is_none() {
            self.error = Some(error.into());
        }
    }

    /// Takes the content, into an allocation of its own: it must not keep the buffer alive that it came
    /// in.
    fn take_content(&mut self, value: Value<'_>) -> Result<(), BadRequest> {
        self.begin_content("content")?;
        self.content = Some(match value {
            Value::Text(Cow::Borrowed(text)) => Content::Text(ByteString::from(text)),
            Value::Text(Cow::Owned(text)) => Content::Text(text.into()),
            Value::Bytes(bytes) => Content::Binary(Bytes::copy_from_slice(bytes)),
            other => return Err(wrong("content", &other, "a string is accepted")),
        });
        Ok(())
    }

    fn take_content_base64(&mut self, value: &Value<'_>) -> Result<(), BadRequest> {
        self.begin_content("content_base64")?;
        let text = text("content_base64", value)?;
        let bytes = STANDARD
            .decode(text)
            .map_err(|reason| ItemError::NotBase64 { value: text.into(), reason })?;
        self.content = Some(Content::Binary(bytes.into()));
        Ok(())
    }

    fn begin_content(&mut self, field: &'static str) -> Result<(), BadRequest> {
        match self.content_field.replace(field) {
            None => Ok(()),
            Some(before) if before == field => Err(BadRequest::Repeated { parameter: field }),
            Some(_) => Err(ItemError::TwoContents.into()),
        }
    }

    fn begin_to(&mut self) -> Result<(), BadRequest> {
        begin("to", &mut self.is_to_given)
    }

    fn begin_except(&mut self) -> Result<(), BadRequest> {
        begin("except", &mut self.is_except_given)
    }

    /// Takes a `to` that is not an object.
    fn take_to(&mut self, value: &Value<'_>) -> Result<(), BadRequest> {
        self.begin_to()?;
        match value {
            Value::Text(text) if text == "everyone" => {
                self.is_to_everyone = true;
                Ok(())
            }
            other => Err(wrong("to", other, error::AUDIENCES)),
        }
    }

    /// Takes an `except` that is not an object.
    fn take_except(&mut self, value: &Value<'_>) -> Result<(), BadRequest> {
        self.begin_except()?;
        Err(wrong("except", value, error::EXCEPTION))
    }

    fn finish(self, max_content_bytes: usize) -> Result<Push, BadRequest> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let content = self.content.ok_or(ItemError::NoContent)?;
        if self.is_to_given && !self.is_to_everyone && self.target.is_for_everyone() {
            return Err(ItemError::NoAudience.into());
        }
        if self.is_except_given && self.target.except.is_missing() {
            return Err(ItemError::NoException.into());
        }
        let (target, except) = self.target.resolve().map_err(invalid)?;
        check(&target, &content, self.id.as_ref(), max_content_bytes)?;
        let wait = self.wait.unwrap_or_default();
        let Self { id, timeout, .. } = self;
        Ok(Push { target, except, content, id, wait, timeout, from: None, trace: None })
    }
}

/// Reads an item into its draft.
struct Item<'d>(&'d mut Draft);

impl<'de> AnyVisitor<'de> for Item<'_> {
    type Taken = ();

    fn simple(self, value: Value<'de>) {
        self.0.fail(ItemError::NoObject { value: value.shown() });
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        read_fields(map, self)
    }
}

impl<'de> Fields<'de> for Item<'_> {
    type Name = ItemField;

    fn take<A: MapAccess<'de>>(&mut self, field: ItemField, map: &mut A) -> Result<(), A::Error> {
        let Self(draft) = self;
        match field {
            ItemField::To => return map.next_value_seed(Any(To(draft))),
            ItemField::Except => return map.next_value_seed(Any(Except(draft))),
            _ => {}
        }
        let value = map.next_value()?;
        let taken = match field {
            ItemField::Content => draft.take_content(value),
            ItemField::ContentBase64 => draft.take_content_base64(&value),
            ItemField::Id => {
                take("id", &mut draft.id, text("id", &value).and_then(|id| key("id", id)))
            }
            ItemField::Wait => take("wait", &mut draft.wait, text("wait", &value).and_then(wait)),
            ItemField::Timeout => {
                take("timeout", &mut draft.timeout, text("timeout", &value).and_then(timeout))
            }
            ItemField::To | ItemField::Except => Ok(()),
        };
        draft.check(taken);
        Ok(())
    }

    fn refuse(&mut self, name: Shown) {
        self.0.fail(ItemError::UnknownField { name });
    }
}

/// Reads a `to` into the draft of its item.
struct To<'d>(&'d mut Draft);

impl<'de> AnyVisitor<'de> for To<'_> {
    type Taken = ();

    fn simple(self, value: Value<'de>) {
        let taken = self.0.take_to(&value);
        self.0.check(taken);
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let begun = self.0.begin_to();
        self.0.check(begun);
        read_fields(map, self)
    }
}

impl<'de> Fields<'de> for To<'_> {
    type Name = ToField;

    fn take<A: MapAccess<'de>>(&mut self, field: ToField, map: &mut A) -> Result<(), A::Error> {
        let Self(Draft { target, .. }) = self;
        let GivenTarget { to, .. } = target;
        let value = map.next_value()?;
        let taken = match field {
            ToField::Group => {
                let given = text("to.group", &value).and_then(|name| group("to.group", name));
                take("to.group", &mut target.group, given)
            }
            ToField::User => {
                let given = text("to.user", &value).and_then(|name| user("to.user", name));
                take("to.user", &mut target.user, given)
            }
            ToField::Worker => {
                take("to.worker", &mut to.worker, id("to.worker", &value).map(WorkerId))
            }
            ToField::Connection => {
                let given = id("to.connection", &value).map(ConnectionId);
                take("to.connection", &mut to.connection, given)
            }
        };
        self.0.check(taken);
        Ok(())
    }

    fn refuse(&mut self, name: Shown) {
        self.0.fail(ItemError::UnknownAudience { name });
    }
}

/// Reads an `except` into the draft of its item.
struct Except<'d>(&'d mut Draft);

impl<'de> AnyVisitor<'de> for Except<'_> {
    type Taken = ();

    fn simple(self, value: Value<'de>) {
        let taken = self.0.take_except(&value);
        self.0.check(taken);
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let begun = self.0.begin_except();
        self.0.check(begun);
        read_fields(map, self)
    }
}

impl<'de> Fields<'de> for Except<'_> {
    type Name = ExceptField;

    fn take<A: MapAccess<'de>>(&mut self, field: ExceptField, map: &mut A) -> Result<(), A::Error> {
        let Self(Draft { target: GivenTarget { except, .. }, .. }) = self;
        let value = map.next_value()?;
        let taken = match field {
            ExceptField::Worker => {
                let given = id("except.worker", &value).map(WorkerId);
                take("except.worker", &mut except.worker, given)
            }
            ExceptField::Connection => {
                let given = id("except.connection", &value).map(ConnectionId);
                take("except.connection", &mut except.connection, given)
            }
        };
        self.0.check(taken);
        Ok(())
    }

    fn refuse(&mut self, name: Shown) {
        self.0.fail(ItemError::UnknownException { name });
    }
}

/// Puts a value into its place, if that is still free.
fn take<T>(
    parameter: &'static str,
    place: &mut Option<T>,
    given: Result<T, BadRequest>,
) -> Result<(), BadRequest> {
    match place.replace(given?) {
        None => Ok(()),
        Some(_) => Err(BadRequest::Repeated { parameter }),
    }
}

fn begin(parameter: &'static str, is_given: &mut bool) -> Result<(), BadRequest> {
    match std::mem::replace(is_given, true) {
        false => Ok(()),
        true => Err(BadRequest::Repeated { parameter }),
    }
}

/// Returns the error for a wrong target, with the names of fields.
fn invalid(error: InvalidTarget) -> BadRequest {
    let name = |part| match part {
        AddressPart::ToWorker => ("to", "worker"),
        AddressPart::ToConnection => ("to", "connection"),
        AddressPart::ExceptWorker => ("except", "worker"),
        AddressPart::ExceptConnection => ("except", "connection"),
    };
    let audience = |part| match part {
        AudiencePart::Group => "a group",
        AudiencePart::User => "a user",
        AudiencePart::Connection(_) => "a connection",
    };
    match error {
        InvalidTarget::TwoAudiences(one, other) => {
            ItemError::TwoAudiences { one: audience(one), other: audience(other) }.into()
        }
        InvalidTarget::HalfAddress(part) => {
            let ((field, given), (_, missing)) = (name(part), name(part.other()));
            ItemError::HalfAddress { field, given, missing }.into()
        }
        InvalidTarget::ExceptForConnection => BadRequest::ExceptForConnection,
    }
}

#[cold]
fn wrong(field: &'static str, value: &Value<'_>, accepted: &'static str) -> BadRequest {
    ItemError::WrongType { field, value: value.shown(), accepted }.into()
}

fn text<'v>(field: &'static str, value: &'v Value<'_>) -> Result<&'v str, BadRequest> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong(field, other, "a string is accepted")),
    }
}

fn id(field: &'static str, value: &Value<'_>) -> Result<u64, BadRequest> {
    match *value {
        Value::Number(id) if id < ID_LIMIT => Ok(id),
        Value::Number(_) => {
            let reason = InvalidId::TooLarge;
            Err(BadRequest::NoId { parameter: field, value: value.shown(), reason })
        }
        _ => Err(wrong(field, value, "a whole number from 0 to below 2^53 is accepted")),
    }
}

#[cfg(test)]
mod tests;
