//! Why a connection ends, and what the client should do about it.
//!
//! | code | meaning | the client |
//! | ---: | --- | --- |
//! | 1000 | answers the client's own close | as it likes |
//! | 1001 | this gateway drains or shuts down | resumes elsewhere now |
//! | 1002 | broke the protocol | does not come back |
//! | 1007 | text that is not UTF-8 | does not come back |
//! | 1008 | refused for good, or too many errors | does not come back |
//! | 1009 | a message over the limit | does not come back |
//! | 1011 | was silent past the limit | comes back later |
//! | 1013 | no broker, or no room for more audiences | comes back later |
//! | 4001 | reads too slowly | resumes now |

/// A close code that this gateway sends. RFC 6455 section 7.4; 4001 is this project's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The gateway drains or shuts down.
    GoingAway = 1001,
    /// The client broke RFC 6455.
    ProtocolError = 1002,
    /// A text that is not UTF-8.
    InvalidPayload = 1007,
    /// The request is refused for good, or the client caused too many errors.
    PolicyViolation = 1008,
    /// A message over the limit, or of too many fragments.
    MessageTooBig = 1009,
    /// Nothing was heard from the client for too long.
    Silent = 1011,
    /// The broker did not confirm in time, there was none for too long, or there is no room for more
    /// audiences.
    TryAgainLater = 1013,
    /// More waits for the client than its outbox holds.
    TooSlow = 4001,
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// What the client reads beside the number; at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away, connect again",
            Self::ProtocolError => "protocol error",
            Self::InvalidPayload => "text is not UTF-8",
            Self::PolicyViolation => "too many errors",
            Self::MessageTooBig => "message too big",
            Self::Silent => "no answer to pings",
            Self::TryAgainLater => "no broker, try again later",
            Self::TooSlow => "too slow, connect again",
        }
    }
}

/// Whether a client may send this code (RFC 6455 sections 7.4.1 and 7.4.2, and the registry that
/// the former opened: 1012 to 1014).
pub fn may_be_received(code: u16) -> bool {
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
