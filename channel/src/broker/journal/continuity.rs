//! Whether the epoch continues. Pure.
//!
//! It never continues in a copy of a directory: the original may have been used since, and its new
//! positions would be given out again for other events. Otherwise it continues if nothing that anybody
//! has seen can be missing: because the last run made an fsync before each answer, or ended cleanly, or
//! handed its blocks to a kernel that still runs.

use campanile_messages::Durability;

use super::run::Run;

/// Why the epoch of the last run cannot continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The directory is a copy, and the original may have been used since.
    Copied,
    /// The events were only in memory.
    InMemory,
    /// The events were handed to a kernel that has ended since, or may have ended.
    Rebooted,
}

impl Broken {
    /// The reason, for the log.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Copied => "the directory is a copy of the one that the last broker used",
            Self::InMemory => "it kept its events in memory and has not ended cleanly",
            Self::Rebooted => {
                "it left the writing of its events to the system, has not ended cleanly, and the host \
                 was restarted since"
            }
        }
    }
}

/// Why the epoch of the last run cannot continue in this run; `None` if it can.
pub fn broken(last: &Run, now: &Run) -> Option<Broken> {
    match last.durability {
        _ if last.directory != now.directory => Some(Broken::Copied),
        _ if last.clean => None,
        Durability::Disk => None,
        Durability::Written if now.boot.is_some() && now.boot == last.boot => None,
        Durability::Written => Some(Broken::Rebooted),
        Durability::Memory => Some(Broken::InMemory),
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::DirectoryIdentity;
    use super::*;

    const IDENTITY: DirectoryIdentity = DirectoryIdentity { inode: 1, created_nanos: Some(2) };

    fn run(durability: Durability, clean: bool) -> Run {
        let (log_id, epoch, oldest, last) = (1, 2, 1, 0);
        let boot = Some(1);
        Run { durability, boot, directory: IDENTITY, clean, log_id, epoch, oldest, last }
    }

    fn in_boot(boot: Option<u128>) -> Run {
        Run { boot, ..run(Durability::Disk, false) }
    }

    #[test]
    fn an_epoch_continues_only_if_nothing_can_be_missing() {
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
    fn an_unknown_kernel_counts_as_another_one() {
        let last = Run { boot: None, ..run(Durability::Written, false) };
        assert_eq!(broken(&last, &in_boot(None)), Some(Broken::Rebooted));
    }

    #[test]
    fn the_epoch_never_continues_in_a_copy() {
        for durability in [Durability::Disk, Durability::Written, Durability::Memory] {
            for clean in [true, false] {
                for directory in [
                    DirectoryIdentity { inode: 2, ..IDENTITY },
                    DirectoryIdentity { created_nanos: Some(3), ..IDENTITY },
                    DirectoryIdentity { created_nanos: None, ..IDENTITY },
                ] {
                    let now = Run { directory, ..in_boot(Some(1)) };
                    assert_eq!(broken(&run(durability, clean), &now), Some(Broken::Copied));
                }
            }
        }
    }
}
