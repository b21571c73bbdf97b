//! What is pushed to whom, read from a query, a form, a body or an item. Pure.

pub mod batch;
pub(crate) mod error;
mod form;
pub mod item;
pub(crate) mod query;
pub(crate) mod rights;
pub(crate) mod shown;
mod target;

use campanile_channel::publishing::{Push, Target};
use campanile_messages::{Content, IdempotencyKey};

use crate::push::query::Parameters;
use crate::push::shown::Shown;
pub(crate) use error::BadRequest;
pub use form::{BodyKind, from_body};

/// Returns the push with the id of a header, if there is one.
///
/// # Errors
/// `BadRequest::TwoIds` if the push has another id, `BadRequest::IdForConnection`.
pub(crate) fn with_key(mut push: Push, header: Option<IdempotencyKey>) -> Result<Push, BadRequest> {
    let Some(header) = header else { return Ok(push) };
    if let Some(id) = &push.id
        && *id != header
    {
        let (parameter, header) = (Shown::from(&**id), Shown::from(&*header));
        return Err(BadRequest::TwoIds { parameter, header });
    }
    push.id = Some(header);
    check_id(&push.target, push.id.as_ref())?;
    Ok(push)
}

/// The least that a push of a batch or a stream counts: about what is kept of it besides its content, and
/// room for its answer afterwards.
pub(crate) const MIN_COST_BYTES: usize = 512;

/// How many bytes a push of a batch or a stream counts while it is under way.
pub(crate) fn cost_bytes(push: &Push) -> usize {
    push.content.as_bytes().len().max(MIN_COST_BYTES)
}

/// Reads the push of a GET.
///
/// # Errors
/// What is wrong with the query, or `BadRequest::TooLarge`.
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
    Ok(Push { target, except, content, id, wait, timeout, from: None, trace: None })
}

/// Checks what the parts of a push must fulfil together.
///
/// # Errors
/// `BadRequest::EmptyContent`, `BadRequest::TooLarge`, `BadRequest::IdForConnection`.
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
