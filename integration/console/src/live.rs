//! `GET /console/live`: what the cluster does, pushed to the operator's page every second.
//!
//! However many pages look, the cluster is asked once, by a task that runs only while somebody looks. What it
//! learned in the last 15 minutes comes first on a new page.

mod history;
mod quota;
mod sample;
mod share;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, ActorContext as _, AsyncContext as _, StreamHandler};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{
    self, CloseCode, CloseReason, Message, ProtocolError, WebsocketContext,
};
use bytestring::ByteString;
use campanile_admin::{Admitted, Guard, Refused, refusal, said};
use campanile_channel::courier::Inquirer;
use campanile_messages::inquiry::{MAX_LISTED_ENDED, Question};
use campanile_messages::link::Asked;
use futures_util::future::join;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::closed::closed;
use crate::cluster::cluster;
use crate::replies::Replies;
use history::History;
use quota::Quota;
use share::{Share, Shares};

/// How often the cluster is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Every how many of these times gateways are asked, too, which connections ended last.
const CLOSED_EVERY: u64 = 2;

/// The most pages that look at one publisher.
const MAX_PAGES: usize = 32;

/// The most of them with the same key, so that one key cannot shut those of others out.
const MAX_PAGES_OF_KEY: usize = 8;

/// How often a page is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a page may be silent. A browser answers each heartbeat by itself.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// The largest message of a page, which has nothing to say.
const MAX_MESSAGE_BYTES: usize = 1_024;

/// The most bytes that a page may send within [`SILENCE_LIMIT`]: answers to heartbeats, and some frames of its own.
const MAX_PAGE_BYTES: usize = 4_096;

/// The close code for a page whose session is over: the same as for clients.
const SESSION_OVER: CloseCode = CloseCode::Other(4401);

/// The pages that look, and what they see.
#[derive(Debug, Clone)]
pub struct Onlookers {
    inquirer: Inquirer,
    /// What the charts show, as long as this process lives.
    history: Arc<Mutex<History>>,
    /// The last message to the pages; `None` while nobody looks.
    shown: watch::Sender<Option<ByteString>>,
    is_asking: Arc<AtomicBool>,
    shares: Shares,
}

impl Onlookers {
    /// Nobody, yet.
    pub fn new(inquirer: Inquirer) -> Self {
        Self {
            inquirer,
            history: Arc::default(),
            shown: watch::Sender::new(None),
            is_asking: Arc::default(),
            shares: Shares::default(),
        }
    }

    /// Takes on a page. Must be called on a thread with a runtime, which asks the cluster if none does yet.
    fn add(&self) -> Option<watch::Receiver<Option<ByteString>>> {
        if self.shown.receiver_count() >= MAX_PAGES {
            return None;
        }
        let mut shown = self.shown.subscribe();
        if shown.borrow().is_some() {
            shown.mark_changed();
        }
        if !self.is_asking.swap(true, Ordering::Relaxed) {
            let asking = Asking::new(self.clone());
            actix_web::rt::spawn(async move { asking.run().await });
        }
        Some(shown)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Every change is complete before anything can panic.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first message to a page.
    fn first_message(&self) -> String {
        json!({ "history": self.history().samples(Instant::now()) }).to_string()
    }
}

/// Asks the cluster. When it is dropped, even by a panic, the next page begins again.
struct Asking {
    onlookers: Onlookers,
    /// How often it has asked.
    turns: u64,
    /// The connections that ended last; null until they are known.
    closed: Value,
}

impl Asking {
    fn new(onlookers: Onlookers) -> Self {
        Self { onlookers, turns: 0, closed: Value::Null }
    }

    async fn run(mut self) {
        while self.onlookers.shown.receiver_count() > 0 {
            let next = TokioInstant::now() + INTERVAL;
            let message = self.message().await;
            self.onlookers.shown.send_replace(Some(message));
            sleep_until(next).await;
        }
    }

    async fn message(&mut self) -> ByteString {
        let pages = self.onlookers.inquirer.for_pages();
        let summary = pages.ask(Question::Summary, Asked::Everybody);
        // There is always room for one question of the pages, which is that for the summary.
        let (answered, ended) = match self.turns % CLOSED_EVERY {
            0 => {
                let question = Question::Ended { last: MAX_LISTED_ENDED };
                let ended = self.onlookers.inquirer.ask(question, Asked::Gateways);
                let (answered, ended) = join(summary, ended).await;
                (answered, ended.ok())
            }
            _ => (summary.await, None),
        };
        self.turns += 1;
        if let Some(ended) = ended {
            self.closed = closed(&Replies::of(ended, Asked::Gateways), MAX_LISTED_ENDED);
        }
        let (mut history, now) = (self.onlookers.history(), Instant::now());
        let message = match answered {
            Ok(answered) => {
                let sample = history.add(&answered, now);
                let cluster = cluster(answered, SystemTime::now());
                json!({ "cluster": cluster, "sample": sample, "closed": self.closed })
            }
            Err(reason) => {
                history.missed(now);
                json!({ "unavailable": reason.to_string(), "reason": reason.word() })
            }
        };
        message.to_string().into()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.onlookers.shown.send_replace(None);
        self.onlookers.is_asking.store(false, Ordering::Relaxed);
    }
}

/// Opens the websocket of a page.
pub async fn open(
    request: HttpRequest,
    payload: web::Payload,
    guard: web::Data<Guard>,
    onlookers: web::Data<Onlookers>,
) -> HttpResponse {
    let admitted = match guard.admit_websocket(&request) {
        Ok(admitted) => admitted,
        Err(refused) => return refusal(&refused),
    };
    let share = match admitted.key() {
        None => None,
        Some(key) => match onlookers.shares.take(&key.rights().name, MAX_PAGES_OF_KEY) {
            Some(share) => Some(share),
            None => {
                let sentence = format!(
                    "{MAX_PAGES_OF_KEY} pages with this key look at this publisher already: close one"
                );
                return said(StatusCode::SERVICE_UNAVAILABLE, &sentence);
            }
        },
    };
    let Some(shown) = onlookers.add() else {
        let sentence = format!("{MAX_PAGES} pages look at this publisher already: close one");
        return said(StatusCode::SERVICE_UNAVAILABLE, &sentence);
    };
    let guard = guard.get_ref().clone();
    let heard_at = Instant::now();
    let first = Some((onlookers.first_message(), shown));
    let page = OpenPage { guard, admitted, _share: share, first, heard_at };
    // What is read here is kept without a bound until the actor takes it, so a page that floods ends first.
    let mut quota = Quota::new(MAX_PAGE_BYTES, SILENCE_LIMIT);
    let payload = payload.map(move |chunk| {
        let chunk = chunk?;
        match quota.take(chunk.len(), Instant::now()) {
            true => Ok(chunk),
            false => Err(PayloadError::Io(io::Error::other("the page sends too much"))),
        }
    });
    let opened = ws::WsResponseBuilder::new(page, &request, payload).frame_size(MAX_MESSAGE_BYTES);
    opened.start().unwrap_or_else(|error| error.as_response_error().error_response())
}

/// The actor of one page. Receives from: its websocket, and [`Onlookers`], of which it sees the last message only.
/// Runs on: the thread of the listener, polled as the body of the response, so that a page that does not read
/// stops it and holds one message beside the first, until its socket ends. Bounded by: [`MAX_PAGES`].
struct OpenPage {
    guard: Guard,
    admitted: Admitted,
    /// Counts it for its key.
    _share: Option<Share>,
    /// The first message, and those that follow.
    first: Option<(String, watch::Receiver<Option<ByteString>>)>,
    heard_at: Instant,
}

impl Actor for OpenPage {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some((first, shown)) = self.first.take() {
            ctx.text(first);
            ctx.add_stream(stream::unfold(shown, |mut shown| async move {
                shown.changed().await.ok()?;
                let message = shown.borrow_and_update().clone();
                Some((Show(message), shown))
            }));
        }
        ctx.run_interval(HEARTBEAT, |page, ctx| {
            if page.heard_at.elapsed() > SILENCE_LIMIT {
                return ctx.stop();
            }
            ctx.ping(b"");
            page.close_if_over(ctx);
        });
    }
}

/// What the pages see from now on; `None` if nothing comes any more.
struct Show(Option<ByteString>);

impl StreamHandler<Show> for OpenPage {
    fn handle(&mut self, Show(message): Show, ctx: &mut Self::Context) {
        match message {
            _ if self.close_if_over(ctx) => {}
            Some(message) => ctx.text(message),
            None => {
                let description = Some("nobody asks the cluster any more".to_owned());
                ctx.close(Some(CloseReason { code: CloseCode::Error, description }));
                ctx.stop();
            }
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for OpenPage {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.heard_at = Instant::now();
        match message {
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            // A page has nothing to say.
            Ok(_) => {}
            Err(_) => ctx.stop(),
        }
    }
}

impl OpenPage {
    /// Closes the page if it may not look any more.
    fn close_if_over(&self, ctx: &mut WebsocketContext<Self>) -> bool {
        let Err(refused) = self.guard.still(&self.admitted) else { return false };
        let description = match refused {
            Refused::Scope { .. } => "this key may not look any more".to_owned(),
            refused => refused.to_string(),
        };
        ctx.close(Some(CloseReason { code: SESSION_OVER, description: Some(description) }));
        ctx.stop();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_hears_when_nobody_asks_any_more_and_only_then() {
        let onlookers = Onlookers::new(Inquirer::default());
        onlookers.is_asking.store(true, Ordering::Relaxed);
        let early = onlookers.add().expect("room");
        assert!(!early.has_changed().expect("it is there"), "there is nothing to see yet");
        onlookers.shown.send_replace(Some("{}".into()));
        let mut late = onlookers.add().expect("room");
        assert!(late.has_changed().expect("it is there"));
        assert!(late.borrow_and_update().is_some());
        drop(Asking::new(onlookers.clone()));
        for page in [early, late] {
            assert!(page.has_changed().is_ok_and(|has_changed| has_changed));
            assert_eq!(*page.borrow(), None);
        }
    }
}
