//! What a token says, as sentences.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_edge::rights::{GroupRights, Operations, TokenRights};
use campanile_edge::tokens::{Cause, Denied};
use serde_json::Value;

/// What a gateway would say of a token.
pub enum Verdict {
    /// There are no settings to check it with.
    Unchecked,
    /// It is accepted.
    Accepted(Box<TokenRights>),
    /// It is refused.
    Refused(Cause),
    /// It is valid, and on the deny list.
    Denied(Denied),
}

/// Explains a token. `now` is in seconds since 1970-01-01 UTC. The signature is not shown, so that what is
/// printed is no token.
pub fn explain(token: &str, verdict: &Verdict, groups: &[String], now: u64) -> String {
    let mut text = String::new();
    let mut parts = token.split('.').map(part);
    for name in ["header", "claims"] {
        match parts.next().flatten() {
            Some(json) => _ = writeln!(text, "{name}: {json:#}"),
            None => _ = writeln!(text, "{name}: not JSON in base64url"),
        }
    }
    text.push('\n');
    match verdict {
        Verdict::Unchecked => {
            text.push_str("not checked: --config FILE names the settings file with the keys\n");
        }
        Verdict::Refused(cause) => _ = writeln!(text, "refused ({}): {cause}", cause.word()),
        Verdict::Denied(Denied::Id) => text.push_str("refused: its jti is on the deny list\n"),
        Verdict::Denied(Denied::User) => text.push_str("refused: its sub is on the deny list\n"),
        Verdict::Accepted(rights) => text.push_str(&accepted(rights, groups, now)),
    }
    text
}

fn part(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn accepted(rights: &TokenRights, groups: &[String], now: u64) -> String {
    let who = match &rights.user {
        Some(user) => format!("the user {user:?}"),
        None => "a client without a user".to_owned(),
    };
    let mut text = format!("accepted: {who}, {}\n", until(rights.expires, now));
    if !rights.join.is_empty() {
        _ = writeln!(text, "is in {} from the start", quoted(&rights.join));
    }
    for (pattern, operations) in rights.groups.iter() {
        _ = writeln!(text, "{pattern}: {}", words(*operations));
    }
    for group in groups {
        _ = writeln!(text, "{}", of_group(&rights.groups, group));
    }
    text
}

fn until(expires: u64, now: u64) -> String {
    match expires.checked_sub(now) {
        Some(left) => format!("for {} s more", left),
        None => format!("expired {} s ago, which the leeway still allows", now - expires),
    }
}

/// What may be done with one group, and why.
fn of_group(rights: &GroupRights, group: &str) -> String {
    let matching = rights.iter().filter(|(pattern, _)| pattern.matches(group));
    let matching: Vec<String> = matching.map(|(pattern, _)| pattern.to_string()).collect();
    if matching.is_empty() {
        return format!("the group {group:?} is refused: no pattern of the token matches it");
    }
    let by = quoted(&matching);
    let operations = rights.of(group);
    let verdict = if operations.subscribe { "may be joined" } else { "is refused" };
    format!("the group {group:?} {verdict}: {by} allows {}", words(operations))
}

fn words(operations: Operations) -> String {
    let Operations { subscribe, publish, presence } = operations;
    let all = [(subscribe, "subscribe"), (publish, "publish"), (presence, "presence")];
    let words: Vec<&str> = all.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> TokenRights {
        let pattern = |text: &str| text.parse().expect("a pattern");
        let subscribe = Operations { subscribe: true, ..Operations::default() };
        let publish = Operations { publish: true, ..Operations::default() };
        TokenRights {
            user: Some("42".to_owned()),
            expires: 1_060,
            groups: GroupRights::new([
                (pattern("news"), subscribe),
                (pattern("chat/*"), subscribe),
                (pattern("chat/7"), publish),
                (pattern("log"), publish),
            ]),
            join: vec!["user/42".to_owned()],
            ..TokenRights::default()
        }
    }

    fn explained(token: &str, verdict: &Verdict, groups: &[&str]) -> String {
        let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        explain(token, verdict, &groups, 1_000)
    }

    #[test]
    fn an_accepted_token_is_explained_group_by_group() {
        let verdict = Verdict::Accepted(Box::new(rights()));
        let text = explained("e30.eyJzdWIiOiI0MiJ9.c2ln", &verdict, &["chat/7", "log", "eu"]);
        for line in [
            "header: {}",
            "accepted: the user \"42\", for 60 s more",
            "is in \"user/42\" from the start",
            "chat/*: subscribe",
            "the group \"chat/7\" may be joined: \"chat/*\", \"chat/7\" allows subscribe, publish",
            "the group \"log\" is refused: \"log\" allows publish",
            "the group \"eu\" is refused: no pattern of the token matches it",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
        assert!(text.contains("\"sub\": \"42\"") && !text.contains("c2ln"), "{text}");
    }

    #[test]
    fn a_refused_token_says_exactly_why() {
        let refused = Verdict::Refused(Cause::Expired { since_seconds: 7 });
        let text = explained("e30.e30.", &refused, &["news"]);
        assert!(
            text.ends_with("refused (expired): the token has expired 7 s ago (exp)\n"),
            "{text}"
        );
        let text = explained("nonsense", &Verdict::Unchecked, &[]);
        assert!(text.contains("header: not JSON") && text.contains("claims: not JSON"), "{text}");
        assert!(text.contains("not checked"), "{text}");
        let text = explained("e30.e30.", &Verdict::Denied(Denied::User), &[]);
        assert!(text.ends_with("its sub is on the deny list\n"), "{text}");
    }
}
