//! What those say who can sign tokens, and the keys that they publish.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_edge::Secret;
use campanile_edge::tokens::{Expected, Key, Keys, MAX_INFO_BYTES, MAX_TIME, Verifier};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;

const SECRET: [u8; 32] = [1; 32];

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let key = Key::from_secret(None, None, &Secret::new(SECRET)).expect("a key");
    Verifier::new(Keys::new(vec![key]).expect("one key"), Expected::default())
});

static KEY: LazyLock<EncodingKey> =
    LazyLock::new(|| EncodingKey::from_secret(&SECRET).expect("a key"));

fuzz_target!(|data: &[u8]| {
    check(data);
    // The start of most tokens, so that the checks after it are reached.
    check(&[br#"{"aud":"campanile","exp":1,"#, data].concat());
    check(&[br#"{"aud":"campanile","exp":1,"campanile":{"#, data].concat());
    if let Ok(document) = str::from_utf8(data) {
        let _ = Keys::from_jwks(document, true);
    }
    let _ = Key::from_pem(None, None, data);
});

fn check(claims: &[u8]) {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(message.as_bytes(), &KEY, Algorithm::HS256).expect("signed");
    match VERIFIER.verify(&format!("{message}.{signature}"), 0) {
        Ok(rights) => {
            assert!(rights.expires <= MAX_TIME);
            assert!(rights.join.len() <= Expected::default().max_join);
            assert!(rights.info.is_none_or(|info| info.len() <= MAX_INFO_BYTES));
            for name in rights.join.iter().chain(&rights.user).chain(&rights.id) {
                assert!((1..=255).contains(&name.len()) && !name.contains(char::is_control));
            }
        }
        Err(cause) => {
            let shown = cause.to_string();
            assert!(shown.len() < 2_000 && !shown.contains(char::is_control), "{shown:?}");
        }
    }
}
