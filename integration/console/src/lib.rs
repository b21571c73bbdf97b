//! What operators see of a whole cluster, on the operator's listener of a publisher: the page `/console`, and
//! the questions behind it, such as `/cluster`.
//!
//! [`mount`] adds the pages to the listener. They ask the cluster through the publisher's
//! [`Inquirer`], and write what it answers as JSON. `page` has the files of the operator's page, `session` signs
//! operators in, `live` pushes to the page, and `push` takes what an operator composes to the publisher.

#![allow(clippy::result_large_err, reason = "a request of an operator is rare")]

mod cluster;
mod live;
mod page;
mod push;
mod session;
mod trace;

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Mount, Wanted, refusal, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::NoInquiry;
use campanile_publisher::Composer;
use serde::Serialize;

use crate::live::Onlookers;

/// The pages of a publisher, which asks the cluster through `inquirer`, and pushes what operators compose through
/// `composer`.
pub fn mount(inquirer: &Inquirer, composer: &Composer) -> Mount {
    let onlookers = web::Data::new(Onlookers::new(inquirer.clone()));
    let (inquirer, composer) = (web::Data::new(inquirer.clone()), web::Data::new(composer.clone()));
    Mount(Arc::new(move |config| {
        config
            .app_data(inquirer.clone())
            .app_data(composer.clone())
            .app_data(onlookers.clone())
            .route("/cluster", web::get().to(cluster::answer))
            .route("/trace", web::get().to(trace::answer))
            .service(page::scope());
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
