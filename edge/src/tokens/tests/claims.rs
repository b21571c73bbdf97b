//! The claims of tokens whose signature is right.

use serde_json::{Value, json};

use super::super::*;
use super::{NOW, good, key, secret, sign, token, verifier, verify};

/// The good claims, with one of them replaced.
fn but(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn sentence(claims: &Value) -> String {
    verify(&token(claims)).expect_err("refused").to_string()
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
