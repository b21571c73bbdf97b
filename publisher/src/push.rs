//! From what a caller sent to what is pushed. Pure.

pub mod batch;
mod error;
mod form;
pub mod item;
pub(crate) mod query;
pub mod receipt;
pub mod shown;
mod target;

use std::time::Duration;

use campanile_messages::link::Number;
use campanile_messages::{Address, Content, ContentKind, IdempotencyKey, ToBroker};

use crate::push::query::Parameters;
use crate::push::shown::Shown;
pub use error::BadRequest;
pub use form::{BodyKind, from_body};
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
    /// [`BadRequest::TwoIds`] if it has another one, [`BadRequest::IdForConnection`].
    pub fn with_key(mut self, header: Option<IdempotencyKey>) -> Result<Self, BadRequest> {
        match (&self.id, &header) {
            (_, None) => return Ok(self),
            (Some(id), Some(header)) if id != header => {
                let (parameter, header) = (Shown::from(&**id), Shown::from(&**header));
                return Err(BadRequest::TwoIds { parameter, header });
            }
            _ => self.id = header,
        }
        check_id(&self.target, self.id.as_ref())?;
        Ok(self)
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
            Target::Connection(to) => ToBroker::Direct { number, to: *to, content },
        }
    }
}

/// The least that a push on its way counts, where a caller may have many: about what is kept of it
/// beside its content, and room for its answer afterwards.
pub(crate) const MIN_COST_BYTES: usize = 512;

/// What a push on its way counts, where a caller may have many.
pub fn cost_bytes(push: &Push) -> usize {
    push.content.as_bytes().len().max(MIN_COST_BYTES)
}

/// The push of a GET.
///
/// # Errors
/// What is wrong with the query, or [`BadRequest::TooLarge`].
pub fn from_query(query: &[u8], max_content_bytes: usize) -> Result<Push, BadRequest> {
    let mut parameters = Parameters::default();
    parameters.read(query)?;
    assemble(parameters, max_content_bytes)
}

fn assemble(mut parameters: Parameters, max_content_bytes: usize) -> Result<Push, BadRequest> {
    let content = parameters.content.take().ok_or(BadRequest::NoContent)?;
    finish(parameters, Content::Text(content), max_content_bytes)
}

fn finish(parameters: Parameters, content: Content, max_bytes: usize) -> Result<Push, BadRequest> {
    let Parameters { target, id, wait, timeout, .. } = parameters;
    let (target, except) = target.resolve().map_err(query::invalid)?;
    let wait = wait.unwrap_or_default();
    check(&target, &content, id.as_ref(), max_bytes)?;
    Ok(Push { target, except, content, id, wait, timeout })
}

/// Whether a push of these may be made.
///
/// # Errors
/// [`BadRequest::EmptyContent`], [`BadRequest::TooLarge`], [`BadRequest::IdForConnection`].
fn check(
    target: &Target,
    content: &Content,
    id: Option<&IdempotencyKey>,
    max_bytes: usize,
) -> Result<(), BadRequest> {
    match content.as_bytes().len() {
        0 => Err(BadRequest::EmptyContent),
        len if len > max_bytes => Err(BadRequest::TooLarge { max_bytes }),
        _ => check_id(target, id),
    }
}

fn check_id(target: &Target, id: Option<&IdempotencyKey>) -> Result<(), BadRequest> {
    match (target, id) {
        (Target::Connection(_), Some(_)) => Err(BadRequest::IdForConnection),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
