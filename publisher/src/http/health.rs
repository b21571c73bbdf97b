//! `/health/live` and `/health/ready`, which load balancers ask, and which no other rule restricts.

use actix_web::HttpRequest;
use actix_web::http::Method;

use super::Front;
use crate::courier::health::Readiness;
use crate::http::HttpError;
use crate::http::methods::Methods;

impl Front {
    /// What a request for one of them is answered; `None` for another path.
    pub(super) fn health(&self, request: &HttpRequest) -> Option<Result<Readiness, HttpError>> {
        let readiness = match request.uri().path() {
            // Whoever answers at all is alive.
            "/health/live" => Readiness::Ready,
            "/health/ready" => self.config.health.readiness(),
            _ => return None,
        };
        let method = request.method();
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            return Some(Ok(readiness));
        }
        let (method, methods) = (method.as_str().into(), Methods::Health);
        Some(Err(HttpError::MethodNotAllowed { method, methods }))
    }
}
