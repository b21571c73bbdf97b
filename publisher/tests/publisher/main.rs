//! A publisher, real HTTP over loopback, and a broker that says what the test wants.

mod answers;
mod cors;
mod harness;
mod limits;
mod outage;
mod shutdown;
