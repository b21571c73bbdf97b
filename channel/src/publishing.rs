//! The part of a link that every process needs that publishes: what is sent under which number, what
//! is sent again when a link broke, and which caller gets which answer. Pure: it knows neither HTTP nor
//! sockets nor a clock, and a caller is whatever its user wants it to be.
//!
//! [`Unanswered`] is the state; an actor feeds it with pushes, with what the broker says, and with what
//! becomes of the link.

mod counting;
mod deadline;
mod failure;
mod numbered;
mod push;
mod receipt;
mod unanswered;

pub use failure::{Failure, NotSent, Unknown};
pub use push::{Push, Target, Wait};
pub use receipt::{Accepted, Answer, Delivery, Receipt};
pub use unanswered::{Outgoing, Unanswered, WaitLimits};
