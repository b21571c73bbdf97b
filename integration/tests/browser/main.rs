//! The page and the JavaScript client against real clusters, in a browser and in Node.

mod chromium;
mod javascript;
mod page;
