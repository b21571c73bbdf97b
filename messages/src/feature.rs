//! What a side of a link can do beyond the messages that every version has. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Knows the user whose client publishes an event.
pub const CLIENT_PUBLISH: Feature = Feature("client_publish");

/// Knows the trace that an event belongs to.
pub const TRACES: Feature = Feature("traces");

/// Takes part in the [inquiries](crate::inquiry) of operators.
pub const INQUIRIES: Feature = Feature("inquiries");

/// Knows when the broker sent what comes next.
pub const STAMPS: Feature = Feature("stamps");

/// The features of this release.
const FEATURES: &[Feature] = &[CLIENT_PUBLISH, INQUIRIES, STAMPS, TRACES];

/// The most features that one side may list.
const MAX_FEATURES: usize = 64;

/// The longest name of a feature, or of a method of proof, in bytes.
const MAX_FEATURE_BYTES: usize = 64;

/// Something that a side can do and that an older release cannot, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature(pub &'static str);

impl Feature {
    /// The side has the cluster's secret, and speaks only to a peer that proves it. A caller lists this
    /// in its offer. It is never agreed, and no message needs it.
    pub const SECRET: Self = Self("secret");
}

/// The names of what a side can do: at most 64 names of 1 to 64 bytes.
/// Unknown names are allowed and have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Features(BTreeSet<String>);

impl Features {
    /// The features of this release.
    pub fn ours() -> Self {
        Self::of(FEATURES.iter().copied())
    }

    /// The given features.
    pub fn of(features: impl IntoIterator<Item = Feature>) -> Self {
        Self(features.into_iter().map(|feature| feature.0.to_owned()).collect())
    }

    /// Whether a message may be sent on a link for which these features were agreed. `needed` is what
    /// [`ToBroker::needs`](crate::ToBroker::needs) or [`FromBroker::needs`](crate::FromBroker::needs)
    /// returns for the message: `None` if every peer knows it.
    pub fn allow(&self, needed: Option<Feature>) -> bool {
        needed.is_none_or(|feature| self.has(feature))
    }

    /// These features and one more.
    pub fn with(mut self, feature: Feature) -> Self {
        self.0.insert(feature.0.to_owned());
        self
    }

    /// Whether a side has listed a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(feature.0)
    }

    /// The features that are in both lists.
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
pub(crate) struct Name(pub(crate) String);

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

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Feature = Feature("later");

    fn features<const N: usize>(names: [&str; N]) -> Features {
        Features(names.map(str::to_owned).into())
    }

    #[test]
    fn only_a_peer_with_the_feature_gets_its_messages() {
        assert!(features([]).allow(None));
        assert!(!features([]).allow(Some(LATER)));
        assert!(!features(["other"]).allow(Some(LATER)));
        assert!(features(["later", "other"]).allow(Some(LATER)));
    }

    #[test]
    fn features_that_one_side_lacks_are_not_agreed() {
        let common = features(["a", "later"]).common(&features(["later", "z"]));
        assert_eq!(common, features(["later"]));
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
}
