//! How many files this process may have open. A connection is one of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// How many files are reserved, so that a gateway that is full of clients can reach its broker again:
/// for links, listeners, refusals in progress, and what the threads need.
const RESERVE: usize = 128;

/// Raises the soft limit, which is usually 1,024, to the hard one.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// How many more connections this process can take, without the reserve.
pub fn room() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(open);
    room.saturating_sub(RESERVE.min(room / 2))
}

/// As many connections as are wanted and there is room for. Logs if that is fewer than wanted.
pub fn limited(flag: &str, wanted: usize, room: usize) -> usize {
    if room < wanted {
        info!(flag, wanted, taken = room, "the limit of open files allows fewer connections");
    }
    wanted.min(room).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_links() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(room() as u64 <= limit / 2 || room() as u64 + RESERVE as u64 <= limit);
        assert_eq!(limited("--max-connections", 10, 4), 4);
        assert_eq!(limited("--max-connections", 10, 40), 10);
    }
}
