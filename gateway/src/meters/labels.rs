//! The labels of a gateway's metrics. Pure.

use campanile_edge::Crowded;
use campanile_messages::link::Gap;

use super::label::{Label, label};
use crate::access::Rejection;
use crate::dialects::{Dialect, PublishError, RequestError};
use crate::resume::{Lost, Resumed};

impl Label for Dialect {
    const NAME: &'static str = "dialect";
    const ALL: &'static [Self] = &Dialect::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        Dialect::word(self)
    }
}

label! {
    /// The code with which a connection was closed.
    Closed is "code":
    Normal = "1000",
    GoingAway = "1001",
    Protocol = "1002",
    NotUtf8 = "1007",
    Policy = "1008",
    TooBig = "1009",
    Silent = "1011",
    TryAgainLater = "1013",
    TooSlow = "4001",
    NoValidToken = "4401",
    NotAllowed = "4403",
    TooMany = "4429",
    Other = "other",
}

impl From<u16> for Closed {
    fn from(code: u16) -> Self {
        numbered(code).unwrap_or(Self::Other)
    }
}

/// The value of a label whose word is this number.
fn numbered<L: Label>(number: u16) -> Option<L> {
    L::ALL.iter().copied().find(|value| value.word().parse() == Ok(number))
}

label! {
    /// The status or close code of a refusal.
    Refused is "reason":
    ComeBack = "come_back",
    BadRequest = "400",
    Unauthorized = "401",
    Forbidden = "403",
    NotFound = "404",
    Method = "405",
    Timeout = "408",
    WebsocketVersion = "426",
    TooManyRequests = "429",
    LargeHead = "431",
    Unavailable = "503",
    Policy = "1008",
    TryAgainLater = "1013",
    NoValidToken = "4401",
    NotAllowed = "4403",
    TooMany = "4429",
    Other = "other",
}

impl From<u16> for Refused {
    fn from(status_or_code: u16) -> Self {
        match status_or_code {
            200 => Self::ComeBack,
            other => numbered(other).unwrap_or(Self::Other),
        }
    }
}

label! {
    /// The limit that kept a newcomer out, or waiting.
    Limit is "limit":
    Connections = "max_connections",
    ConnectionsPerAddress = "max_connections_per_address",
    ConnectionsPerUser = "max_connections_per_user",
    Handshakes = "max_handshakes_per_second",
    HandshakesPerAddress = "max_handshakes_per_second_per_address",
    Unauthenticated = "max_unauthenticated",
}

impl From<&Crowded> for Limit {
    fn from(crowded: &Crowded) -> Self {
        match crowded {
            Crowded::Connections { .. } => Self::ConnectionsPerAddress,
            Crowded::Arrivals { .. } => Self::HandshakesPerAddress,
        }
    }
}

label! {
    /// The limit that a connected client reached.
    ClientLimit is "limit":
    Messages = "max_messages_per_second",
    Joins = "max_joins_per_second",
    Publishes = "max_publishes_per_second",
    Groups = "max_groups",
    MessageBytes = "max_message",
    Outbox = "max_outbox",
}

impl ClientLimit {
    /// The limit because of which a message of a client is refused, if that is the reason.
    pub fn behind(error: &RequestError) -> Option<Self> {
        match error {
            RequestError::TooManyGroups { .. } => Some(Self::Groups),
            RequestError::Publish(refused) => match refused.error {
                PublishError::RateLimited { .. } => Some(Self::Publishes),
                _ => None,
            },
            _ => None,
        }
    }

    /// The limit because of which a connection is closed with this code, if that is the reason.
    pub fn closes_with(code: Closed) -> Option<Self> {
        match code {
            Closed::TooBig => Some(Self::MessageBytes),
            Closed::TooSlow => Some(Self::Outbox),
            _ => None,
        }
    }
}

label! {
    /// What became of a TLS handshake with a client.
    TlsHandshake is "result":
    Completed = "completed",
    Failed = "failed",
    Late = "late",
    Gone = "gone",
}

label! {
    /// What became of a client that came back with a position.
    ResumeResult is "result":
    Recovered = "recovered",
    EpochChanged = "epoch_changed",
    Expired = "expired",
    TooFar = "too_far",
    Malformed = "malformed",
}

impl From<Resumed> for ResumeResult {
    fn from(resumed: Resumed) -> Self {
        match resumed {
            Ok(()) => Self::Recovered,
            Err(Lost::EpochChanged) => Self::EpochChanged,
            Err(Lost::Expired) => Self::Expired,
            Err(Lost::TooFar) => Self::TooFar,
            Err(Lost::Malformed) => Self::Malformed,
        }
    }
}

label! {
    /// Why events may be missing.
    GapReason is "reason":
    Expired = "expired",
    EpochChanged = "epoch_changed",
}

impl From<Gap> for GapReason {
    fn from(gap: Gap) -> Self {
        match gap {
            Gap::Expired => Self::Expired,
            Gap::EpochChanged => Self::EpochChanged,
        }
    }
}

label! {
    /// What was found out about a token.
    TokenResult is "result":
    Accepted = "accepted",
    Renewed = "renewed",
    Invalid = "invalid",
    Expired = "expired",
    Revoked = "revoked",
    NoKeys = "no_keys",
}

impl From<&Rejection> for TokenResult {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::Revoked | Rejection::UserDenied => Self::Revoked,
            Rejection::NoKeys | Rejection::NoKeysYet => Self::NoKeys,
            rejection if rejection.word() == "expired" => Self::Expired,
            Rejection::NoToken | Rejection::Token(_) => Self::Invalid,
        }
    }
}

label! {
    /// The answer to what a client published.
    PublishResult is "result":
    Accepted = "accepted",
    Malformed = "malformed",
    InvalidGroup = "invalid_group",
    NoUser = "no_user",
    NotAllowed = "not_allowed",
    RateLimited = "rate_limited",
    Busy = "busy",
    IdTaken = "id_taken",
    Unavailable = "unavailable",
    Unknown = "unknown",
}

impl From<&PublishError> for PublishResult {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::Malformed(_) => Self::Malformed,
            PublishError::InvalidGroup(_) => Self::InvalidGroup,
            PublishError::NoUser => Self::NoUser,
            PublishError::NotAllowed | PublishError::ForeignPage => Self::NotAllowed,
            PublishError::RateLimited { .. } => Self::RateLimited,
            PublishError::TooManyUnanswered { .. }
            | PublishError::GatewayBusy
            | PublishError::BrokerBusy
            | PublishError::IdsFull => Self::Busy,
            PublishError::IdTaken => Self::IdTaken,
            PublishError::Unavailable | PublishError::BrokerTooOld => Self::Unavailable,
            PublishError::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::CloseCode;

    #[test]
    fn every_code_that_the_gateway_sends_has_a_label() {
        for code in [
            CloseCode::GoingAway,
            CloseCode::PolicyViolation,
            CloseCode::Silent,
            CloseCode::NoBroker,
            CloseCode::TooSlow,
            CloseCode::RateLimited,
            CloseCode::NoValidToken,
            CloseCode::NotAllowed,
        ] {
            assert_eq!(Closed::from(code.code()).word(), code.code().to_string());
        }
        for label in Closed::ALL.iter().filter(|label| **label != Closed::Other) {
            assert_eq!(Closed::from(label.word().parse::<u16>().expect("a code")), *label);
        }
        assert_eq!(Closed::from(0), Closed::Other);
        assert_eq!(Closed::from(3_000), Closed::Other);
    }

    #[test]
    fn a_refusal_has_the_label_of_its_status_or_code() {
        for (number, word) in [(200, "come_back"), (400, "400"), (503, "503"), (4_429, "4429")] {
            assert_eq!(Refused::from(number).word(), word);
        }
        assert_eq!((Refused::from(0), Refused::from(201)), (Refused::Other, Refused::Other));
    }

    #[test]
    fn a_publish_is_counted_under_the_word_of_its_answer() {
        for error in [
            PublishError::Malformed(String::new()),
            PublishError::InvalidGroup(String::new()),
            PublishError::NoUser,
            PublishError::NotAllowed,
            PublishError::ForeignPage,
            PublishError::RateLimited { per_second: 1 },
            PublishError::GatewayBusy,
            PublishError::BrokerBusy,
            PublishError::IdsFull,
            PublishError::IdTaken,
            PublishError::Unavailable,
            PublishError::BrokerTooOld,
            PublishError::Unknown,
        ] {
            assert_eq!(PublishResult::from(&error).word(), error.code());
        }
        assert_eq!(ResumeResult::from(Err(Lost::TooFar)).word(), Lost::TooFar.word());
    }
}
