//! Whether a publisher can take pushes, as load balancers and orchestrators ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use campanile_channel::courier::LinkSign;

/// Whether a publisher can take pushes now, or the first reason why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It can take pushes.
    Ready,
    /// There has been no link to the broker since the process began.
    Starting,
    /// The link to the broker is lost.
    NoBroker,
    /// The process shuts down.
    Draining,
    /// A write to the disk takes too long.
    Disk,
}

impl Readiness {
    /// Returns the first reason that applies. A shutdown comes first, because there is no way back; the
    /// disk comes last, because what is known of it came over the link.
    pub fn of(link: Link, draining: bool, disk_waits: bool) -> Self {
        match link {
            _ if draining => Self::Draining,
            Link::Never => Self::Starting,
            Link::Lost => Self::NoBroker,
            Link::Up if disk_waits => Self::Disk,
            Link::Up => Self::Ready,
        }
    }

    /// Why the publisher can take no pushes, in one word; `None` if it can.
    pub fn hindrance(self) -> Option<&'static str> {
        (self != Self::Ready).then(|| self.word())
    }

    /// Returns the body of the answer.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ok",
            Self::Starting => "starting",
            Self::NoBroker => "no_broker",
            Self::Draining => "draining",
            Self::Disk => "disk",
        }
    }
}

/// What is known of the link to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// There was no link yet.
    Never,
    /// There is a link.
    Up,
    /// There was a link.
    Lost,
}

/// What the parts of a process know of its health. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Signs>);

/// The flags guard no other memory.
#[derive(Debug, Default)]
struct Signs {
    /// 0 for [`Link::Never`], 1 for [`Link::Up`], 2 for [`Link::Lost`].
    link: AtomicU8,
    draining: AtomicBool,
    disk_waits: AtomicBool,
}

impl Health {
    /// Notes what the courier has learned about its link.
    pub fn note(&self, sign: LinkSign) {
        match sign {
            LinkSign::Up => self.link_up(),
            LinkSign::Lost => self.link_lost(),
            LinkSign::DiskWaits(waits) => self.set_disk_waits(waits),
        }
    }

    /// Notes that there is a link to the broker.
    pub fn link_up(&self) {
        self.0.link.store(1, Ordering::Relaxed);
    }

    /// Notes that the link is lost.
    pub fn link_lost(&self) {
        self.0.link.store(2, Ordering::Relaxed);
    }

    /// Notes that the process shuts down, which cannot be undone.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Notes whether a write to the disk takes too long now.
    pub fn set_disk_waits(&self, waits: bool) {
        self.0.disk_waits.store(waits, Ordering::Relaxed);
    }

    /// Returns whether the publisher is ready.
    pub fn readiness(&self) -> Readiness {
        let link = match self.0.link.load(Ordering::Relaxed) {
            0 => Link::Never,
            1 => Link::Up,
            _ => Link::Lost,
        };
        let draining = self.0.draining.load(Ordering::Relaxed);
        Readiness::of(link, draining, self.0.disk_waits.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_named() {
        for (link, draining, disk_waits, word) in [
            (Link::Up, false, false, "ok"),
            (Link::Up, false, true, "disk"),
            (Link::Never, false, true, "starting"),
            (Link::Lost, false, true, "no_broker"),
            (Link::Never, true, false, "draining"),
            (Link::Up, true, true, "draining"),
        ] {
            assert_eq!(Readiness::of(link, draining, disk_waits).word(), word);
        }
    }

    #[test]
    fn every_change_is_seen_by_all_clones() {
        let health = Health::default();
        let seen = health.clone();
        assert_eq!(seen.readiness(), Readiness::Starting);
        health.link_up();
        assert_eq!(seen.readiness(), Readiness::Ready);
        health.set_disk_waits(true);
        assert_eq!(seen.readiness(), Readiness::Disk);
        health.set_disk_waits(false);
        health.link_lost();
        assert_eq!(seen.readiness(), Readiness::NoBroker);
        health.link_up();
        health.drain();
        assert_eq!(seen.readiness(), Readiness::Draining);
    }
}
