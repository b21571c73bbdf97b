//! `GET /position`: the position at which the log ends. The bridge asks the broker after the caller has
//! asked, with one question for all callers that wait. Without a link, callers get an error at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use campanile_channel::heads::Heads;
use campanile_channel::watchdog::ANSWER_LIMIT;
use campanile_edge::{AllowOrigins, prefers_json};
use campanile_messages::Position;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::GatewayConfig;

/// How long a caller waits for the broker's answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a caller does not get the position. All of these are temporary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoHead {
    /// The gateway has no link to the broker now.
    #[error("this gateway has no link to its broker: try again")]
    NoLink,
    /// The broker did not answer in time, or could not be asked.
    #[error("the broker did not say in time where the log ends: try again")]
    NoAnswer,
    /// As many callers as possible are waiting already.
    #[error("too many callers wait for the position at which the log ends: try again")]
    TooMany,
}

type Asker = oneshot::Sender<Result<Position, NoHead>>;

/// The callers that wait, and the question to the broker that they wait for.
#[derive(Debug)]
pub struct Askers {
    heads: Heads<Asker>,
}

impl Default for Askers {
    fn default() -> Self {
        Self { heads: Heads::new(LIMIT) }
    }
}

impl Askers {
    /// Adds a caller, while there is a link; refuses it if too many are waiting.
    pub fn add(&mut self, asker: Asker, now: Instant) {
        if let Err(asker) = self.heads.ask(asker, now) {
            tell(asker, Err(NoHead::TooMany));
        }
    }

    /// The number of the question to send now; `None` if there is nothing to ask.
    pub fn question(&mut self) -> Option<u64> {
        self.heads.question()
    }

    /// Records that the question could not be sent, so that it is tried again.
    pub fn not_sent(&mut self) {
        self.heads.not_sent();
    }

    /// Answers the callers that waited for a question with this number.
    pub fn answered(&mut self, number: u64, head: Position) {
        self.heads.answered(number).for_each(|asker| tell(asker, Ok(head)));
    }

    /// Refuses the callers that have waited for too long.
    pub fn expire(&mut self, now: Instant) {
        self.heads.expire(now).into_iter().for_each(|asker| tell(asker, Err(NoHead::NoAnswer)));
    }

    /// Refuses all callers, because the link is lost.
    pub fn link_lost(&mut self) {
        self.heads.give_up().for_each(|asker| tell(asker, Err(NoHead::NoLink)));
    }
}

/// Answers a caller, which may be gone.
fn tell(asker: Asker, answer: Result<Position, NoHead>) {
    let _ = asker.send(answer);
}

/// Asks the bridge for the position at which the log ends. The answer comes within 6 s. If the bridge is
/// gone, the sender is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AskHead(pub Asker);

/// What the page's server needs to answer `/position`.
#[derive(Clone)]
pub struct PositionSource {
    bridge: Recipient<AskHead>,
    config: Arc<GatewayConfig>,
    listens_on: IpAddr,
}

impl PositionSource {
    /// Answers requests with the help of the bridge. The web pages that may read event streams may also
    /// read the position.
    pub fn new(bridge: Recipient<AskHead>, config: Arc<GatewayConfig>, listens_on: IpAddr) -> Self {
        Self { bridge, config, listens_on }
    }

    /// The most exposed of the addresses that the gateway listens on.
    pub fn listens_on(&self) -> IpAddr {
        self.listens_on
    }

    async fn ask(&self) -> Result<Position, NoHead> {
        let (asker, answered) = oneshot::channel();
        self.bridge.do_send(AskHead(asker));
        // If the bridge does not answer, it hangs, and the watchdog will end the process.
        let answered = timeout(LIMIT + ANSWER_LIMIT, answered).await;
        answered.ok().and_then(Result::ok).unwrap_or(Err(NoHead::NoLink))
    }

    /// The value of `Access-Control-Allow-Origin` for the page that asks; `None` if it may not read.
    fn allowed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
        self.config.allow_origins.allowed(origin, self.listens_on)
    }
}

/// Answers `GET /position` with one line, or with JSON for callers that prefer it. No cache may keep the
/// answer.
pub async fn position(request: HttpRequest, source: web::Data<PositionSource>) -> HttpResponse {
    let mut response = match source.ask().await {
        Ok(position) if wants_json(&request) => {
            HttpResponse::Ok().json(json!({ "position": position.to_string() }))
        }
        Ok(position) => text(StatusCode::OK).body(format!("{position}\n")),
        Err(reason) => {
            let status = match reason {
                NoHead::NoLink | NoHead::TooMany => StatusCode::SERVICE_UNAVAILABLE,
                NoHead::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
            };
            text(status).insert_header((header::RETRY_AFTER, "1")).body(format!("{reason}\n"))
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(Ok(allowed)) = source.allowed(request.headers()).map(HeaderValue::from_str) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        // A page whose origin is listed may send its cookies, too.
        if matches!(source.config.allow_origins, AllowOrigins::Only(_)) {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }
    response
}

fn text(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponseBuilder::new(status);
    response.content_type("text/plain; charset=utf-8");
    response
}

/// Whether the caller prefers JSON to plain text.
fn wants_json(request: &HttpRequest) -> bool {
    let accept = request.headers().get_all(header::ACCEPT);
    prefers_json(accept.filter_map(|value| str::from_utf8(value.as_bytes()).ok()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const HEAD: Position = Position { epoch: 1, sequence: 7 };

    fn asker(askers: &mut Askers, now: Instant) -> oneshot::Receiver<Result<Position, NoHead>> {
        let (asker, answered) = oneshot::channel();
        askers.add(asker, now);
        answered
    }

    #[test]
    fn an_answer_reaches_those_who_asked_before_the_question() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        let mut first = asker(&mut askers, now);
        assert_eq!(askers.question(), Some(1));
        let mut second = asker(&mut askers, now);
        askers.answered(1, HEAD);
        assert_eq!(first.try_recv(), Ok(Ok(HEAD)));
        assert!(second.try_recv().is_err());
        assert_eq!(askers.question(), Some(2));
    }

    #[test]
    fn callers_are_refused_when_the_link_or_their_time_is_gone() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        let mut lost = asker(&mut askers, now);
        assert_eq!(askers.question(), Some(1));
        askers.link_lost();
        assert_eq!(lost.try_recv(), Ok(Err(NoHead::NoLink)));
        let mut late = asker(&mut askers, now);
        assert_eq!(askers.question(), Some(2));
        askers.expire(now + LIMIT);
        assert_eq!(late.try_recv(), Ok(Err(NoHead::NoAnswer)));
    }

    #[test]
    fn json_is_sent_to_callers_that_prefer_it() {
        let wants = |accept: &'static [&str]| {
            let mut request = TestRequest::default();
            for value in accept {
                request = request.append_header((header::ACCEPT, *value));
            }
            wants_json(&request.to_http_request())
        };
        assert!(wants(&["application/json"]));
        assert!(wants(&["text/html", "application/json;q=0.5"]));
        assert!(wants(&["application/json; profile=\"é\""]));
        assert!(!wants(&["application/json;q=0"]));
        assert!(!wants(&["text/plain, application/json"]));
        assert!(!wants(&["*/*"]));
        assert!(!wants(&[]));
    }
}
