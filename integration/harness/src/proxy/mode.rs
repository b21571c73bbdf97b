//! What a proxy does to a connection.

use std::time::Duration;

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Nothing passes and nothing is lost, as in a network that stalls.
    Hold,
    /// Everything is read and discarded, also the end of a side, as with a half-open connection. It cannot
    /// pass again after that.
    Swallow,
    /// Everything passes, with this delay.
    Delay(Duration),
    /// Everything passes, byte by byte.
    Split,
    /// This many bytes in this direction pass, and all others after a pause.
    SplitAt(Towards, usize),
    /// This many more bytes in this direction pass, then the connection is cut.
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
    /// The side that connected sees a reset. The other one sees nothing, and its peer reads everything.
    HalfOpen,
}
