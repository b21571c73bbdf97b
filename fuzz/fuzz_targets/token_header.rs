//! What a client sends as its token: any string, and a token with any header.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_edge::Secret;
use campanile_edge::tokens::{Expected, Key, Keys, Verifier};
use libfuzzer_sys::fuzz_target;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let key = |id: Option<&str>, byte: u8| {
        let secret = Secret::new([byte; 64]);
        Key::from_secret(id.map(str::to_owned), None, &secret).expect("a key")
    };
    let keys = vec![key(None, 1), key(Some("a"), 2)];
    Verifier::new(Keys::new(keys).expect("two keys"), Expected::default())
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    // Nobody can guess a signature.
    refuse(text);
    let claims = URL_SAFE_NO_PAD.encode(r#"{"aud":"campanile","exp":1}"#);
    refuse(&format!(
        "{}.{claims}.{}",
        URL_SAFE_NO_PAD.encode(data),
        URL_SAFE_NO_PAD.encode([0; 32])
    ));
    refuse(&format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(data)));
});

fn refuse(token: &str) {
    let cause = VERIFIER.verify(token, 0).expect_err("an unsigned token was accepted");
    assert_eq!(cause.word(), "invalid_token");
    let shown = cause.to_string();
    assert!(shown.len() < 2_000 && !shown.contains(char::is_control), "{shown:?}");
}
