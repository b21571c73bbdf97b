//! The actor of one publish stream: one item per message in, answers out in the order of the items.
//!
//! Receives from: its websocket, and [`Answers`], to which the courier adds. Sends
//! `CarryAll` to the courier, one for all the messages that are ready. Runs on: the HTTP worker of
//! its connection, polled as the body of the response: a caller that does not read what it was sent
//! stops it, timers included (so no more than a few pings are answered before its key has come), until the connection has no more [`patience`](crate::http::patience) with the
//! caller (`silence_limit`). Bounded by: `max_stream_items` and `max_stream_bytes` without their answers, and
//! its share of the [`Budget`](crate::budget::Budget), past which it does not read.

mod access;
mod allowance;
mod exchange;
mod intake;
mod limits;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFuture, ActorFutureExt, Addr, AsyncContext, StreamHandler};
use actix_server::GracefulShutdownSignal;
use actix_web::dev::Payload;
use actix_web::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{
    CloseCode, CloseReason, Message, ProtocolError, WebsocketContext, handshake,
};
use campanile_edge::Keys;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::access_log::{Lines, Source};
use crate::courier::answers::Answers;
use crate::courier::{Caller, CarryAll, Courier};
use crate::http::HttpError;
use crate::meters::{InFlight, Kind, Limit, PublisherMeters};
use crate::push::rights::Pusher;
use access::Access;
use exchange::{Exchange, NO_KEY, Outgoing, Turn};
pub(crate) use limits::StreamLimits;

/// How items and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// TEXT messages. Used if the caller names no subprotocol.
    Json,
    /// BINARY messages.
    MessagePack,
}

impl StreamFormat {
    /// The names of all subprotocols.
    pub(crate) const SUBPROTOCOLS: [&str; 2] = [Self::Json.name(), Self::MessagePack.name()];

    /// Returns the format of a subprotocol.
    pub(crate) fn of(subprotocol: &str) -> Option<Self> {
        [Self::Json, Self::MessagePack].into_iter().find(|format| format.name() == subprotocol)
    }

    /// Returns the name of the subprotocol.
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "campanile.publish.v1.json",
            Self::MessagePack => "campanile.publish.v1.msgpack",
        }
    }
}

/// How long a caller may take to show its key, if the handshake had none.
const KEY_LIMIT: Duration = Duration::from_secs(5);

/// How long a stream waits for its last answers when its key was removed.
const LAST_ANSWERS_LIMIT: Duration = Duration::from_millis(500);

struct PublishStream {
    exchange: Exchange,
    courier: Addr<Courier>,
    payload: Pin<Box<Payload>>,
    silence_limit: Duration,
    /// When something came from the caller, or reading from it was not possible.
    heard_at: Instant,
    /// Whether nothing is read for a while, because the caller pushes too often.
    is_slowed: bool,
    keys: watch::Receiver<Arc<Keys>>,
    is_closed: bool,
    meters: PublisherMeters,
    in_flight: InFlight,
    /// The caller's address, for the access log.
    peer: Option<SocketAddr>,
}

/// What a publish stream needs to begin.
pub(crate) struct Opening {
    /// Who pushes; `None` until the first message says it.
    pub(crate) pusher: Option<Pusher>,
    /// All that might push when the caller's key was looked up, and their changes.
    pub(crate) keys: (Arc<Keys>, watch::Receiver<Arc<Keys>>),
    /// The subprotocol to answer with. Without one, the format is JSON.
    pub(crate) subprotocol: Option<StreamFormat>,
    pub(crate) limits: StreamLimits,
    /// Where its answers arrive, with the bytes that it has reserved.
    pub(crate) answers: Answers,
    pub(crate) courier: Addr<Courier>,
    /// How long the caller may be silent.
    pub(crate) silence_limit: Duration,
    /// Signalled when the process shuts down.
    pub(crate) stopping: GracefulShutdownSignal,
    pub(crate) payload: Payload,
    /// Where its items are counted.
    pub(crate) meters: PublisherMeters,
    /// The caller's address, as far as it is known; `None` without an access log.
    pub(crate) log_for: Option<Option<SocketAddr>>,
}

/// Answers a handshake that is known to be valid, and starts the actor.
///
/// # Errors
/// [`HttpError::NotAWebsocket`].
pub(crate) fn open(request: &HttpRequest, opening: Opening) -> Result<HttpResponse, HttpError> {
    let Opening {
        pusher,
        keys,
        subprotocol,
        limits,
        answers,
        courier,
        silence_limit,
        stopping,
        payload,
        meters,
        log_for,
    } = opening;
    let mut response = handshake(request).map_err(|_| HttpError::NotAWebsocket)?;
    if let Some(format) = subprotocol {
        response.insert_header((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(format.name())));
    }
    let (known, keys) = keys;
    let access = Access::new(known, pusher);
    let format = subprotocol.unwrap_or(StreamFormat::Json);
    let actor = PublishStream {
        exchange: Exchange::new(access, format, limits, answers).logged(log_for.is_some()),
        courier,
        payload: Box::pin(payload),
        silence_limit,
        heard_at: Instant::now(),
        is_slowed: false,
        keys,
        is_closed: false,
        in_flight: meters.in_flight(),
        meters,
        peer: log_for.flatten(),
    };
    Ok(response.streaming(WebsocketContext::with_factory(stream::pending(), move |ctx| {
        ctx.spawn(Pump { pause: None });
        let going = wrap_future::<_, PublishStream>(async move { stopping.notified().await });
        ctx.spawn(going.map(|(), stream, ctx| {
            stream.exchange.finish(CloseCode::Away);
            stream.end_when_done(ctx);
        }));
        actor
    })))
}

impl Actor for PublishStream {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.silence_limit / 3, |stream, ctx| stream.beat(ctx));
        if self.exchange.awaits_key() {
            ctx.run_later(KEY_LIMIT, |stream, ctx| {
                if stream.exchange.awaits_key() {
                    stream.exchange.finish(NO_KEY);
                    stream.end_when_done(ctx);
                }
            });
        }
        self.watch_keys(ctx);
    }
}

/// Never called. This is for the library's own reader, which decodes sixteen frames per turn and buffers
/// without a bound in the meantime. It gets nothing to read.
impl StreamHandler<Result<Message, ProtocolError>> for PublishStream {
    fn handle(&mut self, _: Result<Message, ProtocolError>, _: &mut Self::Context) {}
}

/// Gives the exchange a turn whenever something comes or was taken, or when a pause is over.
struct Pump {
    pause: Option<Pin<Box<Sleep>>>,
}

impl ActorFuture<PublishStream> for Pump {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        stream: &mut PublishStream,
        ctx: &mut WebsocketContext<PublishStream>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        // Whoever has lost the right to push does not get another turn.
        if stream.keys.has_changed().unwrap_or(true) {
            stream.replace_keys(ctx);
        }
        loop {
            let turn = stream.exchange.turn(task, stream.payload.as_mut(), Instant::now());
            let wait = turn.wait;
            stream.perform(turn, ctx);
            stream.end_when_done(ctx);
            self.pause = wait.map(|wait| Box::pin(sleep(wait)));
            let Some(pause) = &mut self.pause else { return Poll::Pending };
            if pause.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for PublishStream {
    fn drop(&mut self) {
        let items = self.exchange.items() as u64;
        if items > 0 {
            self.meters.pushed(Kind::Stream, None, self.exchange.key_name(), items);
            let lines = self.exchange.unanswered(Instant::now());
            self.log(lines);
        }
    }
}

impl PublishStream {
    fn perform(&mut self, turn: Turn, ctx: &mut WebsocketContext<Self>) {
        let Turn { outgoing, pushes, heard, wait, results, lines } = turn;
        self.log(lines);
        self.meters.pushed_all(Kind::Stream, &results, self.exchange.key_name());
        self.in_flight.set(self.exchange.items());
        if wait.is_some() && !self.is_slowed {
            self.meters.limit_hit(Limit::MaxPushesPerSecond);
        }
        self.is_slowed = wait.is_some();
        if heard {
            self.heard_at = Instant::now();
        }
        for message in outgoing {
            match message {
                Outgoing::Text(text) => ctx.text(text),
                Outgoing::Binary(bytes) => ctx.binary(bytes),
                Outgoing::Pong(payload) => ctx.pong(&payload),
            }
        }
        if !pushes.is_empty() {
            let pushes = pushes.into_iter().map(|(push, slot)| (push, Caller::Many(slot)));
            self.courier.do_send(CarryAll { pushes: pushes.collect() });
        }
    }

    fn log(&self, lines: Lines) {
        let (kind, key) = (Kind::Stream, self.exchange.key_name());
        lines.log(Source { kind, key, peer: self.peer });
    }

    fn end_when_done(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Some(code) = self.exchange.is_done()
            && !self.is_closed
        {
            self.is_closed = true;
            ctx.close(Some(CloseReason { code, description: Some(reason(code).to_owned()) }));
            // The connection then goes on reading for a while, so that the close code arrives.
            ctx.stop();
        }
    }

    /// Looks at the keys whenever there are others. The owner of the keys may be gone; then there are none.
    fn watch_keys(&self, ctx: &mut WebsocketContext<Self>) {
        let mut keys = self.keys.clone();
        let changed = async move {
            if keys.changed().await.is_err() {
                std::future::pending().await
            }
        };
        ctx.spawn(wrap_future::<_, Self>(changed).map(|(), stream, ctx| {
            stream.replace_keys(ctx);
            stream.watch_keys(ctx);
        }));
    }

    /// Ends if the caller's key is not valid any more. Answers that have not come soon are not waited for.
    fn replace_keys(&mut self, ctx: &mut WebsocketContext<Self>) {
        let keys = self.keys.borrow_and_update().clone();
        if self.exchange.replace_keys(&keys) {
            self.end_when_done(ctx);
            ctx.run_later(LAST_ANSWERS_LIMIT, |stream, ctx| {
                stream.exchange.cut();
                stream.end_when_done(ctx);
            });
        }
    }

    fn beat(&mut self, ctx: &mut WebsocketContext<Self>) {
        if self.is_slowed || !self.exchange.has_room() {
            self.heard_at = Instant::now();
        } else if self.heard_at.elapsed() >= self.silence_limit {
            self.exchange.finish(CloseCode::Error);
            self.end_when_done(ctx);
        } else {
            ctx.ping(b"");
        }
    }
}

/// The reason that the caller reads beside the close code.
fn reason(code: CloseCode) -> &'static str {
    match code {
        CloseCode::Away => "shutting down, connect again",
        CloseCode::Protocol => "protocol error",
        CloseCode::Unsupported => "the other kind of message: JSON is TEXT, MessagePack is BINARY",
        CloseCode::Invalid => "text is not UTF-8",
        CloseCode::Size => "message too big",
        CloseCode::Again => "too much content is on its way, try again later",
        CloseCode::Error => "no answer to pings",
        NO_KEY => "invalid_token: the first message must be {\"type\":\"auth\",\"key\":\"..\"}",
        _ => "",
    }
}
