//! The command line. Every flag is also an environment variable and a key of the settings file:
//! `gateway --listen` is `CAMPANILE_GATEWAY_LISTEN`, `[gateway] listen` and, where one process runs all
//! three services, `up --gateway-listen`.
//!
//! A flag's id is its name in `up`; [`command`] makes `up` from the flags of the others.

mod broker;
mod config;
mod gateway;
mod key;
mod names;
mod otlp;
mod process_args;
mod publisher;
mod push;
mod refusal;
mod service_args;
mod tail;
mod token;
mod top;
mod trace;
mod up;
mod variables;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use campanile_bench::{BenchArgs, PartArgs};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::logging::LogFormat;
use crate::settings::{self, Scalar, Settings, SettingsError, SettingsFile};

use refusal::one_line;

pub use broker::{BrokerArgs, BrokerCommandArgs};
pub use config::ConfigArgs;
pub use gateway::{GatewayArgs, GatewayCommandArgs};
pub use key::{HashArgs, KeyCommand, MakeArgs};
pub use otlp::{BrokerOtlp, GatewayOtlp, PublisherOtlp};
pub use publisher::{PublisherArgs, PublisherCommandArgs};
pub use push::{PushArgs, Wait};
pub use refusal::{Refused, explain};
pub use service_args::{AdminArgs, LinkFiles, ServiceArgs};
pub use tail::TailArgs;
pub use token::{Grant, TokenCommand, TokenMakeArgs, TokenShowArgs};
pub use top::TopArgs;
pub use trace::TraceArgs;

/// A push cluster: call one URL, and a message appears in every browser on every host.
#[derive(Debug, Parser)]
#[command(name = "campanile", version, arg_required_else_help = true)]
#[command(after_help = "The log goes to standard error; CAMPANILE_LOG=debug makes it verbose. \
                        An empty environment variable counts as unset.")]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands that read a settings file.
const SERVICES: [&str; 4] = ["up", "broker", "gateway", "publisher"];

/// Whether the command line begins like one that runs a service.
pub fn is_service() -> bool {
    let first = std::env::args_os().nth(1);
    first
        .and_then(|name| name.into_string().ok())
        .is_some_and(|name| SERVICES.contains(&&*name) || name == "channel")
}

/// What the binary runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster in one process: a broker, a gateway and a publisher
    Up(Box<UpArgs>),
    /// Run the broker, one per cluster: it numbers events and sends them to the gateways
    #[command(alias = "channel")]
    Broker(Box<BrokerCommandArgs>),
    /// Run a gateway: it holds the clients' connections and serves the page
    Gateway(Box<GatewayCommandArgs>),
    /// Run a publisher: it accepts pushes over HTTP
    Publisher(Box<PublisherCommandArgs>),
    /// Print the documented settings file, or check one
    Config(ConfigArgs),
    /// Make API keys for those who push
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make tokens for trying, and explain one
    #[command(subcommand)]
    Token(TokenCommand),
    /// Push a content, and print its receipt
    Push(PushArgs),
    /// Print the events of an event stream; comes back by itself, and misses nothing
    Tail(TailArgs),
    /// Show the cluster on the terminal, refreshed each second
    Top(TopArgs),
    /// Follow an event through the cluster: why did this client not get it?
    Trace(TraceArgs),
    /// Measure how fast and how small a cluster is, beside the least that any server must do
    Bench(Box<BenchArgs>),
    /// Run a process of a benchmark
    #[command(hide = true)]
    BenchPart(PartArgs),
}

/// All three services, without the addresses by which they find each other.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub publisher: PublisherArgs,
}

/// What the command line, the environment and the settings file say.
#[derive(Debug)]
pub struct Invocation {
    /// What to run. Its flags have the values of the file where neither the command line nor the
    /// environment has one.
    pub command: Command,
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
    /// The format of the log, if the command line or the environment names one.
    pub log_format: Option<LogFormat>,
    /// The values of flags in it.
    pub scalars: Vec<Scalar>,
    /// Those of them that neither the command line nor the environment overrides.
    pub in_force: Vec<Scalar>,
    /// Its other sections.
    pub settings: Settings,
}

/// Reads the command line of this process, its environment and its settings file.
///
/// # Errors
/// What is wrong with them, or the help that was asked for; [`explain`] prints either.
pub fn read() -> Result<Invocation, Refused> {
    let environment = |name: &OsStr| std::env::var_os(name);
    let mut command = command();
    let args: Vec<_> = std::env::args_os().collect();
    let matches = command.try_get_matches_from_mut(&args).map_err(|error| {
        let both = names::both_flags(&args).filter(|_| error.kind() == ErrorKind::ArgumentConflict);
        both.map_or(error, |both| command.error(ErrorKind::ArgumentConflict, both))
    })?;
    let service = matches.subcommand_name().and_then(|name| command.find_subcommand(name));
    if let Some(wrong) = service.and_then(|s| names::different_variables(s, &environment)) {
        return Err(command.error(ErrorKind::ArgumentConflict, wrong).into());
    }
    let log_format = process_args::log_format(&matches);
    let Some(file) = process_args::config(&matches) else {
        up::check(&all_flags(), &matches, (None, &[]), &environment).map_err(Refused::Settings)?;
        let command = Cli::from_arg_matches(&matches)?.command;
        let (scalars, in_force, settings) = Default::default();
        return Ok(Invocation { command, file: None, log_format, scalars, in_force, settings });
    };
    let SettingsFile { scalars, settings } = read_settings(&file).map_err(Refused::Settings)?;
    let matches = with_scalars(command, &scalars).try_get_matches_from(&args)?;
    up::check(&all_flags(), &matches, (Some(&file), &scalars), &environment)
        .map_err(Refused::Settings)?;
    let command = Cli::from_arg_matches(&matches)?.command;
    let own = matches.subcommand().map(|(_, matches)| matches);
    let is_in_force = |scalar: &&Scalar| {
        // An id that the command does not have would be a panic.
        let own = own.filter(|own| own.ids().any(|id| *id == *scalar.id));
        own.and_then(|own| own.value_source(&scalar.id)) == Some(ValueSource::DefaultValue)
    };
    let in_force = scalars.iter().filter(is_in_force).cloned().collect();
    Ok(Invocation { command, file: Some(file), log_format, scalars, in_force, settings })
}

/// Reads a settings file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_settings(file: &Path) -> Result<SettingsFile, Vec<SettingsError>> {
    settings::read(file, &all_flags())
}

/// The flags of each service as the environment and the values of a settings file have them.
///
/// # Errors
/// What is wrong with the environment.
pub fn without_flags(scalars: &[Scalar]) -> Result<Vec<ServiceArgs>, Vec<String>> {
    let environment = |name: &OsStr| std::env::var_os(name);
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for service in ["broker", "gateway", "publisher"] {
        let command = with_scalars(command(), scalars);
        let service_command = command.find_subcommand(service);
        errors.extend(service_command.and_then(|c| names::different_variables(c, &environment)));
        let matches = command.try_get_matches_from(["campanile", service]);
        match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
            Ok(cli) => all.push(ServiceArgs::of(&cli.command)),
            Err(error) => errors.push(one_line(&error)),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

/// The flags of this process with other values of the settings file, which is `file`.
///
/// # Errors
/// What is wrong with one of them.
pub fn read_again(file: Option<&Path>, scalars: &[Scalar]) -> Result<ServiceArgs, Vec<String>> {
    let wrong = |error: clap::Error| vec![one_line(&error)];
    let command = with_scalars(command(), scalars);
    let matches = command.try_get_matches_from(std::env::args_os()).map_err(wrong)?;
    let environment = |name: &OsStr| std::env::var_os(name);
    up::check(&all_flags(), &matches, (file, scalars), &environment)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let cli = Cli::from_arg_matches(&matches).map_err(wrong)?;
    Ok(ServiceArgs::of(&cli.command))
}

/// Makes the values of a settings file the defaults of the flags, so that the environment and the
/// command line win.
fn with_scalars(command: clap::Command, scalars: &[Scalar]) -> clap::Command {
    let value = |arg: &Arg| {
        let id = arg.get_id().as_str();
        scalars.iter().find(|scalar| scalar.id == id).map(|scalar| scalar.value.clone())
    };
    command.mut_subcommands(|command| match SERVICES.contains(&command.get_name()) {
        true => command.mut_args(|arg| match value(&arg) {
            Some(value) => arg.default_value(value),
            None => arg,
        }),
        false => command,
    })
}

fn command() -> clap::Command {
    names::with_variables(all_flags(), &|name| std::env::var_os(name))
}

/// Every command with its flags, as they are without an environment.
pub fn all_flags() -> clap::Command {
    let command = SERVICES.iter().fold(Cli::command(), |command, service| {
        command.mut_subcommand(service, |service| service.args(process_args::flags()))
    });
    command.mut_subcommand("up", |up| {
        up.mut_args(|arg| {
            let id = arg.get_id().clone();
            let Some(service) = service_of(id.as_str()) else { return arg };
            // A help text that names another flag means one of the same service.
            let help = arg.get_help().map(|help| help.to_string()).unwrap_or_default();
            let help = help.replace("--", &format!("--{service}-"));
            let arg = arg.long(id.clone()).help(help);
            match names::old_flag(id.as_str()) {
                Some(old) => arg.alias(old),
                None => arg,
            }
        })
    })
}

/// The service by whose name a flag begins in `up`; a flag that only one service can have does not.
fn service_of(id: &str) -> Option<&str> {
    let (service, _) = id.split_once('-')?;
    ["broker", "gateway", "publisher"].contains(&service).then_some(service)
}

/// A sentence about each environment variable that looks like a setting and is none.
pub fn unknown_variables() -> Vec<String> {
    let command = all_flags();
    let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: Vec<_> = args.filter_map(|arg| arg.get_env()?.to_str()).collect();
    let known = [&known[..], &names::old_variables()].concat();
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    variables::unknown(variables, &known)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use campanile_channel::broker::BrokerConfig;
    use campanile_gateway::GatewayConfig;
    use campanile_publisher::PublisherConfig;

    use super::*;

    #[test]
    fn every_flag_has_its_environment_variable_and_its_name_in_up() {
        let mut command = command();
        command.build();
        for name in ["broker", "gateway", "publisher"] {
            let service = command.find_subcommand(name).expect("there").clone();
            let is_own = |arg: &&clap::Arg| {
                let id = arg.get_id().as_str();
                id != "help" && !process_args::IDS.contains(&id)
            };
            for arg in service.get_arguments().filter(is_own) {
                let flag = arg.get_long().expect("a flag");
                let prefixed = format!("{name}-{flag}");
                let variable = format!("campanile-{prefixed}").to_uppercase().replace('-', "_");
                assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(&*variable));
                let is_of_all = name != "broker" && ["secret-file", "otlp"].contains(&flag);
                // Links within one process need no TLS.
                let is_of_links = ["broker-ca", "link-cert", "link-key", "client-ca"]
                    .contains(&flag)
                    || name == "broker" && flag.starts_with("tls-");
                // A process has one listener for operators; in `up` it is the gateway's.
                let is_of_operators = name != "gateway" && flag.starts_with("admin-");
                if flag == "broker" || is_of_all || is_of_links || is_of_operators {
                    continue;
                }
                let is_plain =
                    ["workers", "data-dir", "durability", "secret-file", "otlp"].contains(&flag);
                let in_up = if is_plain { flag } else { &prefixed };
                let up = command.find_subcommand("up").expect("there");
                let twin = up.get_arguments().find(|arg| arg.get_long() == Some(in_up));
                assert_eq!(twin.and_then(|arg| arg.get_env()), arg.get_env(), "{in_up}");
            }
        }
    }

    #[test]
    fn no_setting_has_a_name_that_container_platforms_use() {
        let command = all_flags();
        for arg in command.get_subcommands().flat_map(clap::Command::get_arguments) {
            let Some(variable) = arg.get_env().and_then(OsStr::to_str) else { continue };
            assert!(!variables::is_of_a_platform(variable), "{variable}");
            let (_, key) =
                variable.trim_start_matches("CAMPANILE_").split_once('_').unwrap_or_default();
            assert!(key != "PORT" && !key.starts_with("SERVICE_"), "{variable}");
        }
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let variable = |name: &OsStr| match name.to_str() {
            Some("CAMPANILE_GATEWAY_WORKERS") => Some(OsString::new()),
            Some("CAMPANILE_GATEWAY_LISTEN") => Some("h:1".into()),
            _ => None,
        };
        let command = names::with_variables(all_flags(), &variable);
        for name in ["gateway", "up"] {
            let service = command.find_subcommand(name).expect("there");
            let read: Vec<_> =
                service.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
            assert!(!read.contains(&"CAMPANILE_GATEWAY_WORKERS"), "{read:?}");
            assert!(read.contains(&"CAMPANILE_GATEWAY_LISTEN"), "{read:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_libraries() {
        let parse = |args: &[&str]| {
            let matches = command().try_get_matches_from(args).expect("valid");
            Cli::from_arg_matches(&matches).expect("valid").command
        };
        let Command::Up(up) = parse(&["campanile", "up"]) else { panic!("not up") };
        let broker = up.broker.config().expect("valid");
        assert_eq!(format!("{broker:?}"), format!("{:?}", BrokerConfig::default()));
        let gateway = up.gateway.config(GatewayConfig::default().broker, "").expect("valid");
        assert_eq!(format!("{gateway:?}"), format!("{:?}", GatewayConfig::default()));
        let publisher = up.publisher.config("h:1".into(), "").expect("valid");
        assert_eq!(format!("{publisher:?}"), format!("{:?}", PublisherConfig::new("h:1")));
    }
}
