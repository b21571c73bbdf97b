//! What a client wants to hear: the query of its request. Pure.

use campanile_messages::GroupName;

use crate::history::History;
use crate::refusal::Refusal;
use crate::subscriptions::Since;

/// The groups that a client listens to beside everyone, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Without repeats.
    pub groups: Vec<GroupName>,
    /// The last position that it has seen, or what a new listener asks for; `None` for one that has
    /// seen nothing and asks for nothing.
    pub since: Option<Since>,
}

impl Wish {
    /// Reads the query of a request, `group=a&group=b&since=P`, `since=first` or `last=N`.
    ///
    /// # Errors
    /// 400 for another parameter, for a name out of the rules, for more than `max_groups` of them,
    /// for two positions, for a bad
    /// `last`, and for a `last` with a `since`. A `since` that is no position is no error: the client is told so.
    pub fn read(query: &str, max_groups: usize) -> Result<Self, Refusal> {
        let mut wish = Self::default();
        let mut last = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "group" => wish.add_group(value, max_groups)?,
                "since" if wish.since.is_some() => {
                    return Err(Refusal::bad(
                        "parameter since: given more than once, one position is accepted",
                    ));
                }
                "since" if value == "first" => wish.since = Some(Since::History(History::First)),
                "since" => wish.since = Some(Since::read(&decode(value).unwrap_or_default())),
                "last" if last.is_some() => {
                    return Err(Refusal::bad(
                        "parameter last: given more than once, one number is accepted",
                    ));
                }
                "last" => last = Some(History::read_last(value)?),
                _ => {
                    let name: String = name.chars().take(100).collect();
                    return Err(Refusal::bad(&format!(
                        "unknown parameter {name:?}, accepted: group=NAME, up to {max_groups} \
                         times, since=POSITION, \
                         since=first and last=N"
                    )));
                }
            }
        }
        if let Some(last) = last {
            if wish.since.is_some() {
                return Err(Refusal::bad(
                    "parameters since and last exclude each other: give since to go on, or last to \
                     begin with the newest events",
                ));
            }
            wish.since = Some(Since::History(last));
        }
        Ok(wish)
    }

    fn add_group(&mut self, value: &str, max_groups: usize) -> Result<(), Refusal> {
        let group = decode(value)
            .ok_or_else(|| Refusal::bad("parameter group: not percent-encoded UTF-8"))?;
        let group = GroupName::new(group)
            .map_err(|error| Refusal::bad(&format!("parameter group: {error}")))?;
        if !self.groups.contains(&group) {
            self.groups.push(group);
        }
        if self.groups.len() > max_groups {
            return Err(Refusal::bad(&format!(
                "parameter group: more than {max_groups} groups, at most {max_groups} are accepted \
                 (the gateway's --max-groups)"
            )));
        }
        Ok(())
    }
}

/// `application/x-www-form-urlencoded`, but strict: what is not UTF-8 is no name.
fn decode(value: &str) -> Option<String> {
    let value = value.replace('+', " ");
    percent_encoding::percent_decode_str(&value).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use campanile_messages::Position;

    use super::*;

    #[test]
    fn groups_are_read_once_each() {
        let names = |query| {
            Wish::read(query, 2)
                .map(|wish| wish.groups.iter().map(|g| g.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(names(""), Ok(vec![]));
        assert_eq!(
            names("group=a+b&group=%EB%89%B4&group=a%20b"),
            Ok(vec!["a b".to_owned(), "뉴".to_owned()])
        );
        for query in [
            "group=",
            "group",
            "group=%ff",
            "group=%0a",
            "groups=a",
            "group=a&group=b&group=c",
            "since=a&since=a",
            "since=first&since=first",
            "since=first&last=1",
            "last=1&since=00000000000000ab-7",
            "last=1&last=1",
            "last=0",
            "last=1001",
            "last=",
            "last=all",
        ] {
            assert_eq!(names(query).map_err(|refusal| refusal.status), Err(400), "{query}");
        }
    }

    #[test]
    fn a_position_is_read_and_what_is_none_is_told_from_nothing() {
        let since = |query| Wish::read(query, 2).expect("accepted").since;
        let position = Position { epoch: 0xab, sequence: 7 };
        assert_eq!(since("group=a"), None);
        assert_eq!(since("since=first&group=a"), Some(Since::History(History::First)));
        assert_eq!(since("group=a&last=3"), Some(Since::History(History::Last(3))));
        assert_eq!(since("since=00000000000000ab-7&group=a"), Some(Since::At(position)));
        for query in ["since=", "since", "since=%ff", "since=7", "since=ab-7"] {
            assert_eq!(since(query), Some(Since::Malformed), "{query}");
        }
    }
}
