//! What operators see of a whole cluster, on the operator's listener of a publisher: the page `/console`, and
//! the questions behind it: `/cluster`, `/closed`, `/connections`, `/users` and `/trace`.
//!
//! [`mount`] adds the pages to the listener. They ask the cluster through the publisher's
//! [`Inquirer`], and write what it answers as JSON. `page` has the files of the operator's page, `session` signs
//! operators in, `live` pushes to the page, and `push` takes what an operator composes to the publisher.

#![allow(clippy::result_large_err, reason = "a request of an operator is rare")]

mod closed;
mod cluster;
mod connections;
mod live;
mod page;
mod push;
mod replies;
mod session;
mod trace;

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Mount, Wanted, refusal, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::NoInquiry;
use campanile_edge::Principal;
use campanile_publisher::Composer;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cluster::LatestAnswer;
use crate::live::Onlookers;

/// The pages of a publisher, which asks the cluster through `inquirer`, and pushes what operators compose through
/// `composer`.
pub fn mount(inquirer: &Inquirer, composer: &Composer) -> Mount {
    let onlookers = web::Data::new(Onlookers::new(inquirer.clone()));
    let latest = web::Data::new(LatestAnswer::default());
    let (inquirer, composer) = (web::Data::new(inquirer.clone()), web::Data::new(composer.clone()));
    let add = Arc::new(move |config: &mut web::ServiceConfig| {
        config
            .app_data(inquirer.clone())
            .app_data(composer.clone())
            .app_data(onlookers.clone())
            .app_data(latest.clone())
            .route("/cluster", web::get().to(cluster::answer))
            .route("/closed", web::get().to(closed::answer))
            .configure(connections::mount)
            .route("/trace", web::get().to(trace::answer))
            .service(page::scope());
    });
    let paths = &[
        "/console",
        "/cluster",
        "/closed",
        "/connections/WORKER/CONNECTION",
        "/users/USER",
        "/trace",
    ];
    Mount { paths, add }
}

/// Refuses a request that is not allowed.
fn check(guard: &Guard, wanted: Wanted, request: &HttpRequest) -> Result<(), HttpResponse> {
    guard.check(wanted, request).map_err(|refused| refusal(&refused))
}

/// Refuses a request that is not allowed, or says who asks, as the log names it.
fn who(guard: &Guard, wanted: Wanted, request: &HttpRequest) -> Result<String, HttpResponse> {
    let admitted = guard.admit(wanted, request).map_err(|refused| refusal(&refused))?;
    let key = admitted.key().map(|key| Principal::Key(key.rights().clone()));
    Ok(key.unwrap_or_default().to_string())
}

/// The object in a value that is one.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn json(value: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::Ok().json(value);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer if nobody has answered.
fn unanswered(reason: NoInquiry) -> HttpResponse {
    let status = actix_web::http::StatusCode::SERVICE_UNAVAILABLE;
    let mut response = said(status, &reason.to_string());
    if reason.may_pass() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
