//! Finds actors, tasks and threads that hang, and then ends the process: half a service would continue
//! to answer, and lose what it answered. Nothing is restarted inside the process.
//!
//! Each actor, task or thread that must not hang holds a [`Pulse`] that has to beat. The watchdog's own
//! thread checks all pulses once a second. After five of its turns without a beat, or after a panic, it
//! ends the process with one line. It counts its own turns instead of time: a process that was stopped,
//! or that gets no CPU time, has fewer turns, and does not count as hung.
//!
//! There are three ways to beat:
//! - an actor beats while it is polled: see [`attend`];
//! - a task beats each time round its loop with [`Pulse::turn`], and with [`Pulse::during`] during a
//!   wait that has a limit of its own;
//! - a thread beats each time round its loop with [`Pulse::beat`], and calls [`Pulse::enter_kernel`]
//!   before it waits in the kernel.

mod core;
#[cfg(feature = "sabotage")]
mod sabotage;
mod starving;

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::core::{Core, Key, Seen, TURN, has_panicked};
use self::starving::Starving;

/// How often an idle actor or task beats: twice per turn.
const BEAT: Duration = Duration::from_millis(500);

/// How long a task waits for the answer of an actor. A watched actor cannot hang for that long, so the
/// limit is only reached without a watchdog, and the task must then end with an error.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How often a task that waits without a limit checks again and beats. A lost wake-up delays it by no
/// more than this.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Watches actors, tasks and threads. Clones are the same watchdog. The default watches nothing, which is
/// for tests.
#[derive(Clone, Default)]
pub struct Watchdog(Option<Arc<Shared>>);

/// Ends the process with a last line.
type End = Box<dyn Fn(&str) + Send>;

struct Shared {
    state: Mutex<WatchdogState>,
    end: Mutex<End>,
}

#[derive(Default)]
struct WatchdogState {
    core: Core,
    signs: HashMap<Key, Arc<Sign>>,
}

/// What a pulse shows to the watchdog's thread.
#[derive(Debug, Default)]
struct Sign {
    beaten: AtomicBool,
    /// How many waits in the kernel are under way.
    waits: AtomicUsize,
    /// The thread of the last beat; 0 before the first.
    thread: AtomicI32,
    #[cfg(feature = "sabotage")]
    sabotage: sabotage::Sabotage,
}

impl Watchdog {
    /// Starts the watchdog's thread. `end` is called with the last line of the process, on that thread or
    /// on the one that panics. It must write the line and end the process, without waiting for long.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(end: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        Self::with_turns_of(TURN, end)
    }

    /// Like [`start`](Self::start), with turns of another length.
    fn with_turns_of(turn: Duration, end: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), end: Mutex::new(Box::new(end)) });
        let watched = Watcher(Arc::downgrade(&shared));
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let mut starving = Starving::default();
            loop {
                // This is one turn, even if a stopped process makes it last for hours.
                thread::sleep(turn);
                if !watched.take_turn(&mut starving) {
                    return;
                }
            }
        })?;
        Ok(Self(Some(shared)))
    }

    /// A watchdog whose pulses do nothing. For tests.
    pub fn none() -> Self {
        Self(None)
    }

    /// In how many of the watchdog's turns, one per second, something had not beaten for two turns.
    pub fn late_turns(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.lock().core.late_turns())
    }

    /// Watches one more actor, task or thread. `name` is how the last line begins ("registry 1 has not
    /// answered ..."). The first beat is due within five turns.
    pub fn watch(&self, name: impl Into<Cow<'static, str>>) -> Pulse {
        Pulse(self.0.clone().map(|shared| {
            let (name, sign) = (name.into(), Arc::new(Sign::default()));
            let mut state = shared.lock();
            let key = state.core.watch(name.clone());
            state.signs.insert(key, sign.clone());
            drop(state);
            Watched { shared, sign, key, name }
        }))
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watchdog" } else { "Watchdog::none" })
    }
}

/// Two are equal if they are clones of each other.
impl PartialEq for Watchdog {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Watchdog {}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WatchdogState> {
        // A panic cannot leave a change of the state half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, line: &str) {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end(line);
    }
}

/// The watchdog's thread. A panic there ends the process, too.
struct Watcher(Weak<Shared>);

impl Watcher {
    /// Returns whether there is still anything to watch.
    fn take_turn(&self, starving: &mut Starving) -> bool {
        let Some(shared) = self.0.upgrade() else {
            return false;
        };
        starving.turn();
        let mut state = shared.lock();
        #[cfg(feature = "sabotage")]
        sabotage::look(&state);
        let WatchdogState { core, signs } = &mut *state;
        // While a thread waits in the kernel, nothing else on that thread can beat.
        let waits = signs.values().filter(|sign| sign.waits());
        let waiting: Vec<i32> = waits.map(|sign| sign.thread.load(Relaxed)).collect();
        let line = core.turn(|key| {
            let sign = &signs[&key];
            let thread = sign.thread.load(Relaxed);
            if sign.beaten.swap(false, Relaxed) {
                Seen::Beat
            } else if sign.waits() || waiting.contains(&thread) {
                Seen::InKernel
            } else {
                Seen::Nothing { starved: starving.of(thread) }
            }
        });
        drop(state);
        if let Some(line) = line {
            shared.end(&line);
        }
        true
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(shared) = self.0.upgrade()
        {
            shared.end(&has_panicked("the watchdog"));
        }
    }
}

/// Shows that its holder does not hang. When it is dropped, its holder is no longer watched; when it is
/// dropped by a panic, it ends the process.
#[must_use = "when it is dropped, its holder is no longer watched"]
pub struct Pulse(Option<Watched>);

struct Watched {
    shared: Arc<Shared>,
    sign: Arc<Sign>,
    key: Key,
    name: Cow<'static, str>,
}

impl Pulse {
    /// Shows that a thread has gone round its loop once more. Costs two stores.
    pub fn beat(&self) {
        if let Some(watched) = &self.0 {
            watched.sign.beat();
            #[cfg(feature = "sabotage")]
            watched.sign.sabotage.perform_in_thread(&watched.name);
        }
    }

    /// Shows that a task has gone round its loop once more. Never waits.
    pub async fn turn(&self) {
        if let Some(watched) = &self.0 {
            watched.sign.beat();
            #[cfg(feature = "sabotage")]
            watched.sign.sabotage.perform_in_task(&watched.name).await;
        }
    }

    /// Beats during `wait`, which must have a limit of its own, or wait for a peer or a signal that may
    /// never come. It must not be the wait for an answer of another actor, because the beats would hide
    /// that the actor hangs.
    pub async fn during<T>(&self, wait: impl Future<Output = T>) -> T {
        self.turn().await;
        // The first beat is later, so that short waits do not need a timer.
        let mut beats = interval_at(Instant::now() + BEAT, BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = &mut wait => return done,
                _ = beats.tick() => self.turn().await,
            }
        }
    }

    /// The thread is about to wait in the kernel (accept, poll, write, fsync, an empty queue), however
    /// long that takes. Until the returned value is dropped, nothing on this thread counts as hung.
    pub fn enter_kernel(&self) -> KernelWait<'_> {
        self.beat();
        let sign = self.0.as_ref().map(|watched| &*watched.sign);
        if let Some(sign) = sign {
            sign.waits.fetch_add(1, Relaxed);
        }
        KernelWait(sign)
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_ref().map(|watched| &watched.name);
        f.debug_tuple("Pulse").field(&name).finish()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let Some(watched) = &self.0 else {
            return;
        };
        if thread::panicking() {
            watched.shared.end(&has_panicked(&watched.name));
        }
        let mut state = watched.shared.lock();
        state.core.forget(watched.key);
        state.signs.remove(&watched.key);
    }
}

impl Sign {
    fn beat(&self) {
        self.thread.store(this_thread(), Relaxed);
        self.beaten.store(true, Relaxed);
    }

    fn waits(&self) -> bool {
        self.waits.load(Relaxed) > 0
    }
}

/// The kernel's id of this thread.
fn this_thread() -> i32 {
    thread_local! {
        static ID: i32 = rustix::thread::gettid().as_raw_nonzero().get();
    }
    ID.with(|id| *id)
}

/// A wait in the kernel, which ends when this is dropped: see [`Pulse::enter_kernel`].
#[derive(Debug)]
#[must_use = "dropped at once, it has no effect"]
pub struct KernelWait<'a>(Option<&'a Sign>);

impl Drop for KernelWait<'_> {
    fn drop(&mut self) {
        if let Some(sign) = self.0 {
            sign.beat();
            sign.waits.fetch_sub(1, Relaxed);
        }
    }
}

/// Lets an actor beat while it is polled. Has to be called in `started`. An actor that waits inside
/// `ctx.wait` is not polled and does not beat, so it must not wait there for long. The beats do not keep
/// an actor alive that has lost its last address. An actor whose handlers may take long can share its
/// pulse (an `Rc`) and beat in between.
pub fn attend<A>(ctx: &mut Context<A>, pulse: impl Borrow<Pulse> + 'static)
where
    A: Actor<Context = Context<A>>,
{
    if pulse.borrow().0.is_none() {
        return;
    }
    pulse.borrow().beat();
    ctx.run_interval(BEAT, move |_, ctx| {
        if let Some(watched) = &pulse.borrow().0 {
            watched.sign.beat();
            #[cfg(feature = "sabotage")]
            watched.sign.sabotage.perform_in_actor(&watched.name, ctx);
        }
        if !ctx.connected() {
            ctx.stop();
        }
    });
}

/// Shows that a thread which runs tasks still gets round to all of them: this future, which never ends,
/// beats each time it is polled.
pub async fn attest(pulse: Pulse) {
    pulse.during(std::future::pending::<()>()).await;
}

#[cfg(test)]
mod tests;
