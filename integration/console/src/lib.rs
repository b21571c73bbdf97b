//! What operators see of a whole cluster, on the operator's listener of a publisher: `/cluster`,
//! `/connections` and `/users`.
//!
//! [`mount`] adds the pages to the listener. They ask the cluster through the publisher's
//! [`Inquirer`], and write what it answers as JSON.

#![allow(clippy::result_large_err, reason = "a request of an operator is rare")]

mod cluster;
mod connections;

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Mount, Wanted, refusal, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::NoInquiry;
use serde::Serialize;
use serde_json::{Map, Value};

/// The pages of a publisher, which asks the cluster through `inquirer`.
pub fn mount(inquirer: &Inquirer) -> Mount {
    let inquirer = web::Data::new(inquirer.clone());
    Mount(Arc::new(move |config| {
        config.app_data(inquirer.clone()).route("/cluster", web::get().to(cluster::answer));
        connections::mount(config);
    }))
}

/// Refuses a request that is not allowed.
fn check(guard: &Guard, wanted: Wanted, request: &HttpRequest) -> Result<(), HttpResponse> {
    guard.check(wanted, request).map_err(|refused| refusal(&refused))
}

/// Refuses a request that is not allowed, or says who asks, in a word for the log.
fn who(guard: &Guard, wanted: Wanted, request: &HttpRequest) -> Result<String, HttpResponse> {
    let principal = guard.who(wanted, request).map_err(|refused| refusal(&refused))?;
    Ok(principal.to_string())
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

fn unanswered(reason: NoInquiry) -> HttpResponse {
    said(actix_web::http::StatusCode::SERVICE_UNAVAILABLE, &reason.to_string())
}
