//! The flags of an entry.

/// The bits that say what kind of entry it is, and who a push is for.
pub(super) const KIND: u8 = 0b11;

/// A push for everyone.
pub(super) const EVERYONE: u8 = 0;

/// A push for a group, whose name follows.
pub(super) const GROUP: u8 = 1;

/// A push for a user, whose name follows.
pub(super) const USER: u8 = 2;

/// Worker ids. There are no other flags.
pub(super) const WORKERS: u8 = 3;

/// The content is any bytes, not UTF-8.
pub(super) const BINARY: u8 = 1 << 2;

/// The publisher is that of the push before it.
pub(super) const SAME_PUBLISHER: u8 = 1 << 3;

/// A key and a digest follow.
pub(super) const ID: u8 = 1 << 4;

/// The publisher asks for counts.
pub(super) const ASKS: u8 = 1 << 5;

/// The address of the connection that does not get it follows.
pub(super) const EXCEPT: u8 = 1 << 6;

/// The user whose client pushed follows.
pub(super) const FROM: u8 = 1 << 7;
