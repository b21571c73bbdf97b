//! Why something is no key for tokens, or no set of them.

use super::Algorithm;

/// The most keys of one source: the settings, or a set from a URL. A token that names no key is compared with
/// those of both.
pub const MAX_KEYS: usize = 64;

/// Why something is no key for tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret that is too short.
    #[error(
        "a secret of {len_bytes} bytes is too short for {algorithm}: at least {min_bytes} random bytes \
         are needed"
    )]
    ShortSecret {
        /// The length of the secret.
        len_bytes: usize,
        /// What it is for.
        algorithm: Algorithm,
        /// The least length.
        min_bytes: usize,
    },
    /// A PEM that is no public key.
    #[error(
        "a PEM must be one public key (BEGIN PUBLIC KEY or BEGIN RSA PUBLIC KEY), not a private key, a \
         certificate or several of them"
    )]
    NotPublic,
    /// A public key that cannot be used.
    #[error(
        "a public key is malformed or of a kind that is not accepted: accepted are RSA of 2048 to 8192 \
         bits, P-256, P-384 and Ed25519"
    )]
    Unusable,
    /// An algorithm that does not belong to the key.
    #[error("the algorithm {algorithm} does not belong to a key for {}", list(.accepted))]
    WrongAlgorithm {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
        /// The algorithms of the key.
        accepted: Vec<Algorithm>,
    },
    /// A document that is no set of keys.
    #[error("not a set of keys (JWKS): {0}")]
    NotASet(String),
    /// A set in which no key can be used.
    #[error("no key in the set of keys (JWKS) can be used: {}", sentences(.0))]
    NoneUsable(Vec<Ignored>),
    /// More keys than [`MAX_KEYS`].
    #[error("{0} keys are too many: at most {MAX_KEYS} are accepted")]
    TooMany(usize),
}

fn list(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ")
}

fn sentences(ignored: &[Ignored]) -> String {
    let shown =
        ignored.iter().take(3).map(|Ignored { index, reason }| format!("key {index}: {reason}"));
    if ignored.is_empty() { "it is empty".to_owned() } else { shown.collect::<Vec<_>>().join("; ") }
}

/// A key of a set that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its place in the set, from 1.
    pub index: usize,
    /// Why, as a sentence.
    pub reason: String,
}
