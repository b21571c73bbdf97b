//! The guide at the top of `docs/deploy.md`, as a script of its own commands.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use campanile_harness::output_of;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../docs/deploy.md");

/// Step 7 needs Node, and is tested with real clients.
const LEFT_OUT: usize = 7;

/// The commands of each step, by its number.
fn steps() -> Vec<(usize, String)> {
    let (_, guide) = PAGE.split_once("\n## A guarded cluster in ten minutes\n").expect("the guide");
    let (guide, _) = guide.split_once("\n## ").expect("the rest of the page");
    let steps = (1..).map_while(|number| {
        let (_, step) = guide.split_once(&format!("\n**{number}. "))?;
        let step = step.split("\n**").next()?;
        let blocks = step.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
        Some((number, blocks.collect::<String>()))
    });
    steps.collect()
}

/// What the guide says that the refused commands of its last table print.
fn refusals() -> Vec<String> {
    let (_, table) = PAGE.split_once("\n| | answer |\n").expect("the table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| "));
    // The sentence is the last thing in backquotes that has spaces in it; `..` stands for more.
    let sentence = |row: &str| {
        let sentence = row.split('`').rfind(|part| part.contains(' ') && !part.contains('|'));
        sentence.expect("a sentence").trim_end_matches(" ..").to_owned()
    };
    rows.map(sentence).collect()
}

/// A command that waits until a line was printed.
fn until(line: &str) -> String {
    format!("until grep -q '^{line}' ../printed; do sleep 0.1; done\n")
}

/// What the whole guide has printed, and the logs of its processes.
struct Walk {
    printed: String,
    logs: String,
}

/// Follows the guide. The ports are its own: they are on a loopback address that nobody else uses.
fn walk() -> Walk {
    let [_, b, c, d] = rand::random::<u32>().to_be_bytes();
    let address = Ipv4Addr::new(127, b | 1, c, d | 1).to_string();
    let folder = TempDir::new().expect("a directory");
    let mut script =
        "exec > printed 2>&1\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n".to_owned();
    for (number, commands) in steps().into_iter().filter(|(number, _)| *number != LEFT_OUT) {
        // Everybody of step 8 is refused.
        let fails = if number == 8 { "set +e" } else { "set -e" };
        // Who reads the guide sees when the listener is there, and when it has printed everything.
        let commands = match number {
            5 => commands + &until("event: sync"),
            6 => commands.replace("kill %curl", &(until("data: again") + "kill %curl")),
            _ => commands,
        };
        script += &format!("echo '== step {number}'\n{fails}\n{commands}\n");
    }
    script += "echo '== the end'\n";
    let binary = Path::new(env!("CARGO_BIN_EXE_campanile"));
    let path = env::join_paths(
        [binary.parent().expect("a folder").to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").expect("a PATH"))),
    );
    // Ends all processes of the guide as well, which are in its group.
    let mut bash = Command::new("timeout");
    bash.args(["-k", "5", "25", "bash", "-u", "-c", &script.replace("127.0.0.1", &address)])
        .stdin(Stdio::null());
    bash.current_dir(&folder).env("PATH", path.expect("no colons"));
    // The default addresses for operators, which the guide does not name as addresses.
    for (service, port) in [("BROKER", 2216), ("GATEWAY", 4246), ("PUBLISHER", 4247)] {
        bash.env(format!("CAMPANILE_{service}_ADMIN_LISTEN"), format!("{address}:{port}"));
    }
    output_of(&mut bash);
    let printed = fs::read_to_string(folder.path().join("printed")).unwrap_or_default();
    let log = |name: &str| {
        fs::read_to_string(folder.path().join("campanile-trial").join(name)).unwrap_or_default()
    };
    let logs =
        ["broker.log", "gateway-1.log", "gateway-2.log", "publisher-1.log", "publisher-2.log"];
    Walk { printed, logs: logs.map(log).concat() }
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    assert_eq!(steps().len(), 9);
    let Walk { printed, logs } = walk();
    let all = format!("{printed}\n-- logs\n{logs}");
    for said in [
        "campanile.toml: everything is valid\n",
        "4236: 200\n4256: 200\n4237: 200\n4257: 200\n",
        "\ncampanile_gateway_ready 1\n",
        "data: hello\n",
        "data: again\n",
        "== the end\n",
    ] {
        assert!(printed.contains(said), "no {said:?} in:\n{all}");
    }
    assert_eq!(refusals().len(), 7);
    for sentence in refusals() {
        assert!(printed.contains(&sentence), "no {sentence:?} in:\n{all}");
    }
    assert!(!logs.contains("there is no listener for operators"), "{logs}");
}
