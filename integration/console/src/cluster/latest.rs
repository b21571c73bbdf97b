//! The last answer of `/cluster`, which those share who ask at about the same time: they ask the cluster once.

use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use campanile_channel::inquiries::NoInquiry;
use tokio::sync::Mutex;

/// For how long an answer is given to others. It is shorter than the interval of whoever asks again and again.
const SHARED_FOR: Duration = Duration::from_millis(500);

/// The last answer, and when it came.
#[derive(Debug, Default)]
pub struct LatestAnswer(Mutex<Option<(Instant, Result<Bytes, NoInquiry>)>>);

impl LatestAnswer {
    /// The last answer, unless it is too old `now`, or the one that `ask` gets, for which others wait.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(
        &self,
        now: Instant,
        ask: impl Future<Output = Result<Bytes, NoInquiry>>,
    ) -> Result<Bytes, NoInquiry> {
        let mut latest = self.0.lock().await;
        if let Some((at, answer)) = &*latest
            && now.saturating_duration_since(*at) < SHARED_FOR
        {
            return answer.clone();
        }
        let answer = ask.await;
        *latest = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_one_answer() {
        let (latest, asked) = (LatestAnswer::default(), Cell::new(0));
        let get = async |now: Instant, answer: Result<&'static str, NoInquiry>| {
            let ask = async {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                answer.map(Bytes::from)
            };
            latest.get(now, ask).await
        };
        let start = Instant::now();
        let all = join_all((0..40).map(|_| get(start, Ok("first")))).await;
        assert!(all.iter().all(|answer| *answer == Ok("first".into())), "{all:?}");
        assert_eq!(asked.get(), 1);
        assert_eq!(get(start + SHARED_FOR / 2, Ok("early")).await, Ok("first".into()));
        let later = Instant::now() + SHARED_FOR;
        // A reason is shared, too: otherwise each would wait for its own.
        let all = join_all((0..40).map(|_| get(later, Err(NoInquiry::Unanswered)))).await;
        assert_eq!((&all[0], asked.get()), (&Err(NoInquiry::Unanswered), 2));
    }
}
