//! What a session does about a join of its client. Pure: a part of the registry's core.

use campanile_edge::{Action, Principal};
use campanile_messages::GroupName;

use crate::registry::subscriptions::Joining;

/// The answer to a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinAnswer {
    /// Nothing: the registry answers its client.
    Awaited,
    /// Say `joined`: the client listens already.
    Already,
    /// Say that it listens already, and so cannot go on somewhere.
    AlreadyJoined,
    /// Say that there are too many.
    TooMany,
    /// Say that the gateway has too many.
    GatewayFull,
    /// Say that the client has no right to listen to the group.
    NotAllowed,
}

impl JoinAnswer {
    /// Why a join does not begin. A client without a principal is not there, or not greeted.
    pub fn refusal(
        principal: Option<&Principal>,
        group: &GroupName,
        is_full: bool,
    ) -> Option<Self> {
        if principal.is_some_and(|principal| !principal.may(Action::Subscribe { group })) {
            return Some(Self::NotAllowed);
        }
        is_full.then_some(Self::GatewayFull)
    }

    /// The answer to what came of a join, for a client that wants to go on somewhere or does not.
    pub fn to(joining: &Joining, goes_on: bool) -> Self {
        match joining {
            // It cannot go on in two places.
            Joining::Repeated | Joining::Already if goes_on => Self::AlreadyJoined,
            Joining::Begun(_) | Joining::Repeated | Joining::Gone => Self::Awaited,
            Joining::Already => Self::Already,
            Joining::TooMany => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gateway_lets_nobody_join() {
        let group = GroupName::new("news").expect("a name");
        let guest = Some(&Principal::Guest);
        assert_eq!(JoinAnswer::refusal(guest, &group, false), None);
        assert_eq!(JoinAnswer::refusal(guest, &group, true), Some(JoinAnswer::GatewayFull));
        assert_eq!(JoinAnswer::refusal(None, &group, true), Some(JoinAnswer::GatewayFull));
    }

    #[test]
    fn a_client_cannot_go_on_in_a_group_that_it_has_joined() {
        for (joining, answer, answer_to_going_on) in [
            (Joining::Repeated, JoinAnswer::Awaited, JoinAnswer::AlreadyJoined),
            (Joining::Already, JoinAnswer::Already, JoinAnswer::AlreadyJoined),
            (Joining::TooMany, JoinAnswer::TooMany, JoinAnswer::TooMany),
            (Joining::Gone, JoinAnswer::Awaited, JoinAnswer::Awaited),
        ] {
            assert_eq!(JoinAnswer::to(&joining, false), answer);
            assert_eq!(JoinAnswer::to(&joining, true), answer_to_going_on);
        }
    }
}
