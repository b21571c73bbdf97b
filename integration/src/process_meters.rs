//! What operators see of a process besides what the system says of it.

use std::path::{self, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use campanile_channel::Watchdog;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use rustix::fs::statvfs;

use crate::logging;

/// The log and the watchdog of this process, read at each scrape.
#[derive(Debug)]
pub struct LogAndWatchdog(pub Watchdog);

impl Collector for LogAndWatchdog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in [
            (
                "campanile_log_dropped_lines",
                "Lines of the log that were dropped",
                logging::dropped_lines(),
            ),
            (
                "campanile_watchdog_late_ticks",
                "Turns of the watchdog in which a watched part had not answered for two turns",
                self.0.late_turns(),
            ),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)?;
        }
        Ok(())
    }
}

/// How often the disk is looked at.
const DISK_INTERVAL: Duration = Duration::from_secs(30);

/// How long what was seen of the disk is shown: a disk that hangs shows nothing after this.
const DISK_AGE_LIMIT: Duration = Duration::from_secs(90);

/// How large a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    all: u64,
    free: u64,
}

type Seen = Mutex<Option<(Instant, Room)>>;

/// The file system of the broker's data directory, looked at on a thread of its own: a disk that hangs must not
/// hold up a scrape. Nothing is shown where the system does not say.
#[derive(Debug)]
pub struct DiskRoom(Arc<Seen>);

impl DiskRoom {
    /// Looks at the file system of this directory from now on, until it is dropped.
    ///
    /// # Errors
    /// If the system has no thread for it, or no current directory for a relative path.
    pub fn of(dir: PathBuf) -> io::Result<Self> {
        let dir = path::absolute(dir)?;
        Self::looking(move || {
            // The broker may not have made it yet.
            let system = dir.ancestors().find_map(|dir| statvfs(dir).ok())?;
            let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
            Some(Room { all: bytes(system.f_blocks), free: bytes(system.f_bavail) })
        })
    }

    fn looking(look: impl Fn() -> Option<Room> + Send + 'static) -> io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let noted = Arc::downgrade(&seen);
        thread::Builder::new().name("disk".to_owned()).spawn(move || {
            loop {
                let room = look();
                let Some(noted) = noted.upgrade() else { return };
                *lock(&noted) = room.map(|room| (Instant::now(), room));
                drop(noted);
                thread::sleep(DISK_INTERVAL);
            }
        })?;
        Ok(Self(seen))
    }

    fn shown(&self, now: Instant) -> Option<Room> {
        let (at, room) = (*lock(&self.0))?;
        (now.saturating_duration_since(at) <= DISK_AGE_LIMIT).then_some(room)
    }
}

fn lock(seen: &Seen) -> MutexGuard<'_, Option<(Instant, Room)>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collector for DiskRoom {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(Room { all, free }) = self.shown(Instant::now()) else { return Ok(()) };
        let help = "Size of the file system of the data directory";
        gauge(&mut encoder, "campanile_broker_disk_bytes", help, all)?;
        let help = "What is free there for the broker";
        gauge(&mut encoder, "campanile_broker_disk_free_bytes", help, free)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service: &'static str,
}

/// When certificates expire. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Expiry(Family<OfService, Gauge>);

impl Expiry {
    /// The name under which the gauge is registered.
    pub const NAME: &str = "campanile_certificate_expiry_seconds";

    /// What it means.
    pub const HELP: &str = "When the certificate that expires first does, in Unix time";

    /// The first certificate of a service expires at this Unix time.
    pub fn note(&self, service: &'static str, at: u64) {
        self.0.get_or_create(&OfService { service }).set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// What is registered.
    pub fn metric(&self) -> impl prometheus_client::registry::Metric + use<> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_disk_that_hangs_holds_up_no_scrape() {
        let (answer, answers) = mpsc::channel();
        let disk = DiskRoom::looking(move || answers.recv().ok()).expect("a thread");
        let seen = Arc::clone(&disk.0);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(disk));
        let scrape = || {
            let mut written = String::new();
            encode(&mut written, &registry).expect("it can be written");
            written
        };
        assert_eq!(scrape(), "# EOF\n", "the disk has not answered yet");
        answer.send(Room { all: 7, free: 5 }).expect("it looks");
        let until = Instant::now() + Duration::from_secs(20);
        while lock(&seen).is_none() {
            assert!(Instant::now() < until, "it was not noted");
            thread::yield_now();
        }
        assert!(scrape().contains("campanile_broker_disk_free_bytes 5\n"));
    }

    #[test]
    fn what_was_seen_of_a_disk_is_not_shown_for_ever() {
        let (now, room) = (Instant::now(), Room { all: 7, free: 5 });
        let disk = DiskRoom(Arc::new(Mutex::new(Some((now, room)))));
        assert_eq!(disk.shown(now + DISK_AGE_LIMIT), Some(room));
        assert_eq!(disk.shown(now + DISK_AGE_LIMIT + Duration::from_secs(1)), None);
    }
}
