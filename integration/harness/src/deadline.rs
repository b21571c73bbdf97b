//! Waiting for a future or a condition, with a deadline.

use std::future::Future;
use std::time::Duration;

/// The longest that a test waits for anything. Usually it takes milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is checked that nothing signals.
const POLL: Duration = Duration::from_millis(20);

/// Waits for the future's value.
///
/// # Panics
/// After [`DEADLINE`], with a message that says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again until there is an answer, with the same deadline.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
}

/// Waits for a condition that nothing signals, with the same deadline.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("a condition", waiting).await;
}
