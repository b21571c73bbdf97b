//! RFC 6455 over real sockets, frame by frame: everything that the Autobahn test suite asks of a server.
//! Most tests use the echo server of `examples/echo.rs`, which runs the gateway's own socket code. The
//! others need a whole gateway.

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
