//! What a client may have by its identity. Pure.

use std::net::IpAddr;

use campanile_edge::{Action, Principal};
use campanile_messages::{GroupName, UserName};

use crate::config::GatewayConfig;
use crate::entrance::credentials::PARAMETER;
use crate::entrance::refusal::Refusal;
use crate::entrance::wish::{UrlToken, Wish};

/// What the parameter `token` is at a gateway that listens there. A name that is ignored is never read.
pub fn url_token(config: &GatewayConfig, listens_on: IpAddr) -> UrlToken {
    let is_ignored = config.ignored_params.iter().any(|name| name == PARAMETER);
    match () {
        () if config.access.borrow().is_open() || is_ignored => UrlToken::Unknown,
        () if config.token_in_url || listens_on.to_canonical().is_loopback() => UrlToken::Accepted,
        () => UrlToken::Refused,
    }
}

/// Checks that a client may connect and listen to what it asks for, and adds the user that its token is
/// for, and the groups that it puts the client into.
///
/// # Errors
/// 403 for what it may not, 400 if these are more than `max_groups` groups.
pub fn grant(principal: &Principal, mut wish: Wish, max_groups: usize) -> Result<Wish, Refusal> {
    check(principal, Action::Connect)?;
    wish.groups.iter().try_for_each(|group| check(principal, Action::Subscribe { group }))?;
    if *principal != Principal::Anyone {
        // A token whose user is not the name of one was refused.
        wish.user = principal.user().and_then(|user| UserName::new(user.to_owned()).ok());
    }
    if let Principal::Token(rights) = principal {
        // A token whose names are not those of groups was refused.
        let names = rights.join.iter().filter_map(|name| GroupName::new(name.clone()).ok());
        for group in names {
            wish.add_group(group, max_groups)?;
        }
    }
    Ok(wish)
}

/// Checks that a client may do something.
///
/// # Errors
/// 403 if it may not.
pub fn check(principal: &Principal, action: Action<'_>) -> Result<(), Refusal> {
    match principal.may(action) {
        true => Ok(()),
        false => Err(Refusal::not_allowed(action)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use campanile_edge::rights::{GroupRights, Operations, TokenRights};

    use super::*;

    fn wish(groups: &[&str]) -> Wish {
        let name = |name: &&str| GroupName::new((*name).to_owned()).expect("a name");
        Wish { groups: groups.iter().map(name).collect(), ..Wish::default() }
    }

    #[test]
    fn the_user_is_that_of_the_token_whatever_the_query_says() {
        let user = |name: &str| UserName::new(name.to_owned()).ok();
        let wish = || Wish { user: user("1"), ..Wish::default() };
        let of = |user: Option<&str>| {
            let user = user.map(str::to_owned);
            Principal::Token(Arc::new(TokenRights { user, ..TokenRights::default() }))
        };
        let granted = |principal: &Principal| grant(principal, wish(), 9).map(|wish| wish.user);
        assert_eq!(granted(&Principal::Anyone), Ok(user("1")));
        assert_eq!(granted(&of(Some("42"))), Ok(user("42")));
        assert_eq!(granted(&of(None)), Ok(None));
        assert_eq!(granted(&Principal::Guest(Arc::default())), Ok(None));
    }

    #[test]
    fn a_token_adds_its_groups_and_limits_the_others() {
        let subscribe = Operations { subscribe: true, ..Operations::default() };
        let groups = GroupRights::new([("news".parse().expect("a pattern"), subscribe)]);
        let join = vec!["user/42".to_owned(), "news".to_owned()];
        let principal =
            Principal::Token(Arc::new(TokenRights { groups, join, ..TokenRights::default() }));
        let grant = |groups, max| grant(&principal, wish(groups), max).map_err(|error| error.code);
        assert_eq!(grant(&[], 2), Ok(wish(&["user/42", "news"])));
        assert_eq!(grant(&["news"], 2), Ok(wish(&["news", "user/42"])));
        assert_eq!(grant(&["user/42"], 2), Ok(wish(&["user/42", "news"])));
        assert_eq!(grant(&["news"], 1), Err("too_many_groups"));
        assert_eq!(grant(&["news", "user/43"], 9), Err("not_allowed"));
        let open = super::grant(&Principal::Anyone, wish(&["a"]), 1);
        assert_eq!(open, Ok(wish(&["a"])));
    }
}
