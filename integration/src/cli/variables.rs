//! Environment variables that look like a setting and are none.

use crate::settings::nearest;

/// The variables that are no flags of a service.
const OTHERS: [&str; 8] = [
    "CAMPANILE_LOG",
    "CAMPANILE_LOG_FORMAT",
    "CAMPANILE_CONFIG",
    "CAMPANILE_KEY",
    "CAMPANILE_TOKEN",
    "CAMPANILE_BROKER_SECRET",
    "CAMPANILE_GATEWAY_SECRET",
    "CAMPANILE_PUBLISHER_SECRET",
];

/// A sentence about each variable that begins with `CAMPANILE_` and is none of `known`. The values are
/// not looked at: one may be a secret.
pub fn unknown(variables: impl IntoIterator<Item = String>, known: &[&str]) -> Vec<String> {
    let known = || known.iter().copied().chain(OTHERS);
    let is_ours = |name: &String| name.starts_with("CAMPANILE_") && !is_of_a_platform(name);
    let unknown = variables.into_iter().filter(is_ours).filter(|name| known().all(|k| k != name));
    let mut sentences: Vec<_> = unknown
        .map(|name| {
            let near = nearest(&name, known());
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            format!("the variable {name} is no setting and does nothing{hint}")
        })
        .collect();
    sentences.sort();
    sentences
}

/// Whether container platforms make such a variable for a service called `campanile` or, say,
/// `campanile-gateway`: Kubernetes makes `CAMPANILE_SERVICE_HOST`, `CAMPANILE_SERVICE_PORT_HTTP`,
/// `CAMPANILE_PORT` and `CAMPANILE_PORT_4236_TCP_ADDR`. No setting may have such a name.
pub fn is_of_a_platform(name: &str) -> bool {
    let is_port = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let protocol = rest[digits..].strip_prefix('_').unwrap_or_default();
        digits > 0 && ["TCP", "UDP", "SCTP"].iter().any(|word| protocol.starts_with(word))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, word)| is_port(&name[at + word.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 2] = ["CAMPANILE_GATEWAY_LISTEN", "CAMPANILE_GATEWAY_MAX_GROUPS"];

    fn sentences(name: &str) -> Vec<String> {
        unknown([name.to_owned()], &KNOWN)
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest_one() {
        let said = sentences("CAMPANILE_GATEWAY_LISEN").concat();
        assert!(said.contains("CAMPANILE_GATEWAY_LISEN is no setting"), "{said}");
        assert!(said.ends_with("did you mean CAMPANILE_GATEWAY_LISTEN?"), "{said}");
        for known in ["CAMPANILE_GATEWAY_MAX_GROUPS", "CAMPANILE_LOG", "PATH", "CAMPANILES", ""] {
            assert!(sentences(known).is_empty(), "{known}");
        }
    }

    #[test]
    fn what_platforms_make_is_passed_over() {
        for name in [
            "CAMPANILE_SERVICE_HOST",
            "CAMPANILE_SERVICE_PORT",
            "CAMPANILE_SERVICE_PORT_HTTP",
            "CAMPANILE_PORT",
            "CAMPANILE_PORT_4236_TCP",
            "CAMPANILE_PORT_4236_TCP_ADDR",
            "CAMPANILE_PORT_4236_TCP_PORT",
            "CAMPANILE_PORT_4236_UDP_PROTO",
            "CAMPANILE_GATEWAY_SERVICE_HOST",
            "CAMPANILE_GATEWAY_PORT_4236_TCP_PROTO",
        ] {
            assert!(sentences(name).is_empty(), "{name}");
        }
        for name in ["CAMPANILE_PORTS", "CAMPANILE_PORT_HTTP", "CAMPANILE_SERVICE", "CAMPANILE_"] {
            assert_eq!(sentences(name).len(), 1, "{name}");
        }
    }
}
