//! The flags of `campanile token`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use campanile_edge::Pattern;
use campanile_edge::tokens::{Algorithm, DEFAULT_AUDIENCE};
use clap::{Args, Subcommand};

use crate::units::positive_duration;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a token, for trying; in production, your backend makes them
    Make(TokenMakeArgs),
    /// Explain a token: who, until when, what it allows, and why it or a group is refused
    Show(TokenShowArgs),
}

/// What a token will say.
#[derive(Debug, Args)]
pub struct TokenMakeArgs {
    /// File with the secret (HS256, HS384, HS512), or with the private key as PEM (the others)
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// HS256, HS384, HS512, RS256, PS256, ES256, ES384 or EdDSA
    #[arg(long, value_name = "NAME", default_value = "HS256")]
    pub algorithm: Algorithm,
    /// Name of the key (kid)
    #[arg(long, value_name = "KID")]
    pub key_id: Option<String>,
    /// The user that the client is (sub)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// What is allowed with which groups, such as 'news=subscribe' or 'chat/*=subscribe,publish'; without
    /// a =, subscribe. Can be given several times
    #[arg(long = "group", value_name = "PATTERN[=OPERATIONS]")]
    pub groups: Vec<Grant>,
    /// A group that the client is in from the start. Can be given several times
    #[arg(long = "join", value_name = "GROUP")]
    pub join: Vec<String>,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    pub expires_in: Duration,
    /// Who made it (iss)
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Whom it is for (aud)
    #[arg(long, value_name = "NAME", default_value = DEFAULT_AUDIENCE)]
    pub audience: String,
    /// Name of the token (jti), by which it can be revoked
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
}

/// What to explain.
#[derive(Debug, Args)]
pub struct TokenShowArgs {
    /// File with the token; - reads standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub token_file: PathBuf,
    /// Settings file with the keys; without it, the signature is not checked
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CONFIG")]
    pub config: Option<PathBuf>,
    /// A group, to see what the token allows with it. Can be given several times
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
}

/// What may be done with the groups of a pattern: `news`, `news=subscribe`, `chat/*=subscribe,publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which groups.
    pub pattern: Pattern,
    /// Each of them once or more.
    pub operations: Vec<&'static str>,
}

/// All that can be allowed.
const OPERATIONS: [&str; 3] = ["subscribe", "publish", "presence"];

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A name may have a = in it, the operations have none.
        let (pattern, operations) = text.rsplit_once('=').unwrap_or((text, "subscribe"));
        let pattern = pattern.parse().map_err(|error| format!("{error}"))?;
        let known = |name: &str| {
            OPERATIONS.into_iter().find(|known| *known == name).ok_or_else(|| {
                format!("{name:?} is no operation: accepted are {}", OPERATIONS.join(", "))
            })
        };
        let operations = operations.split(',').map(known).collect::<Result<_, _>>()?;
        Ok(Self { pattern, operations })
    }
}
