//! The access log: what was pushed, by whom, and what became of it. Nothing here is used without
//! `--access-log`.
//!
//! Pushes of one batch, and those of a stream that are answered together, share a line if audience and result
//! are the same. So a line costs no more than a request, or than a turn of a stream.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_channel::publishing::{Push, Target};
use campanile_messages::Audience;
use tracing::field::display;
use tracing::info;

use crate::meters::Kind;

/// What a push asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Whom it is for; `None` if it could not be read.
    audience: Option<&'static str>,
    /// Those of its content.
    bytes: usize,
    begun: Instant,
}

impl Asked {
    /// A push whose request or message was there at `begun`; `None` if it could not be read.
    pub(crate) fn new(push: Option<&Push>, begun: Instant) -> Self {
        let audience = push.map(|push| match &push.target {
            Target::Audience(Audience::Everyone) => "everyone",
            Target::Audience(Audience::Group(_)) => "group",
            Target::Audience(Audience::User(_)) => "user",
            Target::Connection(_) => "connection",
        });
        Self { audience, bytes: push.map_or(0, |push| push.content.as_bytes().len()), begun }
    }
}

/// What the items of a stream asked for that wait for their answers, in their order. Without an access log,
/// nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<VecDeque<Asked>>);

impl Waiting {
    pub(crate) fn new(is_logged: bool) -> Self {
        Self(is_logged.then(VecDeque::new))
    }

    /// Adds an item; `None` if it could not be read.
    pub(crate) fn add(&mut self, push: Option<&Push>, now: Instant) {
        if let Some(asked) = &mut self.0 {
            asked.push_back(Asked::new(push, now));
        }
    }

    /// Adds the answer to the first item to `lines`.
    pub(crate) fn answered(&mut self, status: u16, now: Instant, lines: &mut Lines) {
        if let Some(asked) = self.0.as_mut().and_then(VecDeque::pop_front) {
            lines.add(asked, Some(status), now);
        }
    }

    /// Takes the items that have no answer, because their caller is gone.
    pub(crate) fn unanswered(&mut self, now: Instant) -> Lines {
        let mut lines = Lines::default();
        self.0.take().into_iter().flatten().for_each(|asked| lines.add(asked, None, now));
        lines
    }
}

/// Who pushes, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) kind: Kind,
    /// The name of the caller's key; empty without one.
    pub(crate) key: &'a str,
    pub(crate) peer: Option<SocketAddr>,
}

/// The pushes that have this audience and result.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    audience: Option<&'static str>,
    /// `None` if the caller was gone before the answer.
    status: Option<u16>,
    pushes: u64,
    bytes: usize,
    /// How long the slowest took.
    longest: Duration,
}

/// Lines of the access log. There are few, because there are few audiences and results.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// Adds a push that has its answer now, or whose caller is gone if there is no status.
    pub(crate) fn add(&mut self, asked: Asked, status: Option<u16>, now: Instant) {
        let Asked { audience, bytes, begun } = asked;
        let took = now.saturating_duration_since(begun);
        let same = |line: &&mut Line| (line.audience, line.status) == (audience, status);
        match self.0.iter_mut().find(same) {
            Some(line) => {
                line.pushes += 1;
                line.bytes += bytes;
                line.longest = line.longest.max(took);
            }
            None => self.0.push(Line { audience, status, pushes: 1, bytes, longest: took }),
        }
    }

    /// Writes them.
    pub(crate) fn log(self, source: Source<'_>) {
        let Source { kind, key, peer } = source;
        let (kind, key) = (kind.word(), Some(key).filter(|key| !key.is_empty()));
        let peer = peer.map(display);
        for Line { audience, status, pushes, bytes, longest } in self.0 {
            let seconds = longest.as_secs_f64();
            info!(
                target: "campanile::access",
                peer, key, kind, audience, pushes, bytes, status, seconds, "pushed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::{Content, GroupName};

    use super::*;

    #[test]
    fn pushes_with_the_same_audience_and_result_share_a_line() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let content = |bytes: usize| Content::Text("x".repeat(bytes).into());
        let group = Audience::Group(GroupName::new("a").expect("a name"));
        let group = |bytes| Push::new(Target::Audience(group.clone()), content(bytes));
        let everyone = Push::new(Target::Audience(Audience::Everyone), content(4));
        let mut lines = Lines::default();
        lines.add(Asked::new(Some(&group(1)), begun), Some(200), at(5));
        lines.add(Asked::new(Some(&everyone), begun), Some(200), at(5));
        lines.add(Asked::new(Some(&group(2)), at(3)), Some(200), at(5));
        lines.add(Asked::new(Some(&group(3)), begun), Some(503), at(9));
        lines.add(Asked::new(None, begun), Some(400), at(0));
        lines.add(Asked::new(Some(&group(5)), begun), None, at(9));
        let line = |audience, status, pushes, bytes, millis| {
            let longest = Duration::from_millis(millis);
            Line { audience, status, pushes, bytes, longest }
        };
        let expected = [
            line(Some("group"), Some(200), 2, 3, 5),
            line(Some("everyone"), Some(200), 1, 4, 5),
            line(Some("group"), Some(503), 1, 3, 9),
            line(None, Some(400), 1, 0, 0),
            line(Some("group"), None, 1, 5, 9),
        ];
        assert_eq!(lines.0, expected);
    }
}
