//! Fetches the keys of tokens from a URL: at the start, every 10 minutes, and when a token names a key
//! that is not known.

mod schedule;
mod source;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_channel::watchdog::Pulse;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use self::schedule::Schedule;
pub use self::schedule::UNKNOWN_PERIOD;
pub use self::source::{FETCH_LIMIT, FetchError, JwksUrl};

/// Fetches keys for as long as the future is polled, and passes what came to `read`, which returns how many
/// keys it has taken, or why it keeps the old ones. `unknown` is notified when somebody shows a token with
/// an unknown key; `unknown_period` is [`UNKNOWN_PERIOD`], but tests do not wait so long. A failure is logged once, and so is its end.
pub async fn keep(
    url: JwksUrl,
    unknown: Arc<Notify>,
    unknown_period: Duration,
    pulse: Pulse,
    mut read: impl FnMut(&[u8]) -> Result<usize, String>,
) -> Infallible {
    let mut client = None;
    let mut schedule = Schedule::new(Instant::now(), unknown_period);
    let mut said = None;
    loop {
        pulse.turn().await;
        let wait = schedule.wait(Instant::now());
        if !wait.is_zero() {
            let waiting = async {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = unknown.notified() => schedule.unknown_key(Instant::now()),
                }
            };
            pulse.during(waiting).await;
            continue;
        }
        let fetching = async {
            // Certificates of the system that cannot be read now may be there later.
            let with = match client.take() {
                Some(client) => client,
                None => url.client()?,
            };
            url.fetch(client.insert(with), FETCH_LIMIT).await
        };
        let fetched = pulse.during(fetching).await.map_err(|error: FetchError| error.to_string());
        let taken = fetched.and_then(|answer| read(&answer));
        schedule.attempted(taken.is_ok(), Instant::now());
        match taken {
            Ok(keys) if said.take().is_some() => {
                info!(%url, keys, "token keys can be fetched again")
            }
            Ok(_) => {}
            Err(error) if said.as_ref() == Some(&error) => {}
            Err(error) => {
                warn!(%url, %error, "cannot fetch token keys, so the keys stay as they are");
                said = Some(error);
            }
        }
    }
}
