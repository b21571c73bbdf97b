//! Bare servers, to compare with: each does the least that any server of its kind must do. Each is a
//! process of its own, so that its CPU and memory are counted in the same way.

mod closer;
mod echo;
mod http;
mod relay;
mod sealed;
mod websockets;

pub use echo::LENGTH_BYTES as ECHO_LENGTH_BYTES;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use clap::{Args, Subcommand};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{SendFlags, SocketFlags, accept_with};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// A process of a benchmark.
#[derive(Debug, Args)]
pub struct PartArgs {
    /// The process of the benchmark; this one ends when that ends
    #[arg(long, value_name = "ID")]
    ends_with: i32,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A websocket server that does one send per connection; a TCP connection says what to send
    Websockets,
    /// The same over TLS, by rustls; the control connection is without
    Sealed {
        /// The certificate, in a PEM file
        certificate: PathBuf,
        /// Its key, in a PEM file
        key: PathBuf,
    },
    /// An HTTP server that reads each request and answers `ok`
    Http,
    /// Answers each frame with the same frame
    Echo {
        /// Writes all answers to what was read at once
        #[arg(long)]
        joined: bool,
    },
    /// Accepts connections, and closes them
    Closer,
    /// Passes on what it reads
    Relay {
        /// The address to pass it on to
        to: SocketAddr,
    },
    /// The binary itself with these arguments
    Campanile {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Runs the part until its benchmark ends, in whatever way.
///
/// # Errors
/// If the benchmark has ended before this process could ask to end with it, or the part fails.
pub fn run_part(PartArgs { ends_with, part }: PartArgs) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(Pid::as_raw_nonzero).map(i32::from);
    ensure!(parent == Some(ends_with), "the benchmark {ends_with} has ended");
    match part {
        Part::Websockets => websockets::serve()?,
        Part::Sealed { certificate, key } => sealed::serve(&certificate, &key)?,
        Part::Http => http::serve()?,
        Part::Echo { joined } => echo::serve(joined)?,
        Part::Closer => closer::serve()?,
        Part::Relay { to } => relay::serve(to)?,
        Part::Campanile { arguments } => {
            let error = Command::new(std::env::current_exe()?).args(arguments).exec();
            return Err(error.into());
        }
    }
    Ok(())
}

/// A listener on a free port, which is announced as the services announce theirs. `TCP_NODELAY` is set
/// for its connections, too, so that it needs no call for each of them.
fn listen(name: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    set_tcp_nodelay(&listener, true)?;
    rustix::net::listen(&listener, 4_096)?;
    eprintln!("the {name} listens address={}", listener.local_addr()?);
    Ok(listener)
}

/// Accepts a connection that does not block, from a listener that does not block; `None` if nobody
/// waits. This is one call, the same as that of the gateway.
fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(socket) => Ok(Some(socket.into())),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends all bytes with one call; `false` if the socket does not take all of them.
fn send(socket: &TcpStream, bytes: &[u8]) -> bool {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL).is_ok_and(|sent| sent == bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_socket_needs_no_further_call() {
        let listener = listen("test").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        assert!(accept(&listener).expect("nobody").is_none());
        let _client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let socket = accept(&listener).expect("accepts").expect("a connection");
        assert!(socket.nodelay().expect("a socket"));
        let flags = rustix::fs::fcntl_getfl(&socket).expect("a socket");
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    }
}
