//! `campanile token`: makes tokens for trying, and explains one.

#![expect(clippy::print_stdout, reason = "a tool prints what it was asked for")]

mod explain;
mod make;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use campanile_edge::Secret;
use campanile_edge::tokens::{Algorithm, DEFAULT_AUDIENCE};
use campanile_gateway::Access;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::logging::last_line;
use crate::units::positive_duration;

use explain::Verdict;
use make::Grant;

/// The most bytes of a file with a token or a key.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What to do with tokens.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a token, for trying; in production, your backend makes them
    Make(MakeArgs),
    /// Explain a token: who, until when, what it allows, and why it or a group is refused
    Show(ShowArgs),
}

/// What a token will say.
#[derive(Debug, Args)]
struct MakeArgs {
    /// File with the secret (HS256, HS384, HS512), or with the private key as PEM (the others)
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// HS256, HS384, HS512, RS256, PS256, ES256, ES384 or EdDSA
    #[arg(long, value_name = "NAME", default_value = "HS256")]
    algorithm: Algorithm,
    /// Name of the key (kid)
    #[arg(long, value_name = "KID")]
    key_id: Option<String>,
    /// The user that the client is (sub)
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What is allowed with which groups, such as 'news=subscribe' or 'chat/*=subscribe,publish'; without
    /// a =, subscribe. Can be given several times
    #[arg(long = "group", value_name = "PATTERN[=OPERATIONS]")]
    groups: Vec<Grant>,
    /// A group that the client is in from the start. Can be given several times
    #[arg(long = "join", value_name = "GROUP")]
    join: Vec<String>,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    expires_in: Duration,
    /// Who made it (iss)
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Whom it is for (aud)
    #[arg(long, value_name = "NAME", default_value = DEFAULT_AUDIENCE)]
    audience: String,
    /// Name of the token (jti), by which it can be revoked
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
}

/// What to explain.
#[derive(Debug, Args)]
struct ShowArgs {
    /// File with the token; - reads standard input
    #[arg(default_value = "-", value_name = "FILE")]
    token_file: PathBuf,
    /// Settings file with the keys; without it, the signature is not checked
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CONFIG")]
    config: Option<PathBuf>,
    /// A group, to see what the token allows with it. Can be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
}

/// Makes or explains a token. The exit code is 1 if the token is refused.
pub fn run(args: TokenArgs, settings: impl FnOnce(&Path) -> anyhow::Result<Access>) -> ExitCode {
    let result = match args.command {
        TokenCommand::Make(args) => make(args).map(|token| (token, true)),
        TokenCommand::Show(args) => show(args, settings),
    };
    match result {
        Ok((text, is_good)) => {
            println!("{}", text.trim_end());
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            last_line(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn make(args: MakeArgs) -> anyhow::Result<String> {
    let MakeArgs { user, groups, join, issuer, audience, id, .. } = args;
    let wanted = make::Wanted { user, groups, join, issuer, audience, id };
    let key = Secret::new(read(&args.key_file)?.trim_ascii_end());
    make::sign(&wanted.claims(now(), args.expires_in), args.algorithm, args.key_id, &key)
}

/// The explanation, and whether the token may be accepted.
fn show(
    args: ShowArgs,
    settings: impl FnOnce(&Path) -> anyhow::Result<Access>,
) -> anyhow::Result<(String, bool)> {
    let token = Zeroizing::new(String::from_utf8(read(&args.token_file)?).context("the token is not UTF-8")?);
    let token = token.trim();
    let now = now();
    let verdict = match args.config.as_deref().map(settings).transpose()? {
        None => Verdict::Unchecked,
        Some(Access { tokens: None, .. }) => bail!("the settings have no keys for tokens"),
        Some(Access { tokens: Some(verifier), deny, .. }) => match verifier.verify(token, now) {
            Err(cause) => Verdict::Refused(cause),
            Ok(rights) => match deny.denies(&rights) {
                Some(denied) => Verdict::Denied(denied),
                None => Verdict::Accepted(Box::new(rights)),
            },
        },
    };
    let is_good = matches!(verdict, Verdict::Accepted(_) | Verdict::Unchecked);
    Ok((explain::explain(token, &verdict, &args.groups, now), is_good))
}

/// Seconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reading = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes),
        _ => File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)),
    };
    reading.with_context(|| format!("{} cannot be read", path.display()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("{} is too large: accepted are at most {MAX_FILE_BYTES} bytes", path.display());
    }
    Ok(bytes)
}
