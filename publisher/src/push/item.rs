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
mod strict;
mod value;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::ids::{ID_LIMIT, InvalidId};
use campanile_messages::{ConnectionId, Content, WorkerId};
use serde::Deserialize;

use super::Push;
use super::query::{group, key, timeout, wait};
use super::target::{AddressPart, GivenAddress, GivenTarget, InvalidTarget};
use crate::push::BadRequest;
use error::ItemError;
use strict::Fault;
use value::Value;

/// The fields of an item. What each of them accepts is decided when all are read, so that a sentence
/// can name the field and repeat its value.
#[derive(Debug, Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, deserialize_with = "value::given")]
    content: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    content_base64: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    to: Option<Value<'a, To<'a>>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    except: Option<Value<'a, Except<'a>>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    id: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    wait: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    timeout: Option<Value<'a>>,
}

/// A `to` that is an object.
#[derive(Debug, Deserialize)]
struct To<'a> {
    #[serde(borrow, default, deserialize_with = "value::given")]
    group: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    worker: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    connection: Option<Value<'a>>,
}

/// An `except` that is an object.
#[derive(Debug, Deserialize)]
struct Except<'a> {
    #[serde(borrow, default, deserialize_with = "value::given")]
    worker: Option<Value<'a>>,
    #[serde(borrow, default, deserialize_with = "value::given")]
    connection: Option<Value<'a>>,
}

/// Returns the push that a value says.
fn push(value: Value<'_, Item<'_>>, max_content_bytes: usize) -> Result<Push, BadRequest> {
    let item = match value {
        Value::Object(item) => item,
        Value::Faulty(Fault::Repeated(parameter)) => {
            return Err(BadRequest::Repeated { parameter });
        }
        Value::Faulty(Fault::Unknown(name)) => return Err(ItemError::UnknownField { name }.into()),
        other => return Err(ItemError::NoObject { value: other.shown() }.into()),
    };
    let Item { content, content_base64, to, except, id, wait: until, timeout: limit } = item;
    if content.is_some() && content_base64.is_some() {
        return Err(ItemError::TwoContents.into());
    }
    let content = content.map(plain).or(content_base64.map(decoded)).transpose()?;
    let mut target = GivenTarget::default();
    if let Some(to) = to {
        read_to(to, &mut target)?;
    }
    if let Some(except) = except {
        target.except = read_except(except)?;
    }
    let id = id.map(|id| key("id", &text("id", id)?)).transpose()?;
    let until = until.map(|until| wait(&text("wait", until)?)).transpose()?;
    let timeout = limit.map(|limit| timeout(&text("timeout", limit)?)).transpose()?;
    let content = content.ok_or(ItemError::NoContent)?;
    let (target, except) = target.resolve().map_err(invalid)?;
    let wait = until.unwrap_or_default();
    Push { target, except, content, id, wait, timeout }.checked(max_content_bytes)
}

fn plain(value: Value<'_>) -> Result<Content, BadRequest> {
    match value {
        Value::Text(text) => Ok(Content::Text(own(text))),
        Value::Bytes(bytes) => Ok(Content::Binary(Bytes::copy_from_slice(bytes))),
        other => Err(wrong("content", &other, "a text is accepted")),
    }
}

fn decoded(value: Value<'_>) -> Result<Content, BadRequest> {
    let text = text("content_base64", value)?;
    let bytes = STANDARD
        .decode(text.as_bytes())
        .map_err(|reason| ItemError::NotBase64 { value: (&*text).into(), reason })?;
    Ok(Content::Binary(bytes.into()))
}

fn read_to(value: Value<'_, To<'_>>, target: &mut GivenTarget) -> Result<(), BadRequest> {
    let To { group: name, worker, connection } = match value {
        Value::Text(text) if text == "everyone" => return Ok(()),
        Value::Object(to) => to,
        Value::Faulty(Fault::Repeated("group")) => return repeated("to.group"),
        Value::Faulty(Fault::Repeated("worker")) => return repeated("to.worker"),
        Value::Faulty(Fault::Repeated(_)) => return repeated("to.connection"),
        Value::Faulty(Fault::Unknown(name)) => {
            return Err(ItemError::UnknownAudience { name }.into());
        }
        other => return Err(wrong("to", &other, error::AUDIENCES)),
    };
    if name.is_none() && worker.is_none() && connection.is_none() {
        return Err(ItemError::NoAudience.into());
    }
    let read_group = |name| group("to.group", &text("to.group", name)?);
    target.group = name.map(read_group).transpose()?;
    target.to = address(("to.worker", worker), ("to.connection", connection))?;
    Ok(())
}

fn read_except(value: Value<'_, Except<'_>>) -> Result<GivenAddress, BadRequest> {
    let Except { worker, connection } = match value {
        Value::Object(except) => except,
        Value::Faulty(Fault::Repeated("worker")) => return repeated("except.worker"),
        Value::Faulty(Fault::Repeated(_)) => return repeated("except.connection"),
        Value::Faulty(Fault::Unknown(name)) => {
            return Err(ItemError::UnknownException { name }.into());
        }
        other => return Err(wrong("except", &other, error::EXCEPTION)),
    };
    if worker.is_none() && connection.is_none() {
        return Err(ItemError::NoException.into());
    }
    address(("except.worker", worker), ("except.connection", connection))
}

fn repeated<T>(parameter: &'static str) -> Result<T, BadRequest> {
    Err(BadRequest::Repeated { parameter })
}

type Named<'a> = (&'static str, Option<Value<'a>>);

fn address(worker: Named<'_>, connection: Named<'_>) -> Result<GivenAddress, BadRequest> {
    let id = |(field, value): Named<'_>| value.map(|value| id(field, &value)).transpose();
    let worker = id(worker)?.map(WorkerId);
    let connection = id(connection)?.map(ConnectionId);
    Ok(GivenAddress { worker, connection })
}

/// Says what is wrong with a target by the names of fields.
fn invalid(error: InvalidTarget) -> BadRequest {
    let name = |part| match part {
        AddressPart::ToWorker => ("to", "worker"),
        AddressPart::ToConnection => ("to", "connection"),
        AddressPart::ExceptWorker => ("except", "worker"),
        AddressPart::ExceptConnection => ("except", "connection"),
    };
    match error {
        InvalidTarget::TwoAudiences => ItemError::TwoAudiences.into(),
        InvalidTarget::HalfAddress(part) => {
            let ((field, given), (_, missing)) = (name(part), name(part.other()));
            ItemError::HalfAddress { field, given, missing }.into()
        }
        InvalidTarget::ExceptForConnection => BadRequest::ExceptForConnection,
    }
}

/// In an allocation of its own: a content must not pin the buffer that it came in.
fn own(text: Cow<'_, str>) -> ByteString {
    match text {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

fn wrong<O>(field: &'static str, value: &Value<'_, O>, accepted: &'static str) -> BadRequest {
    ItemError::WrongType { field, value: value.shown(), accepted }.into()
}

fn text<'a>(field: &'static str, value: Value<'a>) -> Result<Cow<'a, str>, BadRequest> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong(field, &other, "a text is accepted")),
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
