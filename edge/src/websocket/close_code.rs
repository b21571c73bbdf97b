//! The close codes that are used here, from RFC 6455 and its registry
//! (<https://www.iana.org/assignments/websocket/>). Pure.

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;

/// The server is shutting down, or the user has left the page.
pub const GOING_AWAY: u16 = 1001;

/// The peer violated RFC 6455.
pub(super) const PROTOCOL_ERROR: u16 = 1002;

/// A text that is not UTF-8.
pub(super) const INVALID_PAYLOAD: u16 = 1007;

/// The peer did something that this service does not allow.
pub const POLICY_VIOLATION: u16 = 1008;

/// A message over a limit.
pub(super) const MESSAGE_TOO_BIG: u16 = 1009;

/// The server cannot continue with this connection.
pub const INTERNAL_ERROR: u16 = 1011;

/// The server has no room, or something that it needs is missing at the moment.
pub const TRY_AGAIN_LATER: u16 = 1013;

/// Whether a client may send this code (RFC 6455 sections 7.4.1 and 7.4.2, and 1012 to 1014 from the
/// registry).
pub(super) fn may_be_received(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_must_not_be_on_the_wire_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!may_be_received(code), "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4001, 4999] {
            assert!(may_be_received(code), "{code}");
        }
    }
}
