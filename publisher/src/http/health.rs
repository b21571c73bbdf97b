//! `/health/live` and `/health/ready`, for load balancers. No rule about pages and hosts applies to them.

use actix_web::HttpRequest;
use actix_web::http::Method;

use super::Front;
use crate::courier::health::Readiness;
use crate::http::HttpError;
use crate::http::methods::Methods;

impl Front {
    /// Returns the answer to a request for one of them; `None` for another path.
    pub(super) fn health(&self, request: &HttpRequest) -> Option<Result<Readiness, HttpError>> {
        let readiness = match request.uri().path() {
            // A process that answers is alive.
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
