//! One client's connection: its socket, the actor for what it says, and the signs that it is alive.

mod ended;
pub mod line;
pub(crate) mod liveness;
pub(crate) mod moment;
pub mod pace;
pub(crate) mod session;
pub mod socket;

pub(crate) use ended::Ended;
