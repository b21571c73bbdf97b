//! What operators see of an exchange.

use std::time::Duration;

use campanile_messages::link::{DirectOutcome, Gap, Refusal};

use super::Exchange;
use crate::broker::counts::Figures;

impl Exchange {
    /// What it has done, and what it holds now.
    pub fn figures(&self, now: Duration) -> Figures {
        let Self { counts, log, intake, .. } = self;
        Figures {
            counts: *counts,
            head: log.head().sequence,
            log_events: log.len() as u64,
            log_bytes: log.kept_bytes() as u64,
            oldest_age: log.oldest_at().map_or(Duration::ZERO, |at| now.saturating_sub(at)),
            ids: intake.ids.len() as u64,
            staged_bytes: intake.staged_bytes() as u64,
        }
    }

    pub(super) fn count_direct(&mut self, outcome: DirectOutcome) {
        match outcome {
            DirectOutcome::Written => self.counts.delivered += 1,
            _ => self.counts.gone += 1,
        }
    }

    pub(super) fn count_refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::IdTaken => self.counts.conflicts += 1,
            _ => self.counts.busy += 1,
        }
    }

    pub(super) fn count_gap(&mut self, gap: Option<Gap>) {
        match gap {
            Some(Gap::Expired) => self.counts.expired += 1,
            Some(Gap::EpochChanged) => self.counts.epoch_changed += 1,
            None => {}
        }
    }
}
