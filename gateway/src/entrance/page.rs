//! The page: an ordinary actix-web `App` for every request that opens neither a websocket nor an event
//! stream.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::header;
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use tokio::time::timeout;
use tracing::debug;

use crate::bridge::heads::{PositionSource, position};
use crate::entrance::rewind::Rewind;

const HTML: &str = include_str!("../../page/index.html");
const CSS: &str = include_str!("../../page/page.css");
const JS: &str = include_str!("../../page/page.js");
const WORDS: &str = include_str!("../../page/words.js");
const CLIENT: &str = include_str!("../../page/campanile.js");

/// The placeholder in the HTML for the publisher's URL.
const PUBLISHER_URL: &str = "{{publisher_url}}";

/// What is at `/` without the page.
const NO_PAGE: &str = "there is no page here: websockets are at /, event streams at /events, and the \
     JavaScript client at /campanile.js; the page for development is there with --page on\n";

/// How long a request and its answer may take together.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a client may continue to send after its answer.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Serves one request on a stream, then closes it: the next request might open a websocket, which only
/// the front door can do.
pub type Serve = Rc<dyn Fn(Rewind, Option<SocketAddr>) -> LocalBoxFuture<'static, ()>>;

/// The paths that the page's server may have an answer for. The door passes no other request on, because the
/// server reads a path more liberally than the door: it decodes escapes and cuts off what follows a `#`. So a
/// path that the door has checked could not be told from another spelling of it.
pub const PATHS: [&str; 6] =
    ["/", "/page.css", "/page.js", "/words.js", "/campanile.js", "/position"];

/// Makes the page's server for one thread. The page pushes to `publisher_url`: a whole URL, or `:PORT`
/// on the page's own host, where an empty one means the publisher's default port; with `None` there is
/// no page. `source` answers `/position`.
pub async fn server(publisher_url: Option<&str>, source: PositionSource) -> Serve {
    let html = publisher_url.unwrap_or_default();
    let html = web::Data::new(HTML.replace(PUBLISHER_URL, &escape(html)));
    let page = move |services: &mut web::ServiceConfig| {
        if publisher_url.is_none() {
            services.route("/", web::to(no_page));
            return;
        }
        services
            .service(web::resource("/").get(index).head(index))
            .service(web::resource("/page.css").get(css).head(css))
            .service(web::resource("/page.js").get(js).head(js))
            .service(web::resource("/words.js").get(words).head(words));
    };
    let app = App::new()
        .app_data(html)
        .app_data(web::Data::new(source))
        .wrap(
            DefaultHeaders::new()
                .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .add((header::REFERRER_POLICY, "no-referrer"))
                .add((header::CACHE_CONTROL, "no-cache")),
        )
        .configure(page)
        .service(web::resource("/campanile.js").get(client).head(client))
        .service(web::resource("/position").get(position).head(position))
        .default_service(web::to(not_found));
    let service = HttpService::build()
        .keep_alive(KeepAlive::Disabled)
        .client_request_timeout(LIMIT)
        .client_disconnect_timeout(DISCONNECT_LIMIT)
        .h1(map_config(app, |()| AppConfig::default()))
        .new_service(())
        .await
        .expect("an App without a fallible part");
    let service = Rc::new(service);
    Rc::new(move |stream, peer| {
        let service = service.clone();
        Box::pin(async move {
            match timeout(LIMIT, service.call((stream, peer))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(?peer, ?error, "a request failed"),
                Err(_) => debug!(?peer, "a request took too long"),
            }
        })
    })
}

async fn index(html: web::Data<String>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        // The page pushes to a publisher and connects to gateways, wherever they are.
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src *; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ))
        .body(html.get_ref().clone())
}

async fn css() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(CSS)
}

async fn js() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(JS)
}

async fn words() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(WORDS)
}

/// Web pages of any origin may import the client.
async fn client() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .body(CLIENT)
}

async fn no_page() -> HttpResponse {
    HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body(NO_PAGE)
}

/// Where there is no page, its files are not there either.
async fn not_found(request: HttpRequest) -> HttpResponse {
    let sentence = format!("{}\n", nothing_at(request.path()));
    HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body(sentence)
}

/// What is said about a path at which there is nothing.
pub fn nothing_at(path: &str) -> String {
    let path: String = path.chars().take(100).collect();
    format!("nothing at {path:?}: the page and websockets are at /, event streams are at /events")
}

/// Escapes a string for an HTML attribute in double quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_publisher_once_and_its_url_is_escaped() {
        assert_eq!(HTML.matches(PUBLISHER_URL).count(), 1);
        assert_eq!(escape(r#"http://h/?a="><script>&"#), "http://h/?a=&quot;>&lt;script>&amp;");
    }
}
