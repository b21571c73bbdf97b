//! The flags of `campanile trace`.

use campanile_messages::Address;
use clap::Args;

use crate::remote::{CallerArgs, ServerUrl};

/// Which event to follow, and to which connection.
#[derive(Debug, Args)]
#[command(after_help = "The key comes from --key-file or from the environment variable \
                        CAMPANILE_KEY; it needs the scope read. Exit codes: 0 answered, 1 not \
                        answered or no such event, 2 a wrong argument.")]
pub struct TraceArgs {
    /// The position of the event, as a receipt or a message has it
    #[arg(value_name = "POSITION")]
    pub position: String,
    /// The connection that may have got it, as its greeting has it
    #[arg(long, value_name = "WORKER/CONNECTION", value_parser = connection)]
    pub connection: Option<Address>,
    /// The listener for operators of a publisher [default: the first that answers of
    /// http://127.0.0.1:4247 and http://127.0.0.1:4246, which are those of a publisher and of up]
    #[arg(long, value_name = "URL")]
    pub url: Option<ServerUrl>,
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

fn connection(text: &str) -> Result<Address, String> {
    let accepted = || "accepted is WORKER/CONNECTION, two numbers below 2^53".to_owned();
    let (worker, connection) = text.split_once('/').ok_or_else(accepted)?;
    Ok(Address {
        worker: worker.parse().map_err(|_| accepted())?,
        connection: connection.parse().map_err(|_| accepted())?,
    })
}
