//! The operator's page: its files, which anybody who reaches the listener gets, because they show nothing of the
//! cluster, and the headers of everything below `/console`.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpResponse, Scope, web};

use crate::{live, push, session};

const HTML: &str = include_str!("../page/console.html");

/// The files besides the page itself, with their types.
const FILES: [(&str, &str, &str); 14] = [
    ("/console.css", CSS, include_str!("../page/console.css")),
    ("/console.js", JS, include_str!("../page/console.js")),
    ("/actions.js", JS, include_str!("../page/actions.js")),
    ("/charts.js", JS, include_str!("../page/charts.js")),
    ("/dom.js", JS, include_str!("../page/dom.js")),
    ("/ended.js", JS, include_str!("../page/ended.js")),
    ("/picture.js", JS, include_str!("../page/picture.js")),
    ("/rates.js", JS, include_str!("../page/rates.js")),
    ("/server.js", JS, include_str!("../page/server.js")),
    ("/silence.js", JS, include_str!("../page/silence.js")),
    ("/tables.js", JS, include_str!("../page/tables.js")),
    ("/tiles.js", JS, include_str!("../page/tiles.js")),
    ("/trace.js", JS, include_str!("../page/trace.js")),
    ("/words.js", JS, include_str!("../page/words.js")),
];

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The page loads nothing from elsewhere, runs no script and no style that is not a file of its own, and nobody may
/// frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Everything below `/console`.
pub fn scope() -> Scope<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let scope = web::scope("/console")
        .wrap(
            DefaultHeaders::new()
                .add((header::CONTENT_SECURITY_POLICY, POLICY))
                .add((header::X_FRAME_OPTIONS, "DENY"))
                .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .add((header::REFERRER_POLICY, "no-referrer"))
                .add((header::CACHE_CONTROL, "no-store")),
        )
        .service(web::resource("").get(index).head(index))
        // The files are found from the path without the slash.
        .service(web::resource("/").get(without_slash))
        .route("/session", web::get().to(session::show))
        .route("/session", web::post().to(session::sign_in))
        .route("/session", web::delete().to(session::sign_out))
        .route("/live", web::get().to(live::open))
        .route("/push", web::post().to(push::push));
    FILES.into_iter().fold(scope, |scope, (path, kind, text)| {
        let file = move || async move { HttpResponse::Ok().content_type(kind).body(text) };
        scope.route(path, web::get().to(file))
    })
}

async fn index() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(HTML)
}

async fn without_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "../console")).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_script_and_no_style_inside() {
        let lower = HTML.to_ascii_lowercase();
        for inside in
            ["<style", " style=", "javascript:", "<base", "<iframe", " src=\"http", " src=\"//"]
        {
            assert!(!lower.contains(inside), "{inside}");
        }
        let handler = lower.match_indices(" on").find(|(at, _)| {
            let rest = lower[at + 3..].trim_start_matches(|c: char| c.is_ascii_lowercase());
            rest.starts_with('=')
        });
        assert_eq!(handler, None);
        let scripts = lower.matches("<script").count();
        assert_eq!((scripts, lower.matches("></script>").count()), (1, 1), "no script inside");
        // Nothing that could read markup.
        for (path, _, text) in FILES {
            for reader in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(reader), "{reader} in {path}");
            }
        }
    }
}
