//! Clients that come back after the server has sent them away, with the pauses of the JavaScript
//! client.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Client, Crowd, Door, GLANCE, Tally};

/// How long the clients may take to be sent away, and how long to be back.
const LIMIT: Duration = Duration::from_secs(60);

/// Close code: the server wants the client back, but not now.
const TRY_AGAIN_LATER: u16 = 1013;

/// Where clients come back to, and when each of them tries next.
pub struct Returns {
    door: Door,
    target: String,
    random: StdRng,
    /// How often each client was closed or refused.
    failures: Vec<u32>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    sent_away: usize,
}

impl Returns {
    /// The first `clients` of a crowd come back to this target, with pauses that depend on `seed`.
    pub fn new(door: Door, target: String, clients: usize, seed: u64) -> Self {
        Self {
            door,
            target,
            random: StdRng::seed_from_u64(seed),
            failures: vec![0; clients],
            due: BinaryHeap::new(),
            sent_away: 0,
        }
    }

    /// How many clients have lost the connection that they had at first.
    pub fn sent_away(&self) -> usize {
        self.sent_away
    }

    /// Plans the next attempt of a client that was closed or refused with this code.
    ///
    /// # Errors
    /// If the first connection was closed with another code than 1013, or a client that was back was
    /// closed again.
    fn failed(
        &mut self,
        client: usize,
        code: Option<u16>,
        was_greeted: bool,
        now: Instant,
    ) -> anyhow::Result<()> {
        let failures = self.failures[client];
        if failures == 0 {
            ensure!(code == Some(TRY_AGAIN_LATER), "a client was closed with {code:?}, not 1013");
            self.sent_away += 1;
        } else {
            ensure!(!was_greeted, "a client that was back was closed again, with {code:?}");
        }
        let pause = ceiling(code, failures).mul_f64(self.random.random());
        self.failures[client] += 1;
        self.due.push(Reverse((now + pause, client)));
        Ok(())
    }

    /// The next client that is to try again by now.
    fn next(&mut self, now: Instant) -> Option<usize> {
        self.due.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.due.pop().map(|Reverse((_, client))| client)
    }
}

/// The upper bound of a pause, as in `pause` of `gateway/page/campanile.js` for a client that knows
/// one URL.
fn ceiling(code: Option<u16>, failures: u32) -> Duration {
    let first = Duration::from_secs(if code == Some(TRY_AGAIN_LATER) { 5 } else { 1 });
    (first * 2_u32.pow(failures.min(5))).min(Duration::from_secs(30))
}

impl Crowd {
    /// Listens until it is `enough`; a client that is closed or refused comes back after its pause.
    ///
    /// # Errors
    /// If a client is closed for another reason than to come back later, or it is not enough within
    /// 60 s.
    pub fn come_back(
        &mut self,
        returns: &mut Returns,
        enough: impl Fn(&Returns, &Tally) -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !enough(returns, &self.heard) {
            let now = Instant::now();
            while let Some(client) = returns.next(now) {
                self.connect_again(client, &returns.door, &returns.target)?;
            }
            let next = returns.due.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
            for place in self.listen_once(next.unwrap_or(GLANCE))? {
                let Client { socket, reason, is_greeted, .. } = &self.clients[place];
                self.poll.remove(socket)?;
                // It may be closed in this direction, too.
                let _ = socket.shutdown();
                returns.failed(place, *reason, *is_greeted, Instant::now())?;
            }
            // They come back, so nothing has ended for good.
            (self.heard.ended, self.heard.reason) = (0, None);
            if begun.elapsed() > LIMIT {
                let (greeted, all) = (self.heard.greeted, self.clients.len());
                let (limit, away) = (LIMIT.as_secs(), returns.sent_away);
                bail!(
                    "after {limit} s {away} of {all} clients were sent away and {greeted} are back"
                );
            }
        }
        Ok(())
    }

    /// Connects a client again whose connection has ended. The new one remembers the last content.
    fn connect_again(&mut self, client: usize, door: &Door, target: &str) -> anyhow::Result<()> {
        let last = self.clients[client].last;
        self.clients[client] = self.open(client, door, target)?;
        self.clients[client].last = last;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_second_and_are_longer_after_1013() {
        let seconds = |code| [0, 1, 2, 3, 4, 5, 99].map(|n| ceiling(code, n).as_secs());
        assert_eq!(seconds(Some(503)), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(seconds(Some(1013)), [5, 10, 20, 30, 30, 30, 30]);
    }

    #[test]
    fn a_client_tries_again_within_its_pause_and_not_at_once() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let door = crate::subject::door(address, crate::wire::Speech::V1);
        let mut returns = Returns::new(door, "/".to_owned(), 2, 1);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        returns.failed(1, Some(1013), true, now).expect("sent away");
        assert_eq!((returns.sent_away(), returns.next(now)), (1, None));
        assert_eq!(returns.next(now + 5 * second), Some(1));
        assert_eq!(returns.next(now + 5 * second), None);
        returns.failed(1, Some(503), false, now).expect("refused");
        assert_eq!((returns.sent_away(), returns.next(now + 2 * second)), (1, Some(1)));
        assert!(returns.failed(1, Some(1013), true, now).is_err(), "it was back");
        assert!(returns.failed(0, None, true, now).is_err(), "cut off");
    }
}
