//! Waiting: for a future or a condition, and never for ever.

use std::future::Future;
use std::time::Duration;

/// No wait of a test takes longer; what is awaited usually comes within milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nothing tells about.
const POLL: Duration = Duration::from_millis(20);

/// The future's value, or a failed test that says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again until there is an answer.
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

/// Waits for a condition that nothing tells about.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("a condition", waiting).await;
}
