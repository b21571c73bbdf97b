//! One push of a batch or of a publish stream: the same fields in JSON ([`json`]) and in MessagePack
//! ([`msgpack`]). Pure.
//!
//! ```text
//! {"content": "hi"            | "content_base64": "aGk="      in MessagePack also a content of bin
//!  "to": "everyone"           | {"group": "news"} | {"worker": 0, "connection": 7}
//!  "except": {"worker": 0, "connection": 8}
//!  "id": "order-42", "wait": "accepted" | "delivered", "timeout": "5s"}
//! ```
//!
//! Only the content is required. As in a query, nothing is repaired, skipped or taken twice.

pub mod error;
pub mod json;
pub mod msgpack;

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::ids::{ID_LIMIT, InvalidId};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, GroupName, IdempotencyKey, WorkerId,
};

use crate::ApiError;
use crate::push::query::{key, no_name, timeout, wait};
use crate::push::shown::Shown;
use crate::push::{Push, Target, Wait};
use error::ItemError;

/// What has been read of an item, and the first thing that is wrong with it.
#[derive(Debug, Default)]
struct Draft {
    content: Option<Content>,
    /// Which of the two fields gave the content.
    given: Option<&'static str>,
    to: Option<To>,
    except: Option<Except>,
    id: Option<IdempotencyKey>,
    wait: Option<Wait>,
    timeout: Option<Duration>,
    error: Option<ApiError>,
}

#[derive(Debug, Default)]
struct To {
    everyone: bool,
    group: Option<GroupName>,
    worker: Option<u64>,
    connection: Option<u64>,
}

#[derive(Debug, Default)]
struct Except {
    worker: Option<u64>,
    connection: Option<u64>,
}

/// A field of an item, of its `to`, or of its `except`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Content,
    ContentBase64,
    To,
    Id,
    Wait,
    Timeout,
    Group,
    Worker,
    Connection,
    Except,
    ExceptWorker,
    ExceptConnection,
    /// The draft knows its name.
    Unknown,
}

/// A field's value, where it is no object.
#[derive(Debug)]
enum Value<'a> {
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Number(u64),
    /// Nothing that any field takes.
    Other(Shown),
}

impl Value<'_> {
    fn shown(&self) -> Shown {
        match self {
            Self::Text(text) => Shown::from(&**text),
            Self::Bytes(bytes) => Shown::from(*bytes),
            Self::Number(number) => Shown::from(&*number.to_string()),
            Self::Other(shown) => shown.clone(),
        }
    }
}

impl Draft {
    /// The first error counts.
    fn fail(&mut self, error: impl Into<ApiError>) {
        if self.error.is_none() {
            self.error = Some(error.into());
        }
    }

    fn field(&mut self, name: &str) -> Field {
        match name {
            "content" => Field::Content,
            "content_base64" => Field::ContentBase64,
            "to" => Field::To,
            "except" => Field::Except,
            "id" => Field::Id,
            "wait" => Field::Wait,
            "timeout" => Field::Timeout,
            _ => {
                self.fail(ItemError::UnknownField { name: Shown::from(name) });
                Field::Unknown
            }
        }
    }

    fn field_of_except(&mut self, name: &str) -> Field {
        match name {
            "worker" => Field::ExceptWorker,
            "connection" => Field::ExceptConnection,
            _ => {
                self.fail(ItemError::UnknownException { name: Shown::from(name) });
                Field::Unknown
            }
        }
    }

    /// A field whose value is an object begins; the fields of that object.
    fn begin(&mut self, field: Field) -> fn(&mut Self, &str) -> Field {
        let (begun, fields): (_, fn(&mut Self, &str) -> Field) = match field {
            Field::Except => (self.begin_except().map(|_| ()), Self::field_of_except),
            _ => (self.begin_to().map(|_| ()), Self::field_of_to),
        };
        if let Err(error) = begun {
            self.fail(error);
        }
        fields
    }

    fn field_of_to(&mut self, name: &str) -> Field {
        match name {
            "group" => Field::Group,
            "worker" => Field::Worker,
            "connection" => Field::Connection,
            _ => {
                self.fail(ItemError::UnknownAudience { name: Shown::from(name) });
                Field::Unknown
            }
        }
    }

    /// A field whose value is no object.
    fn take(&mut self, field: Field, value: Value<'_>) {
        if let Err(error) = self.try_take(field, value) {
            self.fail(error);
        }
    }

    fn try_take(&mut self, field: Field, value: Value<'_>) -> Result<(), ApiError> {
        match field {
            Field::Unknown => {}
            Field::Content => {
                self.give_content("content")?;
                self.content = Some(match value {
                    Value::Text(text) => Content::Text(own(text)),
                    Value::Bytes(bytes) => Content::Binary(Bytes::copy_from_slice(bytes)),
                    other => return Err(wrong("content", &other, "a text is accepted")),
                });
            }
            Field::ContentBase64 => {
                self.give_content("content_base64")?;
                let text = text("content_base64", value)?;
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|reason| {
                    ItemError::NotBase64 { value: Shown::from(&*text), reason }
                })?;
                self.content = Some(Content::Binary(bytes.into()));
            }
            Field::To => {
                let to = self.begin_to()?;
                match &value {
                    Value::Text(text) if text == "everyone" => to.everyone = true,
                    other => return Err(wrong("to", other, error::AUDIENCES)),
                }
            }
            Field::Except => {
                self.begin_except()?;
                return Err(wrong("except", &value, error::EXCEPTION));
            }
            Field::ExceptWorker => {
                let worker = id("except.worker", &value)?;
                once("except.worker", &mut self.except.get_or_insert_default().worker, worker)?;
            }
            Field::ExceptConnection => {
                let connection = id("except.connection", &value)?;
                let slot = &mut self.except.get_or_insert_default().connection;
                once("except.connection", slot, connection)?;
            }
            Field::Id => {
                let id = key("id", &text("id", value)?)?;
                once("id", &mut self.id, id)?;
            }
            Field::Wait => {
                let wait = wait(&text("wait", value)?)?;
                once("wait", &mut self.wait, wait)?;
            }
            Field::Timeout => {
                let timeout = timeout(&text("timeout", value)?)?;
                once("timeout", &mut self.timeout, timeout)?;
            }
            Field::Group => {
                let text = text("to.group", value)?;
                let group = GroupName::new(&*text);
                let group = group.map_err(|reason| no_name("to.group", &text, reason))?;
                once("to.group", &mut self.to.get_or_insert_default().group, group)?;
            }
            Field::Worker => {
                let worker = id("to.worker", &value)?;
                once("to.worker", &mut self.to.get_or_insert_default().worker, worker)?;
            }
            Field::Connection => {
                let connection = id("to.connection", &value)?;
                once("to.connection", &mut self.to.get_or_insert_default().connection, connection)?;
            }
        }
        Ok(())
    }

    fn give_content(&mut self, given: &'static str) -> Result<(), ApiError> {
        match self.given.replace(given) {
            None => Ok(()),
            Some(before) if before == given => Err(ApiError::Repeated { parameter: given }),
            Some(_) => Err(ItemError::TwoContents.into()),
        }
    }

    /// The value of `to` follows.
    fn begin_to(&mut self) -> Result<&mut To, ApiError> {
        match self.to {
            None => Ok(self.to.insert(To::default())),
            Some(_) => Err(ApiError::Repeated { parameter: "to" }),
        }
    }

    /// The value of `except` follows.
    fn begin_except(&mut self) -> Result<&mut Except, ApiError> {
        match self.except {
            None => Ok(self.except.insert(Except::default())),
            Some(_) => Err(ApiError::Repeated { parameter: "except" }),
        }
    }

    fn finish(self, max_content_bytes: usize) -> Result<Push, ApiError> {
        let Self { content, to, except, id, wait, timeout, error, .. } = self;
        if let Some(error) = error {
            return Err(error);
        }
        let content = content.ok_or(ItemError::NoContent)?;
        let target = to.map_or(Ok(Target::Audience(Audience::Everyone)), To::target)?;
        let except = except.map(Except::address).transpose()?;
        let push = Push { target, except, content, id, wait: wait.unwrap_or_default(), timeout };
        push.checked(max_content_bytes)
    }
}

impl To {
    fn target(self) -> Result<Target, ApiError> {
        match (self.group, self.worker, self.connection) {
            (None, None, None) if self.everyone => Ok(Target::Audience(Audience::Everyone)),
            (Some(group), None, None) => Ok(Target::Audience(Audience::Group(group))),
            (None, worker, connection) => {
                let no_address = ItemError::NoAudience;
                address("to", worker, connection, no_address).map(Target::Connection)
            }
            (Some(_), _, _) => Err(ItemError::TwoAudiences.into()),
        }
    }
}

impl Except {
    fn address(self) -> Result<Address, ApiError> {
        address("except", self.worker, self.connection, ItemError::NoException)
    }
}

/// The connection of a `to` or `except` that has these ids; without any, `none` is the error.
fn address(
    field: &'static str,
    worker: Option<u64>,
    connection: Option<u64>,
    none: ItemError,
) -> Result<Address, ApiError> {
    let half = |given, missing| Err(ItemError::HalfAddress { field, given, missing }.into());
    match (worker, connection) {
        (None, None) => Err(none.into()),
        (Some(worker), Some(connection)) => {
            Ok(Address { worker: WorkerId(worker), connection: ConnectionId(connection) })
        }
        (Some(_), None) => half("worker", "connection"),
        (None, Some(_)) => half("connection", "worker"),
    }
}

/// In an allocation of its own: a content must not pin the buffer that it came in.
fn own(text: Cow<'_, str>) -> ByteString {
    match text {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

fn once<T>(parameter: &'static str, slot: &mut Option<T>, value: T) -> Result<(), ApiError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ApiError::Repeated { parameter }),
    }
}

fn wrong(field: &'static str, value: &Value<'_>, accepted: &'static str) -> ApiError {
    ItemError::WrongType { field, value: value.shown(), accepted }.into()
}

fn text<'a>(field: &'static str, value: Value<'a>) -> Result<Cow<'a, str>, ApiError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong(field, &other, "a text is accepted")),
    }
}

fn id(field: &'static str, value: &Value<'_>) -> Result<u64, ApiError> {
    match *value {
        Value::Number(id) if id < ID_LIMIT => Ok(id),
        Value::Number(_) => {
            let reason = InvalidId::TooLarge;
            Err(ApiError::NoId { parameter: field, value: value.shown(), reason })
        }
        _ => Err(wrong(field, value, "a whole number from 0 to below 2^53 is accepted")),
    }
}

#[cfg(test)]
mod tests;
