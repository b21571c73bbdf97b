//! How a client comes in: a thread that accepts, a door per worker that reads the head of each request,
//! and what is said to those who do not get in.

pub(crate) mod acceptor;
pub mod door;
pub(crate) mod health;
pub(crate) mod page;
pub mod refusal;
pub(crate) mod rewind;
pub(crate) mod seats;
pub mod wish;
