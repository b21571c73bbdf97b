//! What the tests of the gateway share: servers to test, and a client that can be wrong on purpose.

#![allow(dead_code, reason = "every test uses its own part of the harness")]

pub mod client;
pub mod servers;
