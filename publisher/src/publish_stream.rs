//! The actor of one publish stream: items in, one a message; answers out, in the order of the items.
//!
//! Receives from: its websocket, and from [`Places`] what the courier has put there. Sends
//! `CarryAll` to the courier, one for all the messages that are ready. Runs on: the HTTP worker of
//! its connection, polled as the body of the response: a caller that does not read what it was sent
//! stops it, timers included, until the kernel gives the connection up (`silence_limit`). Bounded by:
//! `max_stream_items` and `max_stream_bytes` without their answers, past which it does not read; the
//! [`Budget`](crate::budget::Budget).

mod allowance;
mod intake;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFuture, ActorFutureExt, Addr, AsyncContext, StreamHandler};
use actix_web::dev::Payload;
use actix_web::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{
    CloseCode, CloseReason, Message, ProtocolError, WebsocketContext, handshake,
};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::{Stream as _, stream};
use tracing::debug;

use crate::budget::Peer;
use crate::courier::{CarryAll, Courier};
use crate::http::Front;
use crate::in_order::InOrder;
use crate::places::{Place, Places};
use crate::request::{Push, cost_bytes};
use crate::stream::Presence;
use crate::wording::{self, Answered};
use crate::{ApiError, PublisherConfig, item};
use allowance::Allowance;
use intake::{Incoming, Intake, Violation};

/// What is written at most before the connection is asked whether it takes more.
const WRITE_BYTES: usize = 64 << 10;

/// The room that a message needs beside its content.
const FIELDS_BYTES: usize = 4 << 10;

/// How items and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// TEXT messages. Where the caller names no subprotocol.
    Json,
    /// BINARY messages.
    MessagePack,
}

impl Format {
    /// That of a subprotocol.
    pub(crate) fn of(subprotocol: &str) -> Option<Self> {
        [Self::Json, Self::MessagePack].into_iter().find(|format| format.name() == subprotocol)
    }

    /// The subprotocol's name.
    fn name(self) -> &'static str {
        match self {
            Self::Json => "campanile.publish.v1.json",
            Self::MessagePack => "campanile.publish.v1.msgpack",
        }
    }

    /// The largest message with a content of so many bytes.
    fn max_message_bytes(self, max_content_bytes: usize) -> usize {
        match self {
            // Every byte may be escaped.
            Self::Json => max_content_bytes * 6 + FIELDS_BYTES,
            Self::MessagePack => max_content_bytes + FIELDS_BYTES,
        }
    }
}

struct PublishStream {
    format: Format,
    config: Arc<PublisherConfig>,
    courier: Addr<Courier>,
    payload: Pin<Box<Payload>>,
    intake: Intake,
    order: InOrder<Answered>,
    places: Places,
    allowance: Allowance,
    phase: Phase,
    /// When something came from the caller, or could not.
    heard_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Takes nothing more, answers what it took, then closes.
    Finishing(CloseCode),
    Closed,
}

/// Answers the handshake, which was checked, and starts the actor.
///
/// # Errors
/// [`ApiError::NotAWebsocket`].
pub(crate) fn open(
    front: &Front,
    format: Format,
    request: &HttpRequest,
    presence: Presence,
    peer: Peer,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let mut response = handshake(request).map_err(|_| ApiError::NotAWebsocket)?;
    if request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        response.insert_header((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(format.name())));
    }
    let max_message_bytes = format.max_message_bytes(front.config.max_content_bytes);
    let actor = PublishStream {
        format,
        config: front.config.clone(),
        courier: front.courier.clone(),
        payload: Box::pin(payload),
        intake: Intake::new(max_message_bytes),
        order: InOrder::default(),
        places: Places::new(presence, front.budget.reserve(peer)),
        allowance: Allowance::default(),
        phase: Phase::Open,
        heard_at: Instant::now(),
    };
    let stopping = front.stopping.clone();
    Ok(response.streaming(WebsocketContext::with_factory(stream::pending(), move |ctx| {
        ctx.spawn(Pump);
        let going = wrap_future::<_, PublishStream>(async move { stopping.notified().await });
        ctx.spawn(going.map(|(), stream, ctx| {
            stream.finish(CloseCode::Away);
            stream.end_when_done(ctx);
        }));
        actor
    })))
}

impl Actor for PublishStream {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.config.silence_limit / 3, |stream, ctx| stream.beat(ctx));
    }
}

/// Never called: this would be the library's own reader, which decodes sixteen frames a turn and
/// buffers without a bound meanwhile. It is given nothing to read.
impl StreamHandler<Result<Message, ProtocolError>> for PublishStream {
    fn handle(&mut self, _: Result<Message, ProtocolError>, _: &mut Self::Context) {}
}

/// Moves answers to the caller and items to the courier, as long as there are any and room for them.
struct Pump;

impl ActorFuture<PublishStream> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        stream: &mut PublishStream,
        ctx: &mut WebsocketContext<PublishStream>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        let mut written = 0;
        // Where this much is written, the connection polls again when it has taken it.
        while written < WRITE_BYTES {
            let came = stream.collect(task);
            written += stream.write(ctx);
            let took = stream.take_in(ctx, task);
            if !came && !took {
                break;
            }
        }
        stream.end_when_done(ctx);
        Poll::Pending
    }
}

impl PublishStream {
    /// Takes the answers that have arrived; answers whether there are any.
    fn collect(&mut self, task: &mut Context<'_>) -> bool {
        let Poll::Ready(arrived) = self.places.poll_arrived(task) else {
            return false;
        };
        for (number, answered) in arrived {
            self.order.answer(number, answered);
        }
        true
    }

    /// Writes the answers whose turn it is; answers how many bytes they have.
    fn write(&mut self, ctx: &mut WebsocketContext<Self>) -> usize {
        let held = self.order.held_bytes();
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        while let Some(answered) = self.order.pop() {
            match self.format {
                Format::Json => wording::json(&answered, &mut bytes),
                Format::MessagePack => wording::msgpack(&answered, &mut bytes),
            }
            ends.push(bytes.len());
        }
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        for end in ends {
            let message = bytes.slice(start..end);
            start = end;
            match self.format {
                Format::Json => ctx.text(ByteString::try_from(message).expect("JSON is UTF-8")),
                Format::MessagePack => ctx.binary(message),
            }
        }
        self.allowance.give_back(held - self.order.held_bytes(), &self.places);
        if self.order.is_empty() {
            self.allowance.settle(&self.places);
        }
        bytes.len()
    }

    /// Takes the messages that are there, as long as there is room; answers whether there were any.
    fn take_in(&mut self, ctx: &mut WebsocketContext<Self>, task: &mut Context<'_>) -> bool {
        let mut pushes = Vec::new();
        let mut took = false;
        while self.phase == Phase::Open && self.has_room() {
            match self.intake.next() {
                Ok(Some(incoming)) => {
                    took = true;
                    self.perform(incoming, ctx, &mut pushes);
                }
                Ok(None) => match self.payload.as_mut().poll_next(task) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(chunk))) => {
                        self.heard_at = Instant::now();
                        self.intake.feed(&chunk);
                    }
                    // What came before the end is under way, and is answered if the caller is there.
                    Poll::Ready(None | Some(Err(_))) => self.finish(CloseCode::Normal),
                },
                Err(violation) => self.violated(violation),
            }
        }
        if self.places.hold(self.intake.held_bytes()).is_err() {
            self.finish(CloseCode::Again);
        }
        if !pushes.is_empty() {
            self.courier.do_send(CarryAll { pushes });
        }
        took
    }

    fn has_room(&self) -> bool {
        self.order.len() < self.config.max_stream_items
            && (self.order.is_empty() || self.order.held_bytes() < self.config.max_stream_bytes)
    }

    fn perform(
        &mut self,
        incoming: Incoming,
        ctx: &mut WebsocketContext<Self>,
        pushes: &mut Vec<(Push, Place)>,
    ) {
        let max_bytes = self.config.max_content_bytes;
        match (incoming, self.format) {
            (Incoming::Text(text), Format::Json) => {
                self.take(item::json::read(&text, max_bytes), pushes);
            }
            (Incoming::Binary(bytes), Format::MessagePack) => {
                self.take(item::msgpack::read(&bytes, max_bytes), pushes);
            }
            (Incoming::Text(_) | Incoming::Binary(_), _) => self.finish(CloseCode::Unsupported),
            (Incoming::Ping(payload), _) => ctx.pong(&payload),
            (Incoming::Pong, _) => {}
            (Incoming::Close, _) => self.finish(CloseCode::Normal),
        }
    }

    /// Gives an item its place, and its answer where it is no push.
    fn take(&mut self, item: Result<Push, ApiError>, pushes: &mut Vec<(Push, Place)>) {
        let counted = item.and_then(|push| {
            let cost = cost_bytes(&push);
            self.allowance.take(cost, &self.places)?;
            Ok((push, cost))
        });
        match counted {
            Ok((push, cost)) => pushes.push((push, self.places.place(self.order.open(cost)))),
            Err(error) => {
                let number = self.order.open(0);
                self.order.answer(number, Err(error));
            }
        }
    }

    fn violated(&mut self, violation: Violation) {
        debug!(%violation, "a publish stream ends");
        self.finish(violation.close_code());
    }

    /// Takes nothing more. The first reason counts.
    fn finish(&mut self, code: CloseCode) {
        if self.phase == Phase::Open {
            self.phase = Phase::Finishing(code);
        }
    }

    fn end_when_done(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Phase::Finishing(code) = self.phase
            && self.order.is_empty()
        {
            self.phase = Phase::Closed;
            ctx.close(Some(CloseReason { code, description: Some(reason(code).to_owned()) }));
            // The connection then reads for a while what still comes, so that the code arrives.
            ctx.stop();
        }
    }

    fn beat(&mut self, ctx: &mut WebsocketContext<Self>) {
        if !self.has_room() {
            self.heard_at = Instant::now();
        } else if self.heard_at.elapsed() >= self.config.silence_limit {
            self.finish(CloseCode::Error);
            self.end_when_done(ctx);
        } else {
            ctx.ping(b"");
        }
    }
}

/// What the caller reads beside the number.
fn reason(code: CloseCode) -> &'static str {
    match code {
        CloseCode::Away => "shutting down, connect again",
        CloseCode::Protocol => "protocol error",
        CloseCode::Unsupported => "the other kind of message: JSON is TEXT, MessagePack is BINARY",
        CloseCode::Invalid => "text is not UTF-8",
        CloseCode::Size => "message too big",
        CloseCode::Again => "too much content is on its way, try again later",
        CloseCode::Error => "no answer to pings",
        _ => "",
    }
}
