//! How a link begins: what each side offers, and what both then agree on. Pure.
//!
//! ```text
//! gateway or publisher                          broker
//!   Offer{versions, Hello, nonce, ..} ────────────▶
//!   [ ◀──────────── Challenge{method, nonce, proof}      if both have a cluster secret
//!     Proof{proof} ───────────────────────────────▶ ]
//!   ◀─────── Welcome{agreement, ..} or Refused{reason}
//! ```
//!
//! The rules that let different releases work together:
//! - Both sides speak the highest version that both know. If there is none, the link ends with a
//!   sentence that names what each side speaks.
//! - Fields are only ever added at the end of a struct on the wire. A reader skips fields that it does
//!   not know and takes the default for fields that are missing, so every field that is added has
//!   `#[serde(default)]`. One that is left out where it is empty has to be written, as nil, by a release
//!   that adds another one behind it.
//! - Every variant that is added to an enum, and so every new message, belongs to a [`Feature`], and is
//!   only sent to a peer that has it: see [`Features::allow`]. A variant without fields never gains
//!   any.
//! - The offer, the answer and the proof are exchanged before a version is chosen. For them, the last
//!   two rules hold across all versions.

mod terms;

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::feature::Name;
use crate::link::{Hello, Welcome};

pub use crate::feature::{CLIENT_PUBLISH, Feature, Features, INQUIRIES, STAMPS, TRACES};
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
    /// Random bytes that are used only once, so that a proof from an earlier link is worthless.
    Nonce, "a nonce"
}

bytes_32! {
    /// Proves that its sender has the cluster's secret, without revealing it.
    Mac, "a proof"
}

/// The first frame to a broker: who calls, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The versions that the caller speaks. On the wire they stand before the offer, where every
    /// version can read them.
    #[serde(skip, default = "ours")]
    pub versions: Versions,
    /// Who calls.
    pub hello: Hello,
    /// The broker's proof has to contain it, if there is a secret.
    pub nonce: Nonce,
    /// What the caller can do.
    #[serde(default)]
    pub features: Features,
    /// How much the caller accepts.
    #[serde(default)]
    pub limits: Limits,
}

fn ours() -> Versions {
    VERSIONS
}

impl Offer {
    /// The offer of this release.
    pub fn ours(hello: Hello, nonce: Nonce) -> Self {
        let (features, limits) = (Features::ours(), Limits::OURS);
        Self { versions: VERSIONS, hello, nonce, features, limits }
    }

    /// What a broker of this release agrees to. Reading the offer has already checked that there is a
    /// common version.
    ///
    /// # Errors
    /// The caller accepts less than this release may send.
    pub fn agree(&self) -> Result<Agreement, Disagreement> {
        Ok(Agreement {
            version: VERSIONS.common(self.versions).unwrap_or(VERSIONS.most),
            features: Features::ours().common(&self.features),
            limits: Limits::OURS.agree(self.limits)?,
        })
    }
}

/// What both sides of a link have agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// The version that is spoken.
    pub version: u16,
    /// What both sides can do.
    #[serde(default)]
    pub features: Features,
    /// How much both sides accept.
    #[serde(default)]
    pub limits: Limits,
}

impl Agreement {
    /// The agreement between two sides of this release.
    pub fn ours() -> Self {
        let (features, limits) = (Features::ours(), Limits::OURS);
        Self { version: VERSIONS.most, features, limits }
    }

    /// Checks a broker's answer, and keeps only the features that this side has too.
    ///
    /// # Errors
    /// The broker accepts less than this release may send, or has chosen a version that this release
    /// does not speak.
    pub fn accept(self) -> Result<Self, Disagreement> {
        if !(VERSIONS.least..=VERSIONS.most).contains(&self.version) {
            return Err(Disagreement::NotOffered { chosen: self.version });
        }
        let features = Features::ours().common(&self.features);
        Ok(Self { features, limits: Limits::OURS.agree(self.limits)?, ..self })
    }
}

/// The broker's answer to an [`Offer`] or a [`Proof`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloAnswer {
    /// The link is up.
    Welcome {
        /// What holds on it.
        agreement: Agreement,
        /// What the caller needs to begin.
        welcome: Welcome,
    },
    /// The caller has to prove that it has the cluster's secret.
    Challenge(Challenge),
    /// The broker ends the link.
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

/// Asks a caller for a [`Proof`]. Sent by a broker that has a secret, to a caller whose offer lists
/// [`Feature::SECRET`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The method of proof: a name of 1 to 64 bytes.
    #[serde(deserialize_with = "name")]
    pub method: String,
    /// The caller's proof has to contain it.
    pub nonce: Nonce,
    /// The broker's own proof, which contains the nonce of the offer. A caller proves nothing to a
    /// broker without the secret.
    pub proof: Mac,
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Name::deserialize(deserializer).map(|Name(name)| name)
}

/// The answer to a [`Challenge`], and then the second frame to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The caller's proof, which contains the nonce of the challenge.
    pub proof: Mac,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_the_broker_alone_are_left_out() {
        let features = Features::ours().with(Feature("later"));
        let answer = Agreement { features, ..Agreement::ours() };
        assert_eq!(answer.accept(), Ok(Agreement::ours()));
    }

    #[test]
    fn a_chosen_version_must_have_been_offered() {
        for chosen in [3, 5] {
            let answer = Agreement { version: chosen, ..Agreement::ours() };
            assert_eq!(answer.accept(), Err(Disagreement::NotOffered { chosen }));
        }
    }

    #[test]
    fn a_peer_may_accept_more_but_not_less() {
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
