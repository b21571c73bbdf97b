//! The page, the operator's page and the JavaScript client against real clusters, in a browser and in Node.

mod chromium;
mod console;
#[path = "../tokens/issuer.rs"]
mod issuer;
mod javascript;
#[path = "../tokens/over_tls.rs"]
mod over_tls;
mod page;
