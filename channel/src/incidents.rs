//! Logs incidents that peers can cause at will, at a bounded rate, and says how many were left out.

use std::time::{Duration, Instant};

use campanile_edge::{Incidents, LeftOut};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

/// How often to look whether there is something to say.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Logs an incident, or leaves it out and counts it, as [`Incidents`] says:
/// `incident!(incidents, warn, "name", peer, fields.., "message")`, where `peer` is an `Option<IpAddr>`. What
/// comes from the peer must be a string, not `%`, so that it is escaped.
#[macro_export]
macro_rules! incident {
    ($incidents:expr, $level:ident, $name:expr, $peer:expr, $($said:tt)+) => {
        if let Some(left_out) = $incidents.note($name, $peer, std::time::Instant::now()) {
            let (left_out, seconds) = left_out.fields();
            tracing::$level!(incident = $name, left_out, seconds, $($said)+);
        }
    };
}

/// Logs what was left out and not told by another line within a second, for as long as it is polled. What is
/// left when it is dropped is logged then.
pub async fn report(incidents: Incidents) {
    let reporter = Reporter(incidents);
    let mut ticks = interval(LOOK_AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        reporter.0.due(Instant::now()).into_iter().for_each(tell);
    }
}

struct Reporter(Incidents);

impl Drop for Reporter {
    fn drop(&mut self) {
        self.0.rest(Instant::now()).into_iter().for_each(tell);
    }
}

fn tell((incident, left_out): (&'static str, LeftOut)) {
    let (left_out, seconds) = left_out.fields();
    info!(incident, left_out, seconds, "more incidents of this kind were left out");
}
