//! The log is JSON for programs, and text for people.

use std::io::Write as _;
use std::net::TcpListener;

use campanile_harness::{Process, Signal, Websocket, command, output_of};
use serde_json::Value;
use tempfile::NamedTempFile;

/// A line of the log, which must be an object with what every line has.
fn object(line: &str) -> Value {
    let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for name in ["timestamp", "level", "target", "message"] {
        assert!(read[name].is_string(), "no {name}: {line}");
        let key = format!("{name:?}:");
        assert_eq!(line.matches(&key).count(), 1, "{name} is there twice: {line}");
    }
    read
}

/// Starts it with its log in a pipe, and nothing that says what its lines are.
fn started(args: &[&str], variables: &[(&str, &str)]) -> Process {
    let mut command = command(args);
    command.env_remove("CAMPANILE_LOG_FORMAT").envs(variables.iter().copied());
    Process::run(&args.join(" "), command)
}

#[tokio::test]
async fn a_log_that_is_no_terminal_has_one_json_object_per_line() {
    let hostile = "CAMPANILE_A\n\"},{\"level\":\"\u{1b}[31m\\";
    let broker = Process::start(&["broker", "--listen=127.0.0.1:0"]);
    let broker = broker.address("the broker listens").await.to_string();
    let gateway = ["gateway", "--listen=127.0.0.1:0", "--drain=100ms", "--broker", &broker];
    let mut gateway = started(&gateway, &[(hostile, "1"), ("CAMPANILE_LOG", "debug")]);
    let line = object(&gateway.said("the gateway listens").await);
    assert_eq!((&line["level"], &line["target"]), (&"INFO".into(), &"campanile::services".into()));
    let address = line["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
    gateway.said("the gateway takes connections").await;
    drop(Websocket::plain(address, &[]).await);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
    let lines: Vec<_> = gateway.log().iter().map(|line| object(line)).collect();
    let warning = lines.iter().find(|line| line["level"] == "WARN").expect("about the variable");
    assert!(warning["message"].as_str().expect("a string").contains(hostile), "{warning}");
}

#[tokio::test]
async fn the_last_line_is_json_as_well() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = format!("--listen={}", taken.local_addr().expect("bound"));
    let mut broker = started(&["broker", &listen], &[]);
    broker.said("in use").await;
    assert_eq!(broker.ended().await.code(), Some(1));
    let log = broker.log();
    let last = object(log.last().expect("a line"));
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().is_some_and(|message| message.contains("--listen")), "{last}");
}

#[tokio::test]
async fn a_flag_wins_over_the_variable_and_that_over_the_file() {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(b"[log]\nformat = \"text\"\n").expect("written");
    let file = file.path().to_str().expect("UTF-8");
    let broker = ["broker", "--listen=127.0.0.1:0", "--config", file];
    let flag = [&broker[..], &["--log-format=json"]].concat();
    let json = ("CAMPANILE_LOG_FORMAT", "json");
    let text = ("CAMPANILE_LOG_FORMAT", "text");
    for (args, variable, is_json) in [
        (&broker[..], None, false),
        (&broker[..], Some(json), true),
        (&broker[..], Some(("CAMPANILE_LOG_FORMAT", "")), false),
        (&flag[..], Some(text), true),
    ] {
        let broker = started(args, variable.as_slice());
        let line = broker.said("the broker listens").await;
        assert_eq!(line.starts_with('{'), is_json, "{args:?} {variable:?}: {line}");
    }
}

#[tokio::test]
async fn another_format_takes_a_restart_and_the_log_says_so() {
    let file = NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    std::fs::write(path, "[log]\nformat = \"text\"\n").expect("written");
    let broker = started(&["broker", "--listen=127.0.0.1:0", "--config", path], &[]);
    broker.said("the broker listens").await;
    std::fs::write(path, "[log]\nformat = \"json\"\n").expect("written");
    broker.reread().await;
    let line = broker.said("change only with a restart").await;
    assert!(line.ends_with("these settings change only with a restart: [log] format"), "{line}");
}

#[test]
fn a_wrong_format_is_one_line_that_says_what_is_accepted() {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(b"[log]\nformat = \"xml\"\n").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    for (args, variable) in [
        (vec!["broker", "--log-format=xml"], ""),
        (vec!["up"], "xml"),
        (vec!["broker", "--config", path], ""),
        (vec!["config", "--check", path], ""),
    ] {
        let output = output_of(command(&args).env("CAMPANILE_LOG_FORMAT", variable));
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        for part in ["xml", "auto", "text", "json"] {
            assert!(line.contains(part), "{args:?} does not say {part}: {line}");
        }
    }
}
