//! Makes tokens, and the settings of a gateway that accepts them.

use std::path::Path;
use std::time::SystemTime;

use campanile_harness::sign_token;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// Makes a secret for one test alone.
pub fn fresh() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Seconds since 1970-01-01 UTC.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A token for the group news, for an hour, with these claims besides.
pub fn token(secret: &str, claims: Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a key");
    sign(&key, Algorithm::HS256, "one", claims)
}

/// The same, signed with any key.
pub fn sign(key: &EncodingKey, algorithm: Algorithm, kid: &str, claims: Value) -> String {
    let groups = json!({ "groups": { "news": ["subscribe"] } });
    let mut all = json!({ "aud": "tests", "exp": now() + 3_600, "campanile": groups });
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    let header = json!({ "alg": algorithm, "kid": kid }).to_string();
    sign_token(&header, &all.to_string(), key, algorithm)
}

/// Settings of a gateway whose only token key is the secret in a file.
pub fn settings(secret_file: &Path) -> String {
    format!(
        "[tokens]\naudience = \"tests\"\n[[tokens.keys]]\nkid = \"one\"\nalgorithm = \"HS256\"\n\
         secret_file = {secret_file:?}\n"
    )
}
