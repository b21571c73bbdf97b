//! An echo server for websocket conformance suites: it sends every message back, with the gateway's own
//! socket code. It accepts any path, and serves all connections on one thread.
//!
//! ```text
//! cargo run --release -p campanile-gateway --example echo -- 127.0.0.1:9001
//! ```

#![expect(clippy::print_stderr, reason = "it is a tool for the command line")]

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, io};

use campanile_edge::Head;
use campanile_edge::websocket::{Limits, Message, Opcode, frame};
use campanile_gateway::connection::line::Line;
use campanile_gateway::connection::socket::Socket;
use campanile_gateway::entrance::ends::{end, read_head};
use campanile_gateway::entrance::refusal::Refusal;
use campanile_gateway::websocket::{Incoming, Terms, Upgrade};
use campanile_gateway::{ClientRates, GatewayLimits, GatewayMeters};
use futures_util::StreamExt as _;
use tokio::net::TcpStream;

/// Suites send messages as large as this, in very small fragments.
const LIMITS: Limits = Limits { max_message_bytes: 16 << 20, max_fragments: 100_000 };

/// Suites send many messages before they read the first answer.
const MAX_OUTBOX_BYTES: usize = 64 << 20;

/// How long the answers that still wait after a close may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let (Some(address), None) = (args.next(), args.next()) else {
        eprintln!(
            "exactly one argument is accepted: the HOST:PORT to listen on, such as 127.0.0.1:9001"
        );
        return ExitCode::from(2);
    };
    let served = TcpListener::bind(&address).and_then(|listener| {
        eprintln!("echoing on ws://{}/", listener.local_addr()?);
        actix_rt::System::new().block_on(serve(listener))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}; give a free HOST:PORT of this host");
            ExitCode::FAILURE
        }
    }
}

/// Accepts connections and echoes messages on each of them, until the listener fails.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        actix_rt::spawn(async move {
            let mut received = Vec::new();
            match upgrade(&mut stream, &mut received).await {
                Ok(Some(upgrade)) => echo(stream, &upgrade, received).await,
                Ok(None) => {}
                Err(refusal) => end(stream, refusal.response(None)).await,
            }
        });
    }
}

/// Reads the handshake, and leaves the bytes that follow it in `received`. `None` if the client is gone.
async fn upgrade(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> Result<Option<Upgrade>, Refusal> {
    let check = |head: &Head<'_>, len_bytes| (Upgrade::check(head), len_bytes);
    let Some((checked, len_bytes)) = read_head(stream, received, check).await? else {
        return Ok(None);
    };
    received.drain(..len_bytes);
    checked.map(Some)
}

/// No limit for the rate of messages.
fn terms() -> Arc<Terms> {
    let rates = ClientRates { messages: None, joins: None, publishes: None };
    let limits = GatewayLimits { rates, ..GatewayLimits::default() }.fixed();
    Terms::new(FLUSH_LIMIT, limits, GatewayMeters::default())
}

async fn echo(stream: TcpStream, upgrade: &Upgrade, early: Vec<u8>) {
    let socket = Socket::new(stream, MAX_OUTBOX_BYTES);
    let line = Line { socket, dialect: upgrade.dialect };
    line.send(&upgrade.response());
    let mut incoming = Incoming::new(line.clone(), LIMITS, early, terms());
    while let Some(message) = incoming.next().await {
        match message {
            Message::Text(text) => line.send(&frame(Opcode::Text, text.as_bytes())),
            Message::Binary(bytes) => line.send(&frame(Opcode::Binary, &bytes)),
            // `Incoming` answers control frames itself.
            Message::Ping(_) | Message::Pong | Message::Close(_) => {}
        }
    }
}
