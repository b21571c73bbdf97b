//! What a caller may do. Pure: [`Principal`] decides, this says it in words.

use campanile_channel::publishing::{Push, Target};
use campanile_edge::{Action, Principal};
use campanile_messages::Audience;

use crate::push::BadRequest;

/// Checks whether a caller may make this push.
///
/// # Errors
/// `BadRequest::NotAllowed`.
pub(crate) fn check_push(principal: &Principal, push: &Push) -> Result<(), BadRequest> {
    let action = match &push.target {
        Target::Audience(Audience::Everyone) => Action::PublishToEveryone,
        Target::Audience(Audience::Group(group)) => Action::PublishToGroup { group },
        Target::Audience(Audience::User(user)) => Action::PublishToUser { user },
        Target::Connection(_) => Action::PublishDirect,
    };
    check(principal, action)
}

/// Checks whether a caller may do something.
///
/// # Errors
/// `BadRequest::NotAllowed`.
pub(crate) fn check(principal: &Principal, action: Action<'_>) -> Result<(), BadRequest> {
    match principal.may(action) {
        true => Ok(()),
        false => Err(BadRequest::NotAllowed { action: action.to_string() }),
    }
}
