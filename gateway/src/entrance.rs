//! How a client comes in: one thread accepts connections, a door per worker reads the head of each
//! request, and clients that are not let in get an answer that says why.

pub(crate) mod acceptor;
pub(crate) mod admission;
mod credentials;
pub mod door;
pub mod ends;
mod first_message;
pub(crate) mod health;
mod identity;
pub(crate) mod page;
pub(crate) mod reception;
pub mod refusal;
pub(crate) mod rewind;
pub(crate) mod seats;
pub(crate) mod unauthenticated;
pub mod wish;
