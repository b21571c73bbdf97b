//! A cluster that is hurt while many callers push and many clients listen.
//!
//! Each target uses a part of it.
#![allow(dead_code, unused_imports)]

mod fault;
mod member;
mod scenario;
mod stage;

pub use fault::Fault;
pub use scenario::scenario;
pub use stage::{Disk, Setup, Stage};
