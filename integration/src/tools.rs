//! Command line tools: they print something and end, without a log.

pub mod config;
pub mod example;
pub mod key;
pub mod push;
pub mod tail;
pub mod token;
pub mod top;
pub mod trace;
