//! How a client comes in: one thread accepts connections, a door per worker reads the head of each
//! request, and clients that are not let in get an answer that says why.

pub(crate) mod acceptor;
pub mod door;
pub mod ends;
pub(crate) mod health;
pub(crate) mod page;
pub mod refusal;
pub(crate) mod rewind;
pub(crate) mod seats;
pub mod wish;
