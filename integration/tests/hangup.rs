//! SIGHUP, by what a process refuses to take: it stays as it was, and goes on.

use std::fs;
use std::path::Path;

use campanile_harness::{Process, Signal};
use tempfile::TempDir;

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it can be written");
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
        process.signal(Signal::HUP);
        process.said("the settings were read again").await;
    }
}
