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

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::MAX_CONTENT_BYTES;
use crate::frame::MAX_FRAME_BYTES;
use crate::link::{Hello, Welcome};

/// The versions of the link protocol that this release speaks.
pub const VERSIONS: Versions = Versions { least: 4, most: 4 };

/// What this release can do beyond the messages that every version has.
const FEATURES: &[Feature] = &[];

/// The most features that one side may list.
pub const MAX_FEATURES: usize = 64;

/// The longest name of a feature, or of a method of proof, in bytes.
pub const MAX_FEATURE_BYTES: usize = 64;

/// A range of versions of the link protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest one.
    pub least: u16,
    /// The newest one.
    pub most: u16,
}

impl Versions {
    /// The newest version in both ranges.
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

/// Something that a side can do and an older release cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature(pub &'static str);

/// What a side can do, as names: at most [`MAX_FEATURES`] of 1 to [`MAX_FEATURE_BYTES`] bytes.
/// Unknown names are kept, and mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Features(BTreeSet<String>);

impl Features {
    /// Those of this release.
    pub fn ours() -> Self {
        Self::of(FEATURES.iter().copied())
    }

    /// These.
    pub fn of(features: impl IntoIterator<Item = Feature>) -> Self {
        Self(features.into_iter().map(|feature| feature.0.to_owned()).collect())
    }

    /// Whether a message may be sent to a peer with which these are agreed. `needed` is what
    /// [`ToBroker::needs`](crate::ToBroker::needs) or [`FromBroker::needs`](crate::FromBroker::needs)
    /// says of the message: `None` for one that every peer knows.
    pub fn allow(&self, needed: Option<Feature>) -> bool {
        needed.is_none_or(|feature| self.0.contains(feature.0))
    }

    /// What both sides can do.
    pub fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of features")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Features, A::Error> {
                let mut features = BTreeSet::new();
                let mut count = 0;
                while let Some(Name(name)) = names.next_element()? {
                    count += 1;
                    if count > MAX_FEATURES {
                        let reason = format!("more than {MAX_FEATURES} features");
                        return Err(A::Error::custom(reason));
                    }
                    features.insert(name);
                }
                Ok(Features(features))
            }
        }

        deserializer.deserialize_seq(Names)
    }
}

/// A name of 1 to [`MAX_FEATURE_BYTES`] bytes.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.len() {
            1..=MAX_FEATURE_BYTES => Ok(Self(name)),
            len_bytes => Err(format!(
                "a feature's name has 1 to {MAX_FEATURE_BYTES} bytes, this one has {len_bytes}"
            )),
        }
    }
}

/// What a side takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A frame, without its length.
    pub max_frame_bytes: u32,
    /// The content of one event.
    pub max_content_bytes: u32,
}

impl Limits {
    /// Those of this release, which are also those of a peer that names none.
    pub const OURS: Self = Self {
        max_frame_bytes: MAX_FRAME_BYTES as u32,
        max_content_bytes: MAX_CONTENT_BYTES as u32,
    };

    /// The lower of each, which both sides keep to.
    ///
    /// # Errors
    /// The other side takes less than this one may have to send.
    fn agree(self, theirs: Self) -> Result<Self, Disagreement> {
        let pairs = [
            ("frames", theirs.max_frame_bytes, self.max_frame_bytes),
            ("contents", theirs.max_content_bytes, self.max_content_bytes),
        ];
        match pairs.into_iter().find(|(_, theirs, ours)| theirs < ours) {
            Some((what, theirs, ours)) => Err(Disagreement { what, theirs, ours }),
            None => Ok(self),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::OURS
    }
}

/// A peer that takes too little for this side to work with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer takes {what} of at most {theirs} bytes, this side sends up to {ours}")]
pub struct Disagreement {
    /// Frames or contents.
    what: &'static str,
    theirs: u32,
    ours: u32,
}

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
    /// The broker takes less than this release sends.
    pub fn accept(self) -> Result<Self, Disagreement> {
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

    const LATER: Feature = Feature("later");

    fn features<const N: usize>(names: [&str; N]) -> Features {
        Features(names.map(str::to_owned).into())
    }

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

    #[test]
    fn a_message_is_sent_only_to_a_peer_that_has_its_feature() {
        assert!(features([]).allow(None));
        assert!(!features([]).allow(Some(LATER)));
        assert!(!features(["other"]).allow(Some(LATER)));
        assert!(features(["later", "other"]).allow(Some(LATER)));
    }

    #[test]
    fn features_that_one_side_lacks_are_not_agreed() {
        let common = features(["a", "later"]).common(&features(["later", "z"]));
        assert_eq!(common, features(["later"]));
        let answer = Agreement { features: features(["later"]), ..Agreement::ours() };
        assert_eq!(answer.accept(), Ok(Agreement::ours()));
    }

    #[test]
    fn a_list_of_features_is_bounded_in_count_and_length() {
        let read = |names: &[String]| {
            let bytes = rmp_serde::to_vec(names).expect("MessagePack");
            rmp_serde::from_slice::<Features>(&bytes).map_err(|error| error.to_string())
        };
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(read(&names(MAX_FEATURES)).map(|features| features.0.len()), Ok(MAX_FEATURES));
        assert_eq!(read(&names(MAX_FEATURES + 1)), Err("more than 64 features".to_owned()));
        assert!(read(&["x".repeat(MAX_FEATURE_BYTES)]).is_ok());
        for name in [String::new(), "x".repeat(MAX_FEATURE_BYTES + 1)] {
            let len_bytes = name.len();
            let reason = format!("a feature's name has 1 to 64 bytes, this one has {len_bytes}");
            assert_eq!(read(&[name]), Err(reason));
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
