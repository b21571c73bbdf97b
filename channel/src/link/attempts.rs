//! What to log, and how long to wait, after an attempt to keep a link to the broker has failed. Pure.

use std::time::Duration;

use super::LinkError;
use super::backoff::Backoff;

/// How long to wait before the first new attempt after a lost link.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait between two attempts. After a link the waits start again with the first one, unless
/// the broker gave a reason and ended the link sooner than this: it may do the same to the next one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The attempts to keep a link.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    /// The last failure that was logged since the last link.
    logged: Option<String>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT), logged: None }
    }

    /// A link is up.
    pub(super) fn succeeded(&mut self) {
        self.logged = None;
    }

    /// An attempt has failed, or its link was lost after `linked_for`. Returns whether that has to be
    /// logged.
    pub(super) fn failed(&mut self, error: &LinkError, linked_for: Option<Duration>) -> bool {
        // What a broker answers needs an operator; why a broker cannot be reached does not matter.
        let is_answer = matches!(
            error,
            LinkError::Goodbye(_)
                | LinkError::Decode(_)
                | LinkError::Proof(_)
                | LinkError::Disagreement(_)
        );
        if linked_for.is_some_and(|lasted| !is_answer || lasted >= LONGEST_WAIT) {
            self.backoff.reset();
        }
        let error = error.to_string();
        let is_news = self.logged.as_ref().is_none_or(|logged| is_answer && *logged != error);
        if is_news {
            self.logged = Some(error);
        }
        is_news
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
        assert!(attempts.failed(&LinkError::Closed, None));
        assert!(!attempts.failed(&LinkError::Silent(LONGEST_WAIT), None));
        assert!(attempts.failed(&goodbye("full"), None));
        assert!(!attempts.failed(&goodbye("full"), None));
        assert!(attempts.failed(&goodbye("older"), None));
        assert!(!attempts.failed(&LinkError::Closed, None), "the broker is still missing");
        attempts.succeeded();
        assert!(attempts.failed(&LinkError::Closed, Some(Duration::ZERO)));
    }

    #[test]
    fn a_broker_that_ends_links_at_once_is_tried_more_rarely() {
        let mut attempts = Attempts::new();
        let mut wait_after = |error: LinkError, linked_for| {
            attempts.failed(&error, linked_for);
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
