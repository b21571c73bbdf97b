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
//! | 1013 | no broker, no answer from it in time, or no room for more audiences | comes back later |
//! | 4001 | reads too slowly | resumes now |

/// Why this gateway closes a connection. Several causes may share a code (RFC 6455 section 7.4; 4001 is
/// this project's own), but each has its own reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The gateway drains or shuts down.
    GoingAway,
    /// The client broke RFC 6455.
    ProtocolError,
    /// A text that is not UTF-8.
    InvalidPayload,
    /// The request is refused for good, or the client caused too many errors.
    PolicyViolation,
    /// A message over the limit, or of too many fragments.
    MessageTooBig,
    /// Nothing was heard from the client for too long.
    Silent,
    /// The gateway has had no link to its broker for too long.
    NoBroker,
    /// The broker did not answer what the client's greeting needs in time.
    Unconfirmed,
    /// The gateway has no room for more audiences.
    GatewayFull,
    /// More waits for the client than its outbox holds.
    TooSlow,
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::InvalidPayload => 1007,
            Self::PolicyViolation => 1008,
            Self::MessageTooBig => 1009,
            Self::Silent => 1011,
            Self::NoBroker | Self::Unconfirmed | Self::GatewayFull => 1013,
            Self::TooSlow => 4001,
        }
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
            Self::NoBroker => "no link to the broker, try again later or elsewhere",
            Self::Unconfirmed => "no answer from the broker in time, try again later",
            Self::GatewayFull => "no room for more groups, try again later or elsewhere",
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
