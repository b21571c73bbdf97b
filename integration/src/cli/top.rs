//! The flags of `campanile top`.

use clap::Args;

use crate::remote::{CallerArgs, ServerUrl};

/// Which cluster to show, and how.
#[derive(Debug, Args)]
#[command(
    after_help = "The key, with the scope read, comes from --key-file or from the environment \
                        variable CAMPANILE_KEY. Exit codes: 0 the reader of the output has gone, or one \
                        picture is printed; 1 refused, or no answer; 2 a wrong argument; 130 interrupted."
)]
pub struct TopArgs {
    /// The listener for operators of a publisher [default: the first that answers of
    /// http://127.0.0.1:4247 and http://127.0.0.1:4246, which are those of a publisher and of up]
    #[arg(long, value_name = "URL", alias = "server")]
    pub url: Option<ServerUrl>,
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Print one picture and end; it is so where the output is not a terminal, too
    #[arg(long)]
    pub once: bool,
    /// Print what the publisher answers, one line of JSON per second
    #[arg(long)]
    pub json: bool,
}
