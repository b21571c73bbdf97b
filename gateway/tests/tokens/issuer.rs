//! Makes tokens, and the access of gateways that accept them.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_edge::Secret;
use campanile_edge::rights::{GroupRights, Operations};
use campanile_edge::tokens::{Expected, Key, Keys, Verifier};
use campanile_gateway::Access;
use campanile_harness::sign_token;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

const SECRET: [u8; 32] = [7; 32];
const ISSUER: &str = "https://issuer.example";

pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn segment(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// A token that is valid for an hour, with changed claims and these rights.
pub fn token(claims: Value, groups: Value) -> String {
    token_signed_with(&SECRET, claims, groups)
}

pub fn token_signed_with(secret: &[u8], claims: Value, groups: Value) -> String {
    let mut all = json!({ "iss": ISSUER, "aud": "campanile", "exp": now() + 3_600 });
    if !groups.is_null() {
        all["campanile"] = json!({ "groups": groups });
    }
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret).expect("a key");
    sign_token(r#"{"alg":"HS256"}"#, &all.to_string(), &key, Algorithm::HS256)
}

pub fn secret_of_another() -> [u8; 32] {
    [8; 32]
}

/// Tokens are required.
pub fn access() -> Access {
    let key = Key::from_secret(None, None, &Secret::new(SECRET)).expect("a key");
    let expected = Expected { issuer: Some(ISSUER.to_owned()), ..Expected::default() };
    let verifier = Verifier::new(Keys::new(vec![key]).expect("one key"), expected);
    Access { tokens: Some(verifier), ..Access::default() }
}

/// Tokens are required, and each must name its key.
pub fn named_key() -> Access {
    let key = Key::from_secret(Some("of today".to_owned()), None, &Secret::new(SECRET));
    let keys = Keys::new(vec![key.expect("a key")]).expect("one key");
    let verifier = access().tokens.map(|verifier| verifier.with_keys(keys));
    Access { tokens: verifier, ..Access::default() }
}

/// A token that names its key.
pub fn token_of_key(kid: &str) -> String {
    let header = json!({ "alg": "HS256", "kid": kid }).to_string();
    let token = token(json!({}), json!({}));
    let (_, rest) = token.split_once('.').expect("three parts");
    format!("{}.{rest}", segment(&header))
}

/// An access with guests, who may listen to the groups of a pattern.
pub fn with_guests(access: Access, pattern: &str) -> Access {
    let subscribe = Operations { subscribe: true, ..Operations::default() };
    let rights = GroupRights::new([(pattern.parse().expect("a pattern"), subscribe)]);
    Access { guests: Some(Arc::new(rights)), ..access }
}

/// The header with which the page of a browser shows a token.
pub fn offer(token: &str) -> String {
    format!(
        "Sec-WebSocket-Protocol: campanile.v1, base64url.bearer.campanile.{}",
        URL_SAFE_NO_PAD.encode(token)
    )
}
