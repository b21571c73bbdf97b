//! `campanile token`: makes tokens for trying, and explains one.

mod explain;
mod make;

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use campanile_gateway::Access;

use crate::cli::{self, TokenCommand, TokenMakeArgs, TokenShowArgs};
use crate::live::Invalid;
use crate::logging::last_line;
use crate::secret_file::{self, Shown};

use explain::Verdict;

/// The most bytes of a file with a token or a key.
const MAX_FILE_BYTES: usize = 64 << 10;

#[expect(clippy::print_stdout, reason = "a tool prints what it was asked for")]
/// Makes or explains a token. The exit code is 1 if the token is refused.
pub fn run(command: TokenCommand) -> ExitCode {
    let result = match command {
        TokenCommand::Make(args) => make(args).map(|token| (token, true)),
        TokenCommand::Show(args) => show(args),
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

fn make(args: TokenMakeArgs) -> anyhow::Result<String> {
    let TokenMakeArgs { user, groups, join, issuer, audience, id, .. } = args;
    let wanted = make::Wanted { user, groups, join, issuer, audience, id };
    let file = &args.key_file;
    let key = secret_file::read(file, MAX_FILE_BYTES)
        .map_err(|error| anyhow!("--key-file {}: {error}", Shown(file)))?;
    make::sign(&wanted.claims(now(), args.expires_in), args.algorithm, args.key_id, &key)
}

/// The explanation, and whether the token may be accepted.
fn show(args: TokenShowArgs) -> anyhow::Result<(String, bool)> {
    let file = &args.token_file;
    let token = secret_file::read(file, MAX_FILE_BYTES)
        .map_err(|error| anyhow!("{}: {error}", Shown(file)))?;
    let token = str::from_utf8(token.expose()).context("the token is not UTF-8")?.trim();
    let now = now();
    let verdict = match args.config.as_deref().map(access).transpose()? {
        None => Verdict::Unchecked,
        Some(Access { tokens: None, .. }) => bail!("the settings have no keys for tokens"),
        Some(Access { tokens: Some(verifier), .. }) if verifier.keys().is_empty() => bail!(
            "the keys come from [tokens] jwks_url only, which is not fetched here: save what it returns, \
             and name that file as [tokens] jwks_file in a settings file for this command"
        ),
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

/// Whom a gateway with these settings lets in. Keys from a URL are not fetched.
fn access(file: &Path) -> anyhow::Result<Access> {
    let read = cli::read_settings(file).map_err(|errors| anyhow!("{}", Invalid::from(errors)))?;
    let services =
        cli::without_flags(&read.scalars).map_err(|errors| anyhow!("{}", errors.join("; ")))?;
    let gateway = services.into_iter().find_map(|args| args.gateway);
    let gateway = gateway.context("a gateway has flags")?;
    let (token_keys, guests) = (gateway.token_keys.as_deref(), read.settings.guests.as_ref());
    let tokens = read.settings.tokens.access(token_keys, guests, gateway.max_groups);
    let lines = |wrong| anyhow!("{}", read.settings.places.lines(wrong).join("; "));
    Ok(tokens.map_err(lines)?.access)
}

/// Seconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
