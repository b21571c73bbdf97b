//! Whether the epoch goes on. Pure.
//!
//! It does where nothing that anybody saw can be missing: the last run was fsynced before it answered,
//! or it has ended cleanly, or it was handed to a kernel that still runs.

use campanile_messages::Durability;

use super::rows::Run;

/// Why the events of the last run cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// They were in memory only.
    InMemory,
    /// They were handed to a kernel that has ended since, or may have.
    Rebooted,
}

impl Broken {
    /// For the log.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::InMemory => "it kept its events in memory and has not ended cleanly",
            Self::Rebooted => {
                "it left it to the system to write its events, has not ended cleanly, and the host \
                 has been started again since"
            }
        }
    }
}

/// What breaks the epoch of the last run in this start of the host's kernel; `None`: it goes on.
pub fn broken(last: &Run, boot: Option<u128>) -> Option<Broken> {
    match last.durability {
        _ if last.clean => None,
        Durability::Disk => None,
        Durability::Written if boot.is_some() && boot == last.boot => None,
        Durability::Written => Some(Broken::Rebooted),
        Durability::Memory => Some(Broken::InMemory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_goes_on_only_where_nothing_can_be_missing() {
        let run = |durability, clean| Run { durability, boot: Some(1), clean };
        for durability in [Durability::Disk, Durability::Written, Durability::Memory] {
            assert_eq!(broken(&run(durability, true), Some(2)), None, "{durability:?}");
        }
        assert_eq!(broken(&run(Durability::Disk, false), Some(2)), None);
        assert_eq!(broken(&run(Durability::Written, false), Some(1)), None);
        assert_eq!(broken(&run(Durability::Written, false), Some(2)), Some(Broken::Rebooted));
        assert_eq!(broken(&run(Durability::Memory, false), Some(1)), Some(Broken::InMemory));
    }

    #[test]
    fn a_kernel_that_is_not_known_is_another_one() {
        let run = Run { durability: Durability::Written, boot: None, clean: false };
        assert_eq!(broken(&run, None), Some(Broken::Rebooted));
    }
}
