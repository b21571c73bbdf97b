//! SIGHUP, by what a process refuses to take: it stays as it was, and goes on.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use campanile_harness::{Process, Signal, until};
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

/// Makes a secret for this test alone.
fn fresh() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it can be written");
}

fn make_pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a pipe");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[tokio::test]
async fn a_hangup_refuses_what_a_start_refuses() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("settings.toml");
    for (service, good, bad, part) in [
        ("gateway", "ping_after = \"9s\"", "ping_after = \"90s\"", "--silence-limit is 60s"),
        (
            "publisher",
            "max_content = \"1KiB\"",
            "max_pending = \"1KiB\"",
            "--max-pending is 1.0 KiB",
        ),
        ("broker", "max_links = 7", "durability = \"disk\"", "--durability promises more"),
    ] {
        let settings = |line: &str| format!("[{service}]\nlisten = \"127.0.0.1:0\"\n{line}\n");
        write(&file, &settings(good));
        let process = Process::start(&[service, "--config", text(&file)]);
        process.said(&format!("the {service} listens")).await;
        write(&file, &settings(bad));
        process.signal(Signal::HUP);
        let line = process.said("the settings stay as they were").await;
        assert!(line.contains(part), "{line}");
        write(&file, &settings(good));
        process.reread().await;
    }
}

#[tokio::test]
async fn a_hangup_opens_no_pipe() {
    let directory = TempDir::new().expect("a directory");
    let (file, secret) = (directory.path().join("settings.toml"), directory.path().join("secret"));
    let path = text(&secret);
    for (service, settings) in [
        ("broker", format!("[broker]\nsecret_file = {path:?}\n")),
        ("gateway", format!("[gateway]\ntoken_keys = {path:?}\n")),
        ("gateway", format!("[[tokens.keys]]\nsecret_file = {path:?}\n")),
        (
            "publisher",
            format!("[[keys]]\nname = \"a\"\nscopes = [\"read\"]\nsecret_file = {path:?}\n"),
        ),
    ] {
        let _ = fs::remove_file(&secret);
        write(&secret, &fresh());
        write(&file, &settings);
        let process =
            Process::start(&[service, "--listen", "127.0.0.1:0", "--config", text(&file)]);
        process.said(&format!("the {service} listens")).await;
        fs::remove_file(&secret).expect("it is there");
        make_pipe(&secret);
        process.signal(Signal::HUP);
        let line = process.said("the settings stay as they were").await;
        assert!(line.contains(&format!("{path}: this is no regular file")), "{line}");
        fs::remove_file(&secret).expect("it is there");
        write(&secret, &fresh());
        process.reread().await;
    }
}

#[tokio::test]
async fn a_hangup_does_not_change_where_token_keys_come_from() {
    let directory = TempDir::new().expect("a directory");
    let (file, secret) = (directory.path().join("settings.toml"), directory.path().join("secret"));
    write(&secret, &fresh());
    let settings =
        |url: &str| format!("[tokens]\n{url}\n[[tokens.keys]]\nsecret_file = {secret:?}\n");
    let first = settings("jwks_url = \"http://127.0.0.1:1/\"");
    write(&file, &first);
    let gateway = Process::start(&["gateway", "--listen=127.0.0.1:0", "--config", text(&file)]);
    gateway.said("the gateway listens").await;
    for (at, other) in ["jwks_url = \"http://127.0.0.1:2/\"", ""].into_iter().enumerate() {
        write(&file, &settings(other));
        gateway.signal(Signal::HUP);
        until(|| gateway.count("the settings stay as they were: [tokens] jwks_url") > at).await;
    }
    assert_eq!(gateway.count("the settings were read again"), 0);
    write(&file, &first);
    gateway.reread().await;
}
#[tokio::test]
async fn a_hangup_during_the_start_is_kept_until_the_end_of_it() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("settings.toml");
    make_pipe(&file);
    let mut broker = Process::start(&["broker", "--config", text(&file)]);
    // It is opened once the broker opens it too, and the broker waits for its end.
    let mut pipe = fs::OpenOptions::new().write(true).open(&file).expect("a reader");
    broker.signal(Signal::HUP);
    pipe.write_all(b"[broker]\nlisten = \"127.0.0.1:0\"\n").expect("the broker reads it");
    drop(pipe);
    broker.said("the broker listens").await;
    broker.said("this is no regular file").await;
    broker.signal(Signal::TERM);
    assert!(broker.ended().await.success());
}
