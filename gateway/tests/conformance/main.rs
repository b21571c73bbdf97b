//! RFC 6455 over real sockets: what the sections of the Autobahn test suite ask of a server, frame
//! by frame. Most of it against the echo server of `examples/echo.rs`, which is the gateway's own
//! socket code; what only a whole gateway can show, against one.

#[path = "../harness.rs"]
mod harness;

mod closing;
mod fragments;
mod framing;
mod large;
mod pings;
mod sessions;
mod text;
mod violations;
