//! Whether a client may publish, which the registry knows because it has the client's principal.

use std::sync::Arc;

use actix::prelude::*;
use campanile_edge::{Action, Principal};
use campanile_messages::{Address, ConnectionId, GroupName, UserName};

use super::Registry;
use crate::dialects::PublishError;
use crate::publishing::Desk;

/// Asks whether a connection may publish to a group.
#[derive(Debug, Message)]
#[rtype(result = "Result<Permit, PublishError>")]
pub(crate) struct AskToPublish {
    pub connection: ConnectionId,
    pub group: GroupName,
    /// Whether the page that opened the connection may publish without a token.
    pub is_page_trusted: bool,
}

/// What a connection needs to publish.
#[derive(Debug)]
pub(crate) struct Permit {
    /// Where to hand it in.
    pub desk: Arc<Desk>,
    /// The connection's address.
    pub address: Address,
    /// The user of the connection, if it has one.
    pub user: Option<UserName>,
}

impl Handler<AskToPublish> for Registry {
    type Result = MessageResult<AskToPublish>;

    fn handle(&mut self, asked: AskToPublish, _: &mut Self::Context) -> Self::Result {
        let AskToPublish { connection, group, is_page_trusted } = asked;
        let client = self.clients.subscriptions.get(connection);
        let (Some(client), Some(&worker)) = (client, self.clients.worker()) else {
            // The connection is ending, and nobody reads the answer.
            return MessageResult(Err(PublishError::Unavailable));
        };
        let permit = check(&client.principal, &group, is_page_trusted).map(|user| Permit {
            desk: self.desk.clone(),
            address: Address { worker, connection },
            user,
        });
        MessageResult(permit)
    }
}

/// Returns the user that publishes, if it is one.
fn check(
    principal: &Principal,
    group: &str,
    is_page_trusted: bool,
) -> Result<Option<UserName>, PublishError> {
    if !principal.may(Action::PublishToGroup { group }) {
        return Err(PublishError::NotAllowed);
    }
    // A token says that its page may act for it. Without one, any page could.
    if *principal == Principal::Anyone && !is_page_trusted {
        return Err(PublishError::ForeignPage);
    }
    match principal.user() {
        None => Ok(None),
        Some(user) => match UserName::new(user.to_owned()) {
            Ok(user) => Ok(Some(user)),
            // Nothing is published under a name that others could not see.
            Err(_) => Err(PublishError::NotAllowed),
        },
    }
}

#[cfg(test)]
mod tests {
    use campanile_edge::rights::{GroupRights, Operations, TokenRights};

    use super::*;

    #[test]
    fn without_a_token_only_a_trusted_page_publishes() {
        assert_eq!(check(&Principal::Anyone, "news", true), Ok(None));
        assert_eq!(check(&Principal::Anyone, "news", false), Err(PublishError::ForeignPage));
    }

    #[test]
    fn a_token_publishes_to_the_groups_that_it_names_for_that() {
        let operations = Operations { publish: true, ..Operations::default() };
        let groups = GroupRights::new([("chat/*".parse().expect("a pattern"), operations)]);
        let user = Some("42".to_owned());
        let token = TokenRights { user, groups: groups.clone(), ..TokenRights::default() };
        let token = Principal::Token(Arc::new(token));
        assert_eq!(check(&token, "chat/7", false), Ok(UserName::new("42").ok()));
        assert_eq!(check(&token, "news", true), Err(PublishError::NotAllowed));
        let guest = Principal::Guest(Arc::new(groups));
        assert_eq!(check(&guest, "chat/7", true), Err(PublishError::NotAllowed));
    }
}
