//! The error about a wrong setting: one line that names the flag, the value and what is accepted.

use std::net::TcpListener;
#[cfg(not(feature = "sabotage"))]
use std::process::Command;

use campanile_harness::{command, output_of};

/// Runs a `campanile` that must end with an error, and returns its only line.
fn refused(args: &[&str], variables: &[(&str, &str)]) -> String {
    let output = output_of(command(args).envs(variables.iter().copied()));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let code = output.status.code();
    assert!(code.is_some_and(|code| code != 0), "{args:?} {variables:?} ended {code:?}: {said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 1, "{args:?} {variables:?}: {said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{args:?}");
    lines[0].to_owned()
}

#[test]
fn a_wrong_value_is_one_line_that_says_what_is_accepted() {
    for (service, flag, value, accepted) in [
        ("broker", "--listen", "2206", "HOST:PORT"),
        ("broker", "--listen", "127.0.0.1:70000", "0 to 65535"),
        ("broker", "--link-queue", "much", "64KiB"),
        ("broker", "--log-size", "0", "from 1B"),
        ("broker", "--log-age", "0s", "from 1ms"),
        ("broker", "--max-links", "0", "from 1 to"),
        ("broker", "--shutdown-limit", "5", "500ms"),
        ("gateway", "--listen", "localhost", "HOST:PORT"),
        ("gateway", "--broker", "::1:2206", "HOST:PORT"),
        ("gateway", "--broker", "127.0.0.1:2206,b", "separated by commas"),
        ("gateway", "--workers", "0", "from 1 to 1024"),
        ("gateway", "--workers", "two", "from 1 to 1024"),
        ("gateway", "--max-groups", "-1", "from 0 to"),
        ("gateway", "--max-outbox", "-1MiB", "64KiB"),
        ("gateway", "--ping-after", "soon", "500ms"),
        ("gateway", "--user-timeout", "100d", "to 1day"),
        ("gateway", "--user-timeout", "1us", "from 1ms"),
        ("gateway", "--publisher-url", "ftp://host", "http://"),
        ("gateway", "--allow-host", "http://a.test", "campanile.test:4237"),
        ("publisher", "--listen", "host:http", "0 to 65535"),
        ("publisher", "--broker", "somewhere", "HOST:PORT"),
        ("publisher", "--max-content", "17MiB", "16MiB"),
        ("publisher", "--broker-wait", "-5s", "500ms"),
        ("publisher", "--confirm-limit", "0ms", "from 1ms"),
        ("publisher", "--allow-origin", "example.com", "https://"),
        ("up", "--broker-listen", "here", "HOST:PORT"),
        ("up", "--gateway-listen", "127.0.0.1:", "HOST:PORT"),
        ("up", "--publisher-max-content", "99GiB", "16MiB"),
        ("up", "--workers", "4000", "from 1 to 1024"),
    ] {
        let line = refused(&[service, &format!("{flag}={value}")], &[]);
        for part in [flag, value, accepted] {
            assert!(line.contains(part), "{service} {flag}={value} does not say {part:?}: {line}");
        }
    }
}

#[test]
fn a_wrong_value_in_the_environment_is_the_same_error() {
    for (service, variable, value, flag, accepted) in [
        ("broker", "CAMPANILE_BROKER_LISTEN", "here", "--listen", "HOST:PORT"),
        ("broker", "CAMPANILE_BROKER_MAX_LINKS", "many", "--max-links", "from 1 to"),
        ("gateway", "CAMPANILE_GATEWAY_WORKERS", "0", "--workers", "from 1 to"),
        ("gateway", "CAMPANILE_GATEWAY_DRAIN", "2", "--drain", "500ms"),
        ("publisher", "CAMPANILE_PUBLISHER_MAX_CONTENT", "huge", "--max-content", "16MiB"),
        ("up", "CAMPANILE_GATEWAY_MAX_OUTBOX", "0", "--gateway-max-outbox", "64KiB"),
        ("up", "CAMPANILE_PUBLISHER_LISTEN", "x", "--publisher-listen", "HOST:PORT"),
    ] {
        let line = refused(&[service], &[(variable, value)]);
        for part in [flag, value, accepted] {
            assert!(line.contains(part), "{variable}={value} does not say {part:?}: {line}");
        }
    }
}

#[test]
fn an_error_about_a_contradiction_names_both_flags() {
    for (args, parts) in [
        (
            &["gateway", "--ping-after=10s", "--silence-limit=7s"][..],
            ["--silence-limit", "7s", "--ping-after", "10s"],
        ),
        (
            &["publisher", "--max-pending=1KiB", "--max-content=2KiB"],
            ["--max-pending", "1.0 KiB", "--max-content", "2.0 KiB"],
        ),
        (
            &["up", "--gateway-ping-after=10s", "--gateway-silence-limit=7s"],
            ["--gateway-silence-limit", "7s", "--gateway-ping-after", "10s"],
        ),
    ] {
        let free = ["BROKER", "GATEWAY", "PUBLISHER"].map(|s| format!("CAMPANILE_{s}_LISTEN"));
        let free = free.each_ref().map(|variable| (&**variable, "127.0.0.1:0"));
        let line = refused(args, &free);
        for part in parts {
            assert!(line.contains(part), "{args:?} does not say {part:?}: {line}");
        }
    }
}

#[test]
fn an_error_about_a_port_in_use_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for (service, flag, variable) in [
        ("broker", "--listen", "CAMPANILE_BROKER_LISTEN"),
        ("gateway", "--listen", "CAMPANILE_GATEWAY_LISTEN"),
        ("publisher", "--listen", "CAMPANILE_PUBLISHER_LISTEN"),
        ("up", "--broker-listen", "CAMPANILE_BROKER_LISTEN"),
        ("up", "--gateway-listen", "CAMPANILE_GATEWAY_LISTEN"),
        ("up", "--publisher-listen", "CAMPANILE_PUBLISHER_LISTEN"),
    ] {
        let others = ["BROKER", "GATEWAY", "PUBLISHER"].map(|s| format!("CAMPANILE_{s}_LISTEN"));
        let others = others.iter().filter(|other| *other != variable);
        let free: Vec<_> = others.map(|other| (&**other, "127.0.0.1:0")).collect();
        let by_flag = refused(&[service, &format!("{flag}={address}")], &free);
        let by_variable = refused(&[service], &[&free[..], &[(variable, &address)]].concat());
        for line in [by_flag, by_variable] {
            for part in [flag, &address, "HOST:PORT", "in use"] {
                assert!(line.contains(part), "{service} does not say {part:?}: {line}");
            }
        }
    }
}

#[test]
fn an_invalid_log_filter_is_an_error() {
    let line = refused(&["broker"], &[("CAMPANILE_LOG", "!!bad==")]);
    assert!(line.contains("CAMPANILE_LOG=!!bad==") && line.contains("accepted"), "{line}");
}

/// Docker Compose passes `${X:-}` as an empty variable.
#[test]
fn an_empty_variable_counts_as_unset() {
    let variables = |service: &str| {
        let output = output_of(&mut command(&[service, "--help"]));
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        let named = help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
        let named: Vec<_> = named.map(|name| (name.to_owned(), "")).collect();
        assert!(named.len() > 5, "{help}");
        named
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for (service, flag) in [
        ("broker", "--listen"),
        ("gateway", "--listen"),
        ("publisher", "--listen"),
        ("up", "--broker-listen"),
    ] {
        let mut variables = variables(service);
        variables.push(("CAMPANILE_LOG".to_owned(), ""));
        let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, *value)).collect();
        // It comes as far as its listener.
        let line = refused(&[service, &format!("{flag}={address}")], &variables);
        assert!(line.contains("in use"), "{line}");
    }
}

/// The command, its flag and its variable, and the older names of all three.
const RENAMED: [[&str; 6]; 4] = [
    [
        "broker",
        "--listen",
        "CAMPANILE_BROKER_LISTEN",
        "channel",
        "--listen",
        "CAMPANILE_CHANNEL_LISTEN",
    ],
    [
        "gateway",
        "--broker",
        "CAMPANILE_GATEWAY_BROKER",
        "gateway",
        "--channel",
        "CAMPANILE_GATEWAY_CHANNEL",
    ],
    [
        "publisher",
        "--broker",
        "CAMPANILE_PUBLISHER_BROKER",
        "publisher",
        "--channel",
        "CAMPANILE_PUBLISHER_CHANNEL",
    ],
    [
        "up",
        "--broker-listen",
        "CAMPANILE_BROKER_LISTEN",
        "up",
        "--channel-listen",
        "CAMPANILE_CHANNEL_LISTEN",
    ],
];

#[test]
fn the_older_names_of_the_brokers_settings_are_read() {
    for [_, flag, new_variable, service, old_flag, old_variable] in RENAMED {
        let by_flag = refused(&[service, &format!("{old_flag}=wrong")], &[]);
        let by_variable = refused(&[service], &[(old_variable, "wrong")]);
        let beside_an_empty_one =
            refused(&[service], &[(old_variable, "wrong"), (new_variable, "")]);
        let empty = refused(&[service], &[(old_variable, ""), (new_variable, "wrong")]);
        let same = refused(&[service], &[(old_variable, "wrong"), (new_variable, "wrong")]);
        for line in [by_flag, by_variable, beside_an_empty_one, empty, same] {
            for part in ["wrong", flag, "HOST:PORT"] {
                assert!(line.contains(part), "{old_flag}, {old_variable}: no {part:?} in {line}");
            }
        }
    }
    let line = refused(&["up", "--channel-log-age=soon"], &[]);
    assert!(line.contains("--broker-log-age") && line.contains("soon"), "{line}");
}

#[test]
fn two_names_of_one_setting_that_differ_are_refused() {
    for [service, new_flag, new_variable, _, old_flag, old_variable] in RENAMED {
        let variables = [(new_variable, "127.0.0.1:1"), (old_variable, "127.0.0.1:2")];
        let line = refused(&[service], &variables);
        let new = format!("{new_variable}=127.0.0.1:1");
        let old = format!("{old_variable}=127.0.0.1:2");
        assert!(line.contains(&new) && line.contains(&old), "{line}");
        if new_flag != old_flag {
            let flags = [format!("{new_flag}=127.0.0.1:1"), format!("{old_flag}=127.0.0.1:2")];
            let line = refused(&[service, &flags[0], &flags[1]], &[]);
            let named = format!("{new_flag} and {old_flag} ");
            assert!(line.contains(&named), "{line}");
        }
    }
    let durability =
        [("CAMPANILE_BROKER_DURABILITY", "disk"), ("CAMPANILE_CHANNEL_DURABILITY", "memory")];
    let line = refused(&["up"], &durability);
    assert!(durability.iter().all(|(name, _)| line.contains(name)), "{line}");
}

#[test]
fn variables_of_another_service_do_not_matter() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = format!("--listen={}", taken.local_addr().expect("bound"));
    let others = [("CAMPANILE_BROKER_LISTEN", "a:1"), ("CAMPANILE_CHANNEL_LISTEN", "b:2")];
    // It comes as far as its listener.
    let line = refused(&["gateway", &listen], &others);
    assert!(line.contains("in use"), "{line}");
}

#[test]
fn an_unknown_flag_or_service_is_one_line_too() {
    assert!(refused(&["gateway", "--lisen=127.0.0.1:0"], &[]).contains("--lisen"));
    assert!(refused(&["gatway"], &[]).contains("gatway"));
    assert!(refused(&["up", "--listen=127.0.0.1:0"], &[]).contains("--listen"));
    assert!(refused(&["broker", "surplus"], &[]).contains("surplus"));
}

/// The feature that makes a part of a service hang is for tests only.
#[test]
#[cfg(not(feature = "sabotage"))]
fn the_binary_cannot_be_sabotaged() {
    let has = |word: &str| {
        let mut grep = Command::new("grep");
        let found = grep.args(["-aq", word, env!("CARGO_BIN_EXE_campanile")]);
        found.status().expect("grep").success()
    };
    assert!(has("CAMPANILE_LOG"), "this finds no word of the binary");
    assert!(!has("CAMPANILE_SABOTAGE"));
}
