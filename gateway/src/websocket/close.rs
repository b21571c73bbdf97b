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
//!
//! 1002, 1007 and 1009 are those of a [`Violation`](websocket::Violation); [`CloseCode`] has the rest.

use bytes::Bytes;
use campanile_edge::websocket::{self, close_code};

/// This project's own code: more waits for the client than its outbox holds.
const TOO_SLOW: u16 = 4001;

/// Why this gateway closes a connection. Several causes may share a code (RFC 6455 section 7.4; 4001 is
/// this project's own), but each has its own reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The gateway drains or shuts down.
    GoingAway,
    /// The request is refused for good, or the client caused too many errors.
    PolicyViolation,
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
            Self::GoingAway => close_code::GOING_AWAY,
            Self::PolicyViolation => close_code::POLICY_VIOLATION,
            Self::Silent => close_code::INTERNAL_ERROR,
            Self::NoBroker | Self::Unconfirmed | Self::GatewayFull => close_code::TRY_AGAIN_LATER,
            Self::TooSlow => TOO_SLOW,
        }
    }

    /// What the client reads beside the number; at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away, connect again",
            Self::PolicyViolation => "too many errors",
            Self::Silent => "no answer to pings",
            Self::NoBroker => "no link to the broker, try again later or elsewhere",
            Self::Unconfirmed => "no answer from the broker in time, try again later",
            Self::GatewayFull => "no room for more groups, try again later or elsewhere",
            Self::TooSlow => "too slow, connect again",
        }
    }

    /// The Close frame.
    pub fn frame(self) -> Bytes {
        websocket::close(self.code(), self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_carries_its_code_and_reason() {
        let frame = CloseCode::TooSlow.frame();
        assert_eq!(&frame[..], b"\x88\x19\x0f\xa1too slow, connect again");
    }
}
