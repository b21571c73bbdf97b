//! Command line tools: they print something and end, without a log.

pub mod key;
