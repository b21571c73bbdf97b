//! Whether a caller is a member of the cluster: both sides prove that they have its secret.

use std::time::Duration;

use bytes::Bytes;
use campanile_edge::Principal;
use campanile_messages::frame::{decode_proof, encode_answer};
use campanile_messages::hello::{Feature, HelloAnswer, Nonce, Offer};
use tokio::time::{Instant, timeout_at};

use crate::link::{FrameReader, LinkError, Secrets, WriteHalf, proof};

/// The largest frame with a proof. It has room for what a later version may add.
const MAX_PROOF_BYTES: usize = 4 << 10;

/// Why a caller is not taken for a member.
#[derive(Debug, thiserror::Error)]
pub enum NotAMember {
    #[error(
        "this broker has links only with those who prove the cluster's secret, and the peer has none: \
         start it with the --secret-file of the broker"
    )]
    HasNoSecret,
    #[error(
        "the peer has a cluster secret, and this broker has none: start the broker with the same \
         --secret-file"
    )]
    HasSecret,
    #[error(
        "the peer ended the link when it saw this broker's proof: it has another cluster secret, and both \
         need a --secret-file with the same secret"
    )]
    Declined,
    #[error(
        "the peer's proof is wrong: it has another cluster secret, and both need a --secret-file with the \
         same secret"
    )]
    WrongProof,
    #[error("no proof of the cluster's secret within {} s", .0.as_secs_f32())]
    Late(Duration),
    #[error(transparent)]
    Lost(#[from] LinkError),
}

/// Finds out who a caller is, by its offer and the frame of it. Until the proof has come, nothing of what
/// the caller says is believed. May be dropped at any time.
///
/// # Errors
/// The caller is not a member, or has not proven it until `until`, which is the end of `limit`.
pub async fn principal(
    reader: &mut FrameReader,
    write: &mut WriteHalf,
    (offer, frame): (&Offer, &Bytes),
    secrets: &Secrets,
    (until, limit): (Instant, Duration),
) -> Result<Principal, NotAMember> {
    match (secrets.first(), offer.features.has(Feature::SECRET)) {
        (None, false) => Ok(Principal::Anyone),
        (None, true) => Err(NotAMember::HasSecret),
        (Some(_), false) => Err(NotAMember::HasNoSecret),
        (Some(secret), true) => {
            let nonce = Nonce(rand::random());
            let challenge = HelloAnswer::Challenge(proof::challenge(secret, frame, nonce));
            let challenge = encode_answer(&challenge);
            let answer = async {
                write.send(&challenge.head).await.map_err(LinkError::Io)?;
                reader.frame(MAX_PROOF_BYTES).await
            };
            let answer = match timeout_at(until, answer).await {
                Ok(Ok(answer)) => decode_proof(answer).map_err(LinkError::Decode)?,
                // TLS reports an end without a farewell as an error.
                Ok(Err(LinkError::Closed | LinkError::Io(_))) => return Err(NotAMember::Declined),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(NotAMember::Late(limit)),
            };
            match proof::is_proven(secrets, frame, challenge.payload(), &answer) {
                true => Ok(Principal::Member),
                false => Err(NotAMember::WrongProof),
            }
        }
    }
}
