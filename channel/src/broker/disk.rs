//! The broker's side of its disk: hands over what has changed, and decides when publishers are held
//! back. A part of the [`Broker`](super::actor::Broker), which never waits.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::disk_wait::{DiskNews, DiskWatch};
use super::exchange::Exchange;
use super::store::StoreError;
use super::writer::{Closed, Writer};

/// While more than this waits for the disk, publishers are not read. What they have already sent comes in
/// addition: one batch of messages per link.
const MAX_HELD_BYTES: usize = 64 << 20;

/// The disk, if there is one.
#[derive(Debug, Default)]
pub struct Disk {
    writer: Option<Writer>,
    /// Whether too much waits for the disk.
    is_behind: watch::Sender<bool>,
    watch: DiskWatch,
    /// When the time was last noted, and whether the writer still has to do it.
    noted: Duration,
    is_noting: bool,
}

/// How often the time is noted on disk while something is remembered. A restart of the host makes the
/// broker remember it for at most this much longer.
const NOTE_EVERY: Duration = Duration::from_secs(10);

impl Disk {
    /// A disk that `writer` writes to; `None` for a broker that keeps its log in memory.
    pub fn new(writer: Option<Writer>) -> Self {
        Self { writer, ..Self::default() }
    }

    /// Says whether publishers must not be read now.
    pub fn is_behind(&self) -> watch::Receiver<bool> {
        self.is_behind.subscribe()
    }

    /// Hands over what was published, and holds publishers back while too much waits.
    pub fn write(&self, exchange: &mut Exchange) {
        if exchange.has_news() {
            self.write_all(exchange);
        }
        let is_behind = self.held_bytes().max(exchange.staged_bytes()) > MAX_HELD_BYTES;
        self.is_behind.send_if_modified(|was| std::mem::replace(was, is_behind) != is_behind);
    }

    /// How many bytes were handed over and are not stored yet.
    pub fn held_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, Writer::held_bytes)
    }

    /// Also hands over what was dropped. That is not urgent, so it waits while the disk is behind. The
    /// exchange keeps it until then, which is bounded because the exchange itself is.
    pub fn write_leftovers(&self, exchange: &mut Exchange) {
        if !*self.is_behind.borrow() {
            self.write_all(exchange);
        }
    }

    /// Hands over everything that has changed.
    pub fn write_all(&self, exchange: &mut Exchange) {
        let changes = exchange.take_changes();
        if let Some(writer) = &self.writer
            && !changes.is_empty()
        {
            writer.send(changes);
        }
    }

    /// Notes the time on disk now and then, while something is remembered that expires.
    pub fn note_time(&mut self, exchange: &Exchange, now: Duration) {
        if let Some(writer) = &self.writer
            && !self.is_noting
            && now >= self.noted + NOTE_EVERY
            && exchange.remembers()
        {
            (self.noted, self.is_noting) = (now, true);
            writer.note_time();
        }
    }

    /// The writer has noted the time.
    pub fn time_is_noted(&mut self) {
        self.is_noting = false;
    }

    /// Reserves more worker ids if few are left.
    pub fn reserve_workers(&self, exchange: &mut Exchange) {
        if let (Some(writer), Some(up_to)) = (&self.writer, exchange.workers_to_reserve()) {
            writer.set_next_worker(up_to);
        }
    }

    /// Begins a new epoch on disk. Returns whether there is a disk, which then reports it.
    pub fn set_epoch(&self, epoch: u64) -> bool {
        let writer = self.writer.as_ref();
        writer.inspect(|writer| writer.set_epoch(epoch)).is_some()
    }

    /// Checks how long the writer has been waiting for the disk, and logs when a long wait begins or
    /// ends. Then returns whether it waits.
    pub fn look(&mut self) -> Option<bool> {
        let sample = self.writer.as_ref()?.wait().look();
        let was_waiting = self.watch.is_waiting();
        for news in self.watch.note(sample) {
            match news {
                DiskNews::Waits { lasted } => warn!(
                    seconds = lasted.as_secs_f32(),
                    "the disk of the data directory is slow or stuck: a write has not returned"
                ),
                DiskNews::Over { took } => {
                    info!(seconds = took.as_secs_f32(), "the disk has finished a slow write");
                }
            }
        }
        let is_waiting = self.watch.is_waiting();
        (is_waiting != was_waiting).then_some(is_waiting)
    }

    /// Whether a long wait for the disk was under way at the last check.
    pub fn is_waiting(&self) -> bool {
        self.watch.is_waiting()
    }

    /// The disk has failed, and nothing more is written.
    pub fn give_up(&mut self) {
        self.writer = None;
    }

    /// Writes what is left and closes the data directory, within `limit`. What could not be written by
    /// then is given up and logged.
    pub fn close(
        &mut self,
        exchange: &mut Exchange,
        limit: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.write_all(exchange);
        let (writer, next_worker) = (self.writer.take(), exchange.next_worker());
        async move {
            let Some(writer) = writer else {
                return Ok(());
            };
            if let Closed::GivenUp { events } = writer.close(next_worker, limit).await? {
                warn!(
                    events,
                    limit_seconds = limit.as_secs_f32(),
                    "the disk was too slow for an orderly stop: the events that wait for it are \
                     given up, and the data directory is left as after a crash"
                );
            }
            Ok(())
        }
    }
}
