//! What the tests of the gateway share: servers to test, brokers and publishers that do what a test
//! says, and clients that can be wrong on purpose.

#![allow(dead_code, reason = "every test uses its own part of the harness")]

pub mod client;
pub mod peers;
pub mod servers;
pub mod stream;
