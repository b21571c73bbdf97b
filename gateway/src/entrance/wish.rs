//! What a client asks for in the query of its request. Pure.

use campanile_edge::query::{decode, pairs};
use campanile_messages::{GroupName, UserName};

use crate::entrance::credentials::PARAMETER;
use crate::entrance::refusal::Refusal;
use crate::history::History;
use crate::resume::Since;

/// The code of a refusal because of too many groups.
pub const TOO_MANY_GROUPS: &str = "too_many_groups";

/// Which groups a client asks for, besides everyone, and where its stream begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Each group once, in the order of the query.
    pub groups: Vec<GroupName>,
    /// The user that the client is, if it is one.
    pub user: Option<UserName>,
    /// The last position that the client has seen, or what a new listener asks for; `None` for a client
    /// that begins with the next event.
    pub since: Option<Since>,
}

/// What the parameter `token` is. Its value is read elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlToken {
    /// A parameter like any unknown one, because nobody has to say who they are.
    Unknown,
    /// A mistake, because a URL ends up in logs.
    Refused,
    /// The client's token.
    Accepted,
}

/// Which parameters a query may have.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// Whether a parameter may replace the header `Last-Event-ID`.
    pub last_event_id: bool,
    /// The most groups that a client may ask for.
    pub max_groups: usize,
    /// What a token in the query is.
    pub token: UrlToken,
    /// Whether a client may name the user that it is, because nobody has to say who they are.
    pub user: bool,
    /// Parameters that are never read, because they are meant for something else, such as a proxy that
    /// checks a token.
    pub ignored: &'a [String],
}

impl Accepted<'_> {
    /// Whether a parameter is ignored, whatever its value. Parameters that begin with `_` are a common
    /// way to bypass caches, and a polyfill for event streams describes its buffer with `evs_..`.
    fn passes_over(&self, name: &str) -> bool {
        let is_polyfills = || self.last_event_id && name.starts_with("evs_");
        self.ignored.iter().any(|ignored| ignored == name)
            || name.starts_with('_')
            || (is_polyfills() && !self.is_last_id(name))
    }

    /// Whether a parameter replaces the header `Last-Event-ID`, which polyfills cannot always send:
    /// `lastEventId`, `lastEventID`, `Last-Event-ID`, `last_event_id`, `evs_last_event_id`.
    fn is_last_id(&self, name: &str) -> bool {
        let is_it = |name: &str| {
            let letters = name.chars().filter(|c| !matches!(c, '-' | '_'));
            letters.map(|c| c.to_ascii_lowercase()).eq("lasteventid".chars())
        };
        self.last_event_id && is_it(name.strip_prefix("evs_").unwrap_or(name))
    }
}

impl Wish {
    /// Reads the query of a request, such as `group=a&group=b&since=P`, `since=first` or `last=N`. For
    /// an event stream, a last id that is not empty overrides `since` and `last`, and a later last id
    /// overrides an earlier one, because polyfills append theirs.
    ///
    /// # Errors
    /// 400 for an unknown parameter, an invalid name of a group or user, too many groups, a user that the
    /// client may not name, `user`, `since` or `last` more than once, `since` and `last` together, an invalid `last`, and anything that is not percent-encoded UTF-8. A
    /// `since` that is not a position is no error: the greeting says that nothing was recovered.
    pub fn read(query: &str, accepted: Accepted<'_>) -> Result<Self, Refusal> {
        let mut wish = Self::default();
        let (mut last, mut last_id) = (None, None);
        for (raw_name, raw_value) in pairs(query.as_bytes()) {
            let name = decode(raw_name).map_err(|error| {
                let name = shorten(&String::from_utf8_lossy(raw_name));
                Refusal::bad(&format!("the name of parameter {name:?} {error}")).quoting_name()
            })?;
            if accepted.passes_over(&name) {
                continue;
            }
            let value = || {
                decode(raw_value).map_err(|error| {
                    Refusal::bad(&format!("parameter {}: the value {error}", shorten(&name)))
                })
            };
            match &*name {
                PARAMETER if accepted.token == UrlToken::Accepted => {}
                PARAMETER if accepted.token == UrlToken::Refused => {
                    return Err(Refusal::token_in_url());
                }
                "group" => wish.add_named(&value()?, accepted.max_groups)?,
                "user" if !accepted.user => {
                    return Err(Refusal::bad(
                        "parameter user: this gateway has tokens or guests, and only a token says which \
                         user its client is: leave user out",
                    ));
                }
                "user" if wish.user.is_some() => {
                    return Err(Refusal::bad(
                        "parameter user: given more than once, one user is accepted",
                    ));
                }
                "user" => {
                    let user = UserName::new(value()?.into_owned()).map_err(|error| {
                        Refusal::coded("invalid_user", &format!("parameter user: {error}"))
                    })?;
                    wish.user = Some(user);
                }
                "since" if wish.since.is_some() => {
                    return Err(Refusal::bad(
                        "parameter since: given more than once, one position is accepted",
                    ));
                }
                "since" => {
                    let value = value()?;
                    wish.since = Some(match &*value {
                        "first" => Since::History(History::First),
                        position => Since::read(position),
                    });
                }
                "last" if last.is_some() => {
                    return Err(Refusal::bad(
                        "parameter last: given more than once, one number is accepted",
                    ));
                }
                "last" => last = Some(History::read_last(&value()?)?),
                name if accepted.is_last_id(name) => {
                    last_id = Some(value()?).filter(|id| !id.is_empty()).or(last_id);
                }
                unknown => return Err(unknown_parameter(unknown, accepted)),
            }
        }
        if let Some(last) = last {
            if wish.since.is_some() {
                return Err(Refusal::bad(
                    "parameters since and last exclude each other: give since to continue from a \
                     position, or last to begin with the newest events",
                ));
            }
            wish.since = Some(Since::History(last));
        }
        if let Some(last_id) = last_id {
            wish.since = Some(Since::read(&last_id));
        }
        Ok(wish)
    }

    fn add_named(&mut self, name: &str, max_groups: usize) -> Result<(), Refusal> {
        let group = GroupName::new(name).map_err(|error| {
            Refusal::coded("invalid_group", &format!("parameter group: {error}"))
        })?;
        self.add_group(group, max_groups)
    }

    /// Adds a group, unless it is there already.
    ///
    /// # Errors
    /// 400 if there are more than `max_groups`.
    pub fn add_group(&mut self, group: GroupName, max_groups: usize) -> Result<(), Refusal> {
        if !self.groups.contains(&group) {
            self.groups.push(group);
        }
        if self.groups.len() > max_groups {
            return Err(Refusal::coded(
                TOO_MANY_GROUPS,
                &format!(
                    "parameter group: more than {max_groups} groups, at most {max_groups} are \
                     accepted (the gateway's --max-groups)"
                ),
            ));
        }
        Ok(())
    }
}

fn unknown_parameter(
    name: &str,
    Accepted { last_event_id, max_groups, user, .. }: Accepted<'_>,
) -> Refusal {
    let last_id = if last_event_id { ", lastEventId=ID" } else { "" };
    let user = if user { "user=NAME, " } else { "" };
    let sentence = format!(
        "unknown parameter {:?}, accepted: group=NAME, up to {max_groups} times, \
         {user}since=POSITION, since=first, last=N{last_id}, names that begin with _, and those of the \
         gateway's --ignore-params",
        shorten(name)
    );
    Refusal::coded("unknown_parameter", &sentence).quoting_name()
}

/// Shortens what a client sent, so that an error does not send all of it back.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use campanile_messages::Position;
    use proptest::prelude::*;

    use super::*;

    const IN_TWO_GROUPS: Accepted<'_> = Accepted {
        last_event_id: false,
        max_groups: 2,
        token: UrlToken::Unknown,
        user: true,
        ignored: &[],
    };
    const EVENTS: Accepted<'_> = Accepted { last_event_id: true, ..IN_TWO_GROUPS };

    const P: Position = Position { epoch: 0xab, sequence: 7 };
    const Q: Position = Position { epoch: 0xab, sequence: 8 };

    fn code(query: &str, accepted: Accepted<'_>) -> Result<Wish, &'static str> {
        Wish::read(query, accepted).map_err(|refusal| {
            assert_eq!(refusal.status, 400, "{query}");
            refusal.code
        })
    }

    #[test]
    fn groups_are_read_once_each() {
        let names = |query| {
            Wish::read(query, IN_TWO_GROUPS)
                .map(|wish| wish.groups.iter().map(|g| g.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(names(""), Ok(vec![]));
        assert_eq!(names("&&"), Ok(vec![]));
        assert_eq!(
            names("group=a+b&group=%EB%89%B4&group=a%20b"),
            Ok(vec!["a b".to_owned(), "뉴".to_owned()])
        );
        assert_eq!(names("gro%75p=a"), Ok(vec!["a".to_owned()]));
        for (query, error) in [
            ("group=", "invalid_group"),
            ("group", "invalid_group"),
            ("group=%0a", "invalid_group"),
            ("user=", "invalid_user"),
            ("user=%0a", "invalid_user"),
            ("user=a&user=a", "bad_request"),
            ("groups=a", "unknown_parameter"),
            ("=a", "unknown_parameter"),
            ("group=a&group=b&group=c", "too_many_groups"),
            ("since=a&since=a", "bad_request"),
            ("since=first&since=first", "bad_request"),
            ("since=first&last=1", "bad_request"),
            ("last=1&since=00000000000000ab-7", "bad_request"),
            ("last=1&last=1", "bad_request"),
            ("last=0", "bad_request"),
            ("last=1001", "bad_request"),
            ("last=", "bad_request"),
            ("last=all", "bad_request"),
        ] {
            assert_eq!(code(query, IN_TWO_GROUPS), Err(error), "{query}");
        }
    }

    #[test]
    fn a_client_names_its_user_only_where_nobody_has_to_say_who_they_are() {
        let user = |accepted| {
            let wish = Wish::read("user=4+2", accepted).map_err(|refusal| {
                assert_eq!(refusal.status, 400);
                refusal.sentence().to_owned()
            })?;
            Ok(wish.user.map(|user| user.to_string()))
        };
        assert_eq!(user(IN_TWO_GROUPS), Ok(Some("4 2".to_owned())));
        let closed = Accepted { user: false, ..IN_TWO_GROUPS };
        assert!(user(closed).is_err_and(|sentence: String| sentence.contains("leave user out")));
        let ignored = ["user".to_owned()];
        assert_eq!(user(Accepted { ignored: &ignored, ..closed }), Ok(None));
    }

    #[test]
    fn names_and_values_must_be_percent_encoded_utf8() {
        for bad in ["%zz", "%", "%f", "%ff", "%ed%a0%80", "%+1"] {
            for query in [format!("group={bad}"), format!("since={bad}"), format!("{bad}=a")] {
                assert_eq!(code(&query, IN_TWO_GROUPS), Err("bad_request"), "{query}");
            }
            assert_eq!(code(&format!("lastEventId={bad}"), EVENTS), Err("bad_request"));
        }
        let twice = Wish::read("group=%2525", IN_TWO_GROUPS).expect("one group");
        assert_eq!(&*twice.groups[0], "%25", "it is decoded once");
    }

    #[test]
    fn an_invalid_position_differs_from_a_missing_one() {
        let since = |query| Wish::read(query, IN_TWO_GROUPS).expect("accepted").since;
        assert_eq!(since("group=a"), None);
        assert_eq!(since("since=first&group=a"), Some(Since::History(History::First)));
        assert_eq!(since("group=a&last=3"), Some(Since::History(History::Last(3))));
        assert_eq!(since("since=00000000000000ab-7&group=a"), Some(Since::At(P)));
        for query in ["since=", "since", "since=7", "since=ab-7"] {
            assert_eq!(since(query), Some(Since::Malformed), "{query}");
        }
    }

    #[test]
    fn a_polyfills_last_id_is_read_for_event_streams_only() {
        let since = |query: &str| Wish::read(query, EVENTS).map(|wish| wish.since);
        for name in [
            "lastEventId",
            "lastEventID",
            "lasteventid",
            "last-event-id",
            "Last-Event-ID",
            "Last-Event-Id",
            "last_event_id",
            "evs_last_event_id",
            "last%45ventId",
        ] {
            let query = format!("group=a&{name}={P}");
            assert_eq!(since(&query), Ok(Some(Since::At(P))), "{name}");
            assert_eq!(code(&query, IN_TWO_GROUPS), Err("unknown_parameter"), "{name}");
            assert_eq!(since(&format!("{name}=")), Ok(None), "{name}");
            assert_eq!(since(&format!("{name}=&since={P}")), Ok(Some(Since::At(P))), "{name}");
            assert_eq!(since(&format!("{name}=7")), Ok(Some(Since::Malformed)), "{name}");
        }
        for query in [
            format!("lastEventId={P}&lastEventId={Q}"),
            format!("lastEventId={Q}&lastEventId="),
            format!("lastEventId={P}&Last-Event-ID={Q}"),
            format!("lastEventId={Q}&since={P}"),
            format!("since={P}&lastEventId={Q}"),
        ] {
            assert_eq!(since(&query), Ok(Some(Since::At(Q))), "{query}");
        }
        // The oldest of the polyfills also sends these.
        assert_eq!(since("evs_buffer_size_limit=262144&evs_preamble=2056"), Ok(None));
        assert_eq!(code("evs_preamble=2056", IN_TWO_GROUPS), Err("unknown_parameter"));
    }

    #[test]
    fn a_name_that_may_be_a_token_is_not_for_the_log() {
        for query in ["eyJ0.s3cret", "eyJ0.s3cret%zz", "eyJ0.s3cret%ff=1"] {
            let refusal = Wish::read(query, IN_TWO_GROUPS).expect_err("refused");
            assert!(refusal.sentence().contains("s3cret"), "the client reads it: {query}");
            assert!(!refusal.for_log().contains("s3cret"), "{}", refusal.for_log());
        }
        let refusal = Wish::read("last=0", IN_TWO_GROUPS).expect_err("refused");
        assert_eq!(refusal.for_log(), refusal.sentence());
    }

    #[test]
    fn ignored_parameters_are_never_read() {
        let ignored = ["token".to_owned(), "since".to_owned(), "a b".to_owned()];
        let accepted = Accepted { ignored: &ignored, ..EVENTS };
        let wish = Wish::read(
            "_=1699&_x=%zz&group=a&token=%zz&token=&since=a&since=b&a+b=c&_lastEventId=d",
            accepted,
        );
        let groups = vec![GroupName::new("a").expect("a name")];
        assert_eq!(wish, Ok(Wish { groups, ..Wish::default() }));
        assert_eq!(code("Token=x", accepted), Err("unknown_parameter"));
        let ignored = ["group".to_owned()];
        assert_eq!(
            Wish::read("group=&group=%zz", Accepted { ignored: &ignored, ..EVENTS }),
            Ok(Wish::default())
        );
    }

    #[test]
    fn a_token_in_the_query_is_passed_over_or_refused() {
        let read = |token| code("group=a&token=x", Accepted { token, ..EVENTS }).map(|_| ());
        assert_eq!(read(UrlToken::Unknown), Err("unknown_parameter"));
        assert_eq!(read(UrlToken::Refused), Err("bad_request"));
        assert_eq!(read(UrlToken::Accepted), Ok(()));
    }

    #[test]
    fn an_error_shortens_a_name_and_escapes_it() {
        let name = format!("%1b[2J%0d%0a{}", "x".repeat(10_000));
        let refusal = Wish::read(&name, EVENTS).expect_err("unknown");
        let sentence = refusal.sentence();
        assert!(sentence.len() < 500 && !sentence.contains(char::is_control), "{sentence}");
    }

    proptest! {
        #[test]
        fn no_query_panics(query: String) {
            let _ = Wish::read(&query, EVENTS);
            let _ = Wish::read(&query, IN_TWO_GROUPS);
        }
    }
}
