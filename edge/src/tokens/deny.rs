//! Which tokens and users are refused although their tokens are valid.

use std::collections::HashSet;

use crate::rights::TokenRights;

/// A list of revoked tokens and of users that are shut out. An entry can be dropped once every token that it
/// is about has expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deny {
    /// Revoked tokens, by their `jti`.
    pub ids: HashSet<String>,
    /// Users that are shut out, by their `sub`.
    pub users: HashSet<String>,
}

/// What of a token is on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The token itself. Its client may get a new one.
    Id,
    /// Its user. Another token would not help.
    User,
}

impl Deny {
    /// Whether a token is refused, and why. Its user counts first.
    pub fn denies(&self, token: &TokenRights) -> Option<Denied> {
        let is_in = |list: &HashSet<String>, name: &Option<String>| {
            name.as_ref().is_some_and(|name| list.contains(name))
        };
        if is_in(&self.users, &token.user) {
            Some(Denied::User)
        } else {
            is_in(&self.ids, &token.id).then_some(Denied::Id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_denied_by_its_user_or_by_its_id() {
        let deny = Deny { ids: ["a".to_owned()].into(), users: ["b".to_owned()].into() };
        let denied = |user: Option<&str>, id: Option<&str>| {
            let (user, id) = (user.map(str::to_owned), id.map(str::to_owned));
            deny.denies(&TokenRights { user, id, ..TokenRights::default() })
        };
        assert_eq!(denied(Some("a"), Some("b")), None);
        assert_eq!(denied(None, None), None);
        assert_eq!(denied(Some("c"), Some("a")), Some(Denied::Id));
        assert_eq!(denied(Some("b"), Some("a")), Some(Denied::User));
    }
}
