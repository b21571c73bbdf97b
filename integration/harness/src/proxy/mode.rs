//! What a proxy does to a connection.

use std::time::Duration;

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Nothing passes and nothing is lost: a network that stands still for a while.
    Hold,
    /// Everything is taken and passed to nobody, also the end of a side: a half-open connection. It
    /// cannot be healed.
    Swallow,
    /// Everything passes, so much later.
    Delay(Duration),
    /// Everything passes, byte by byte.
    Split,
    /// The first bytes in this direction pass, then, after a pause, all others.
    SplitAt(Towards, usize),
    /// So many more bytes in this direction pass, then the connection is cut.
    Truncate(Towards, usize, End),
    /// The connection is cut at once.
    Cut(End),
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// From the side that connected to the one that listens.
    Target,
    /// The other way.
    Client,
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides see an orderly end.
    Fin,
    /// Both sides see a reset.
    Reset,
    /// The side that connected sees a reset, the other sees nothing and has a peer that takes
    /// everything.
    HalfOpen,
}
