//! The settings file, by what a process does with it.

#[path = "settings/file.rs"]
mod file;

use std::net::TcpListener;
use std::path::Path;

use campanile_harness::{Process, Signal, command, exchange, handshake, output_of};

use file::{file, path};

/// Runs a `campanile` that must end with an error, and returns its lines.
fn refused(args: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let output = output_of(command(args).envs(variables.iter().copied()));
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
        // Its broker listens first, and somebody may have the default port.
        let elsewhere = (service == "up").then_some("--broker-listen=127.0.0.1:0");
        let base: Vec<_> = [service, config[0], config[1]].into_iter().chain(elsewhere).collect();
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
            (
                10,
                "log.levle: unknown field `levle`, expected `level` or `format`; did you mean `level`?",
            ),
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

#[test]
fn an_error_about_flags_names_the_lines_that_set_them() {
    let file = file(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nping_after = \"9s\"\nsilence_limit = \"8s\"\n\
         [broker]\nlisten = \"127.0.0.1:0\"\n[publisher]\nlisten = \"0.0.0.0:0\"\n",
    );
    let place = |key: &str, line: usize| format!("[{key} is in {}:{line}", path(&file));
    let config = ["--config", path(&file)];
    let said = |args: &[&str]| refused(&[args, &config].concat(), &[]).concat();
    let both = [place("gateway] ping_after", 3), place("gateway] silence_limit", 4)];
    let line = said(&["gateway"]);
    assert!(both.iter().all(|place| line.contains(place)), "{line}");
    assert!(!line.contains("listen is in"), "{line}");
    // A value of the command line has no line in the file.
    let line = said(&["gateway", "--ping-after=10s"]);
    assert!(!line.contains(&both[0]) && line.contains(&both[1]), "{line}");
    let line = said(&["publisher"]);
    assert!(line.contains(&place("publisher] listen", 8)), "{line}");
    assert!(!line.contains("broker"), "{line}");
    let line = said(&["up", "--gateway-ping-after=1s"]);
    assert!(line.contains(&place("publisher] listen", 8)), "{line}");
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("it can be written");
}

#[tokio::test]
async fn a_hangup_rereads_the_file_all_or_nothing() {
    let file = file("[broker]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"info\"\n");
    let mut broker = Process::start(&["broker", "--config", path(&file)]);
    broker.said("the broker listens").await;

    write(
        file.path(),
        "[broker]\nmax_links = 7\n[gateway]\nmax_groups = 7\n[log]\nlevel = \"info,campanile=debug\"\n",
    );
    broker.reread().await;
    let line = broker.said("only with a restart").await;
    assert!(line.ends_with(": [broker] listen, [broker] max_links"), "{line}");

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

#[test]
fn the_printed_file_is_valid_and_changes_nothing() {
    let printed = output_of(&mut command(&["config"]));
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).expect("UTF-8");
    assert!(text.contains("\n#[gateway]\n") && text.contains("\n#max_groups = 100\n"), "{text}");
    let file = file(&text);
    let checked = output_of(&mut command(&["config", "--check", path(&file)]));
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(String::from_utf8_lossy(&checked.stdout).lines().count(), 1);
    assert!(checked.stderr.is_empty(), "{checked:?}");
}

#[test]
fn a_check_names_everything_that_is_wrong_and_exits_with_2() {
    let check = |text: &str, variables: &[(&str, &str)]| {
        let file = file(text);
        let mut command = command(&["config", "--check", path(&file)]);
        let output = output_of(command.envs(variables.iter().copied()));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let said = check("[gateway]\nmax_groups = -1\nlisen = 1\n", &[]);
    assert_eq!(said.len(), 2, "{said:#?}");

    let said = check(
        "[gateway]\nlisten = \"0.0.0.0:0\"\nping_after = \"9s\"\nsilence_limit = \"8s\"\n\
         [broker]\nlisten = \"192.0.2.1:1\"\n[publisher]\nlisten = \"[::]:0\"\nopen = true\n",
        &[],
    );
    assert_eq!(said.len(), 3, "{said:#?}");
    for (line, parts) in said.iter().zip([
        ["broker: ", "--listen 192.0.2.1:1", "; [broker] listen is in ", ":6"],
        ["gateway: ", "silence-limit is 8s", "[gateway] silence_limit is in ", ":4"],
        ["gateway: ", "--listen 0.0.0.0:0", "; [gateway] listen is in ", ":2"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }

    let said = check("", &[("CAMPANILE_GATEWAY_MAX_GROUPS", "many")]);
    assert!(said.concat().contains("many") && said.concat().contains("from 0 to"), "{said:?}");
    let said = check("", &[("CAMPANILE_LOG", "!!bad==")]);
    assert!(said.concat().contains("CAMPANILE_LOG=!!bad=="), "{said:?}");
    let line = refused(&["config", "--check", "/nonexistent.toml"], &[]).concat();
    assert!(line.contains("/nonexistent.toml: cannot be read"), "{line}");
}

#[tokio::test]
async fn lists_and_switches_of_a_file_work() {
    let file = file(
        "[broker]\nlisten = \"127.0.0.1:0\"\n[publisher]\nlisten = \"127.0.0.1:0\"\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\nignore_params = [\"token\", \"utm\"]\n\
         allow_host = [\"app.test\", \"b.test:80\"]\npage = \"off\"\nworkers = 1\n",
    );
    let up = Process::start(&["up", "--config", path(&file)]);
    let line = up.said("  gateway ").await;
    let gateway = line.split_whitespace().last().and_then(|a| a.parse().ok()).expect("an address");
    up.said("  push ").await;
    for (target, host, status) in [
        ("/?token=x&utm=y", "app.test:4236", 101),
        ("/?tokens=x", "app.test", 400),
        ("/", "b.test", 101),
        ("/", "evil.example", 403),
    ] {
        let request = handshake(target).replace("Host: localhost", &format!("Host: {host}"));
        assert_eq!(exchange(gateway, request.as_bytes()).await.status, status, "{target} {host}");
    }
    let page = exchange(gateway, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(page.status, 404, "{page:?}");
}

#[tokio::test]
async fn an_unknown_variable_is_a_warning_without_its_value() {
    let mut command = command(&["broker", "--listen=127.0.0.1:0"]);
    command.envs([
        ("CAMPANILE_BROKER_LISEN", "hunter2"),
        ("CAMPANILE_SERVICE_HOST", "10.0.0.1"),
        ("CAMPANILE_PORT", "tcp://10.0.0.1:4236"),
        ("CAMPANILE_CHANNEL_LOG_AGE", "5m"),
    ]);
    let broker = Process::run("broker with variables", command);
    let line = broker.said("is no setting").await;
    assert!(line.contains("WARN") && line.contains("CAMPANILE_BROKER_LISTEN?"), "{line}");
    broker.said("the broker listens").await;
    assert_eq!((broker.count("is no setting"), broker.count("hunter2")), (1, 0));
}

#[test]
fn up_refuses_what_it_cannot_follow() {
    // Without the refusal it would end because of the address.
    let up = ["up", "--broker-listen=192.0.2.1:0"];
    let said = |text: &str, variables: &[(&str, &str)]| {
        let file = file(text);
        refused(&[&up[..], &["--config", path(&file)]].concat(), variables).concat()
    };
    for (section, keys) in [
        ("broker", &["tls_cert", "tls_key", "client_ca"][..]),
        ("gateway", &["broker_ca", "link_cert", "link_key"]),
        ("publisher", &["broker_ca", "link_cert", "link_key"]),
    ] {
        for key in keys {
            let line = said(&format!("[{section}]\n{key} = \"a.pem\"\n"), &[]);
            let part = format!(":2: [{section}] {key}: up has no TLS on its links");
            assert!(line.contains(&part), "{line}");
            let variable = format!("CAMPANILE_{section}_{key}").to_uppercase();
            let line = said("", &[(&variable, "a.pem")]);
            assert!(line.contains(&format!("{variable}: up has no TLS on its links")), "{line}");
            let line = refused(&up, &[(&variable, "a.pem")]).concat();
            assert!(line.contains(&format!("{variable}: up has no TLS on its links")), "{line}");
            let line = said("", &[(&variable, "")]);
            assert!(line.contains("--broker-listen 192.0.2.1:0"), "{line}");
        }
    }
}

#[test]
fn up_refuses_a_secret_that_only_one_service_has() {
    let up = ["up", "--gateway-listen=192.0.2.1:0"];
    let one = "0123456789abcdef";
    for service in ["GATEWAY", "PUBLISHER"] {
        let secret = format!("CAMPANILE_{service}_SECRET");
        let line = refused(&up, &[(&secret, one)]).concat();
        let way = "accepted is CAMPANILE_BROKER_SECRET, --secret-file or [broker] secret_file";
        assert!(line.contains(&format!("{secret}: ")) && line.contains(way), "{line}");
        assert!(!line.contains(one), "{line}");
        let line =
            refused(&up, &[(&secret, one), ("CAMPANILE_BROKER_SECRET", "another one, longer")]);
        assert!(line.concat().contains(&format!("{secret}: ")), "{line:?}");
        let same = refused(&up, &[(&secret, one), ("CAMPANILE_BROKER_SECRET", one)]).concat();
        assert!(same.contains("--gateway-listen 192.0.2.1:0"), "{same}");
        let variable = format!("{secret}_FILE");
        let line = refused(&up, &[(&variable, "/nonexistent")]).concat();
        assert!(line.contains(&format!("{variable}: ")) && line.contains(way), "{line}");
        let section = service.to_lowercase();
        let file = file(&format!("[{section}]\nsecret_file = \"/nonexistent\"\n"));
        let line = refused(&[&up[..], &["--config", path(&file)]].concat(), &[]).concat();
        let part = format!("{}:2: [{section}] secret_file: ", path(&file));
        assert!(line.contains(&part) && line.contains(way), "{line}");
    }
}
