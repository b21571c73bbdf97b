//! The settings file, by what a process does with it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use campanile_harness::{Process, Signal, command};
use tempfile::NamedTempFile;

/// A settings file with this text.
fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("it takes the text");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

/// Runs a `campanile` that must end with an error, and returns its lines.
fn refused(args: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let output = command(args).envs(variables.iter().copied()).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let code = output.status.code();
    assert!(code.is_some_and(|code| code != 0), "{args:?} {variables:?} ended {code:?}: {said}");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    for (service, flag) in [
        ("broker", "--listen"),
        ("gateway", "--listen"),
        ("publisher", "--listen"),
        ("up", "--gateway-listen"),
    ] {
        let section = if service == "up" { "gateway" } else { service };
        let variable = format!("CAMPANILE_{}_LISTEN", section.to_uppercase());
        let from = |host: &str| format!("{host}.invalid:1");
        let text = format!("[{section}]\nlisten = \"{}\"\n", from("file"));
        let file = file(&text);
        let by_flag = format!("{flag}={taken}");
        let config = ["--config", path(&file)];
        let base = [service, config[0], config[1]];
        let line = refused(&base, &[]).concat();
        assert!(line.contains("file.invalid:1"), "{line}");
        let line = refused(&base, &[(&variable, &from("variable"))]).concat();
        assert!(line.contains("variable.invalid:1"), "{line}");
        let empty = refused(&base, &[(&variable, "")]).concat();
        assert!(empty.contains("file.invalid:1"), "{empty}");
        let args = [&base[..], &[&by_flag]].concat();
        let line = refused(&args, &[(&variable, &from("variable"))]).concat();
        assert!(line.contains(&taken), "{line}");
    }
}

#[test]
fn the_environment_names_the_file_too() {
    let file = file("[broker]\nlisten = \"file.invalid:1\"\n");
    let line = refused(&["broker"], &[("CAMPANILE_CONFIG", path(&file))]).concat();
    assert!(line.contains("file.invalid:1"), "{line}");
}

#[test]
fn every_error_in_a_file_is_a_line_that_says_what_is_accepted() {
    let file = file(
        "[gateway]\nmax_groups = \"many\"\nmax_outbxo = \"1MiB\"\n[gatway]\nlisten = \"a:1\"\n\
         [broker]\ndurability = \"soon\"\nlog_age = 5\n[log]\nlevle = \"debug\"\n",
    );
    for service in ["up", "broker", "gateway", "publisher"] {
        let lines = refused(&[service, "--config", path(&file)], &[]);
        let expected = [
            (2, "[gateway] max_groups = \"many\": accepted is a whole number from 0 to 10000"),
            (3, "there is no key max_outbxo in [gateway]; did you mean max_outbox?"),
            (4, "there is no section [gatway]; did you mean [gateway]?"),
            (7, "[broker] durability = \"soon\": accepted is disk, written, memory"),
            (8, "[broker] log_age = 5: accepted is a duration from 1ms to 1day"),
            (10, "log.levle: unknown field `levle`, expected `level`; did you mean `level`?"),
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, (number, part)) in lines.iter().zip(expected) {
            assert!(line.contains(&format!("{}:{number}: {part}", path(&file))), "{line}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let line = refused(&["gateway", "--config", "/nonexistent/campanile.toml"], &[]).concat();
    assert!(line.contains("/nonexistent/campanile.toml: cannot be read"), "{line}");
    let folder = std::env::temp_dir();
    let line = refused(&["gateway", "--config", folder.to_str().expect("UTF-8")], &[]).concat();
    assert!(line.contains("this is a directory"), "{line}");
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("it can be written");
}

#[tokio::test]
async fn a_hangup_rereads_the_file_all_or_nothing() {
    let file = file("[broker]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"info\"\n");
    let mut broker = Process::start(&["broker", "--config", path(&file)]);
    broker.said("the broker listens").await;

    write(file.path(), "[broker]\nmax_links = 7\n[log]\nlevel = \"info,campanile=debug\"\n");
    broker.signal(Signal::HUP);
    broker.said("the settings were read again").await;
    let line = broker.said("only with a restart").await;
    assert!(line.contains("[broker] listen, [broker] max_links"), "{line}");

    write(file.path(), "[broker]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"!!bad==\"\n");
    broker.signal(Signal::HUP);
    let line = broker.said("the settings stay as they were").await;
    assert!(line.contains("!!bad==") && line.contains("accepted is a level"), "{line}");

    write(file.path(), "[broker]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n");
    broker.signal(Signal::HUP);
    // A line of the level info does not come any more.
    broker.signal(Signal::TERM);
    assert!(broker.ended().await.success());
}

#[tokio::test]
async fn a_hangup_without_a_file_says_so() {
    let mut broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    broker.said("the broker listens").await;
    broker.signal(Signal::HUP);
    broker.said("--config FILE").await;
    broker.signal(Signal::TERM);
    assert!(broker.ended().await.success());
}
