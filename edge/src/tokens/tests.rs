use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
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

/// The good claims, with one of them replaced.
fn but(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
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

fn sentence(claims: &Value) -> String {
    verify(&token(claims)).expect_err("refused").to_string()
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

#[test]
fn audience_and_expiry_are_required_and_the_issuer_if_wanted() {
    let mut claims = good();
    claims.as_object_mut().expect("an object").remove("exp");
    assert_eq!(verify(&token(&claims)), Err(Cause::Missing("exp")));
    claims.as_object_mut().expect("an object").remove("aud");
    assert_eq!(verify(&token(&claims)), Err(Cause::Missing("aud")));
    let wrong = Cause::Audience { expected: "campanile".to_owned() };
    for aud in [json!("Campanile"), json!(""), json!([]), json!(["a"]), json!(["campanile/"])] {
        assert_eq!(verify(&token(&but("aud", aud))), Err(wrong.clone()));
    }
    assert!(verify(&token(&but("aud", json!(["a", "campanile"])))).is_ok());
    let issuer = Some("https://app.example".to_owned());
    let keys = Keys::new(vec![key(None)]).expect("few");
    let strict = Verifier::new(keys, Expected { issuer, ..Expected::default() });
    let verify = |claims| strict.verify(&token(&claims), NOW).map_err(|cause| cause.to_string());
    assert!(verify(but("iss", json!("https://app.example"))).is_ok());
    let missing = r#"the token's iss is missing, but "https://app.example" is accepted"#;
    assert_eq!(verify(good()), Err(missing.to_owned()));
    assert!(verify(but("iss", json!("https://app.example/"))).is_err());
}

#[test]
fn times_have_a_leeway_on_both_sides() {
    let verifier = verifier(vec![key(None)]);
    let mut claims = but("nbf", json!(NOW - 60));
    claims["exp"] = json!(NOW + 60);
    let token = token(&claims);
    let at = |now| verifier.verify(&token, now).map(|rights| rights.expires);
    assert_eq!(at(NOW - 91), Err(Cause::NotYetValid { for_seconds: 31 }));
    assert_eq!(at(NOW - 90), Ok(NOW + 60));
    assert_eq!(at(NOW + 89), Ok(NOW + 60));
    assert_eq!(at(NOW + 90), Err(Cause::Expired { since_seconds: 30 }));
    assert_eq!(at(u64::MAX).map_err(|cause| cause.word()), Err("expired"));
    assert_eq!(at(0).map_err(|cause| cause.word()), Err("invalid_token"));
}

#[test]
fn a_time_that_is_none_is_refused() {
    for exp in [
        json!(-1),
        json!(-1.5),
        json!(MAX_TIME + 1),
        json!(u64::MAX),
        json!(1e300),
        json!(1_790_000_000_000_u64),
        json!("1790000060"),
        json!([1_790_000_060]),
        json!(true),
    ] {
        for name in ["exp", "nbf"] {
            let sentence = sentence(&but(name, exp.clone()));
            assert!(sentence.contains("from 0 to 253402300799"), "{name} {exp}: {sentence}");
        }
    }
    assert!(verify(&token(&but("exp", json!(NOW as f64 + 60.9)))).is_ok());
    assert!(verify(&token(&but("exp", json!(MAX_TIME)))).is_ok());
    let huge = good().to_string().replace("1790000060", "1e999");
    let huge = sign(r#"{"alg":"HS256"}"#, &huge, &secret(), Algorithm::Hs256);
    assert!(matches!(verify(&huge), Err(Cause::Claims(_))));
}

#[test]
fn rights_are_read_and_what_is_unknown_is_ignored() {
    let claims = but(
        "campanile",
        json!({
            "groups": { "news": ["subscribe"], "chat/*": ["publish", "fly", "presence"], "x": [] },
            "join": ["user/42", "b", "user/42"],
            "info": { "name": "Ann" },
            "later": { "groups": 5 },
        }),
    );
    let mut claims = claims;
    claims["jti"] = json!("t1");
    claims["iat"] = json!("whatever");
    let rights = verify(&token(&claims)).expect("valid");
    assert_eq!((rights.user.as_deref(), rights.id.as_deref()), (Some("42"), Some("t1")));
    assert_eq!(rights.join, ["user/42", "b"]);
    assert_eq!(rights.info.as_deref(), Some(r#"{"name":"Ann"}"#));
    let of = |group| rights.groups.of(group);
    assert!(of("news").subscribe && !of("news").publish);
    assert!(of("chat/7").publish && of("chat/7").presence && !of("chat/7").subscribe);
    assert_eq!(of("x"), Default::default());
    let bare = verify(&token(&good())).expect("valid");
    assert_eq!((bare.groups, bare.join, bare.info, bare.id), Default::default());
    for nothing in [json!(null), json!({}), json!({ "info": null })] {
        let rights = verify(&token(&but("campanile", nothing))).expect("valid");
        assert_eq!(rights.info, None);
    }
}

#[test]
fn malformed_claims_are_refused_with_the_reason() {
    for (claims, part) in [
        (but("sub", json!(42)), "expected a string"),
        (but("sub", json!("")), "is not a name"),
        (but("sub", json!("a".repeat(256))), "is not a name"),
        (but("sub", json!("a\u{0}b")), "is not a name"),
        (but("jti", json!(["a"])), "expected a string"),
        (but("jti", json!("\n")), "is not a name"),
        (but("aud", json!(5)), "a string, or an array of strings"),
        (but("aud", json!([5])), "expected a string"),
        (but("campanile", json!([])), "it is not a JSON object"),
        (but("campanile", json!({ "groups": ["news"] })), "a map from patterns"),
        (but("campanile", json!({ "groups": null })), "a map from patterns"),
        (but("campanile", json!({ "groups": { "a": "subscribe" } })), "expected a sequence"),
        (but("campanile", json!({ "groups": { "a": [1] } })), "expected a string"),
        (but("campanile", json!({ "groups": { "a*b": [] } })), "a pattern has a * before its end"),
        (but("campanile", json!({ "groups": { "": [] } })), "a pattern is empty"),
        (but("campanile", json!({ "join": "a" })), "expected a sequence"),
        (but("campanile", json!({ "join": [""] })), "is not a name"),
        (but("campanile", json!({ "join": ["a\nb"] })), "is not a name"),
        (but("campanile", json!({ "info": "x".repeat(1_023) })), "info has 1025 bytes"),
        (
            but(
                "campanile",
                json!({ "join": (0..101).map(|n| n.to_string()).collect::<Vec<_>>() }),
            ),
            "join has 101 groups, but at most 100",
        ),
    ] {
        let shown = sentence(&claims);
        assert!(shown.contains(part) && shown.len() < 400, "{claims}: {shown}");
        assert!(!shown.contains(char::is_control), "{shown}");
    }
    assert!(verify(&token(&but("campanile", json!({ "info": "x".repeat(1_022) })))).is_ok());
    assert!(verify(&token(&but("sub", json!("a".repeat(255))))).is_ok());
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let head = r#"{"aud":"campanile","exp":1790000060"#;
    let signed = |claims: &str| sign(r#"{"alg":"HS256"}"#, claims, &secret(), Algorithm::Hs256);
    for twice in [
        r#""exp":1790000060"#,
        r#""aud":"campanile""#,
        r#""sub":"42","sub":"43""#,
        r#""jti":"a","jti":"a""#,
        r#""campanile":{},"campanile":{}"#,
        r#""campanile":{"join":[],"join":[]}"#,
        r#""campanile":{"groups":{},"groups":{"*":["subscribe"]}}"#,
        r#""campanile":{"groups":{"a":[],"a":["subscribe"]}}"#,
        r#""campanile":{"groups":{"a":[],"\u0061":["subscribe"]}}"#,
        r#""campanile":{"info":1,"info":2}"#,
    ] {
        let claims = format!("{head},{twice}}}");
        let verified = verify(&signed(&claims));
        assert!(matches!(verified, Err(Cause::Claims(_))), "{claims}: {verified:?}");
    }
    let array = r#"["https://app.example","campanile","42",null,1790000060,null,null]"#;
    assert!(matches!(verify(&signed(array)), Err(Cause::Claims(_))));
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
