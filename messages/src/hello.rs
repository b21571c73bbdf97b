//! How a link begins: what each side offers, and what both then keep to. Pure.
//!
//! ```text
//! gateway or publisher                          broker
//!   Offer{versions, Hello, nonce, ..} ────────────▶
//!   [ ◀──────────── Challenge{method, nonce, proof}      reserved: this version never sends one
//!     Proof{proof} ───────────────────────────────▶ ]
//!   ◀─────── Welcome{agreement, ..} or Refused{reason}
//! ```
//!
//! The rules by which releases that are not the same work together:
//! - The version that is spoken is the highest that both sides know. A version that is no longer
//!   known to one of them is refused, with a sentence that names what both speak.
//! - A struct on the wire grows at its end only. A reader skips the fields that it does not know and
//!   takes the default of a field that is missing, so each field that is added has `#[serde(default)]`.
//! - An enum that gains a variant, and so a message that is new, belongs to a [`Feature`], and is sent
//!   only to a peer that has it: [`Features::allow`]. A variant without fields never gains any.
//! - The offer, the answer and the proof are exchanged before a version is chosen, so they follow the
//!   last two rules across all versions.

mod terms;

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::feature::Name;
use crate::link::{Hello, Welcome};

pub use crate::feature::{Feature, Features, MAX_FEATURE_BYTES, MAX_FEATURES};
pub use terms::{Disagreement, Limits, MAX_FRAME_BYTES, VERSIONS, Versions};

/// 32 bytes, as a MessagePack bin.
macro_rules! bytes_32 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub [u8; 32]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Bytes;

                impl Visitor<'_> for Bytes {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, " of 32 bytes"))
                    }

                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        let length = |_| E::invalid_length(bytes.len(), &self);
                        bytes.try_into().map($name).map_err(length)
                    }
                }

                deserializer.deserialize_bytes(Bytes)
            }
        }
    };
}

bytes_32! {
    /// Random bytes, never used again, so that no proof of an earlier link counts on this one.
    Nonce, "a nonce"
}

bytes_32! {
    /// Shows that its sender has the cluster's secret, without saying it.
    Mac, "a proof"
}

/// The first frame to a broker: who calls, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The versions that the caller speaks. They stand in front of the offer, where any version can
    /// read them.
    #[serde(skip, default = "ours")]
    pub versions: Versions,
    /// Who calls.
    pub hello: Hello,
    /// For the proof that the broker gives, if there is a secret.
    pub nonce: Nonce,
    /// What the caller can do.
    #[serde(default)]
    pub features: Features,
    /// What the caller takes.
    #[serde(default)]
    pub limits: Limits,
}

fn ours() -> Versions {
    VERSIONS
}

impl Offer {
    /// What this release offers.
    pub fn ours(hello: Hello, nonce: Nonce) -> Self {
        let (features, limits) = (Features::ours(), Limits::OURS);
        Self { versions: VERSIONS, hello, nonce, features, limits }
    }

    /// What a broker of this release answers to an offer. That there is a common version was checked
    /// when it was read.
    ///
    /// # Errors
    /// The caller takes less than this release sends.
    pub fn agree(&self) -> Result<Agreement, Disagreement> {
        Ok(Agreement {
            version: VERSIONS.common(self.versions).unwrap_or(VERSIONS.most),
            features: Features::ours().common(&self.features),
            limits: Limits::OURS.agree(self.limits)?,
        })
    }
}

/// What both sides of a link keep to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// The version that is spoken.
    pub version: u16,
    /// What both can do.
    #[serde(default)]
    pub features: Features,
    /// What both take.
    #[serde(default)]
    pub limits: Limits,
}

impl Agreement {
    /// That of two sides of this release.
    pub fn ours() -> Self {
        let (features, limits) = (Features::ours(), Limits::OURS);
        Self { version: VERSIONS.most, features, limits }
    }

    /// What this side keeps to of what a broker has answered.
    ///
    /// # Errors
    /// The broker takes less than this release sends, or has chosen a version that it does not speak.
    pub fn accept(self) -> Result<Self, Disagreement> {
        if !(VERSIONS.least..=VERSIONS.most).contains(&self.version) {
            return Err(Disagreement::NotOffered { chosen: self.version });
        }
        let features = Features::ours().common(&self.features);
        Ok(Self { features, limits: Limits::OURS.agree(self.limits)?, ..self })
    }
}

/// The broker's answer to an [`Offer`], and to a [`Proof`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloAnswer {
    /// The link is up.
    Welcome {
        /// What is spoken on it.
        agreement: Agreement,
        /// What the caller needs to begin.
        welcome: Welcome,
    },
    /// The caller must show that it has the cluster's secret.
    Challenge(Challenge),
    /// The link ends.
    Refused {
        /// A sentence for the log.
        reason: String,
    },
}

impl HelloAnswer {
    /// The welcome of a broker of this release for a caller of this release.
    pub fn welcome(welcome: Welcome) -> Self {
        Self::Welcome { agreement: Agreement::ours(), welcome }
    }
}

/// Asks a caller for a [`Proof`]. Reserved: no broker of this version sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// How it is to be proven: 1 to [`MAX_FEATURE_BYTES`] bytes.
    #[serde(deserialize_with = "name")]
    pub method: String,
    /// For the proof that is asked for.
    pub nonce: Nonce,
    /// That the broker has the secret itself, over the nonce of the offer: a caller proves nothing to
    /// a broker that cannot.
    pub proof: Mac,
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Name::deserialize(deserializer).map(|Name(name)| name)
}

/// Answers a [`Challenge`], over its nonce: the second frame to the broker where there is one.
/// Reserved: no broker of this version asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// That the caller has the secret.
    pub proof: Mac,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_with_more_features_is_agreed_with() {
        let features = Features::of([Feature("later")]);
        let answer = Agreement { features, ..Agreement::ours() };
        assert_eq!(answer.accept(), Ok(Agreement::ours()));
    }

    #[test]
    fn a_version_that_was_not_offered_is_an_error() {
        for chosen in [3, 5] {
            let answer = Agreement { version: chosen, ..Agreement::ours() };
            assert_eq!(answer.accept(), Err(Disagreement::NotOffered { chosen }));
        }
    }

    #[test]
    fn a_peer_that_takes_more_is_agreed_with_and_one_that_takes_less_is_not() {
        let with = |limits| Agreement { limits, ..Agreement::ours() }.accept();
        let more = Limits { max_content_bytes: u32::MAX, max_frame_bytes: u32::MAX };
        assert_eq!(with(more), Ok(Agreement::ours()));
        let less = with(Limits { max_content_bytes: 1_000, ..Limits::OURS });
        assert_eq!(
            less.map_err(|error| error.to_string()),
            Err("the peer takes contents of at most 1000 bytes, this side sends up to 16777216"
                .to_owned())
        );
        assert!(with(Limits { max_frame_bytes: 1_000, ..Limits::OURS }).is_err());
    }
}
