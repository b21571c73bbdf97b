//! What to log, and how long to wait, after an attempt to keep a link to the broker has failed. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::LinkError;
use super::backoff::Backoff;

/// How long to wait before the next round of attempts after a lost link.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait between two attempts. After a link the waits start again with the first one, unless
/// the broker gave a reason and ended the link sooner than this: it may do the same to the next one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Of how many brokers it is remembered what was logged. A name may get new addresses again and again.
const MAX_LOGGED: usize = 256;

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    /// It has to be logged.
    pub is_news: bool,
    /// The link lasted, so the other brokers are tried at once. A broker that ends its links soon after it has
    /// accepted them counts as one that was tried in vain.
    pub begins_round: bool,
}

/// The attempts to keep a link.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    /// The last failure of each broker that was logged since the last link.
    logged: HashMap<String, String>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT), logged: HashMap::new() }
    }

    /// A link is up.
    pub(super) fn succeeded(&mut self) {
        self.logged.clear();
    }

    /// An attempt at a broker has failed, or its link was lost after `linked_for`.
    pub(super) fn failed(
        &mut self,
        broker: &str,
        error: &LinkError,
        linked_for: Option<Duration>,
    ) -> Failed {
        // What a broker answers needs an operator; why a broker cannot be reached does not matter.
        let is_answer = matches!(
            error,
            LinkError::Goodbye(_)
                | LinkError::Decode(_)
                | LinkError::Proof(_)
                | LinkError::Disagreement(_)
                | LinkError::Unfit(_)
        );
        if linked_for.is_some_and(|lasted| !is_answer || lasted >= LONGEST_WAIT) {
            self.backoff.reset();
        }
        let error = error.to_string();
        let logged = self.logged.get(broker);
        let is_news = self.logged.is_empty() || (is_answer && logged != Some(&error));
        if is_news {
            if self.logged.len() >= MAX_LOGGED {
                self.logged.clear();
            }
            self.logged.insert(broker.to_owned(), error);
        }
        let lasted = linked_for.is_some_and(|lasted| lasted >= LONGEST_WAIT);
        Failed { is_news, begins_round: lasted }
    }

    /// How long to wait before the next attempt. `random` is uniform in `0.0..1.0`.
    pub(super) fn wait(&mut self, random: f64) -> Duration {
        self.backoff.next(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goodbye(reason: &str) -> LinkError {
        LinkError::Goodbye(reason.to_owned())
    }

    #[test]
    fn an_outage_is_logged_once_and_so_is_each_reason_of_the_broker() {
        let mut attempts = Attempts::new();
        let is_news = |attempts: &mut Attempts, broker, error: LinkError| {
            attempts.failed(broker, &error, None).is_news
        };
        assert!(is_news(&mut attempts, "a", LinkError::Closed));
        assert!(!is_news(&mut attempts, "a", LinkError::Silent(LONGEST_WAIT)));
        assert!(!is_news(&mut attempts, "b", LinkError::Closed), "one outage");
        for _ in 0..2 {
            assert!(is_news(&mut attempts, "a", goodbye("full")));
            assert!(!is_news(&mut attempts, "a", goodbye("full")));
            assert!(is_news(&mut attempts, "a", goodbye("older")));
            assert!(!is_news(&mut attempts, "a", LinkError::Closed), "the broker is still missing");
        }
        assert!(is_news(&mut attempts, "b", goodbye("older")));
        // Two brokers in turn do not repeat themselves.
        assert!(!is_news(&mut attempts, "a", goodbye("older")));
        assert!(!is_news(&mut attempts, "b", goodbye("older")));
        attempts.succeeded();
        assert!(attempts.failed("a", &LinkError::Closed, Some(Duration::ZERO)).is_news);
    }

    #[test]
    fn only_a_link_that_lasted_begins_a_round() {
        let mut attempts = Attempts::new();
        let soon = LONGEST_WAIT - Duration::from_nanos(1);
        for (lasted, begins) in [(None, false), (Some(soon), false), (Some(LONGEST_WAIT), true)] {
            let failed = attempts.failed("a", &LinkError::Closed, lasted);
            assert_eq!(failed.begins_round, begins, "{lasted:?}");
        }
    }

    #[test]
    fn a_broker_that_ends_links_at_once_is_tried_more_rarely() {
        let mut attempts = Attempts::new();
        let mut wait_after = |error: LinkError, linked_for| {
            attempts.failed("a", &error, linked_for);
            attempts.wait(1.0)
        };
        let soon = Some(LONGEST_WAIT - Duration::from_nanos(1));
        assert_eq!(wait_after(goodbye("no"), soon), FIRST_WAIT);
        assert_eq!(wait_after(goodbye("no"), soon), 2 * FIRST_WAIT);
        assert_eq!(wait_after(LinkError::Closed, None), 4 * FIRST_WAIT);
        assert_eq!(wait_after(LinkError::Closed, soon), FIRST_WAIT);
        assert_eq!(wait_after(LinkError::Closed, None), 2 * FIRST_WAIT);
        assert_eq!(wait_after(goodbye("no"), Some(LONGEST_WAIT)), FIRST_WAIT);
    }
}
