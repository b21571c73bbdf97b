//! The page and the JavaScript client against real clusters, in a browser and in Node.

mod chromium;
#[path = "../tokens/issuer.rs"]
mod issuer;
mod javascript;
mod page;
