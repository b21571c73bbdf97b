//! What the fault tests measure with is itself measured: a fault that is not seen proves nothing.

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../rig/mod.rs"]
mod rig;

mod crowd;
mod event_stream;
mod proxy;
mod verdict;
