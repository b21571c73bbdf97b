//! How a client comes in: a thread that accepts, a door per worker that reads the head of each request,
//! and what is said to those who do not get in.

pub mod acceptor;
pub mod door;
pub mod health;
pub mod page;
pub mod refusal;
pub mod rewind;
pub mod seats;
pub mod wish;
