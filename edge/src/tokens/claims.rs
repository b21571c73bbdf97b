//! What a token says of its client.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Expected;
use super::cause::{Cause, sentence, shorten};
use super::header::{decode, object};
use crate::Pattern;
use crate::rights::{GroupRights, Operations, TokenRights};

/// The latest `exp` and `nbf`: the last second of the year 9999. A later one is a mistake, usually a time in
/// milliseconds.
pub const MAX_TIME: u64 = 253_402_300_799;

/// The most bytes of `info`, as JSON.
pub const MAX_INFO_BYTES: usize = 1 << 10;

/// The longest name of a user, token or group, in bytes. Groups have the same limit everywhere.
const MAX_NAME_BYTES: usize = 255;

/// The claims that count.
#[derive(Debug)]
pub struct Claims {
    pub rights: TokenRights,
    /// `nbf`; 0 if there is none.
    pub not_before: u64,
}

#[derive(Deserialize)]
struct RawClaims<'a> {
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    aud: Option<Audiences>,
    sub: Option<Name>,
    jti: Option<Name>,
    exp: Option<Time>,
    nbf: Option<Time>,
    #[serde(borrow)]
    campanile: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRights<'a> {
    groups: Groups,
    join: Vec<Name>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

impl Claims {
    /// Reads the second part of a token, and checks everything but the times.
    pub fn read(part: &str, expected: &Expected) -> Result<Self, Cause> {
        let json = decode(part, "claims part")?;
        let malformed = |error: serde_json::Error| Cause::Claims(sentence(&error));
        let raw: RawClaims<'_> = object(&json).map_err(malformed)?;
        let Audiences(audiences) = raw.aud.ok_or(Cause::Missing("aud"))?;
        if !audiences.contains(&expected.audience) {
            return Err(Cause::Audience { expected: expected.audience.clone() });
        }
        if let Some(issuer) = &expected.issuer
            && raw.iss.as_deref() != Some(issuer)
        {
            let found = raw.iss.map(Cow::into_owned);
            return Err(Cause::Issuer { found, expected: issuer.clone() });
        }
        let Time(expires) = raw.exp.ok_or(Cause::Missing("exp"))?;
        let rights = raw.campanile.map(|rights| object(rights.get()).map_err(malformed));
        let RawRights { groups, join, info } = rights.transpose()?.unwrap_or_default();
        let mut joined = Vec::new();
        for Name(group) in join {
            if !joined.contains(&group) {
                joined.push(group);
            }
        }
        if joined.len() > expected.max_join {
            let (found, max) = (joined.len(), expected.max_join);
            let sentence = format!("join has {found} groups, but at most {max} are accepted");
            return Err(Cause::Claims(sentence));
        }
        let info = info.map(RawValue::get).filter(|info| *info != "null");
        if let Some(len_bytes) = info.map(str::len).filter(|len| *len > MAX_INFO_BYTES) {
            return Err(Cause::Claims(format!(
                "info has {len_bytes} bytes, but at most {MAX_INFO_BYTES} are accepted"
            )));
        }
        let rights = TokenRights {
            user: raw.sub.map(|Name(user)| user),
            id: raw.jti.map(|Name(id)| id),
            expires,
            groups: groups.0,
            join: joined,
            info: info.map(Into::into),
        };
        Ok(Self { rights, not_before: raw.nbf.map_or(0, |Time(time)| time) })
    }
}

/// One `aud`, or several.
struct Audiences(Vec<String>);

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Audiences;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or an array of strings")
            }

            fn visit_str<E>(self, one: &str) -> Result<Audiences, E> {
                Ok(Audiences(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audiences, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(Audiences(all))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// The name of a user, token or group: 1 to 255 bytes without control characters.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.len() {
            1..=MAX_NAME_BYTES if !name.chars().any(char::is_control) => Ok(Self(name)),
            _ => Err(D::Error::custom(format!(
                "{:?} is not a name: accepted are 1 to {MAX_NAME_BYTES} bytes without control \
                 characters",
                shorten(&name)
            ))),
        }
    }
}

/// A time in seconds since 1970-01-01 UTC (`NumericDate`). A fraction is cut off.
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a time in seconds, from 0 to {MAX_TIME}")
            }

            fn visit_u64<E: serde::de::Error>(self, time: u64) -> Result<Time, E> {
                match time {
                    0..=MAX_TIME => Ok(Time(time)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(time), &self)),
                }
            }

            fn visit_f64<E: serde::de::Error>(self, time: f64) -> Result<Time, E> {
                // Not a number, and infinity, are in no range.
                match (0.0..=MAX_TIME as f64).contains(&time) {
                    true => Ok(Time(time as u64)),
                    false => Err(E::invalid_value(serde::de::Unexpected::Float(time), &self)),
                }
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// A map from pattern to operations, in which each pattern is there once.
#[derive(Default)]
struct Groups(GroupRights);

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Groups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from patterns to arrays of operations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Groups, A::Error> {
                let mut rights: Vec<(Pattern, Operations)> = Vec::new();
                while let Some((pattern, operations)) = map.next_entry::<String, Vec<String>>()? {
                    let pattern: Pattern = pattern.parse().map_err(A::Error::custom)?;
                    if rights.iter().any(|(other, _)| *other == pattern) {
                        return Err(A::Error::custom("a pattern is there twice"));
                    }
                    let has = |name: &str| operations.iter().any(|operation| operation == name);
                    let operations = Operations {
                        subscribe: has("subscribe"),
                        publish: has("publish"),
                        presence: has("presence"),
                    };
                    rights.push((pattern, operations));
                }
                Ok(Groups(GroupRights::new(rights)))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}
