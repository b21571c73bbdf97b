//! Keys: from PEM, from a secret and from sets, and the keys that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

use super::super::*;
use super::{NOW, PAIRS, Pair, SECRET, good, key, sign, token, verifier, with_header};
use crate::Secret;

#[test]
fn a_kid_chooses_the_key() {
    let other = Key::from_secret(Some("new".into()), None, &Secret::new([8; 32])).expect("a key");
    let keys = verifier(vec![other, key(Some("old"))]);
    let verify = |header: &str| keys.verify(&with_header(header), NOW).map(|rights| rights.user);
    let user = Ok(Some("42".to_owned()));
    assert_eq!(verify(r#"{"alg":"HS256","kid":"old"}"#), user);
    assert_eq!(verify(r#"{"alg":"HS256"}"#), user);
    assert_eq!(verify(r#"{"alg":"HS256","kid":null}"#), user);
    assert_eq!(verify(r#"{"alg":"HS256","kid":"new"}"#), Err(Cause::Signature));
    let unknown = Cause::UnknownKey { kid: "\n".repeat(100) };
    let shown = unknown.to_string();
    assert!(shown.len() < 200 && !shown.contains('\n'), "{shown}");
    let kid = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "\\n".repeat(100));
    assert_eq!(verify(&kid), Err(unknown));
    // A key without a name counts for every kid.
    let named = with_header(r#"{"alg":"HS256","kid":"x"}"#);
    assert!(verifier(vec![key(None)]).verify(&named, NOW).is_ok());
    assert_eq!(
        verifier(vec![]).verify(&named, NOW).map_err(|cause| cause.word()),
        Err("invalid_token")
    );
}

#[test]
fn a_wrong_key_is_an_error_that_says_why() {
    let error = |id: Option<Algorithm>, pem: &str| {
        Key::from_pem(None, id, pem.as_bytes()).expect_err("no key").to_string()
    };
    let private = KeyPair::generate_for(&PKCS_ED25519).expect("a pair");
    assert!(error(None, &private.serialize_pem()).contains("not a private key"));
    let two = format!("{0}{0}", private.public_key_pem());
    assert!(error(None, &two).contains("several of them"));
    let ed = private.public_key_pem();
    assert!(
        error(Some(Algorithm::Rs256), &ed).contains("RS256 does not belong to a key for EdDSA")
    );
    let cut = ed.replacen('M', "N", 1);
    assert!(error(None, &cut).contains("malformed"), "{cut}");
    assert!(error(None, "").contains("must be one public key"));
    for (bytes, algorithm, accepted) in [
        (31, None, false),
        (32, None, true),
        (47, Some(Algorithm::Hs384), false),
        (63, Some(Algorithm::Hs512), false),
        (64, Some(Algorithm::Hs512), true),
        (64, Some(Algorithm::Rs256), false),
    ] {
        let key = Key::from_secret(None, algorithm, &Secret::new(vec![1; bytes]));
        assert_eq!(key.is_ok(), accepted, "{bytes} {algorithm:?} {key:?}");
    }
    let short = Key::from_secret(None, None, &Secret::new("tooshort")).expect_err("short");
    assert!(!short.to_string().contains("tooshort"), "{short}");
    let many = vec![key(None); MAX_KEYS + 1];
    assert_eq!(Keys::new(many).map(|keys| keys.len()), Err(KeyError::TooMany(MAX_KEYS + 1)));
    assert!("ES512".parse::<Algorithm>().is_err());
}

fn jwk(pair: &Pair, id: &str) -> Value {
    if pair.algorithm == Algorithm::EdDsa {
        let x = URL_SAFE_NO_PAD.encode(&pair.public_bytes);
        return json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": id });
    }
    let jwk = Jwk::from_encoding_key(&pair.private, pair.algorithm.jwa()).expect("a key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = json!(id);
    jwk
}

#[test]
fn a_set_of_keys_is_read_and_useless_keys_are_passed_over() {
    let mut keys: Vec<Value> = (0..5).map(|at| jwk(&PAIRS[at], &at.to_string())).collect();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut key = keys[2].clone();
        change(&mut key);
        key
    };
    let useless = [
        with(&|key| key["use"] = json!("enc")),
        with(&|key| key["key_ops"] = json!(["sign"])),
        with(&|key| key["alg"] = json!("ES384")),
        with(&|key| key["alg"] = json!("ECDH-ES")),
        with(&|key| key["crv"] = json!("secp256k1")),
        with(&|key| key["x"] = json!("AAAA")),
        with(&|key| key["y"] = key["x"].clone()),
        with(&|key| key["kid"] = json!(7)),
        json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }),
        json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB" }),
        json!({ "kty": "RSA" }),
        json!({ "kty": "new" }),
        json!({}),
        json!(5),
    ];
    keys.extend(useless.clone());
    let (set, ignored) =
        Keys::from_jwks(&json!({ "keys": keys }).to_string(), false).expect("a set");
    assert_eq!(set.len(), 5, "{ignored:?} {set:?}");
    let places: Vec<usize> = ignored.iter().map(|ignored| ignored.index).collect();
    assert_eq!(places, (6..6 + useless.len()).collect::<Vec<_>>(), "{ignored:?}");
    let verifier = Verifier::new(set, Expected::default());
    for (at, Pair { private, algorithm, .. }) in PAIRS.iter().enumerate() {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{at}"}}"#);
        let token = sign(&header, &good().to_string(), private, *algorithm);
        assert!(verifier.verify(&token, NOW).is_ok(), "{algorithm}");
    }
    let header = r#"{"alg":"HS256"}"#;
    assert_eq!(verifier.verify(&with_header(header), NOW), Err(Cause::Algorithm(Algorithm::Hs256)));
    for (document, part) in [
        (r#"{"keys":[]}"#, "it is empty"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "key 1: it is a secret"),
        (r#"{"keys":{}}"#, "not a set of keys"),
        ("[]", "not a set of keys"),
        ("", "not a set of keys"),
        ("{}", "missing field `keys`"),
    ] {
        let error = Keys::from_jwks(document, false).expect_err("no set").to_string();
        assert!(error.contains(part), "{document}: {error}");
    }
}

#[test]
fn a_file_of_keys_is_recognised_by_its_content() {
    let read = |content: &str| {
        let (keys, _) = Keys::from_file(&Secret::new(content)).expect("keys");
        keys.iter().map(|key| key.algorithms().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(read(&PAIRS[2].public_pem), [[Algorithm::Es256]]);
    assert_eq!(read(&PAIRS[0].public_pem), [[Algorithm::Rs256, Algorithm::Ps256]]);
    let set = json!({ "keys": [jwk(&PAIRS[4], "a"), { "kty": "oct", "k": "A".repeat(44) }] });
    assert_eq!(read(&set.to_string()), [vec![Algorithm::EdDsa], vec![Algorithm::Hs256]]);
    assert_eq!(read(&"s".repeat(32)), [[Algorithm::Hs256]]);
    let (keys, _) = Keys::from_file(&Secret::new([&SECRET[..], b"\r\n"].concat())).expect("keys");
    let verifier = Verifier::new(keys, Expected::default());
    assert!(verifier.verify(&token(&good()), NOW).is_ok(), "a line end is no part of the secret");
    for bad in ["", "\n", "short", "{}", "-----BEGIN CERTIFICATE-----"] {
        assert!(Keys::from_file(&Secret::new(bad)).is_err(), "{bad}");
    }
}

#[test]
fn no_secret_is_shown() {
    let key = key(Some("shown"));
    let shown = format!("{:?}", verifier(vec![key]));
    assert!(shown.contains("shown") && !shown.contains("7, 7"), "{shown}");
}
