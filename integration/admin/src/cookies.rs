//! The cookie of a session. Pure.
//!
//! A browser sends the cookies of a host to all its ports. So the port is in the name, as several publishers may be
//! reached through one host, such as `localhost` with `ssh -L`; and where the browser speaks TLS, the name begins
//! with `__Host-`, which no page and no server without TLS can set.

const NAME: &str = "campanile-session";

/// What its name begins with where the browser speaks TLS.
const SECURE_PREFIX: &str = "__Host-";

/// The name of the cookie for a listener that is reached under this host.
pub fn name(host: Option<&str>, is_secure: bool) -> String {
    let prefix = if is_secure { SECURE_PREFIX } else { "" };
    let port = host.and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    let is_port =
        |port: &&str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    match port.filter(is_port) {
        Some(port) => format!("{prefix}{NAME}-{port}"),
        None => format!("{prefix}{NAME}"),
    }
}

/// The values of our cookie in the lines of `Cookie`. Where there is one that was set over TLS, no other counts; and
/// none, if the listener itself speaks TLS.
pub fn values<'a>(lines: &[&'a str], host: Option<&str>, is_sealed: bool) -> Vec<&'a str> {
    let of = |name: String| -> Vec<&'a str> {
        let pairs = lines.iter().flat_map(|line| line.split(';'));
        let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(own, _)| *own == name).map(|(_, value)| value).collect()
    };
    let secure = of(name(host, true));
    if is_sealed || !secure.is_empty() { secure } else { of(name(host, false)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_of_a_host_has_a_cookie_of_its_own() {
        for (host, expected) in [
            (Some("localhost:4247"), "campanile-session-4247"),
            (Some("[::1]:4248"), "campanile-session-4248"),
            (Some("[::1]"), "campanile-session"),
            (Some("console.example"), "campanile-session"),
            (Some("a:b; Domain=c"), "campanile-session"),
            (None, "campanile-session"),
        ] {
            assert_eq!(name(host, false), expected);
            assert_eq!(name(host, true), format!("__Host-{expected}"));
        }
        let lines = ["campanile-session-1=a; theme=dark", "campanile-session-2=b"];
        assert_eq!(values(&lines, Some("localhost:1"), false), ["a"]);
        assert_eq!(values(&lines, Some("localhost:2"), false), ["b"]);
        assert!(values(&lines, Some("localhost:2"), true).is_empty());
        assert!(values(&lines, Some("localhost"), false).is_empty());
    }

    #[test]
    fn a_cookie_that_was_set_over_tls_counts_alone() {
        let lines = ["campanile-session-1=a; __Host-campanile-session-1=b"];
        for is_sealed in [false, true] {
            assert_eq!(values(&lines, Some("localhost:1"), is_sealed), ["b"]);
        }
        let twice = ["campanile-session-1=a; campanile-session-1=b"];
        assert_eq!(values(&twice, Some("localhost:1"), false), ["a", "b"]);
    }
}
