//! `/health/live` and `/health/ready`, which load balancers ask, and which no other rule restricts.

use actix_web::http::Method;
use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse};

use super::Front;
use crate::ApiError;
use crate::error::Methods;
use crate::health::Readiness;

impl Front {
    /// The answer to a request for one of them; `None` for another path.
    pub(super) fn health(&self, request: &HttpRequest) -> Option<Result<HttpResponse, ApiError>> {
        let readiness = match request.uri().path() {
            // Whoever answers at all is alive.
            "/health/live" => Readiness::Ready,
            "/health/ready" => self.config.health.readiness(),
            _ => return None,
        };
        let mut response = match (request.method(), readiness) {
            (&Method::GET | &Method::HEAD | &Method::OPTIONS, Readiness::Ready) => {
                HttpResponse::Ok()
            }
            (&Method::GET | &Method::HEAD | &Method::OPTIONS, _) => {
                HttpResponse::ServiceUnavailable()
            }
            (method, _) => {
                let (method, methods) = (method.as_str().into(), Methods::Health);
                return Some(Err(ApiError::MethodNotAllowed { method, methods }));
            }
        };
        response
            .content_type(ContentType::plaintext())
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::ALLOW, Methods::Health.allow()));
        Some(Ok(response.body(readiness.word())))
    }
}
