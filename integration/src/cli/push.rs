//! The flags of `campanile push`.

use clap::{Args, ValueEnum};

use crate::remote::{CallerArgs, ServerUrl};

/// What to push, to whom, and through which publisher.
#[derive(Debug, Args)]
#[command(after_help = "The key comes from --key-file or from the environment variable \
                        CAMPANILE_KEY. Exit codes: 0 accepted, 1 not accepted or unknown, 2 a wrong \
                        argument.")]
pub struct PushArgs {
    /// The content; - reads it from standard input, unchanged: as text if it is UTF-8, else as binary
    #[arg(value_name = "CONTENT")]
    pub content: String,
    /// Push to the listeners of this group [default: to everyone]
    #[arg(long, value_name = "GROUP", conflicts_with = "to_user")]
    pub to_group: Option<String>,
    /// Push to every connection of this user
    #[arg(long, value_name = "USER")]
    pub to_user: Option<String>,
    /// Name of this push: a repeat with the same id is accepted once, within 2 minutes
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// When to answer: when the broker has the push, or when the gateways have reported what they wrote
    #[arg(long, value_name = "WHEN", default_value = "accepted")]
    pub wait: Wait,
    /// The publisher
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4237")]
    pub url: ServerUrl,
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Print the receipt as JSON
    #[arg(long)]
    pub json: bool,
}

/// When a push is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// When the broker has accepted it.
    Accepted,
    /// When the gateways have reported.
    Delivered,
}
