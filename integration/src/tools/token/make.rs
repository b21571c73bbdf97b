//! What a token for trying says, and its signature.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use campanile_edge::Secret;
use campanile_edge::tokens::{Algorithm, Key, MAX_TOKEN_BYTES};
use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use crate::cli::Grant;

/// What a token says.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `sub`.
    pub user: Option<String>,
    /// What is allowed.
    pub groups: Vec<Grant>,
    /// The groups from the start.
    pub join: Vec<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`.
    pub audience: String,
    /// `jti`.
    pub id: Option<String>,
}

impl Wanted {
    /// The claims of a token that is made now, in seconds since 1970-01-01 UTC, and lasts for so long.
    pub fn claims(&self, now: u64, lasts: Duration) -> Value {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Option<&str>| {
            value.map(|value| claims.insert(name.to_owned(), json!(value)));
        };
        put("iss", self.issuer.as_deref());
        put("aud", Some(&self.audience));
        put("sub", self.user.as_deref());
        put("jti", self.id.as_deref());
        claims.insert("iat".to_owned(), json!(now));
        claims.insert("exp".to_owned(), json!(now.saturating_add(lasts.as_secs())));
        let mut groups = Map::<String, Value>::new();
        for Grant { pattern, operations } in &self.groups {
            let all = groups.entry(pattern.to_string()).or_insert_with(|| json!([]));
            for operation in operations {
                match all {
                    Value::Array(all) if !all.contains(&json!(operation)) => {
                        all.push(json!(operation))
                    }
                    _ => {}
                }
            }
        }
        let mut rights = Map::from_iter([("groups".to_owned(), Value::Object(groups))]);
        if !self.join.is_empty() {
            rights.insert("join".to_owned(), json!(self.join));
        }
        claims.insert("campanile".to_owned(), Value::Object(rights));
        Value::Object(claims)
    }
}

/// Signs claims. `key` is a secret for the HMAC algorithms, and a private key in PEM for the others.
///
/// # Errors
/// If the key is not for the algorithm, or what a gateway reads would be exceeded.
pub fn sign(
    claims: &Value,
    algorithm: Algorithm,
    key_id: Option<String>,
    key: &Secret,
) -> anyhow::Result<String> {
    let pem = key.expose();
    let (algorithm, signer) = match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            Key::from_secret(None, Some(algorithm), key)?;
            (hmac(algorithm), EncodingKey::from_secret(pem))
        }
        Algorithm::Rs256 => (Jwa::RS256, EncodingKey::from_rsa_pem(pem)),
        Algorithm::Ps256 => (Jwa::PS256, EncodingKey::from_rsa_pem(pem)),
        Algorithm::Es256 => (Jwa::ES256, EncodingKey::from_ec_pem(pem)),
        Algorithm::Es384 => (Jwa::ES384, EncodingKey::from_ec_pem(pem)),
        Algorithm::EdDsa => (Jwa::EdDSA, EncodingKey::from_ed_pem(pem)),
    };
    let unusable = || {
        format!(
            "the key cannot be used for {algorithm:?}: accepted is a private key of that kind as PEM \
             (PKCS #8), or, for HS256, HS384 and HS512, a secret"
        )
    };
    let signer = signer.ok().with_context(unusable)?;
    let header = Header { kid: key_id, ..Header::new(algorithm) };
    let token = encode(&header, claims, &signer).ok().with_context(unusable)?;
    let (found, most) = (token.len(), MAX_TOKEN_BYTES);
    ensure!(found <= most, "the token has {found} bytes, but gateways accept at most {most}");
    Ok(token)
}

fn hmac(algorithm: Algorithm) -> Jwa {
    match algorithm {
        Algorithm::Hs384 => Jwa::HS384,
        Algorithm::Hs512 => Jwa::HS512,
        _ => Jwa::HS256,
    }
}

#[cfg(test)]
mod tests {
    use campanile_edge::tokens::{Expected, Keys, Verifier};

    use super::*;

    fn grants(texts: &[&str]) -> Vec<Grant> {
        texts.iter().map(|text| text.parse().expect("a grant")).collect()
    }

    #[test]
    fn a_token_says_what_was_asked_for_and_is_accepted() {
        let wanted = Wanted {
            user: Some("42".to_owned()),
            groups: grants(&["news", "chat/*=subscribe,publish", "chat/*=publish", "a=b=presence"]),
            join: vec!["user/42".to_owned()],
            issuer: Some("https://app.example".to_owned()),
            audience: "campanile".to_owned(),
            id: Some("t1".to_owned()),
        };
        let claims = wanted.claims(1_000, Duration::from_secs(60));
        assert_eq!(
            claims,
            json!({
                "iss": "https://app.example", "aud": "campanile", "sub": "42", "jti": "t1",
                "iat": 1_000, "exp": 1_060,
                "campanile": {
                    "groups": {
                        "news": ["subscribe"], "chat/*": ["subscribe", "publish"], "a=b": ["presence"],
                    },
                    "join": ["user/42"],
                },
            })
        );
        let secret = Secret::new([7; 32]);
        let token =
            sign(&claims, Algorithm::Hs256, Some("k".to_owned()), &secret).expect("a token");
        let key = Key::from_secret(Some("k".to_owned()), None, &secret).expect("a key");
        let verifier = Verifier::new(Keys::new(vec![key]).expect("few"), Expected::default());
        let rights = verifier.verify(&token, 1_000).expect("valid");
        assert_eq!((rights.user.as_deref(), rights.expires), (Some("42"), 1_060));
        assert!(rights.groups.of("chat/7").publish && !rights.groups.of("news").publish);
    }

    #[test]
    fn wrong_grants_and_keys_are_errors_that_show_no_key() {
        for text in ["", "=subscribe", "a=", "a=read", "a*b=publish", "a=subscribe,"] {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
        let sign = |algorithm, key: &str| {
            sign(&json!({}), algorithm, None, &Secret::new(key)).expect_err("no key").to_string()
        };
        assert!(sign(Algorithm::Hs256, "short").contains("5 bytes is too short for HS256"));
        for algorithm in Algorithm::ALL.into_iter().skip(3) {
            let error = sign(algorithm, "hidden");
            assert!(error.contains("private key") && !error.contains("hidden"), "{error}");
        }
    }
}
