//! How a worker's clients are sent away: not all at once, and not twice. Pure: a part of the registry's
//! core.

use std::ops::Range;
use std::time::Duration;

use crate::websocket::CloseCode;

/// Some clients are closed this often.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// With what every client is being closed, if so.
#[derive(Debug, Default)]
pub struct Leaving(Option<CloseCode>);

impl Leaving {
    /// The code with which a newcomer is closed, too.
    pub fn code(&self) -> Option<CloseCode> {
        self.0
    }

    /// Whether this is what clients are being closed with: another code may have taken over, or the
    /// clients may stay.
    pub fn is_for(&self, code: CloseCode) -> bool {
        self.0 == Some(code)
    }

    /// Clients are to go. Returns which of them after how long, in this order; nothing where they are
    /// going for good already.
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
        // Evenly over all of the time, however many there are.
        let before = |step: usize| clients * step / steps;
        let some = |step| (DRAIN_STEP * step as u32, before(step)..before(step + 1));
        (0..steps).map(some).filter(|(_, some)| !some.is_empty()).collect()
    }

    /// There is a broker again: clients that were sent away for lack of one may stay.
    pub fn stay(&mut self) {
        self.0.take_if(|code| *code == CloseCode::NoBroker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_go_evenly_over_the_time() {
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
    fn a_shutdown_takes_over_and_only_a_lack_of_a_broker_passes() {
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
