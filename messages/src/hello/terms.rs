//! Which versions a side of a link speaks, and how much it accepts. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::MAX_CONTENT_BYTES;

/// The largest frame, without its length: the largest content and a head.
pub const MAX_FRAME_BYTES: usize = MAX_CONTENT_BYTES + (64 << 10);

/// The versions of the link protocol that this release speaks.
pub const VERSIONS: Versions = Versions { least: 4, most: 4 };

/// A range of versions of the link protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest version.
    pub least: u16,
    /// The newest version.
    pub most: u16,
}

impl Versions {
    /// The newest version that is in both ranges.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.most.min(other.most);
        (newest >= self.least.max(other.least)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most } = self;
        match least == most {
            true => write!(f, "version {most}"),
            false => write!(f, "versions {least} to {most}"),
        }
    }
}

/// The most that a side accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest frame, without its length.
    pub max_frame_bytes: u32,
    /// The largest content of an event.
    pub max_content_bytes: u32,
}

impl Limits {
    /// The limits of this release, and of a peer that names none.
    pub const OURS: Self = Self {
        max_frame_bytes: MAX_FRAME_BYTES as u32,
        max_content_bytes: MAX_CONTENT_BYTES as u32,
    };

    /// The lower limits of both sides.
    ///
    /// # Errors
    /// The other side accepts less than this one may have to send.
    pub(super) fn agree(self, theirs: Self) -> Result<Self, Disagreement> {
        let pairs = [
            ("frames", theirs.max_frame_bytes, self.max_frame_bytes),
            ("contents", theirs.max_content_bytes, self.max_content_bytes),
        ];
        match pairs.into_iter().find(|(_, theirs, ours)| theirs < ours) {
            Some((what, theirs, ours)) => Err(Disagreement::TakesLess { what, theirs, ours }),
            None => Ok(self),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::OURS
    }
}

/// Why this side cannot work with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// It accepts too little.
    #[error("the peer takes {what} of at most {theirs} bytes, this side sends up to {ours}")]
    TakesLess {
        /// "frames" or "contents".
        what: &'static str,
        /// Its limit, in bytes.
        theirs: u32,
        /// The limit of this side, in bytes.
        ours: u32,
    },
    /// The broker has chosen a version that this side did not offer.
    #[error("the broker chose version {chosen} of the link protocol, this side speaks {VERSIONS}")]
    NotOffered {
        /// The version that it chose.
        chosen: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_in_both_ranges_is_spoken() {
        let versions = |least, most| Versions { least, most };
        assert_eq!(versions(4, 4).common(versions(4, 5)), Some(4));
        assert_eq!(versions(4, 7).common(versions(5, 6)), Some(6));
        assert_eq!(versions(4, 4).common(versions(5, 6)), None);
        assert_eq!(versions(4, 4).common(versions(3, 3)), None);
        assert_eq!(versions(4, 4).to_string(), "version 4");
        assert_eq!(versions(4, 5).to_string(), "versions 4 to 5");
    }
}
