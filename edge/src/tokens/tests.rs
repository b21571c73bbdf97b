//! Signatures and headers. What keys and claims may be is in files of its own.

mod claims;
mod keys;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto};
use proptest::prelude::*;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};
use serde_json::{Value, json};

use super::*;
use crate::Secret;

const NOW: u64 = 1_790_000_000;
const SECRET: &[u8; 64] = &[7; 64];

fn segment(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// Signs two segments, whatever they say.
fn sign(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", segment(header), segment(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm.jwa()).expect("signed");
    format!("{message}.{signature}")
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET).expect("a key")
}

/// A token that is signed with the secret.
fn token(claims: &Value) -> String {
    sign(r#"{"alg":"HS256"}"#, &claims.to_string(), &secret(), Algorithm::Hs256)
}

fn with_header(header: &str) -> String {
    sign(header, &good().to_string(), &secret(), Algorithm::Hs256)
}

fn good() -> Value {
    json!({ "aud": "campanile", "exp": NOW + 60, "sub": "42" })
}

fn key(id: Option<&str>) -> Key {
    let secret = Secret::new(*SECRET);
    Key::from_secret(id.map(str::to_owned), None, &secret).expect("a key")
}

fn verifier(keys: Vec<Key>) -> Verifier {
    Verifier::new(Keys::new(keys).expect("few"), Expected::default())
}

fn verify(token: &str) -> Result<TokenRights, Cause> {
    verifier(vec![key(None)]).verify(token, NOW)
}

struct Pair {
    private: EncodingKey,
    public_pem: String,
    public_bytes: Vec<u8>,
    algorithm: Algorithm,
}

/// One pair for each algorithm that has two keys. RSA is slow to generate, so it is shared.
static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let kinds = [
        (&PKCS_RSA_SHA256, Algorithm::Rs256),
        (&PKCS_RSA_SHA256, Algorithm::Ps256),
        (&PKCS_ECDSA_P256_SHA256, Algorithm::Es256),
        (&PKCS_ECDSA_P384_SHA384, Algorithm::Es384),
        (&PKCS_ED25519, Algorithm::EdDsa),
    ];
    let pair = |(kind, algorithm)| {
        let pair = KeyPair::generate_for(kind).expect("a pair");
        let pem = pair.serialize_pem();
        let private = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let private = private.expect("a private key");
        let (public_pem, public_bytes) = (pair.public_key_pem(), pair.public_key_raw().to_vec());
        Pair { private, public_pem, public_bytes, algorithm }
    };
    kinds.map(pair).into()
});

#[test]
fn a_token_of_every_algorithm_is_accepted_by_its_key_only() {
    let mut all: Vec<(Key, String)> = PAIRS
        .iter()
        .map(|Pair { private, public_pem, algorithm, .. }| {
            let key = Key::from_pem(None, Some(*algorithm), public_pem.as_bytes()).expect("a key");
            let header = format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#);
            (key, sign(&header, &good().to_string(), private, *algorithm))
        })
        .collect();
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        let key = Key::from_secret(None, Some(algorithm), &Secret::new(*SECRET)).expect("a key");
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        all.push((key, sign(&header, &good().to_string(), &secret(), algorithm)));
    }
    for (at, (_, token)) in all.iter().enumerate() {
        for (of, (key, _)) in all.iter().enumerate() {
            let verified = verifier(vec![key.clone()]).verify(token, NOW);
            assert_eq!(verified.is_ok(), at == of, "token {at} with key {of}: {verified:?}");
        }
        let everything = all.iter().map(|(key, _)| key.clone()).collect();
        assert!(verifier(everything).verify(token, NOW).is_ok(), "{at}");
        let others = all.iter().enumerate().filter(|(of, _)| *of != at);
        let others = others.map(|(_, (key, _))| key.clone()).collect();
        assert!(verifier(others).verify(token, NOW).is_err(), "{at}");
    }
}

#[test]
fn the_public_key_is_no_secret_for_hs256() {
    let Pair { public_pem, .. } = &PAIRS[0];
    let public = Key::from_pem(None, None, public_pem.as_bytes()).expect("a key");
    for secret in [public_pem.as_bytes(), public_pem.trim().as_bytes()] {
        let secret = EncodingKey::from_secret(secret).expect("a key");
        let token = sign(r#"{"alg":"HS256"}"#, &good().to_string(), &secret, Algorithm::Hs256);
        let verified = verifier(vec![public.clone()]).verify(&token, NOW);
        assert_eq!(verified, Err(Cause::Algorithm(Algorithm::Hs256)));
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    let (header, claims) = (r#"{"alg":"none"}"#, segment(&good().to_string()));
    for alg in ["none", "None", "NONE", "nOnE", "hs256", "HS256 ", "", "RS512", "dir"] {
        let header = segment(&json!({ "alg": alg }).to_string());
        for token in [format!("{header}.{claims}."), format!("{header}.{claims}.AAAA")] {
            assert_eq!(verify(&token), Err(Cause::UnknownAlgorithm(alg.to_owned())));
        }
    }
    let empty = format!("{}.{claims}.", segment(r#"{"alg":"HS256"}"#));
    assert_eq!(verify(&empty), Err(Cause::Signature));
    let bare = format!("{}.{claims}", segment(header));
    assert_eq!(verify(&bare), Err(Cause::Segments));
}

#[test]
fn headers_that_bring_a_key_are_ignored_and_crit_is_refused() {
    let theirs = EncodingKey::from_secret(&[9; 32]).expect("a key");
    let k = URL_SAFE_NO_PAD.encode([9; 32]);
    for pointer in [
        r#""jku":"https://evil.example/keys""#.to_owned(),
        r#""x5u":"https://evil.example/chain""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
        format!(r#""jwk":{{"kty":"oct","k":"{k}"}}"#),
    ] {
        let header = format!(r#"{{"alg":"HS256",{pointer}}}"#);
        assert!(verify(&with_header(&header)).is_ok(), "{header}");
        let token = sign(&header, &good().to_string(), &theirs, Algorithm::Hs256);
        assert_eq!(verify(&token), Err(Cause::Signature), "{header}");
    }
    for crit in [r#"["exp"]"#, "[]", "5", r#"["b64"],"b64":false"#] {
        let header = format!(r#"{{"alg":"HS256","crit":{crit}}}"#);
        assert_eq!(verify(&with_header(&header)), Err(Cause::Critical), "{header}");
    }
}

#[test]
fn a_malformed_header_is_refused() {
    for header in [
        "",
        "{}",
        "[]",
        r#"["HS256",null,null]"#,
        r#"{"alg":256}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","kid":5}"#,
        r#"{"alg":"HS256"} {}"#,
        "\u{feff}{\"alg\":\"HS256\"}",
    ] {
        let verified = verify(&with_header(header));
        assert!(matches!(verified, Err(Cause::Header(_))), "{header}: {verified:?}");
    }
}

#[test]
fn a_token_can_be_written_in_one_way_only() {
    let good = token(&good());
    assert!(verify(&good).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    for bad in [
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}.{claims}.{claims}.{signature}"),
        format!("{header}..{signature}"),
        format!("..{signature}"),
        format!("{good}="),
        format!("{good} "),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}=.{signature}"),
        format!("{header}.{claims}. {signature}"),
        good.replace('.', ". "),
        good.to_ascii_lowercase(),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
    ] {
        assert!(verify(&bad).is_err(), "{bad}");
    }
    // The last character of 32 bytes has two unused bits, which must be zero.
    let last = signature.chars().last().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|other| *other != last) {
        let bad = format!("{}{other}", &good[..good.len() - 1]);
        assert!(verify(&bad).is_err(), "{bad}");
    }
    let padded = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(verify(&padded), Err(Cause::TooLarge { len_bytes: MAX_TOKEN_BYTES + 1 }));
}

#[test]
fn a_changed_byte_is_noticed() {
    let good = token(&good());
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(verify(&changed).is_err(), "{at}");
    }
}

/// Whoever changes the signature of ECDSA to its other form has the same token, which is denied by the same
/// `jti`.
#[test]
fn the_other_form_of_a_signature_gives_the_same_rights() {
    let Pair { private, public_pem, algorithm, .. } = &PAIRS[2];
    let key = Key::from_pem(None, None, public_pem.as_bytes()).expect("a key");
    let token = sign(r#"{"alg":"ES256"}"#, &good().to_string(), private, *algorithm);
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).expect("hex"))
        .collect();
    let (r, s) = signature.split_at(32);
    let (mut other, mut borrow) = ([0; 32], 0i16);
    for at in (0..32).rev() {
        let digit = i16::from(order[at]) - i16::from(s[at]) - borrow;
        borrow = i16::from(digit < 0);
        other[at] = digit.rem_euclid(256) as u8;
    }
    let verifier = verifier(vec![key]);
    let rights = verifier.verify(&token, NOW).expect("valid");
    let signed =
        |r: &[u8], s: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode([r, s].concat()));
    assert_eq!(verifier.verify(&signed(r, &other), NOW), Ok(rights));
    // Signatures that a faulty library would accept for every message.
    let zero = [0; 32];
    for (r, s) in [(&zero[..], &zero[..]), (&order, &order), (r, &zero), (&zero, s), (r, &order)] {
        assert_eq!(verifier.verify(&signed(r, s), NOW), Err(Cause::Signature));
    }
    assert_eq!(verifier.verify(&signed(&signature, &[0]), NOW), Err(Cause::Signature));
}

proptest! {
    #[test]
    fn no_string_panics_or_is_accepted(token: String, header: String, claims: String) {
        prop_assert!(verify(&token).is_err());
        let signed = sign(&header, &claims, &secret(), Algorithm::Hs256);
        prop_assert!(verify(&signed).is_err());
        let signed = sign(r#"{"alg":"HS256"}"#, &claims, &secret(), Algorithm::Hs256);
        prop_assert!(verify(&signed).is_err());
    }
}
