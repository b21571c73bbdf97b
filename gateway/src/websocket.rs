//! The gateway's side of a websocket: [`Upgrade`] chooses the dialect at the handshake, [`Incoming`]
//! reads from a socket, [`CloseCode`] lists why a connection ends. RFC 6455 itself is in
//! [`campanile_edge::websocket`].

mod close;
mod incoming;
mod upgrade;

pub use close::{CloseCause, CloseCode};
pub use incoming::{Incoming, Terms};
pub use upgrade::Upgrade;
