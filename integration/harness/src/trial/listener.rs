//! A client that comes back for what it missed, again and again, and notes exactly what it gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campanile_messages::Position;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::push::{group_name, parse_content};
use super::transcript::{Note, Transcript, TranscriptEntry, audience};
use crate::client::{Ended, Feed, Heard, Protocol};

/// The pause between two attempts to connect: at first, and at most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A gateway that has not greeted within this time is left for another one.
const GREETING_LIMIT: Duration = Duration::from_secs(15);

/// A connection that was silent for this long counts as half-open. The load is never that quiet.
const SILENCE_LIMIT: Duration = Duration::from_secs(12);

/// Who listens, to what and where.
#[derive(Debug, Clone)]
pub struct Profile {
    pub number: usize,
    pub protocol: Protocol,
    /// The first one depends on the number; later it takes any.
    pub gateways: Vec<SocketAddr>,
    pub groups: Vec<u8>,
    /// When the run started.
    pub started: Instant,
}

/// One client. It disconnects when it is dropped.
pub struct Listener {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    profile: Profile,
    notes: Mutex<Notes>,
    /// When the latest event that it got was first tried, in microseconds.
    latest_micros: AtomicU64,
    is_greeted: AtomicBool,
    greetings: AtomicUsize,
    hang_up: Notify,
}

#[derive(Default)]
struct Notes {
    all: Vec<Note>,
    cursor: Option<Position>,
}

impl Listener {
    /// Connects, and comes back whenever the connection ends.
    pub fn start(profile: Profile, choices: StdRng) -> Self {
        let shared = Arc::new(Shared {
            profile,
            notes: Mutex::default(),
            latest_micros: AtomicU64::new(0),
            is_greeted: AtomicBool::new(false),
            greetings: AtomicUsize::new(0),
            hang_up: Notify::new(),
        });
        let task = tokio::spawn(listen_for_ever(shared.clone(), choices));
        Self { shared, task }
    }

    /// Whether it is connected and was greeted.
    pub fn is_greeted(&self) -> bool {
        self.shared.is_greeted.load(Ordering::Relaxed)
    }

    /// How often it was greeted.
    pub fn greetings(&self) -> usize {
        self.shared.greetings.load(Ordering::Relaxed)
    }

    /// Whether it got an event that was first tried then or later.
    pub fn has_from(&self, then: Duration) -> bool {
        let latest = self.shared.latest_micros.load(Ordering::Relaxed);
        u128::from(latest) >= then.as_micros()
    }

    /// Makes it drop its connection, and come back.
    pub fn hang_up(&self) {
        self.shared.hang_up.notify_one();
    }

    /// What it has got since the last call. It goes on.
    pub fn take(&self) -> Transcript {
        let mut notes = self.shared.notes.lock().expect("no panic");
        let at = self.shared.profile.started.elapsed();
        let start = notes.cursor.map(|cursor| Note { at, entry: TranscriptEntry::Start(cursor) });
        let notes = std::mem::replace(&mut notes.all, start.into_iter().collect());
        let Profile { number, protocol, groups, .. } = &self.shared.profile;
        Transcript { who: format!("client {number}, {protocol}"), groups: groups.clone(), notes }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn note(&self, entry: TranscriptEntry) {
        let at = self.profile.started.elapsed();
        let mut notes = self.notes.lock().expect("no panic");
        notes.cursor = entry.position().or(notes.cursor);
        notes.all.push(Note { at, entry });
    }

    fn cursor(&self) -> Option<Position> {
        self.notes.lock().expect("no panic").cursor
    }

    /// Notes a message; returns the end if it is that.
    fn hear(&self, heard: Heard) -> Option<Ended> {
        let stray = || TranscriptEntry::Stray(format!("{heard:?}"));
        let entry = match &heard {
            Heard::Hello(hello) => match hello.position.parse() {
                Ok(position) => {
                    self.greetings.fetch_add(1, Ordering::Relaxed);
                    self.is_greeted.store(true, Ordering::Relaxed);
                    TranscriptEntry::Hello(position, hello.recovery.clone())
                }
                Err(_) => stray(),
            },
            Heard::Event { id: Some(id), to, content } => {
                let to = to.as_ref().map(audience);
                match (id.parse(), parse_content(content), to) {
                    // It names an audience that is not of the load.
                    (_, _, Some(None)) => stray(),
                    (Ok(position), Some((number, tried_at)), to) => {
                        let micros = u64::try_from(tried_at.as_micros()).expect("not that long");
                        self.latest_micros.fetch_max(micros, Ordering::Relaxed);
                        TranscriptEntry::Event { position, number, to: to.flatten() }
                    }
                    _ => stray(),
                }
            }
            Heard::Mark(position) => {
                position.parse().map_or_else(|_| stray(), TranscriptEntry::Mark)
            }
            Heard::Gap { reason, position } => match position.parse() {
                Ok(position) => TranscriptEntry::Gap(reason.clone(), position),
                Err(_) => stray(),
            },
            Heard::Ended(ended) => return Some(ended.clone()),
            Heard::Event { id: None, .. } | Heard::Joined { .. } | Heard::Other(_) => stray(),
        };
        self.note(entry);
        None
    }
}

async fn listen_for_ever(shared: Arc<Shared>, mut choices: StdRng) {
    let gateways = &shared.profile.gateways;
    let mut gateway = shared.profile.number % gateways.len();
    let mut backoff = BACKOFF[0];
    loop {
        let greetings = shared.greetings.load(Ordering::Relaxed);
        let ended = connection(&shared, gateways[gateway]).await;
        shared.is_greeted.store(false, Ordering::Relaxed);
        if shared.greetings.load(Ordering::Relaxed) > greetings {
            backoff = BACKOFF[0];
        }
        gateway = choices.random_range(0..gateways.len());
        let pause = match ended {
            Ended::Closed(1001 | 4001) => Duration::ZERO,
            _ => backoff,
        };
        shared.note(TranscriptEntry::Ended(ended));
        sleep(pause.mul_f64(choices.random_range(0.5..1.0))).await;
        if !pause.is_zero() {
            backoff = (backoff * 2).min(BACKOFF[1]);
        }
    }
}

/// One connection, from the attempt to its end.
async fn connection(shared: &Shared, gateway: SocketAddr) -> Ended {
    let groups: Vec<_> = shared.profile.groups.iter().map(|group| group_name(*group)).collect();
    let since = shared.cursor().map(|position| position.to_string());
    let open = Feed::open(gateway, shared.profile.protocol, &groups, since.as_deref());
    let mut feed = match timeout(GREETING_LIMIT, open).await {
        Ok(Ok(feed)) => feed,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Silent,
    };
    let mut limit = GREETING_LIMIT;
    loop {
        let heard = tokio::select! {
            heard = timeout(limit, feed.next_patiently()) => heard,
            () = shared.hang_up.notified() => return Ended::HungUp,
        };
        limit = SILENCE_LIMIT;
        let Ok(heard) = heard else {
            return Ended::Silent;
        };
        if let Some(ended) = shared.hear(heard) {
            return ended;
        }
    }
}
