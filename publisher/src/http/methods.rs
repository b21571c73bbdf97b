//! The methods that each path supports.

/// The methods of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// Of `/`.
    Push,
    /// Of `/batch`.
    Batch,
    /// Of `/stream`.
    Stream,
    /// Of `/position`.
    Position,
    /// Of `/health/live` and `/health/ready`.
    Health,
}

impl Methods {
    /// Returns them as the header `Allow` lists them.
    pub fn allow(self) -> &'static str {
        match self {
            Self::Push => "GET, HEAD, POST, OPTIONS",
            Self::Health => "GET, HEAD, OPTIONS",
            Self::Batch => "POST, OPTIONS",
            Self::Stream | Self::Position => "GET, OPTIONS",
        }
    }

    /// Returns them as the sentence about another method lists them.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Push => "GET or POST",
            Self::Health => "GET, HEAD or OPTIONS",
            Self::Batch => "POST",
            Self::Stream => "GET, as websockets do",
            Self::Position => "GET",
        }
    }
}
