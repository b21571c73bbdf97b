//! Whether the epoch goes on. Pure.
//!
//! It never does in a copy of a directory: the one that was copied may have gone on, and the positions
//! that it gave out since would be given out again, for other events. Elsewhere it does where nothing that anybody saw can be missing: the last run was fsynced before it answered,
//! or it has ended cleanly, or it was handed to a kernel that still runs.

use campanile_messages::Durability;

use super::rows::Run;

/// Why the events of the last run cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// They are a copy, and others may have followed in the original.
    Copied,
    /// They were in memory only.
    InMemory,
    /// They were handed to a kernel that has ended since, or may have.
    Rebooted,
}

impl Broken {
    /// For the log.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Copied => "the directory is a copy of the one that the last broker used",
            Self::InMemory => "it kept its events in memory and has not ended cleanly",
            Self::Rebooted => {
                "it left it to the system to write its events, has not ended cleanly, and the host \
                 has been started again since"
            }
        }
    }
}

/// What breaks the epoch of the last run for the one that begins now; `None`: it goes on.
pub fn broken(last: &Run, now: &Run) -> Option<Broken> {
    match last.durability {
        _ if last.place != now.place => Some(Broken::Copied),
        _ if last.clean => None,
        Durability::Disk => None,
        Durability::Written if now.boot.is_some() && now.boot == last.boot => None,
        Durability::Written => Some(Broken::Rebooted),
        Durability::Memory => Some(Broken::InMemory),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Place;
    use super::*;

    const PLACE: Place = Place { inode: 1, created_nanos: Some(2) };

    fn run(durability: Durability, clean: bool) -> Run {
        Run { durability, boot: Some(1), place: PLACE, clean }
    }

    fn in_boot(boot: Option<u128>) -> Run {
        Run { boot, ..run(Durability::Disk, false) }
    }

    #[test]
    fn an_epoch_goes_on_only_where_nothing_can_be_missing() {
        let (same, other) = (in_boot(Some(1)), in_boot(Some(2)));
        for durability in [Durability::Disk, Durability::Written, Durability::Memory] {
            assert_eq!(broken(&run(durability, true), &other), None, "{durability:?}");
        }
        assert_eq!(broken(&run(Durability::Disk, false), &other), None);
        assert_eq!(broken(&run(Durability::Written, false), &same), None);
        assert_eq!(broken(&run(Durability::Written, false), &other), Some(Broken::Rebooted));
        assert_eq!(broken(&run(Durability::Memory, false), &same), Some(Broken::InMemory));
    }

    #[test]
    fn a_kernel_that_is_not_known_is_another_one() {
        let last = Run { boot: None, ..run(Durability::Written, false) };
        assert_eq!(broken(&last, &in_boot(None)), Some(Broken::Rebooted));
    }

    #[test]
    fn a_copy_never_goes_on() {
        for durability in [Durability::Disk, Durability::Written, Durability::Memory] {
            for clean in [true, false] {
                for place in [
                    Place { inode: 2, ..PLACE },
                    Place { created_nanos: Some(3), ..PLACE },
                    Place { created_nanos: None, ..PLACE },
                ] {
                    let now = Run { place, ..in_boot(Some(1)) };
                    assert_eq!(broken(&run(durability, clean), &now), Some(Broken::Copied));
                }
            }
        }
    }
}
