//! How addresses, durations, sizes and counts are written on the command line.

mod brokers;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;

pub use brokers::BrokerAddresses;

/// How many connections may wait to be accepted, if the system allows it: the kernel must not refuse
/// the clients that all come back after a restart.
const BACKLOG: i32 = 4096;

/// How many ports are tried until one is free on every address.
const PORT_TRIES: usize = 16;

/// An address as a user writes it: a host name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort(String);

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted = "accepted is HOST:PORT, such as 127.0.0.1:4236, [::1]:4236 or a host's name";
        let (host, port) = text.rsplit_once(':').ok_or(accepted)?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !is_bracketed) {
            return Err(accepted.to_owned());
        }
        if !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return Err(format!("the port must be a number from 0 to 65535; {accepted}"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the operator's listener is: `HOST:PORT`, or `off`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// There is none.
    Off,
    /// It listens there.
    At(HostPort),
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|error| format!("{error}, or off")),
        }
    }
}

impl HostPort {
    /// The addresses of the host's name, each once.
    ///
    /// # Errors
    /// If the name is unknown.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for address in self.0.to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// Listens on every one of [`addresses`](Self::addresses), on the same port; port 0 means a free
    /// one. Addresses that this host does not have, such as those of IPv6 where there is none, are
    /// skipped if at least one is left.
    ///
    /// # Errors
    /// If one of the addresses cannot be bound (`AddrInUse`, for example).
    pub fn listen(&self, addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
        let mut tries = 1;
        loop {
            match bind_all(addresses) {
                // Another process has the port on one of the addresses.
                Err(error) if is_in_use(&error) && tries < PORT_TRIES && !self.has_port() => {
                    tries += 1;
                }
                bound => return bound,
            }
        }
    }

    /// Whether a port was chosen by the user.
    fn has_port(&self) -> bool {
        self.0.rsplit(':').next().is_some_and(|port| port.bytes().any(|digit| digit != b'0'))
    }
}

/// Binds each address. Where the port is 0, all get the port of the first one.
fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::<TcpListener>::new();
    let mut passed_over = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let mut address = *address;
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(address) {
            Ok(listener) => {
                rustix::net::listen(&listener, BACKLOG)?;
                listeners.push(listener);
            }
            Err(error) if is_not_of_this_host(&error) => passed_over = error,
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() { Err(passed_over) } else { Ok(listeners) }
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn is_not_of_this_host(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|error| absent.contains(&error))
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// The resolution of the system's timers.
const SHORTEST: Duration = Duration::from_millis(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration of at most a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::ZERO, DAY)
}

/// Reads a duration from a millisecond to a day.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    duration_within(text, SHORTEST, DAY)
}

/// Reads how long a push may wait for its answer: less than the broker remembers its number.
pub fn answer_limit(text: &str) -> Result<Duration, String> {
    duration_within(text, SHORTEST, Duration::from_secs(60))
}

fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    duration.filter(|duration| (least..=most).contains(duration)).ok_or_else(|| {
        let [least, most] = [least, most].map(humantime::format_duration);
        format!("accepted is a duration from {least} to {most}, such as 500ms, 10s or 1m")
    })
}

/// Reads a size in bytes, at least 1.
pub fn size(text: &str) -> Result<usize, String> {
    let accepted = "accepted is a size from 1B on, such as 64KiB or 1MiB";
    let ByteSize(bytes) = text.parse().map_err(|_| accepted)?;
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(|| accepted.to_owned())
}

/// Reads the size of a content, up to the largest that a link carries.
pub fn content_size(text: &str) -> Result<usize, String> {
    let max = campanile_messages::event::MAX_CONTENT_BYTES;
    size(text)
        .ok()
        .filter(|bytes| *bytes <= max)
        .ok_or_else(|| "accepted is a size from 1B to 16MiB, such as 64KiB or 1MiB".to_owned())
}

/// Reads a number from `MIN` to `MAX`.
pub fn count<const MIN: u64, const MAX: u64>(text: &str) -> Result<usize, String> {
    let in_range = |count: &u64| (MIN..=MAX).contains(count);
    match text.parse().ok().filter(in_range).map(usize::try_from) {
        Some(Ok(count)) => Ok(count),
        _ => Err(format!("accepted is a whole number from {MIN} to {MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for text in ["127.0.0.1:0", "[::1]:2206", "broker.internal:65535"] {
            assert!(text.parse::<HostPort>().is_ok(), "{text}");
        }
        for text in ["", "2206", ":2206", "h:", "h:65536", "h:-1", "h:+1", "::1:2206", "h:http"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_address_gets_the_same_port() {
        let addresses = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"];
        let listeners = bind_all(&addresses.map(|a| a.parse().unwrap())).unwrap();
        let bound = listeners.iter().map(|l| l.local_addr().unwrap());
        let ports: Vec<_> = bound.map(|address| address.port()).collect();
        assert_eq!(ports, [ports[0]; 3]);
        assert_ne!(ports[0], 0);
    }

    #[test]
    fn an_address_of_another_host_is_passed_over_beside_one_of_this() {
        // Of those for documentation, RFC 5737 and RFC 3849.
        let [other, six, own] =
            ["192.0.2.1:0", "[2001:db8::1]:0", "127.0.0.1:0"].map(|a| a.parse().unwrap());
        assert_eq!(bind_all(&[other, six, own]).unwrap().len(), 1);
        assert_eq!(bind_all(&[other]).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn an_address_in_use_is_an_error_though_another_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let addresses = [([127, 0, 0, 2], port).into(), ([127, 0, 0, 1], port).into()];
        assert!(is_in_use(&bind_all(&addresses).unwrap_err()));
    }

    #[test]
    fn durations_sizes_and_counts_have_units_and_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(positive_duration("5m"), Ok(Duration::from_secs(300)));
        assert!(positive_duration("0s").is_err() && positive_duration("1us").is_err());
        assert!(answer_limit("60s").is_ok() && answer_limit("61s").is_err());
        assert!(duration("10").is_err() && duration("25h").is_err());
        assert_eq!(size("64KiB"), Ok(65_536));
        assert!(size("0").is_err() && size("-1").is_err() && size("many").is_err());
        assert_eq!(content_size("16MiB"), Ok(16 << 20));
        assert!(content_size("17MiB").is_err());
        assert_eq!(count::<1, 9>("9"), Ok(9));
        assert!(count::<1, 9>("0").is_err() && count::<1, 9>("10").is_err());
    }
}
