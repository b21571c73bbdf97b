//! Signed tokens, valid or not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

/// A token with exactly this header and these claims, which need not go together, signed by `algorithm`.
pub fn sign_token(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let segment = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let message = format!("{}.{}", segment(header), segment(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("signed");
    format!("{message}.{signature}")
}
