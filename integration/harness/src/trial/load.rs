//! Callers that push steadily and know the outcome of each push.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use campanile_messages::Position;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::push::{Audience, Push, PushOutcome, content};
use super::seed::Seed;
use crate::client::encode;
use crate::deadline::{eventually, within};

/// How many pushes may be in progress at a time; during an outage all of them wait.
const AT_ONCE: usize = 1_000;

/// A caller without an answer for this long gives up. It is more than a publisher's own limits.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A push with an id is repeated for this long.
const REPEAT_FOR: Duration = Duration::from_secs(20);

/// The pause between two attempts: at first, and at most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Longer contents are sent as a body.
const GET_UP_TO_BYTES: usize = 512;

/// What is pushed, how fast and where.
#[derive(Debug, Clone)]
pub struct Plan {
    pub publishers: Vec<SocketAddr>,
    pub per_second: u32,
    /// Groups are numbered from 0.
    pub groups: u8,
    /// Half of the pushes carry an id, and are repeated with it.
    pub has_ids: bool,
    /// The number of the first push.
    pub first: u64,
    /// When the run started.
    pub started: Instant,
}

/// Callers that push.
pub struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<Vec<Push>>,
}

struct Shared {
    plan: Plan,
    http: reqwest::Client,
    stop: AtomicBool,
    room: Arc<Semaphore>,
    accepted: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    /// Starts to push.
    pub fn start(plan: Plan, seed: Seed) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build();
        let choices = seed.choices(&format!("load from {}", plan.first));
        let shared = Arc::new(Shared {
            plan,
            http: http.expect("a client"),
            stop: AtomicBool::new(false),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            accepted: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        });
        let task = tokio::spawn(push_steadily(shared.clone(), choices));
        Self { shared, task }
    }

    /// Waits until this many more pushes are accepted.
    pub async fn more_accepted(&self, count: usize) {
        more("accepted pushes", &self.shared.accepted, count).await;
    }

    /// Waits until this many more attempts have failed.
    pub async fn more_failed(&self, count: usize) {
        more("failed attempts", &self.shared.failed, count).await;
    }

    /// Stops, and waits for the outcome of all pushes. The last one is an accepted push to everyone.
    pub async fn stop(self) -> Vec<Push> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut task = self.task;
        // Longer than a caller waits whose last attempt is not answered.
        let patience = REPEAT_FOR + ANSWER_LIMIT * 2;
        match tokio::time::timeout(patience, &mut task).await {
            Ok(pushes) => pushes.expect("no panic"),
            Err(_) => panic!("callers are not done after {patience:?}"),
        }
    }
}

async fn more(what: &str, counter: &AtomicUsize, count: usize) {
    let enough = counter.load(Ordering::Relaxed) + count;
    eventually(what, async || (counter.load(Ordering::Relaxed) >= enough).then_some(())).await;
}

async fn push_steadily(shared: Arc<Shared>, mut choices: StdRng) -> Vec<Push> {
    let mut ticks = interval(Duration::from_secs(1) / shared.plan.per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let mut pushes = Vec::new();
    let mut number = shared.plan.first;
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let room = shared.room.clone().acquire_owned().await.expect("never closed");
        let push = shared.new_push(number, &mut choices);
        number += 1;
        let (shared, choices) = (shared.clone(), Seed(choices.random()).choices("a caller"));
        under_way.spawn(async move {
            let _room = room;
            see_through(&shared, push, choices).await
        });
        while let Some(push) = under_way.try_join_next() {
            pushes.push(push.expect("no panic"));
        }
    }
    while let Some(push) = under_way.join_next().await {
        pushes.push(push.expect("no panic"));
    }
    let last = Push {
        audience: Audience::Everyone,
        has_id: shared.plan.has_ids,
        ..shared.new_push(number, &mut choices)
    };
    let last = within("the last push is answered", see_through(&shared, last, choices)).await;
    assert!(matches!(last.outcome, PushOutcome::Accepted(_)), "{last:?}");
    pushes.push(last);
    pushes
}

/// Tries a push, and repeats it if it has an id.
async fn see_through(shared: &Shared, mut push: Push, mut choices: StdRng) -> Push {
    let begun = Instant::now();
    push.tried_at = shared.plan.started.elapsed();
    let mut backoff = BACKOFF[0];
    push.outcome = PushOutcome::Refused;
    loop {
        let publisher =
            shared.plan.publishers[choices.random_range(0..shared.plan.publishers.len())];
        let outcome = attempt(shared, publisher, &push).await;
        let is_final = matches!(outcome, PushOutcome::Accepted(_) | PushOutcome::Wrong(_));
        // A later refusal does not say what became of an attempt whose outcome was unknown.
        if is_final || push.outcome == PushOutcome::Refused {
            push.outcome = outcome;
        }
        if is_final || !push.has_id || begun.elapsed() > REPEAT_FOR {
            break;
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF[1]);
    }
    push.answered_at = shared.plan.started.elapsed();
    push
}

async fn attempt(shared: &Shared, publisher: SocketAddr, push: &Push) -> PushOutcome {
    let outcome = send(&shared.http, publisher, push).await;
    let count = match outcome {
        PushOutcome::Accepted(_) => &shared.accepted,
        _ => &shared.failed,
    };
    count.fetch_add(1, Ordering::Relaxed);
    outcome
}

async fn send(http: &reqwest::Client, publisher: SocketAddr, push: &Push) -> PushOutcome {
    let content = content(push.number, push.tried_at, push.padding);
    let (id, group) = (format!("push {}", push.number), push.audience.group());
    let in_url = content.len() <= GET_UP_TO_BYTES;
    let parameters = [
        in_url.then_some(("content", &*content)),
        push.has_id.then_some(("id", &*id)),
        group.as_deref().map(|group| ("to_group", group)),
    ];
    let url = format!("http://{publisher}/?{}", encode(parameters.into_iter().flatten()));
    let request = match in_url {
        true => http.get(url),
        false => http.post(url).header("Content-Type", "text/plain").body(content),
    };
    let response = match request.header("Accept", "application/json").send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return PushOutcome::Refused,
        Err(_) => return PushOutcome::Unknown,
    };
    let status = response.status().as_u16();
    let Ok(body) = response.text().await else {
        return PushOutcome::Unknown;
    };
    match status {
        200 => position(&body).map_or_else(|| PushOutcome::Wrong(body), PushOutcome::Accepted),
        503 => PushOutcome::Refused,
        504 => PushOutcome::Unknown,
        _ => PushOutcome::Wrong(format!("{status}: {body}")),
    }
}

fn position(receipt: &str) -> Option<Position> {
    let receipt: Value = serde_json::from_str(receipt).ok()?;
    receipt["position"].as_str()?.parse().ok()
}

impl Shared {
    fn new_push(&self, number: u64, choices: &mut StdRng) -> Push {
        let audience = match choices.random_range(0..4) {
            1.. if self.plan.groups > 0 => {
                Audience::Group(choices.random_range(0..self.plan.groups))
            }
            _ => Audience::Everyone,
        };
        // Most are small, and some are too large to be written together with other frames.
        let padding = match choices.random_range(0..10) {
            0 => choices.random_range(600..4_000),
            _ => choices.random_range(0..100),
        };
        Push {
            number,
            audience,
            padding,
            has_id: self.plan.has_ids && choices.random(),
            tried_at: Duration::ZERO,
            outcome: PushOutcome::Refused,
            answered_at: Duration::ZERO,
        }
    }
}
