//! How both sides of a link prove that they have the cluster's secret, without sending it. Pure.
//!
//! ```text
//! broker's proof = HMAC-SHA256(secret, "campanile link: broker\0" offer method nonce)
//! caller's proof = HMAC-SHA256(secret, "campanile link: caller\0" offer challenge)
//! ```
//!
//! Each part after the label has its length in front, as 4 bytes, big-endian. `offer` and `challenge` are
//! the frames as they are on the wire, without their own lengths, so that nothing in them can be changed:
//! no version, feature or limit. They contain the nonces of both sides, and the challenge contains the
//! broker's proof; so no proof is worth anything on another link. Because of the labels, a proof that is
//! sent back to its sender is worth nothing either.
//!
//! The broker proves first that it knows a secret of the caller. The caller then proves that it knows the same
//! one, and does not answer a broker that knows none.

use aws_lc_rs::hmac;
use campanile_edge::Secret;
use campanile_messages::hello::{Challenge, Mac, Nonce, Proof};

use super::secrets::Secrets;

/// The name of this method in a challenge.
pub const METHOD: &str = "hmac-sha256";

/// Why this side has no link to a broker that it can reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The broker asks for a proof by another method.
    #[error(
        "the broker asks for a proof of the cluster's secret by {method:?}, which this release cannot \
         give: link it to a broker of its own release"
    )]
    Method {
        /// The method that the broker named.
        method: String,
    },
    /// The broker has a secret, and this side has none.
    #[error(
        "the broker asks for a proof of the cluster's secret, and this side has none: start it with the \
         --secret-file of the broker"
    )]
    NoSecret,
    /// The broker has proven none of the secrets of this side.
    #[error(
        "the broker has another cluster secret than this side: both need a --secret-file with the same \
         secret"
    )]
    OtherSecret,
    /// The broker has welcomed this side without a proof, and this side has a secret.
    #[error(
        "the broker has no cluster secret, and this side has one: start the broker with the same \
         --secret-file"
    )]
    Unproven,
}

const BROKER: &[u8] = b"campanile link: broker\0";
const CALLER: &[u8] = b"campanile link: caller\0";

/// The input of a proof.
fn transcript(label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut input = label.to_vec();
    for part in parts {
        let len = u32::try_from(part.len()).expect("a part of a frame, which is below 4 GiB");
        input.extend(len.to_be_bytes());
        input.extend(*part);
    }
    input
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

fn mac(secret: &Secret, input: &[u8]) -> Mac {
    let tag = hmac::sign(&key(secret), input);
    Mac(tag.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The secret by which a proof was made. Takes the same time whatever the proof is.
fn made_by<'a>(secrets: &'a Secrets, input: &[u8], proof: &Mac) -> Option<&'a Secret> {
    secrets.iter().fold(None, |found, secret| {
        let fits = hmac::verify(&key(secret), input, &proof.0).is_ok();
        found.or(fits.then_some(secret))
    })
}

/// The challenge of a broker that has this secret, to the caller whose offer this is. The nonce must be
/// random.
pub fn challenge(secret: &Secret, offer: &[u8], nonce: Nonce) -> Challenge {
    let input = transcript(BROKER, &[offer, METHOD.as_bytes(), &nonce.0]);
    Challenge { method: METHOD.to_owned(), nonce, proof: mac(secret, &input) }
}

/// The answer of a caller that has these secrets, and has sent this offer. `frame` is what the challenge
/// was read from.
///
/// # Errors
/// The broker has not proven any of these secrets, or asks for another method.
pub fn answer(
    secrets: &Secrets,
    offer: &[u8],
    challenge: &Challenge,
    frame: &[u8],
) -> Result<Proof, ProofError> {
    let Challenge { method, nonce, proof } = challenge;
    if method != METHOD {
        return Err(ProofError::Method { method: method.clone() });
    }
    if secrets.is_empty() {
        return Err(ProofError::NoSecret);
    }
    let input = transcript(BROKER, &[offer, method.as_bytes(), &nonce.0]);
    let secret = made_by(secrets, &input, proof).ok_or(ProofError::OtherSecret)?;
    Ok(Proof { proof: mac(secret, &transcript(CALLER, &[offer, frame])) })
}

/// Whether a caller has one of these secrets, by its answer to the challenge of this frame.
pub fn is_proven(secrets: &Secrets, offer: &[u8], frame: &[u8], proof: &Proof) -> bool {
    made_by(secrets, &transcript(CALLER, &[offer, frame]), &proof.proof).is_some()
}

#[cfg(test)]
mod tests;
