//! Finds actors, tasks and threads that hang, and ends the process then: half a service would go on
//! to answer, and lose what it answered. Nothing is restarted inside.
//!
//! Whoever must not hang holds a [`Pulse`] and lets it beat. A thread of its own looks once a second
//! who has; after five of its turns without a beat, and after a panic, it says so in one line and ends
//! the process. It counts its own turns and not the clock: a process that was stopped, or that gets no
//! processor, misses turns too, and is not hung.
//!
//! What hangs can be of three kinds, and each beats in its own way:
//! - an actor is polled: see [`attend`];
//! - a task goes round in its loop: [`Pulse::turn`] there, and [`Pulse::during`] for a wait that has a
//!   limit of its own;
//! - a thread goes round in its loop: [`Pulse::beat`] there, and [`Pulse::enter_kernel`] before it
//!   waits in the kernel.

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

/// How often an actor or a task that has nothing to do shows that it could: twice a turn.
pub const BEAT: Duration = Duration::from_millis(500);

/// How long a task waits for the answer of an actor: longer than an actor that is watched can hang. So
/// the limit is reached only where nobody watches, and the task must end with an error there.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A task that waits for something that may have no end looks again at least this often, and beats: a
/// wake-up that was lost costs no more than that.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Watches actors, tasks and threads. Clones are the same. The default watches nobody: for tests.
#[derive(Clone, Default)]
pub struct Watchdog(Option<Arc<Shared>>);

/// Ends the process with this line.
type End = Box<dyn Fn(&str) + Send>;

struct Shared {
    state: Mutex<State>,
    end: Mutex<End>,
}

#[derive(Default)]
struct State {
    core: Core,
    signs: HashMap<Key, Arc<Sign>>,
}

/// What one that is watched shows.
#[derive(Debug, Default)]
struct Sign {
    beaten: AtomicBool,
    /// How many waits in the kernel it is in.
    waits: AtomicUsize,
    /// The thread that it was last seen on; 0 before it was.
    thread: AtomicI32,
    #[cfg(feature = "sabotage")]
    wish: sabotage::Wish,
}

impl Watchdog {
    /// Starts the watchdog's thread. `end` is called with the last line of the process, on that thread
    /// or the one that panics; it must write the line and end the process, and not wait for long.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(end: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        Self::with_turns_of(TURN, end)
    }

    /// As [`start`](Self::start), with turns of another length.
    fn with_turns_of(turn: Duration, end: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), end: Mutex::new(Box::new(end)) });
        let watched = Watcher(Arc::downgrade(&shared));
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let mut starving = Starving::default();
            loop {
                // One turn, also if a stopped process makes it last for hours.
                thread::sleep(turn);
                if !watched.take_turn(&mut starving) {
                    return;
                }
            }
        })?;
        Ok(Self(Some(shared)))
    }

    /// Watches nobody: its pulses do nothing. For tests.
    pub fn none() -> Self {
        Self(None)
    }

    /// Watches one more. `name` stands at the beginning of the last line ("registry 1 has not
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

/// Two are equal if they are the same.
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
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
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
    /// Answers whether there is still somebody who could be watched.
    fn take_turn(&self, starving: &mut Starving) -> bool {
        let Some(shared) = self.0.upgrade() else {
            return false;
        };
        starving.turn();
        let mut state = shared.lock();
        #[cfg(feature = "sabotage")]
        sabotage::look(&state);
        let State { core, signs } = &mut *state;
        // Whoever shares a thread with one that waits in the kernel cannot beat either.
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

/// Shows that its holder does not hang. Dropped, its holder is not watched any more; dropped by a
/// panic, it ends the process.
#[must_use = "whoever is dropped is not watched any more"]
pub struct Pulse(Option<Watched>);

struct Watched {
    shared: Arc<Shared>,
    sign: Arc<Sign>,
    key: Key,
    name: Cow<'static, str>,
}

impl Pulse {
    /// Shows that a thread has gone round once more. Costs two stores.
    pub fn beat(&self) {
        if let Some(watched) = &self.0 {
            watched.sign.beat();
            #[cfg(feature = "sabotage")]
            watched.sign.wish.perform_in_thread(&watched.name);
        }
    }

    /// Shows that a task has gone round once more. Never waits.
    pub async fn turn(&self) {
        if let Some(watched) = &self.0 {
            watched.sign.beat();
            #[cfg(feature = "sabotage")]
            watched.sign.wish.perform_in_task(&watched.name).await;
        }
    }

    /// Beats while `wait` is under way, so it must have a limit of its own, or wait for a peer or a
    /// signal that may never come. Never for the answer of another actor: of that, the beats would
    /// hide that it hangs.
    pub async fn during<T>(&self, wait: impl Future<Output = T>) -> T {
        self.turn().await;
        // One that begins at once would wake the thread's timers for each short wait.
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

    /// The thread is about to wait in the kernel (accept, poll, write, fsync, an empty queue) for as long
    /// as it takes. Until the answer is dropped neither it, nor who else lives on this thread, counts as
    /// hung.
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

/// What the kernel calls this thread.
fn this_thread() -> i32 {
    thread_local! {
        static ID: i32 = rustix::thread::gettid().as_raw_nonzero().get();
    }
    ID.with(|id| *id)
}

/// While it lives, a thread waits in the kernel: see [`Pulse::enter_kernel`].
#[derive(Debug)]
#[must_use = "dropped at once, it says nothing"]
pub struct KernelWait<'a>(Option<&'a Sign>);

impl Drop for KernelWait<'_> {
    fn drop(&mut self) {
        if let Some(sign) = self.0 {
            sign.beat();
            sign.waits.fetch_sub(1, Relaxed);
        }
    }
}

/// Lets an actor beat for as long as it is polled: call it in `started`. An actor that waits inside
/// `ctx.wait` is not polled, so it does not beat, and must not wait there for longer than moments. The
/// beats do not keep an actor that has lost its last address. An actor whose handlers may take long
/// shares its pulse (an `Rc`) and beats in between.
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
            watched.sign.wish.perform_in_actor(&watched.name, ctx);
        }
        if !ctx.connected() {
            ctx.stop();
        }
    });
}

/// Beats for a thread that runs tasks, for as long as it gets round to this one of them.
pub async fn attest(pulse: Pulse) {
    pulse.during(std::future::pending::<()>()).await;
}

#[cfg(test)]
mod tests;
