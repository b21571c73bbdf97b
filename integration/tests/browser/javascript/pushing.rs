//! A caller that pushes while a test goes on, and knows what was accepted.

use std::time::Duration;

use campanile_harness::{PushApi, within};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The group of others.
const NOT_FOR_G: &str = "not for g";

/// The audience and the content of an event.
pub type Event = (Value, Value);

pub fn to_group(group: &str) -> Value {
    json!({ "group": group })
}

/// A caller that pushes one event after the other, each accepted before the next one.
pub struct Pushing {
    task: JoinHandle<Vec<Event>>,
    accepted: watch::Receiver<usize>,
    is_stopped: watch::Sender<bool>,
}

impl Pushing {
    /// Pushes to each group in turn, and to everyone.
    pub fn start(publisher: &PushApi, groups: &[String]) -> Self {
        let (publisher, groups) = (publisher.clone(), groups.to_vec());
        let (count, accepted) = watch::channel(0);
        let (is_stopped, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut events = Vec::new();
            while !*stopped.borrow() {
                let content = format!("push {}", events.len());
                let to = match groups.get(events.len() % (groups.len() + 1)) {
                    None => {
                        publisher.everyone(&content).await;
                        json!("everyone")
                    }
                    Some(group) => {
                        publisher.group(group, &content).await;
                        to_group(group)
                    }
                };
                events.push((to, json!(content)));
                count.send_replace(events.len());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            events
        });
        Self { task, accepted, is_stopped }
    }

    /// Pushes to everyone, to the group `g`, and to a group that no client of `g` listens to.
    pub fn start_for_g(publisher: &PushApi) -> Self {
        Self::start(publisher, &["g", NOT_FOR_G].map(str::to_owned))
    }

    /// Waits until a number of further events are accepted.
    pub async fn some_more(&mut self) {
        let enough = *self.accepted.borrow() + 50;
        let accepted = self.accepted.wait_for(|accepted| *accepted >= enough);
        within("more pushes are accepted", accepted).await.expect("it pushes on");
    }

    /// All events, in the order of their acceptance.
    pub async fn stop(self) -> Vec<Event> {
        self.is_stopped.send_replace(true);
        within("the last push", self.task).await.expect("each push is accepted")
    }

    /// The same without those that a client of `g` does not get.
    pub async fn stop_for_g(self) -> Vec<Event> {
        let mut events = self.stop().await;
        events.retain(|(to, _)| *to != to_group(NOT_FOR_G));
        events
    }
}
