//! Who a peer is and what it may do. This is the only place where rights are decided. Pure.
//!
//! A principal is established once, where a connection, a request or a link comes in, and is passed on with
//! it from there. No peer is authenticated twice.

use std::fmt;
use std::sync::Arc;

use crate::rights::{GroupRights, KeyRights, Scope, TokenRights};

/// How many characters of a name a sentence shows. An escaped character counts several times.
const SHOWN_CHARS: usize = 60;

/// The identity of a peer, and the source of its rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Principal {
    /// A peer of a service that is open to all. It may do everything.
    #[default]
    Anyone,
    /// A client without a token, at a gateway that asks for tokens and admits guests.
    Guest(Arc<GroupRights>),
    /// A client with a token.
    Token(Arc<TokenRights>),
    /// A backend with an API key.
    Key(Arc<KeyRights>),
    /// A service that has proven that it knows the cluster's secret.
    Member,
}

impl fmt::Display for Principal {
    /// Writes who it is in one word, for the log. A user's name is escaped and cut after 60 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Guest(_) => f.write_str("guest"),
            Self::Token(token) => match &token.user {
                Some(user) => write!(f, "user:{}", Shown(user)),
                None => f.write_str("token"),
            },
            Self::Key(key) => write!(f, "key:{}", Shown(&key.name)),
            Self::Member => f.write_str("member"),
        }
    }
}

/// Something that a principal may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Hold a client connection, which receives the events for everyone.
    Connect,
    /// Receive the events for a group.
    Subscribe {
        /// The group's name.
        group: &'a str,
    },
    /// Push to everyone.
    PublishToEveryone,
    /// Push to a group.
    PublishToGroup {
        /// The group's name.
        group: &'a str,
    },
    /// Push to a user.
    PublishToUser {
        /// The user's name.
        user: &'a str,
    },
    /// Push to a single connection.
    PublishDirect,
    /// Read the position of the newest event.
    ReadPosition,
    /// See what happens in the cluster: its metrics, its connections, and where an event went.
    Observe,
    /// Change something in the cluster, such as ending a connection.
    Manage,
    /// Hold a link to the broker.
    Link,
}

impl Action<'_> {
    /// The narrowest scope of an API key that allows the action, such as `group:news`; `None` if no key
    /// can.
    pub fn scope(self) -> Option<String> {
        match self {
            Self::PublishToEveryone => Some("everyone".to_owned()),
            Self::PublishToGroup { group } => Some(format!("group:{group}")),
            Self::PublishToUser { user } => Some(format!("user:{user}")),
            Self::PublishDirect => Some("connection".to_owned()),
            Self::ReadPosition | Self::Observe => Some("read".to_owned()),
            Self::Manage => Some("manage".to_owned()),
            Self::Connect | Self::Subscribe { .. } | Self::Link => None,
        }
    }
}

impl fmt::Display for Action<'_> {
    /// Writes the action as the end of a sentence, after "is allowed to". A name is quoted, escaped and
    /// cut after 60 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Subscribe { group } => write!(f, "listen to the group {}", Shown(group)),
            Self::PublishToEveryone => f.write_str("push to everyone"),
            Self::PublishToGroup { group } => write!(f, "push to the group {}", Shown(group)),
            Self::PublishToUser { user } => write!(f, "push to the user {}", Shown(user)),
            Self::PublishDirect => f.write_str("push to a single connection"),
            Self::ReadPosition => f.write_str("read the position"),
            Self::Observe => f.write_str("see what happens in the cluster"),
            Self::Manage => f.write_str("change something in the cluster"),
            Self::Link => f.write_str("hold a link"),
        }
    }
}

/// The beginning of a name in a sentence.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaped = self.0.escape_debug();
        let shown: String = escaped.by_ref().take(SHOWN_CHARS).collect();
        let rest = if escaped.next().is_some() { ".." } else { "" };
        write!(f, "\"{shown}{rest}\"")
    }
}

impl Principal {
    /// Whether the principal is allowed to perform an action. Every decision about rights is made here.
    pub fn may(&self, action: Action<'_>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Guest(groups) => match action {
                Action::Connect => true,
                Action::Subscribe { group } => groups.of(group).subscribe,
                _ => false,
            },
            Self::Token(token) => match action {
                Action::Connect | Action::ReadPosition => true,
                Action::Subscribe { group } => {
                    token.groups.of(group).subscribe || token.join.iter().any(|join| join == group)
                }
                Action::PublishToGroup { group } => token.groups.of(group).publish,
                _ => false,
            },
            Self::Key(key) => key.scopes.iter().any(|scope| allows(scope, action)),
            Self::Member => action == Action::Link,
        }
    }

    /// The user that the principal is, if it is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Token(token) => token.user.as_deref(),
            _ => None,
        }
    }
}

/// Whether a scope of an API key allows an action.
fn allows(scope: &Scope, action: Action<'_>) -> bool {
    match (scope, action) {
        (Scope::Everyone, Action::PublishToEveryone)
        | (Scope::Connection, Action::PublishDirect)
        | (Scope::Read, Action::ReadPosition | Action::Observe)
        | (Scope::Manage, Action::Manage) => true,
        (Scope::Group(pattern), Action::PublishToGroup { group }) => pattern.matches(group),
        (Scope::User(pattern), Action::PublishToUser { user }) => pattern.matches(user),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::Operations;

    /// One of each.
    const ACTIONS: [Action<'static>; 10] = [
        Action::Connect,
        Action::Subscribe { group: "news" },
        Action::PublishToEveryone,
        Action::PublishToGroup { group: "news" },
        Action::PublishToUser { user: "42" },
        Action::PublishDirect,
        Action::ReadPosition,
        Action::Link,
        Action::Observe,
        Action::Manage,
    ];

    fn allowed(principal: &Principal) -> Vec<usize> {
        (0..ACTIONS.len()).filter(|&at| principal.may(ACTIONS[at])).collect()
    }

    fn groups(pattern: &str, operations: Operations) -> GroupRights {
        GroupRights::new([(pattern.parse().expect("a pattern"), operations)])
    }

    #[test]
    fn anyone_may_do_everything_at_an_open_service() {
        assert_eq!(allowed(&Principal::default()), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn guests_and_members_may_do_only_what_they_are_for() {
        let all = Operations { subscribe: true, publish: true, presence: true };
        assert_eq!(allowed(&Principal::Guest(Arc::new(groups("news", all)))), [0, 1]);
        assert_eq!(allowed(&Principal::Guest(Arc::new(groups("other", all)))), [0]);
        assert_eq!(allowed(&Principal::Member), [7]);
    }

    #[test]
    fn a_token_allows_what_it_says_of_a_group() {
        let token = |pattern: &str, subscribe, publish| {
            let groups = groups(pattern, Operations { subscribe, publish, presence: false });
            Principal::Token(Arc::new(TokenRights { groups, ..TokenRights::default() }))
        };
        assert_eq!(allowed(&token("new*", true, true)), [0, 1, 3, 6]);
        assert_eq!(allowed(&token("news", true, false)), [0, 1, 6]);
        assert_eq!(allowed(&token("news", false, true)), [0, 3, 6]);
        assert_eq!(allowed(&token("chat/*", true, true)), [0, 6]);
        let join = vec!["news".to_owned()];
        let joined = Arc::new(TokenRights { join, ..TokenRights::default() });
        assert_eq!(allowed(&Principal::Token(joined)), [0, 1, 6]);
    }

    #[test]
    fn a_key_allows_what_one_of_its_scopes_allows() {
        let key = |scopes: &[&str]| {
            let scopes = scopes.iter().map(|scope| scope.parse().expect("a scope")).collect();
            Principal::Key(Arc::new(KeyRights { name: "k".to_owned(), scopes }))
        };
        assert_eq!(allowed(&key(&[])), [0usize; 0]);
        assert_eq!(allowed(&key(&["everyone"])), [2]);
        assert_eq!(allowed(&key(&["group:chat/*"])), [0usize; 0]);
        assert_eq!(allowed(&key(&["group:n*", "user:42"])), [3, 4]);
        assert_eq!(allowed(&key(&["user:*", "connection", "read", "manage"])), [4, 5, 6, 8, 9]);
    }

    #[test]
    fn the_scope_of_an_action_allows_it() {
        for action in ACTIONS {
            let Some(scope) = action.scope() else { continue };
            let scopes = vec![scope.parse().expect("a scope")];
            let key = Principal::Key(Arc::new(KeyRights { name: "k".to_owned(), scopes }));
            let mut allowed = allowed(&key).into_iter().map(|at| ACTIONS[at].scope());
            assert!(key.may(action) && allowed.all(|of| of == Some(scope.clone())), "{scope}");
        }
    }

    #[test]
    fn the_log_shows_who_it_is() {
        let token = |user: Option<&str>| {
            let user = user.map(str::to_owned);
            Principal::Token(Arc::new(TokenRights { user, ..TokenRights::default() }))
        };
        let key = KeyRights { name: "shop".to_owned(), scopes: vec![] };
        assert_eq!(Principal::default().to_string(), "anyone");
        assert_eq!(token(Some("4\n2")).to_string(), r#"user:"4\n2""#);
        assert_eq!(token(None).to_string(), "token");
        assert_eq!(Principal::Key(Arc::new(key)).to_string(), r#"key:"shop""#);
    }

    #[test]
    fn an_action_shows_the_beginning_of_a_name() {
        let said = |group: &str| Action::PublishToGroup { group }.to_string();
        assert_eq!(said("a\"b"), r#"push to the group "a\"b""#);
        assert_eq!(said(&"é".repeat(60)), format!("push to the group \"{}\"", "é".repeat(60)));
        assert_eq!(said(&"é".repeat(61)), format!("push to the group \"{}..\"", "é".repeat(60)));
        assert_eq!(said(&"\"".repeat(255)).len(), said("").len() + 60 + 2);
    }
}
