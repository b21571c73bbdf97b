//! The registry's answer to a join, which tells the session what to send to its client. Pure: a part of
//! the registry's core.

use campanile_edge::{Action, Principal};
use campanile_messages::GroupName;

use crate::registry::subscriptions::Joining;

/// The answer to a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinAnswer {
    /// Send nothing: the registry answers the client later.
    Awaited,
    /// Send `joined`: the client is a member already.
    Already,
    /// Send an error: the client is a member already, so it cannot resume in the group.
    AlreadyJoined,
    /// Send an error: the client is in as many groups as it may.
    TooMany,
    /// Send an error: the gateway has as many groups as it may.
    GatewayFull,
    /// Send an error: the client has no right to listen to the group.
    NotAllowed,
}

impl JoinAnswer {
    /// Returns why a join does not begin; `None` if it may. Without a principal, the connection is gone, and
    /// nobody has a right.
    pub fn refusal(
        principal: Option<&Principal>,
        group: &GroupName,
        is_full: bool,
    ) -> Option<Self> {
        if !principal.is_some_and(|principal| principal.may(Action::Subscribe { group })) {
            return Some(Self::NotAllowed);
        }
        is_full.then_some(Self::GatewayFull)
    }

    /// Returns the answer to a join. `resumes` says whether the client wants the events that it missed.
    pub fn to(joining: &Joining, resumes: bool) -> Self {
        match joining {
            // It cannot resume in a group of which it already gets events.
            Joining::Repeated | Joining::Already if resumes => Self::AlreadyJoined,
            Joining::Begun(_) | Joining::Repeated | Joining::Gone => Self::Awaited,
            Joining::Already => Self::Already,
            Joining::TooMany => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_full_gateway_refuses_joins() {
        let group = GroupName::new("news").expect("a name");
        let anyone = Some(&Principal::Anyone);
        assert_eq!(JoinAnswer::refusal(anyone, &group, false), None);
        assert_eq!(JoinAnswer::refusal(anyone, &group, true), Some(JoinAnswer::GatewayFull));
    }

    #[test]
    fn nobody_joins_without_a_right() {
        let group = GroupName::new("news").expect("a name");
        for principal in [None, Some(&Principal::Guest(Arc::default()))] {
            let refusal = JoinAnswer::refusal(principal, &group, false);
            assert_eq!(refusal, Some(JoinAnswer::NotAllowed), "{principal:?}");
        }
    }

    #[test]
    fn a_client_cannot_resume_in_a_group_that_it_has_joined() {
        for (joining, answer, answer_to_resume) in [
            (Joining::Repeated, JoinAnswer::Awaited, JoinAnswer::AlreadyJoined),
            (Joining::Already, JoinAnswer::Already, JoinAnswer::AlreadyJoined),
            (Joining::TooMany, JoinAnswer::TooMany, JoinAnswer::TooMany),
            (Joining::Gone, JoinAnswer::Awaited, JoinAnswer::Awaited),
        ] {
            assert_eq!(JoinAnswer::to(&joining, false), answer);
            assert_eq!(JoinAnswer::to(&joining, true), answer_to_resume);
        }
    }
}
