//! The ends of a link: scripted brokers, and scripted peers of a broker.

mod frames;
mod words;

mod peer;
mod publisher;
pub mod pushes;
pub mod script;
mod tap;

pub use frames::Frames;
pub use peer::{PUBLISHER, Peer, offer};
pub use publisher::Publisher;
pub use tap::{Fetched, Tap};
pub use words::{group, publish};
