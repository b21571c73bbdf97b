//! Checks what a caller may do, and turns a refusal into an error. Pure. [`Principal::may`] decides.

use campanile_channel::publishing::{Push, Target};
use campanile_edge::{Action, Principal};
use campanile_messages::Audience;

use crate::push::BadRequest;

/// Checks whether a caller may push to the target of `push`.
///
/// # Errors
/// [`BadRequest::NotAllowed`] if the caller may not.
pub(crate) fn check_push(principal: &Principal, push: &Push) -> Result<(), BadRequest> {
    let action = match &push.target {
        Target::Audience(Audience::Everyone) => Action::PublishToEveryone,
        Target::Audience(Audience::Group(group)) => Action::PublishToGroup { group },
        Target::Audience(Audience::User(user)) => Action::PublishToUser { user },
        Target::Connection(_) => Action::PublishDirect,
    };
    check(principal, action)
}

/// Checks whether a caller may perform an action.
///
/// # Errors
/// [`BadRequest::NotAllowed`] if the caller may not; it names the action.
pub(crate) fn check(principal: &Principal, action: Action<'_>) -> Result<(), BadRequest> {
    match principal.may(action) {
        true => Ok(()),
        false => Err(BadRequest::NotAllowed { action: action.to_string() }),
    }
}
