//! The broker's side of its disk: hands over what has changed, and decides when publishers are held
//! back. Owned by the [`Broker`](super::actor::Broker). Nothing in it waits.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::disk_wait::{DiskNews, DiskWatch};
use super::exchange::Exchange;
use super::store::StoreError;
use super::writer::{Closed, Writer};

/// While more than this waits for the disk, publishers are not read. What they have sent by then
/// comes on top: one batch of messages per link.
pub const MAX_HELD_BYTES: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Disk {
    writer: Option<Writer>,
    /// Whether too much waits for the disk.
    is_behind: watch::Sender<bool>,
    watch: DiskWatch,
    /// When the time was noted last, and whether that is still under way.
    noted: Duration,
    is_noting: bool,
}

/// How often the time is noted on disk while something is remembered: by so much at most a start of
/// the host prolongs that.
const NOTE_EVERY: Duration = Duration::from_secs(10);

impl Disk {
    /// Without a writer nothing is kept.
    pub fn new(writer: Option<Writer>) -> Self {
        Self { writer, ..Self::default() }
    }

    /// Whether publishers are not to be read for now.
    pub fn is_behind(&self) -> watch::Receiver<bool> {
        self.is_behind.subscribe()
    }

    /// Hands over what was accepted, and holds publishers back while too much waits.
    pub fn write(&self, exchange: &mut Exchange) {
        if exchange.has_news() {
            self.write_all(exchange);
        }
        let held_bytes = self.writer.as_ref().map_or(0, Writer::held_bytes);
        let is_behind = held_bytes.max(exchange.staged_bytes()) > MAX_HELD_BYTES;
        self.is_behind.send_if_modified(|was| std::mem::replace(was, is_behind) != is_behind);
    }

    /// Hands over also what was only dropped, which is in no hurry: not while the disk is behind.
    /// The exchange keeps it until then, bounded by what it can drop.
    pub fn write_leftovers(&self, exchange: &mut Exchange) {
        if !*self.is_behind.borrow() {
            self.write_all(exchange);
        }
    }

    /// Hands over all that has changed.
    pub fn write_all(&self, exchange: &mut Exchange) {
        let changes = exchange.take_changes();
        if let Some(writer) = &self.writer
            && !changes.is_empty()
        {
            writer.send(changes);
        }
    }

    /// Notes the time now and then, while something is remembered that is forgotten by its age.
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

    /// What [`note_time`](Self::note_time) began is done.
    pub fn time_is_noted(&mut self) {
        self.is_noting = false;
    }

    /// Has more worker ids reserved where few are left.
    pub fn reserve_workers(&self, exchange: &mut Exchange) {
        if let (Some(writer), Some(up_to)) = (&self.writer, exchange.workers_to_reserve()) {
            writer.set_next_worker(up_to);
        }
    }

    /// Begins a new epoch on disk, if there is one: then it is reported, and `true` returned.
    pub fn set_epoch(&self, epoch: u64) -> bool {
        let writer = self.writer.as_ref();
        writer.inspect(|writer| writer.set_epoch(epoch)).is_some()
    }

    /// Looks how long the disk has been waited for and logs what is new. Returns whether it is waited
    /// for, if that has changed.
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

    /// Whether a long wait for the disk was under way at the last look.
    pub fn is_waiting(&self) -> bool {
        self.watch.is_waiting()
    }

    /// The disk has failed: nothing more is written.
    pub fn give_up(&mut self) {
        self.writer = None;
    }

    /// Writes what is left within `limit` and closes the directory; what cannot be written by then is
    /// given up, and logged.
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
                     given up, and the data directory will be taken as after a crash"
                );
            }
            Ok(())
        }
    }
}
