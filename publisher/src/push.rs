//! From what a caller sent to what is pushed. Pure.

pub mod batch;
pub mod item;
pub(crate) mod query;
pub mod receipt;
pub mod shown;
mod target;

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::link::Number;
use campanile_messages::{Address, Content, ContentKind, IdempotencyKey, ToBroker};

use crate::ApiError;
use crate::http::media::BodyKind;
use crate::http::wording::MAX_ANSWER_BYTES;
use crate::push::query::{Parameters, names_content};
use crate::push::shown::Shown;
pub use target::Target;

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// That the broker has the event.
    #[default]
    Accepted,
    /// That the gateways have said what they wrote.
    Delivered,
}

/// One push, as it is handed to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Whom it is for.
    pub target: Target,
    /// The one connection of the audience that does not get it. `None` for one connection.
    pub except: Option<Address>,
    /// What it says.
    pub content: Content,
    /// Under which a repeat is accepted once. `None` for one connection.
    pub id: Option<IdempotencyKey>,
    /// What its caller waits for. Means nothing for one connection: there, the only answer is that
    /// the event was written.
    pub wait: Wait,
    /// How long its caller waits at most.
    pub timeout: Option<Duration>,
}

impl Push {
    /// Without an id and without further wishes.
    pub fn new(target: Target, content: Content) -> Self {
        Self { target, except: None, content, id: None, wait: Wait::Accepted, timeout: None }
    }

    /// The same under the id of a header, where there is one.
    ///
    /// # Errors
    /// [`ApiError::TwoIds`] if it has another one, [`ApiError::IdForConnection`].
    pub fn with_key(mut self, header: Option<IdempotencyKey>) -> Result<Self, ApiError> {
        match (&self.id, &header) {
            (_, None) => return Ok(self),
            (Some(id), Some(header)) if id != header => {
                let (parameter, header) = (Shown::from(&**id), Shown::from(&**header));
                return Err(ApiError::TwoIds { parameter, header });
            }
            _ => self.id = header,
        }
        self.check_id()
    }

    /// The same, if it is one that may be pushed.
    ///
    /// # Errors
    /// [`ApiError::EmptyContent`], [`ApiError::TooLarge`], [`ApiError::IdForConnection`].
    pub(crate) fn checked(self, max_bytes: usize) -> Result<Self, ApiError> {
        match self.content.as_bytes().len() {
            0 => Err(ApiError::EmptyContent),
            len if len > max_bytes => Err(ApiError::TooLarge { max_bytes }),
            _ => self.check_id(),
        }
    }

    fn check_id(self) -> Result<Self, ApiError> {
        match (&self.target, &self.id) {
            (Target::Connection(_), Some(_)) => Err(ApiError::IdForConnection),
            _ => Ok(self),
        }
    }

    /// What the broker is told, under the publisher's number, before the content. Gateways get
    /// `within_millis` to count what they wrote, where the caller waits for that.
    pub fn head(
        &self,
        number: Number,
        unanswered: Number,
        within_millis: u32,
    ) -> ToBroker<ContentKind> {
        let content = self.content.kind();
        match &self.target {
            Target::Audience(audience) => ToBroker::Publish {
                number,
                unanswered,
                id: self.id.clone(),
                count_within_millis: (self.wait == Wait::Delivered).then_some(within_millis),
                audience: audience.clone(),
                except: self.except,
                content,
            },
            Target::Connection(to) => ToBroker::Push { number, to: *to, content },
        }
    }
}

/// The least that a push on its way counts, where a caller may have many: about what is kept of it
/// beside its content, and room for its answer afterwards.
const MIN_COST_BYTES: usize = 512;

// With what separates it from the next.
const _: () = assert!(MAX_ANSWER_BYTES < MIN_COST_BYTES);

/// What a push on its way counts, where a caller may have many.
pub fn cost_bytes(push: &Push) -> usize {
    push.content.as_bytes().len().max(MIN_COST_BYTES)
}

/// The push of a GET.
///
/// # Errors
/// What is wrong with the query, or [`ApiError::TooLarge`].
pub fn from_query(query: &[u8], max_content_bytes: usize) -> Result<Push, ApiError> {
    let mut parameters = Parameters::default();
    parameters.read(query)?;
    assemble(parameters, max_content_bytes)
}

/// The push of a POST.
///
/// # Errors
/// What is wrong with the query or the body, or [`ApiError::TooLarge`].
pub fn from_body(
    query: &[u8],
    kind: BodyKind,
    body: Bytes,
    max_content_bytes: usize,
) -> Result<Push, ApiError> {
    let mut parameters = Parameters::default();
    parameters.read(query)?;
    if kind == BodyKind::Form {
        read_form(&mut parameters, &body)?;
        return assemble(parameters, max_content_bytes);
    }
    if parameters.content.is_some() {
        return Err(ApiError::TwoContents);
    }
    let content = match kind {
        BodyKind::Binary => Content::Binary(body),
        BodyKind::Text | BodyKind::Form => Content::Text(text(body)?),
    };
    finish(parameters, content, max_content_bytes)
}

fn read_form(parameters: &mut Parameters, body: &[u8]) -> Result<(), ApiError> {
    let read = parameters.read(body);
    if (read.is_err() || parameters.content.is_none()) && !names_content(body) {
        // Most likely a body that was never meant to be a form: `curl -d` says that it is one.
        return Err(ApiError::FormWithoutContent);
    }
    read
}

fn text(body: Bytes) -> Result<ByteString, ApiError> {
    ByteString::try_from(body).map_err(|error| ApiError::BodyNotUtf8 { at: error.valid_up_to() })
}

fn assemble(mut parameters: Parameters, max_content_bytes: usize) -> Result<Push, ApiError> {
    let content = parameters.content.take().ok_or(ApiError::NoContent)?;
    finish(parameters, Content::Text(content), max_content_bytes)
}

fn finish(parameters: Parameters, content: Content, max_bytes: usize) -> Result<Push, ApiError> {
    let Parameters { target, id, wait, timeout, .. } = parameters;
    let (target, except) = target.resolve().map_err(query::invalid)?;
    let wait = wait.unwrap_or_default();
    Push { target, except, content, id, wait, timeout }.checked(max_bytes)
}

#[cfg(test)]
mod tests;
