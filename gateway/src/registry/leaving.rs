//! Sends a worker's clients away: spread over time, and not twice. Pure: a part of the registry's core.

use std::ops::Range;
use std::time::Duration;

use crate::websocket::CloseCode;

/// The time between two steps, each of which closes some clients.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// The code with which every client is being closed; `None` while clients may stay.
#[derive(Debug, Default)]
pub struct Leaving(Option<CloseCode>);

impl Leaving {
    /// The code with which a new client is closed, too; `None` if it may stay.
    pub fn code(&self) -> Option<CloseCode> {
        self.0
    }

    /// Whether clients are being closed with this code. Another code may have replaced it, or the clients
    /// may stay.
    pub fn is_for(&self, code: CloseCode) -> bool {
        self.0 == Some(code)
    }

    /// Begins to send clients away. Returns, in order, after which time to close which of them; nothing if
    /// a shutdown is closing them already.
    pub fn begin(
        &mut self,
        code: CloseCode,
        clients: usize,
        over: Duration,
    ) -> Vec<(Duration, Range<usize>)> {
        if self.is_for(CloseCode::GoingAway) {
            return Vec::new();
        }
        self.0 = Some(code);
        let steps = over.div_duration_f64(DRAIN_STEP).floor().max(1.0) as usize;
        // Spread evenly over the whole time, whatever the number of clients is.
        let before = |step: usize| clients * step / steps;
        let some = |step| (DRAIN_STEP * step as u32, before(step)..before(step + 1));
        (0..steps).map(some).filter(|(_, some)| !some.is_empty()).collect()
    }

    /// Lets the clients stay that were being closed for lack of a broker, because there is one again.
    pub fn stay(&mut self) {
        self.0.take_if(|code| *code == CloseCode::NoBroker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_closed_evenly_over_the_time() {
        let mut leaving = Leaving::default();
        assert_eq!(
            leaving.begin(CloseCode::NoBroker, 5, 3 * DRAIN_STEP),
            [(Duration::ZERO, 0..1), (DRAIN_STEP, 1..3), (2 * DRAIN_STEP, 3..5)]
        );
        assert_eq!(leaving.begin(CloseCode::NoBroker, 5, Duration::ZERO), [(Duration::ZERO, 0..5)]);
        let few = leaving.begin(CloseCode::NoBroker, 1, 3 * DRAIN_STEP);
        assert_eq!(few, [(2 * DRAIN_STEP, 0..1)]);
    }

    #[test]
    fn a_shutdown_is_final_while_a_lost_broker_may_return() {
        let mut leaving = Leaving::default();
        leaving.begin(CloseCode::NoBroker, 1, Duration::ZERO);
        leaving.stay();
        assert_eq!(leaving.code(), None);
        leaving.begin(CloseCode::NoBroker, 1, Duration::ZERO);
        assert_eq!(leaving.begin(CloseCode::GoingAway, 1, Duration::ZERO).len(), 1);
        assert!(!leaving.is_for(CloseCode::NoBroker));
        leaving.stay();
        assert_eq!(leaving.begin(CloseCode::NoBroker, 1, Duration::ZERO), []);
        assert_eq!(leaving.code(), Some(CloseCode::GoingAway));
    }
}
