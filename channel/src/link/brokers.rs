//! The brokers of a cluster, as a client knows them, and which of them may be its broker.
//!
//! A client with one address takes the broker that it finds there. With more than one, it would move
//! between brokers that know nothing of each other: what is accepted at one of them would not reach
//! the gateways of another, and a push that is repeated would be accepted twice. So it takes only
//! brokers that write to one shared log.

use std::sync::{Arc, Mutex, PoisonError};

use campanile_messages::link::{LogIdentity, LogKind};

/// The brokers of a cluster. What clones know about the brokers' log, they know together.
#[derive(Debug, Clone)]
pub struct Brokers {
    /// Shared, because a clone is made for each link and each of its attempts.
    addresses: Arc<[String]>,
    known: Arc<Mutex<Known>>,
}

/// What earlier links have told.
#[derive(Debug, Default)]
struct Known {
    /// Whether a broker was accepted.
    was_linked: bool,
    /// The first shared log. No other one will do, once there was more than one address.
    shared: Option<LogIdentity>,
    were_several: bool,
}

/// Why a broker cannot be the broker of a process that was given more than one address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitBroker {
    /// It shares its log with no other broker.
    #[error(
        "the broker at {broker} keeps a log of its own, and --broker gives more than one address: \
         accepted is the address of one broker, or addresses of brokers that share one log"
    )]
    OwnLog {
        /// Its address.
        broker: String,
    },
    /// It shares its log with others, but not with the brokers that this process knows.
    #[error(
        "the broker at {broker} has the log {found}, and this process has begun with the log {known}: \
         accepted are brokers that share one log"
    )]
    OtherLog {
        /// Its address.
        broker: String,
        /// The id of its log.
        found: String,
        /// The id of the other log.
        known: String,
    },
}

impl Brokers {
    /// The addresses, `HOST:PORT` each.
    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Whether a broker was accepted, on whichever link of this process.
    pub(super) fn were_linked(&self) -> bool {
        self.known().was_linked
    }

    /// Decides whether the broker at an address may be the broker of this process. `log` is what its
    /// welcome says. `is_one_of_several`: more than one address was given or found.
    ///
    /// # Errors
    /// [`UnfitBroker`].
    pub(super) fn accept(
        &self,
        broker: &str,
        log: Option<&LogIdentity>,
        is_one_of_several: bool,
    ) -> Result<(), UnfitBroker> {
        let mut known = self.known();
        known.were_several |= is_one_of_several;
        // A broker that does not name its log is of a release that had no shared ones.
        let shared = log.filter(|log| log.kind == LogKind::Shared);
        if shared.is_none() && is_one_of_several {
            return Err(UnfitBroker::OwnLog { broker: broker.to_owned() });
        }
        if let Some(first) = known.shared.as_ref().filter(|_| known.were_several)
            && log != Some(first)
        {
            let found = log.map_or_else(|| "of its own".to_owned(), |log| log.id.to_string());
            let known = first.id.to_string();
            return Err(UnfitBroker::OtherLog { broker: broker.to_owned(), found, known });
        }
        known.was_linked = true;
        if known.shared.is_none() {
            known.shared = shared.cloned();
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Every change is complete before anything can panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Vec<String>> for Brokers {
    fn from(addresses: Vec<String>) -> Self {
        Self { addresses: addresses.into(), known: Arc::default() }
    }
}

impl From<String> for Brokers {
    /// A single broker.
    fn from(address: String) -> Self {
        vec![address].into()
    }
}

impl From<&str> for Brokers {
    /// A single broker.
    fn from(address: &str) -> Self {
        address.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(id: &str) -> Option<LogIdentity> {
        Some(LogIdentity { kind: LogKind::Shared, id: id.to_owned().try_into().unwrap() })
    }

    fn own(id: u64) -> Option<LogIdentity> {
        Some(LogIdentity::own(id))
    }

    fn said(accepted: Result<(), UnfitBroker>) -> String {
        accepted.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_broker_of_a_list_must_not_have_a_log_of_its_own() {
        for log in [own(1), None] {
            let brokers = Brokers::from("a:1");
            assert_eq!(brokers.accept("a:1", log.as_ref(), false), Ok(()));
            // The name of a single broker may get more addresses.
            for brokers in [brokers, Brokers::from("a:1")] {
                let error = said(brokers.accept("a:1", log.as_ref(), true));
                assert!(error.starts_with("the broker at a:1 keeps a log of its own"), "{error}");
            }
        }
    }

    #[test]
    fn brokers_of_a_list_must_share_one_log() {
        let brokers = Brokers::from(vec!["a:1".to_owned(), "b:1".to_owned()]);
        assert_eq!(brokers.accept("a:1", shared("x").as_ref(), true), Ok(()));
        assert_eq!(brokers.accept("b:1", shared("x").as_ref(), true), Ok(()));
        // Both links of a gateway have the same brokers.
        let brokers = brokers.clone();
        let error = said(brokers.accept("b:1", shared("y").as_ref(), true));
        assert!(
            error.contains("b:1 has the log y, ") && error.contains("with the log x: "),
            "{error}"
        );
        // Also while a name has only one address left.
        let error = said(brokers.accept("b:1", shared("y").as_ref(), false));
        assert!(error.contains("b:1 has the log y"), "{error}");
        let error = said(brokers.accept("b:1", own(1).as_ref(), false));
        assert!(error.contains("b:1 has the log 0000000000000001"), "{error}");
        assert_eq!(brokers.accept("a:1", shared("x").as_ref(), true), Ok(()));
    }

    #[test]
    fn a_single_broker_may_begin_another_log() {
        let brokers = Brokers::from("a:1");
        for log in [own(1), own(2), None, shared("x"), shared("y"), own(1)] {
            assert_eq!(brokers.accept("a:1", log.as_ref(), false), Ok(()));
        }
    }

    #[test]
    fn a_refused_broker_is_not_a_link() {
        let brokers = Brokers::from("a:1");
        assert!(brokers.accept("a:1", None, true).is_err() && !brokers.were_linked());
        assert!(brokers.accept("a:1", None, false).is_ok() && brokers.clone().were_linked());
    }
}
