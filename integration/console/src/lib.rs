//! What operators see of a whole cluster, on the operator's listener of a publisher: `/cluster`.
//!
//! [`mount`] adds the pages to the listener. They ask the cluster through the publisher's
//! [`Inquirer`], and write what it answers as JSON.

mod cluster;
mod trace;

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Mount, Wanted, refusal, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::NoInquiry;
use serde::Serialize;

/// The pages of a publisher, which asks the cluster through `inquirer`.
pub fn mount(inquirer: &Inquirer) -> Mount {
    let inquirer = web::Data::new(inquirer.clone());
    Mount(Arc::new(move |config| {
        config.app_data(inquirer.clone()).route("/cluster", web::get().to(cluster::answer));
        config.route("/trace", web::get().to(trace::answer));
    }))
}

/// Refuses a request that is not allowed.
fn check(guard: &Guard, wanted: Wanted, request: &HttpRequest) -> Result<(), HttpResponse> {
    guard.check(wanted, request).map_err(|refused| refusal(&refused))
}

fn json(value: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::Ok().json(value);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn unanswered(reason: NoInquiry) -> HttpResponse {
    said(actix_web::http::StatusCode::SERVICE_UNAVAILABLE, &reason.to_string())
}
