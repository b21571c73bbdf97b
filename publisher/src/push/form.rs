//! Reads a push from the body of a POST. Pure.

use bytes::Bytes;
use bytestring::ByteString;
use campanile_channel::publishing::Push;
use campanile_messages::Content;

use super::query::{Parameters, names_content};
use super::{BadRequest, assemble, finish};

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// The body is the content, as text.
    Text,
    /// The body is the content, as binary.
    Binary,
    /// The body has parameters, like a query.
    Form,
}

impl BodyKind {
    /// Returns how large a body may be for a content of up to `max_content_bytes`.
    pub fn max_bytes(self, max_content_bytes: usize) -> usize {
        match self {
            Self::Text | Self::Binary => max_content_bytes,
            // Every byte may be escaped. The rest is room for the other parameters.
            Self::Form => max_content_bytes * 3 + 2_048,
        }
    }
}

/// Reads the push of a POST.
///
/// # Errors
/// What is wrong with the query or the body, or `BadRequest::TooLarge`.
pub fn from_body(
    query: &[u8],
    kind: BodyKind,
    body: Bytes,
    max_content_bytes: usize,
) -> Result<Push, BadRequest> {
    let mut parameters = Parameters::default();
    parameters.read(query)?;
    if kind == BodyKind::Form {
        read_form(&mut parameters, &body)?;
        return assemble(parameters, max_content_bytes);
    }
    if parameters.content.is_some() {
        return Err(BadRequest::TwoContents);
    }
    let content = match kind {
        BodyKind::Binary => Content::Binary(body),
        BodyKind::Text | BodyKind::Form => Content::Text(text(body)?),
    };
    finish(parameters, content, max_content_bytes)
}

fn read_form(parameters: &mut Parameters, body: &[u8]) -> Result<(), BadRequest> {
    let read = parameters.read(body);
    if (read.is_err() || parameters.content.is_none()) && !names_content(body) {
        // The body was probably not meant to be a form: `curl -d` sends everything as one.
        return Err(BadRequest::FormWithoutContent);
    }
    read
}

fn text(body: Bytes) -> Result<ByteString, BadRequest> {
    ByteString::try_from(body).map_err(|error| BadRequest::BodyNotUtf8 { at: error.valid_up_to() })
}
