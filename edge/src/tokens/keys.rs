//! The keys that tokens are signed with.

use std::ops::RangeInclusive;
use std::str;

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind, crypto};
use serde::Deserialize;

use super::Algorithm;
use super::cause::Cause;
use super::header::Header;
use super::key_error::{Ignored, KeyError, MAX_KEYS};
use crate::Secret;

/// The shortest secret: as long as the hash of HS256 (RFC 7518 section 3.2). HS384 needs 48 bytes, and HS512
/// 64.
pub const MIN_SECRET_BYTES: usize = 32;

/// The length of an RSA modulus: 2048 to 8192 bits.
const RSA_BYTES: RangeInclusive<usize> = 256..=1_024;

/// A key that tokens may be signed with.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name. A key without one counts for every token, whatever `kid` that has.
    id: Option<String>,
    /// At least one.
    algorithms: Vec<Algorithm>,
    material: DecodingKey,
}

impl Key {
    /// A key of the HMAC algorithms. Without an `algorithm`, it is for all of them that it is long enough for.
    ///
    /// # Errors
    /// [`KeyError`], if the secret is too short, or the algorithm is not HMAC.
    pub fn from_secret(
        id: Option<String>,
        algorithm: Option<Algorithm>,
        secret: &Secret,
    ) -> Result<Self, KeyError> {
        let secret = secret.expose();
        let all =
            [(Algorithm::Hs256, MIN_SECRET_BYTES), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)];
        let wanted = algorithm.unwrap_or(Algorithm::Hs256);
        if let Some((algorithm, min_bytes)) =
            all.into_iter().find(|(one, min_bytes)| *one == wanted && secret.len() < *min_bytes)
        {
            return Err(KeyError::ShortSecret { len_bytes: secret.len(), algorithm, min_bytes });
        }
        let enough = all.into_iter().filter(|(_, min_bytes)| secret.len() >= *min_bytes);
        let material = DecodingKey::from_secret(secret).map_err(|_| KeyError::Unusable)?;
        let algorithms = enough.map(|(one, _)| one).collect();
        Self { id, algorithms, material }.only(algorithm)
    }

    /// A public key in PEM. Its kind decides about the algorithm; for RSA, that is RS256 and PS256.
    ///
    /// # Errors
    /// [`KeyError`], if it is no public key that is accepted, or not for the `algorithm`.
    pub fn from_pem(
        id: Option<String>,
        algorithm: Option<Algorithm>,
        pem: &[u8],
    ) -> Result<Self, KeyError> {
        let text = str::from_utf8(pem).map_err(|_| KeyError::NotPublic)?.trim();
        let is_public = ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"]
            .iter()
            .any(|begin| text.starts_with(begin));
        if !is_public || text.matches("-----BEGIN ").count() != 1 {
            return Err(KeyError::NotPublic);
        }
        // Each of them checks what kind of key it is.
        let material = DecodingKey::from_ec_pem(pem)
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .or_else(|_| DecodingKey::from_rsa_pem(pem));
        Self::public(id, material.map_err(|_| KeyError::Unusable)?)?.only(algorithm)
    }

    /// A key of a set (RFC 7517). Private parts are not read.
    ///
    /// # Errors
    /// A sentence that says why the key is not used.
    fn from_jwk(jwk: serde_json::Value, with_secrets: bool) -> Result<Self, String> {
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|error| {
            let error: String = error.to_string().chars().take(100).collect();
            format!("it is malformed: {error:?}")
        })?;
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|r#use| *r#use != PublicKeyUse::Signature) {
            return Err("its use is not sig".to_owned());
        }
        if common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return Err("its key_ops do not include verify".to_owned());
        }
        let algorithm = match common.key_algorithm {
            None => None,
            Some(name) => Some(name.to_string().parse().map_err(|_| {
                "its alg is not accepted (HS256, HS384, HS512, RS256, PS256, ES256, ES384, EdDSA)"
            })?),
        };
        let id = common.key_id.clone();
        let sentence = |error: KeyError| error.to_string();
        let decoded = |text: &str| {
            let text = text.trim_end_matches('=');
            URL_SAFE_NO_PAD.decode(text).map_err(|_| sentence(KeyError::Unusable))
        };
        let material = match &jwk.algorithm {
            AlgorithmParameters::OctetKey(_) if !with_secrets => {
                return Err("it is a secret, which is not accepted from there".to_owned());
            }
            AlgorithmParameters::OctetKey(secret) => {
                let secret = Secret::new(decoded(&secret.value)?);
                return Self::from_secret(id, algorithm, &secret).map_err(sentence);
            }
            AlgorithmParameters::RSA(rsa) => {
                let (n, e) = (decoded(&rsa.n)?, decoded(&rsa.e)?);
                Ok(DecodingKey::from_rsa_raw_components(without_zeros(&n), without_zeros(&e)))
            }
            AlgorithmParameters::EllipticCurve(ec)
                if matches!(ec.curve, EllipticCurve::P256 | EllipticCurve::P384) =>
            {
                DecodingKey::from_jwk(&jwk)
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                DecodingKey::from_jwk(&jwk)
            }
            _ => return Err("its kty or crv is not accepted".to_owned()),
        };
        let material = material.map_err(|_| sentence(KeyError::Unusable))?;
        Self::public(id, material).and_then(|key| key.only(algorithm)).map_err(sentence)
    }

    /// A public key. It is tried now, so that a wrong one is an error at the start.
    fn public(id: Option<String>, material: DecodingKey) -> Result<Self, KeyError> {
        let rsa = || vec![Algorithm::Rs256, Algorithm::Ps256];
        let bytes = match material.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => bytes,
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let parsed = RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
                let is_fine = parsed.is_ok() && RSA_BYTES.contains(&n.len());
                let key = Self { id, algorithms: rsa(), material };
                return if is_fine { Ok(key) } else { Err(KeyError::Unusable) };
            }
        };
        if material.family() == AlgorithmFamily::Rsa {
            let parsed = PublicKey::from_der(bytes).map_err(|_| KeyError::Unusable)?;
            if !RSA_BYTES.contains(&RsaPublicKeyComponents::<Vec<u8>>::from(&parsed).n.len()) {
                return Err(KeyError::Unusable);
            }
        }
        let (parsed, algorithms) = match (material.family(), bytes.len()) {
            (AlgorithmFamily::Rsa, _) => {
                (ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, bytes), rsa())
            }
            (AlgorithmFamily::Ec, 65) => {
                (ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes), vec![Algorithm::Es256])
            }
            (AlgorithmFamily::Ec, _) => {
                (ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes), vec![Algorithm::Es384])
            }
            (AlgorithmFamily::Ed, _) => {
                (ParsedPublicKey::new(&ED25519, bytes), vec![Algorithm::EdDsa])
            }
            (AlgorithmFamily::Hmac, _) => return Err(KeyError::NotPublic),
        };
        parsed.map_err(|_| KeyError::Unusable)?;
        Ok(Self { id, algorithms, material })
    }

    /// The same key for one of its algorithms; `None` for all.
    fn only(mut self, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        match algorithm {
            Some(algorithm) if !self.algorithms.contains(&algorithm) => {
                Err(KeyError::WrongAlgorithm { algorithm, accepted: self.algorithms })
            }
            Some(algorithm) => {
                self.algorithms = vec![algorithm];
                Ok(self)
            }
            None => Ok(self),
        }
    }

    /// Its name, by which tokens choose it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The algorithms by which it may have signed a token.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// A set of keys. Without any, no token is accepted.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    /// A set of these keys.
    ///
    /// # Errors
    /// [`KeyError::TooMany`], if there are more than [`MAX_KEYS`].
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        match keys.len() {
            len if len > MAX_KEYS => Err(KeyError::TooMany(len)),
            _ => Ok(Self(keys)),
        }
    }

    /// Reads a JWKS document (RFC 7517 section 5). Secrets in it are used only `with_secrets`, which is for
    /// files of one's own. Also returns the keys that are not used, because they are for something else,
    /// unknown, or wrong.
    ///
    /// # Errors
    /// [`KeyError`], if it is no such document, or no key of it can be used.
    pub fn from_jwks(document: &str, with_secrets: bool) -> Result<(Self, Vec<Ignored>), KeyError> {
        let set: KeySet = super::header::object(document)
            .map_err(|error| KeyError::NotASet(error.to_string().chars().take(200).collect()))?;
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for (index, jwk) in set.keys.into_iter().enumerate() {
            match Key::from_jwk(jwk, with_secrets) {
                Ok(key) => keys.push(key),
                Err(reason) => ignored.push(Ignored { index: index + 1, reason }),
            }
        }
        if keys.is_empty() {
            return Err(KeyError::NoneUsable(ignored));
        }
        Ok((Self::new(keys)?, ignored))
    }

    /// Reads a file of one's own, and recognises by its content what it is: a JWKS document, a public key in
    /// PEM, or a secret, of which a line end at the end is not a part.
    ///
    /// # Errors
    /// [`KeyError`], if there is no key in it that can be used.
    pub fn from_file(content: &Secret) -> Result<(Self, Vec<Ignored>), KeyError> {
        let bytes = content.expose();
        let start = bytes.trim_ascii_start();
        if start.starts_with(b"-----BEGIN ") {
            return Ok((Self(vec![Key::from_pem(None, None, start)?]), Vec::new()));
        }
        if start.starts_with(b"{")
            && let Ok(document) = str::from_utf8(start)
        {
            return Self::from_jwks(document, true);
        }
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let key = Key::from_secret(None, None, &Secret::new(secret))?;
        Ok((Self(vec![key]), Vec::new()))
    }

    /// Both sets together, each of which may have [`MAX_KEYS`].
    #[must_use]
    pub fn beside(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Adds the keys of another set of the same source.
    ///
    /// # Errors
    /// [`KeyError::TooMany`], if there are more than [`MAX_KEYS`] together.
    pub fn and(mut self, others: Self) -> Result<Self, KeyError> {
        self.0.extend(others.0);
        Self::new(self.0)
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// Checks that one of the keys has signed a message.
    pub(super) fn check(
        &self,
        header: &Header,
        message: &str,
        signature: &str,
    ) -> Result<(), Cause> {
        let Header { algorithm, kid } = header;
        let may_be = |key: &&Key| kid.is_none() || key.id.is_none() || key.id == *kid;
        let mut candidates = self.0.iter().filter(may_be).peekable();
        if candidates.peek().is_none() {
            return Err(match kid {
                Some(kid) => Cause::UnknownKey { kid: kid.clone() },
                None => Cause::Signature,
            });
        }
        let mut fitting = candidates.filter(|key| key.algorithms.contains(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Cause::Algorithm(*algorithm));
        }
        let has_signed = |key: &Key| {
            crypto::verify(signature, message.as_bytes(), &key.material, algorithm.jwa())
        };
        for key in fitting {
            match has_signed(key) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => return Err(Cause::Encoding { part: "signature" }),
            }
        }
        Err(Cause::Signature)
    }
}
