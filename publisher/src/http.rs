//! The door: reads methods, paths, headers and bodies, takes pushes to the courier, and replies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use actix_server::GracefulShutdownSignal;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_channel::publishing::{Push, Receipt};
use campanile_channel::watchdog::ANSWER_LIMIT;
use campanile_edge::Action;
use campanile_messages::{IdempotencyKey, Position};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::budget::{Budget, Reserved};
use crate::config::PublisherConfig;
use crate::courier::health::Readiness;
use crate::courier::{Caller, Carry, Courier, Presence, Unavailable};
use crate::error::{Answered, ApiError};
use crate::http::inbound::{MAX_TARGET_BYTES, REFUSED};
use crate::http::media::body_kind;
use crate::http::methods::Methods;
use crate::http::turn::Turn;
use crate::meters::{PublisherMeters, Waits};
use crate::push::batch::BatchFormat;
use crate::push::query::key;
use crate::push::rights::Pusher;
use crate::push::shown::Shown;
use crate::push::{BadRequest, from_body, from_query, with_key};
use body::encoding;
use counted::CountedRequest;
use traced::PushSpan;

mod batch;
mod body;
mod caller;
mod composed;
mod connection;
mod counted;
mod counted_body;
mod credentials;
mod entrance;
pub(crate) mod error;
mod health;
pub mod inbound;
pub mod inflate;
mod limit;
pub mod media;
mod methods;
mod open_stream;
mod patience;
mod position;
mod rate_fields;
mod reply;
mod status;
mod traced;
mod turn;
pub mod wording;

pub use composed::{Composed, Composer};
pub(crate) use connection::CallerStream;
pub(crate) use counted::{add, status_of};
pub(crate) use entrance::Entrance;
pub(crate) use error::HttpError;
pub(crate) use limit::limit;
pub(crate) use status::status;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What every HTTP worker needs to answer requests.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) courier: Addr<Courier>,
    pub(crate) budget: Budget,
    pub(crate) entrance: Entrance,
    pub(crate) listens_on: IpAddr,
    pub(crate) config: Arc<PublisherConfig>,
    pub(crate) stopping: GracefulShutdownSignal,
    /// How long a body may still take after the beginning of a shutdown.
    pub(crate) stopping_limit: Duration,
}

enum Success {
    Receipt(Receipt),
    Batch(BatchFormat, Vec<Answered>, Reserved),
    Stream(HttpResponse),
    Position(Position),
    Health(Readiness),
    /// The methods of a path, for an OPTIONS or a HEAD.
    Methods(Methods),
}

/// The path of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Push,
    Batch,
    Stream,
    Position,
}

impl Route {
    fn methods(self) -> Methods {
        match self {
            Self::Push => Methods::Push,
            Self::Batch => Methods::Batch,
            Self::Stream => Methods::Stream,
            Self::Position => Methods::Position,
        }
    }
}

/// Answers one request.
pub(crate) async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    front: web::Data<Front>,
) -> HttpResponse {
    let mut payload = payload.into_inner();
    let turn = request.conn_data::<Turn>().cloned().unwrap_or_default();
    // What is broken comes first: half a body must not be taken for a complete one.
    let client = || front.entrance.client(&request);
    let mut counted = CountedRequest::new(front.counting(), &request, client);
    let performed = tokio::select! {
        biased;
        error = turn.broken() => Err(error.into()),
        performed = front.perform(&request, &mut payload, &mut counted) => performed,
    };
    counted.answered(&performed);
    let mut response = match performed {
        Ok(Success::Receipt(receipt)) => reply::receipt(&receipt, &request),
        Ok(Success::Batch(format, answers, reserved)) => {
            reply::batch(format, &answers, reserved, turn.clone())
        }
        Ok(Success::Stream(response)) => response,
        Ok(Success::Position(position)) => position::response(position, &request),
        Ok(Success::Health(readiness)) => reply::health(readiness, payload),
        Ok(Success::Methods(methods)) => reply::methods(methods, payload),
        Err(error) => {
            let client = front.entrance.client(&request);
            reply::log_refusal(&front.config.incidents, &error, client);
            reply::refusal(&error, &request, payload)
        }
    };
    if let Some(meter) = counted.pusher.as_ref().and_then(Pusher::meter) {
        reply::add_rate(&mut response, meter);
    }
    reply::let_page_read(&mut response, front.origin(&request));
    turn.end();
    response
}

impl Front {
    /// Where pushes are counted, and whether they are logged.
    fn counting(&self) -> (&PublisherMeters, bool) {
        (&self.config.meters, self.config.access_log)
    }

    /// Performs a request. `counted` gets the caller, if it is known and has pushed, and what it pushes.
    async fn perform(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        counted: &mut CountedRequest,
    ) -> Result<Success, ApiError> {
        if let Some(health) = self.health(request) {
            return Ok(Success::Health(health?));
        }
        self.check_caller(request)?;
        let route = route(request).map_err(|error| self.without_proxy(error))?;
        match (route, request.method()) {
            (_, &Method::OPTIONS) => return Ok(Success::Methods(route.methods())),
            // Nobody means to push with a HEAD. It asks whether there is somebody.
            (Route::Push, &Method::HEAD) if query(request).is_empty() => {
                return Ok(Success::Methods(route.methods()));
            }
            (Route::Push, &Method::GET | &Method::POST)
            | (Route::Batch, &Method::POST)
            | (Route::Position | Route::Stream, &Method::GET) => {}
            (_, method) => {
                let method = method.as_str().into();
                return Err(HttpError::MethodNotAllowed { method, methods: route.methods() }.into());
            }
        }
        let admitted = self.admit(request)?;
        match route {
            Route::Push => {
                let pusher = admitted.pusher()?.clone();
                counted.pusher = Some(pusher.clone());
                counted.span = PushSpan::begin(&self.config.spans, request);
                pusher.count_push(Instant::now())?;
                let mut reserved = self.budget.reserve(self.entrance.peer(request));
                let mut push = match request.method() {
                    &Method::GET => self.read_get(request, &admitted.query, &mut reserved)?,
                    _ => self.read_post(request, &admitted.query, payload, &mut reserved).await?,
                };
                counted.asked(Some(&push));
                // Its key may have been removed while the body was on its way.
                self.still(&pusher)?.check_push(&push)?;
                if let Some(span) = &mut counted.span {
                    span.follow(&mut push);
                }
                self.carry(push, reserved, presence(request)).await.map(Success::Receipt)
            }
            Route::Batch => {
                let pusher = admitted.pusher()?.clone();
                counted.pusher = Some(pusher.clone());
                counted.span = PushSpan::begin(&self.config.spans, request);
                let query = &*admitted.query;
                let (format, answers, reserved) =
                    self.batch(request, query, payload, &pusher, counted).await?;
                Ok(Success::Batch(format, answers, reserved))
            }
            Route::Position => {
                admitted.pusher()?.check(Action::ReadPosition)?;
                self.position(request, &admitted.query).await.map(Success::Position)
            }
            Route::Stream => Ok(Success::Stream(self.stream(request, payload, admitted)?)),
        }
    }

    /// The caller, as it is among the keys of now.
    ///
    /// # Errors
    /// [`HttpError::UnknownKey`] or [`HttpError::NoKey`] if it may not push any more.
    fn still(&self, pusher: &Pusher) -> Result<Pusher, HttpError> {
        let renewed = pusher.renewed(&self.config.keys.borrow());
        renewed.ok_or(match pusher.is_anybody() {
            true => HttpError::NoKey { in_url: false },
            false => HttpError::UnknownKey,
        })
    }

    fn read_get(
        &self,
        request: &HttpRequest,
        query: &[u8],
        reserved: &mut Reserved,
    ) -> Result<Push, ApiError> {
        encoding(request)?;
        let key = idempotency_key(request)?;
        refuse_body(request)?;
        let push = from_query(query, self.config.max_content_bytes)?;
        let push = with_key(push, key)?;
        reserved.grow(push.content.as_bytes().len())?;
        Ok(push)
    }

    async fn read_post(
        &self,
        request: &HttpRequest,
        query: &[u8],
        payload: &mut Payload,
        reserved: &mut Reserved,
    ) -> Result<Push, ApiError> {
        let key = idempotency_key(request)?;
        let kind = body_kind(content_type(request)?)?;
        let too_large = BadRequest::TooLarge { max_bytes: self.config.max_content_bytes }.into();
        let max_bytes = kind.max_bytes(self.config.max_content_bytes);
        let body = self.read_body(request, payload, max_bytes, too_large, reserved).await?;
        let push = from_body(query, kind, body, self.config.max_content_bytes)?;
        reserved.arrived(push.content.as_bytes().len())?;
        Ok(with_key(push, key)?)
    }

    async fn carry(
        &self,
        push: Push,
        reserved: Reserved,
        presence: Presence,
    ) -> Result<Receipt, ApiError> {
        let limits = self.config.broker_wait + self.config.confirm_limit;
        let limit = limits + push.timeout.unwrap_or_default() + ANSWER_LIMIT;
        let (answer, answered) = oneshot::channel();
        let (waits, begun) = (Waits::from(&push), Instant::now());
        let mut in_flight = self.config.meters.in_flight();
        in_flight.set(1);
        let caller = Caller::Single { answer, presence, reserved };
        self.courier.do_send(Carry { push, caller });
        // Only a courier that is gone drops a caller, and what it did before is unknown. A courier that
        // has not answered this long after its own limits hangs.
        let answered = timeout(limit, answered).await.ok().and_then(Result::ok);
        self.config.meters.took(waits, begun.elapsed());
        answered.unwrap_or(Err(Unavailable::PublisherEnded.into()))
    }
}

/// Refuses a GET with a body, which would be ignored.
fn refuse_body(request: &HttpRequest) -> Result<(), HttpError> {
    let has_length = content_length(request).is_some_and(|len| len > 0);
    match has_length || request.headers().contains_key(header::TRANSFER_ENCODING) {
        true => Err(HttpError::BodyOfGet),
        false => Ok(()),
    }
}

/// Returns what says whether the caller is still there.
fn presence(request: &HttpRequest) -> Presence {
    request.conn_data().cloned().unwrap_or_default()
}

fn route(request: &HttpRequest) -> Result<Route, HttpError> {
    match request.uri().path() {
        REFUSED => {
            let known = request.conn_data::<Turn>().and_then(Turn::take_refusal);
            Err(known.unwrap_or(HttpError::UrlTooLong { max_bytes: MAX_TARGET_BYTES }))
        }
        "/" => Ok(Route::Push),
        "*" if request.method() == Method::OPTIONS => Ok(Route::Push),
        "/batch" => Ok(Route::Batch),
        "/stream" => Ok(Route::Stream),
        "/position" => Ok(Route::Position),
        path => Err(HttpError::NotFound { path: path.into() }),
    }
}

fn query(request: &HttpRequest) -> &[u8] {
    request.uri().query().unwrap_or_default().as_bytes()
}

fn content_length(request: &HttpRequest) -> Option<u64> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

fn content_type(request: &HttpRequest) -> Result<Option<&[u8]>, HttpError> {
    only(request, &header::CONTENT_TYPE, "Content-Type")
}

/// Returns the header as it was sent, including quotes: whoever repeats it, repeats it like that.
fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = only(request, &IDEMPOTENCY_KEY, "Idempotency-Key")? else {
        return Ok(None);
    };
    let text = str::from_utf8(value).map_err(|_| HttpError::BadHeader {
        header: "Idempotency-Key",
        value: Shown::from(value),
        accepted: "1 to 255 bytes of UTF-8 without control characters are accepted",
    })?;
    Ok(Some(key("the header Idempotency-Key", text)?))
}

fn only<'a>(
    request: &'a HttpRequest,
    name: &HeaderName,
    header: &'static str,
) -> Result<Option<&'a [u8]>, HttpError> {
    let mut values = request.headers().get_all(name);
    let first = values.next().map(HeaderValue::as_bytes);
    match values.next() {
        None => Ok(first),
        Some(_) => Err(HttpError::RepeatedHeader { header }),
    }
}
