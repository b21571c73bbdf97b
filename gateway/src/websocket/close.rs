//! Why a connection ends, and what the client should do about it.
//!
//! | code | meaning | the client |
//! | ---: | --- | --- |
//! | 1000 | the answer to the client's own close | does what it wants |
//! | 1001 | this gateway shuts down | resumes at another gateway now |
//! | 1002 | the client broke the protocol | does not come back |
//! | 1007 | the client sent text that is not UTF-8 | does not come back |
//! | 1008 | the request is refused for good, or the client caused too many errors | does not come back |
//! | 1009 | the client sent a message over the limit | does not come back |
//! | 1011 | the client was silent for too long | comes back later |
//! | 1013 | no link to the broker, no answer from it in time, no room for more groups, or no keys for tokens yet | comes back later |
//! | 4001 | the client reads too slowly | resumes now |
//! | 4401 | the client has no valid token | gets a new token and comes back |
//! | 4403 | the client is not allowed to connect, or to listen to a group | does not come back |
//! | 4429 | too many messages, or too many connections: of its address, of its user, without a token, or in all | comes back later |
//!
//! 1002, 1007 and 1009 belong to a [`Violation`], all others to [`CloseCode`].

use bytes::Bytes;
use campanile_edge::websocket::{self, Violation, close_code};

use crate::access::Rejection;

/// A code of our own, from the range for private use (RFC 6455 section 7.4.2).
const TOO_SLOW: u16 = 4001;

/// The same, after HTTP's status 401.
const NO_VALID_TOKEN: u16 = 4401;

/// The same, after HTTP's status 403.
const NOT_ALLOWED: u16 = 4403;

/// The same, after HTTP's status 429.
const TOO_MANY: u16 = 4429;

/// Why this gateway closes a connection. Several causes share a code, but each has its own reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The gateway shuts down.
    GoingAway,
    /// The request is refused for good, or the client caused too many errors.
    PolicyViolation,
    /// Nothing was heard from the client for too long.
    Silent,
    /// The gateway has had no link to its broker for too long.
    NoBroker,
    /// The broker did not confirm in time what the client listens to.
    Unconfirmed,
    /// The gateway has no room for more audiences.
    GatewayFull,
    /// The keys for tokens have not come yet.
    NoKeys,
    /// More waits for the client than its outbox holds.
    TooSlow,
    /// The client sends messages too fast, and does not heed the errors; or there are too many like it.
    RateLimited,
    /// The client's token is not valid, or there is none.
    NoValidToken,
    /// The token has expired, and no new one came in time.
    TokenExpired,
    /// The token was put on the deny list.
    TokenRevoked,
    /// The client has no right to connect, or to listen to a group in its request.
    NotAllowed,
    /// The user was put on the deny list.
    UserDenied,
    /// Too many clients have not sent their token yet.
    TooManyUnauthenticated,
}

/// For a client that was let in before.
impl From<&Rejection> for CloseCode {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::Revoked => Self::TokenRevoked,
            Rejection::UserDenied => Self::UserDenied,
            Rejection::NoKeysYet => Self::NoKeys,
            Rejection::NoToken | Rejection::NoKeys | Rejection::Token(_) => Self::NoValidToken,
        }
    }
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::GoingAway => close_code::GOING_AWAY,
            Self::PolicyViolation => close_code::POLICY_VIOLATION,
            Self::Silent => close_code::INTERNAL_ERROR,
            Self::NoBroker | Self::Unconfirmed | Self::GatewayFull | Self::NoKeys => {
                close_code::TRY_AGAIN_LATER
            }
            Self::TooSlow => TOO_SLOW,
            Self::NoValidToken | Self::TokenExpired | Self::TokenRevoked => NO_VALID_TOKEN,
            Self::NotAllowed | Self::UserDenied => NOT_ALLOWED,
            Self::TooManyUnauthenticated | Self::RateLimited => TOO_MANY,
        }
    }

    /// What an end for this cause is called in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::GoingAway => "going_away",
            Self::PolicyViolation => "too_many_errors",
            Self::Silent => "silent",
            Self::NoBroker => "no_broker",
            Self::Unconfirmed => "unconfirmed",
            Self::GatewayFull => "gateway_full",
            Self::NoKeys => "no_keys",
            Self::TooSlow => "too_slow",
            Self::RateLimited => "rate_limited",
            Self::NoValidToken => "no_valid_token",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::NotAllowed => "not_allowed",
            Self::UserDenied => "user_denied",
            Self::TooManyUnauthenticated => "too_many_unauthenticated",
        }
    }

    /// The sentence that follows the number on the wire, at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away, connect again",
            Self::PolicyViolation => "too many errors",
            Self::Silent => "no answer to pings",
            Self::NoBroker => "no link to the broker, try again later or elsewhere",
            Self::Unconfirmed => "no answer from the broker in time, try again later",
            Self::GatewayFull => "no room for more groups, try again later or elsewhere",
            Self::NoKeys => "no keys for tokens yet, try again later or elsewhere",
            Self::TooSlow => "too slow, connect again",
            Self::RateLimited => "too many messages, connect again later",
            Self::NoValidToken => "no valid token, get a new one and connect again",
            Self::TokenExpired => "the token has expired, get a new one and connect again",
            Self::TokenRevoked => {
                "the token is not valid any more, get a new one and connect again"
            }
            Self::NotAllowed => "not allowed",
            Self::UserDenied => "this user is not allowed to connect any more",
            Self::TooManyUnauthenticated => "too many clients without a token, try again later",
        }
    }

    /// The code of the `error` that comes before the end of a client whose token is the reason; `None` for
    /// any other reason.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::TokenExpired => Some("expired"),
            Self::NoValidToken | Self::TokenRevoked => Some("invalid_token"),
            Self::NotAllowed | Self::UserDenied => Some("not_allowed"),
            _ => None,
        }
    }

    /// The Close frame with this code and reason.
    pub fn frame(self) -> Bytes {
        websocket::close(self.code(), self.reason())
    }
}

/// What closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The client, with whichever code.
    Client,
    /// The gateway, because the client broke the protocol.
    Violation(Violation),
    /// The gateway, for another reason.
    Gateway(CloseCode),
    /// An operator, which is not the client's fault.
    Operator(CloseCode),
}

impl CloseCause {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Client => close_code::NORMAL,
            Self::Violation(violation) => violation.close_code(),
            Self::Gateway(code) | Self::Operator(code) => code.code(),
        }
    }

    /// The cause in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Violation(Violation::NotUtf8) => "not_utf8",
            Self::Violation(Violation::TooBig | Violation::TooManyFragments) => "message_too_big",
            Self::Violation(_) => "protocol_violated",
            Self::Gateway(code) => code.word(),
            Self::Operator(_) => "operator",
        }
    }

    /// What an operator should know of: a word for the cause, and its sentence. `None` if the connection came
    /// to its ordinary end.
    pub fn incident(self) -> Option<(&'static str, String)> {
        let sentence = match self {
            Self::Client | Self::Operator(_) | Self::Gateway(CloseCode::GoingAway) => return None,
            Self::Violation(violation) => violation.to_string(),
            Self::Gateway(code) => code.reason().to_owned(),
        };
        Some((self.word(), sentence))
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

    #[test]
    fn an_ordinary_end_is_no_incident_and_any_other_has_its_cause() {
        let operator = CloseCause::Operator(CloseCode::GoingAway);
        assert_eq!([CloseCause::Client, operator].map(CloseCause::word), ["client", "operator"]);
        let ends = [
            (CloseCause::Client, None),
            (CloseCause::Gateway(CloseCode::GoingAway), None),
            (CloseCause::Operator(CloseCode::NotAllowed), None),
            (CloseCause::Gateway(CloseCode::TooSlow), Some((4001, "too_slow"))),
            (CloseCause::Gateway(CloseCode::TokenExpired), Some((4401, "token_expired"))),
            (CloseCause::Gateway(CloseCode::TokenRevoked), Some((4401, "token_revoked"))),
            (CloseCause::Gateway(CloseCode::UserDenied), Some((4403, "user_denied"))),
            (CloseCause::Gateway(CloseCode::PolicyViolation), Some((1008, "too_many_errors"))),
            (CloseCause::Violation(Violation::Unmasked), Some((1002, "protocol_violated"))),
            (CloseCause::Violation(Violation::NotUtf8), Some((1007, "not_utf8"))),
            (CloseCause::Violation(Violation::TooBig), Some((1009, "message_too_big"))),
        ];
        for (cause, expected) in ends {
            let incident = cause.incident().map(|(word, _)| (cause.code(), word));
            assert_eq!(incident, expected, "{cause:?}");
        }
    }
}
