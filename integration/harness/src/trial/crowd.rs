//! Many listeners at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use tokio::time::sleep;

use super::listener::{Listener, Profile};
use super::seed::Seed;
use super::transcript::Transcript;
use crate::client::Protocol;
use crate::deadline::{DEADLINE, eventually};

/// How often all listeners are checked.
const POLL: Duration = Duration::from_millis(5);

/// Who listens, and to what.
#[derive(Debug, Clone)]
pub struct Audiences {
    pub clients: usize,
    /// Groups are numbered from 0; a client listens to none, one or two of them.
    pub groups: u8,
    /// The clients take them in turn.
    pub protocols: Vec<Protocol>,
}

/// Many clients, on all gateways.
pub struct Crowd {
    listeners: Vec<Listener>,
    started: Instant,
}

impl Crowd {
    /// Starts them and waits until all are greeted.
    pub async fn start(
        audiences: &Audiences,
        gateways: &[SocketAddr],
        started: Instant,
        seed: Seed,
    ) -> Self {
        let mut choices = seed.choices("audiences");
        let listeners = (0..audiences.clients).map(|number| {
            let groups = choices.random_range(0..=2).min(audiences.groups);
            let mut groups: Vec<_> =
                (0..groups).map(|_| choices.random_range(0..audiences.groups)).collect();
            groups.dedup();
            let profile = Profile {
                number,
                // Each protocol on each gateway.
                protocol: audiences.protocols[number / gateways.len() % audiences.protocols.len()],
                gateways: gateways.to_vec(),
                groups,
                started,
            };
            Listener::start(profile, seed.choices(&format!("listener {number}")))
        });
        let crowd = Self { listeners: listeners.collect(), started };
        eventually("every client is greeted", async || {
            crowd.listeners.iter().all(Listener::is_greeted).then_some(())
        })
        .await;
        crowd
    }

    /// Waits until each client has got an event that was first tried at `then` or later, and returns how
    /// long after `then` that was; `None` if it does not happen in time.
    pub async fn caught_up(&self, then: Duration) -> Option<Duration> {
        let deadline = self.started.elapsed() + DEADLINE;
        loop {
            let now = self.started.elapsed();
            if self.listeners.iter().all(|listener| listener.has_from(then)) {
                return Some(now.saturating_sub(then));
            }
            if now > deadline {
                return None;
            }
            sleep(POLL).await;
        }
    }

    /// Makes one of `each` clients drop its connection and come back.
    pub fn hang_up(&self, each: usize) {
        self.listeners.iter().step_by(each).for_each(Listener::hang_up);
    }

    /// How often clients were greeted, in total.
    pub fn greetings(&self) -> usize {
        self.listeners.iter().map(Listener::greetings).sum()
    }

    /// What they have got since the last call.
    pub fn take(&self) -> Vec<Transcript> {
        self.listeners.iter().map(Listener::take).collect()
    }
}
