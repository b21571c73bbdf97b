use super::*;
use clap::{Arg, ArgAction, Command};

/// A gateway with one flag of each kind.
fn flags() -> Command {
    let flag = |key: &'static str, value_name: &'static str| {
        let variable = format!("CAMPANILE_GATEWAY_{}", key.to_uppercase());
        Arg::new(key).long(key.replace('_', "-")).value_name(value_name).env(variable)
    };
    let number = clap::value_parser!(i64).range(1..=9);
    let gateway = Command::new("gateway")
        .arg(flag("listen", "HOST:PORT"))
        .arg(flag("max_groups", "N").value_parser(number))
        .arg(flag("allow_host", "HOSTS"))
        .arg(flag("page", "WHETHER").value_parser(["on", "off"]))
        .arg(flag("open", "").action(ArgAction::SetTrue));
    Command::new("campanile").subcommand(gateway)
}

fn read(text: &str) -> Result<SettingsFile, Vec<String>> {
    let read = parse(Path::new("c.toml"), text.as_bytes(), &flags());
    read.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn scalars(text: &str) -> Vec<(String, String, usize)> {
    let read = read(text).expect("valid");
    read.scalars.into_iter().map(|scalar| (scalar.id, scalar.value, scalar.line)).collect()
}

fn errors(text: &str) -> Vec<String> {
    read(text).expect_err("wrong")
}

#[test]
fn a_value_is_what_it_would_be_on_the_command_line() {
    for (text, value) in [
        ("listen = \"a:1\"", "a:1"),
        ("listen = 'a:1'", "a:1"),
        ("max_groups = 3", "3"),
        ("max_groups = 0x7", "7"),
        ("max_groups = \"3\"", "3"),
        ("allow_host = \"a, b\"", "a, b"),
        ("allow_host = [\"a\", \"b\"]", "a,b"),
        ("allow_host = []", ""),
        ("page = \"off\"", "off"),
        ("open = true", "true"),
        ("open = false", "false"),
    ] {
        let read = scalars(&format!("\n[gateway]\n{text}"));
        let key = text.split(' ').next().expect("a key");
        assert_eq!(read, [(key.to_owned(), value.to_owned(), 3)], "{text}");
        let dotted = scalars(&format!("gateway.{text}"));
        assert_eq!(dotted, [(key.to_owned(), value.to_owned(), 1)], "{text}");
    }
    assert_eq!(scalars(""), []);
    assert_eq!(scalars("# nothing\n[gateway]\n"), []);
}

#[test]
fn an_error_names_file_line_key_value_and_what_is_accepted() {
    for (text, error) in [
        ("max_groups = 10", "max_groups = 10: 10 is not in 1..=9"),
        ("max_groups = -1", "max_groups = -1: -1 is not in 1..=9"),
        ("max_groups = 1.5", "max_groups = 1.5: accepted is a number"),
        ("max_groups = [1]", "max_groups = [..]: accepted is a number"),
        ("max_groups = {}", "max_groups = {..}: accepted is a number"),
        ("max_groups = 2020-01-01", "max_groups = 2020-01-01: accepted is a number"),
        ("listen = [\"a:1\"]", "listen = [..]: accepted is a string"),
        ("listen = true", "listen = true: accepted is a string"),
        ("allow_host = [1]", "allow_host = [..]: accepted are strings"),
        ("page = \"maybe\"", "page = \"maybe\": accepted is on, off"),
        ("open = \"true\"", "open = \"true\": accepted is true or false"),
        ("open = 1", "open = 1: accepted is true or false"),
    ] {
        let said = errors(&format!("# one\n[gateway]\n{text}\n"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("c.toml:3: [gateway] {error}")), "{text}: {said:?}");
    }
}

#[test]
fn an_unknown_key_or_section_suggests_the_nearest_one() {
    for (text, error) in [
        (
            "[gateway]\nmax-groups = 1",
            "c.toml:2: there is no key max-groups in [gateway]; did you mean max_groups?",
        ),
        ("[gateway]\nzzz = 1", "c.toml:2: there is no key zzz in [gateway]"),
        ("[gateways]", "c.toml:1: there is no section [gateways]; did you mean [gateway]?"),
        ("[[gateway]]", "c.toml:1: gateway: accepted is a section, [gateway]"),
        ("gateway = 1", "c.toml:1: gateway: accepted is a section, [gateway]"),
        ("listen = \"a:1\"", "c.toml:1: there is no section [listen]"),
        (
            "[log]\nlevl = \"info\"",
            "c.toml:2: log.levl: unknown field `levl`, expected `level` or `format`; did you mean `level`?",
        ),
    ] {
        assert_eq!(errors(text), [error], "{text}");
    }
}

#[test]
fn an_error_in_a_list_names_its_item() {
    let text = "[[keys]]\nname = \"a\"\nscopes = []\n[[keys]]\nname = 1\n\n[guests]\ngroup = []\n";
    let said = errors(text);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("c.toml:5: keys[1].name: invalid type: integer"), "{said:?}");
    assert!(said[1].starts_with("c.toml:8: guests.group: unknown field `group`"), "{said:?}");
    assert!(errors("[[keys]]\nscopes = []\n")[0].contains("missing field `name`"));
}

#[test]
fn what_is_no_toml_is_an_error_with_its_line() {
    let deep = format!("[gateway]\nlisten = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("[gateway]\n{}a = 1", "a.".repeat(100_000));
    assert!(errors(&dotted)[0].contains("recursion limit"));
    let number = format!("[gateway]\nmax_groups = {}", "9".repeat(100_000));
    let name = format!("[gateway]\n{} = 1", "a".repeat(100_000));
    let field = format!("[log]\n{} = 1", "a".repeat(100_000));
    for (text, line) in [
        ("[gateway]\nlisten = \"a:1\"\nlisten = \"b:1\"\n", 3),
        ("[gateway]\n[gateway]\n", 2),
        ("[gateway]\nlisten = \"a\0b\"", 2),
        ("[gateway]\nlisten = \"a\\u0000b\"", 2),
        ("[gateway]\nlisten = \"a\n", 2),
        ("[gateway\n", 1),
        ("[gateway]\nlisten", 2),
        ("[gateway]\nmax_groups = 99999999999999999999999999999999999999999999", 2),
        ("[gateway]\nmax_groups = 1e999", 2),
        ("[gateway]\nmax_groups = nan", 2),
        ("\u{feff}[gateway]\nmax_groups = 0", 2),
        (&*deep, 2),
        (&*number, 2),
        (&*name, 2),
        (&*field, 2),
    ] {
        let said = errors(text);
        let start = format!("c.toml:{line}: ");
        let shown: String = text.chars().take(60).collect();
        assert!(said.iter().all(|said| said.starts_with(&start)), "{shown:?}: {said:?}");
        assert!(
            said.iter().all(|said| !said.contains(['\n', '\0']) && said.len() < 1_100),
            "{shown:?}"
        );
    }
}

#[test]
fn the_line_of_a_broken_file_is_not_shown() {
    // It may hold a secret that somebody put into the wrong place.
    for text in ["secret = \"hunter2", "[tokens]\nsecret = hunter2\n", "[tokens]\nhunter2\n"] {
        let said = errors(text).concat();
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_file_of_any_shape_ends_in_little_memory_and_time() {
    // Each was quadratic in its size, or made an error of every line.
    let unknown: String = (0..80_000).map(|at| format!("a{at} = 1\n")).collect();
    let items = "1,".repeat(200_000);
    let long = "a".repeat(500_000);
    for (text, count) in [
        (format!("[gateway]\n{unknown}"), MAX_ERRORS),
        (unknown.clone(), MAX_ERRORS),
        (format!("[log]\n{long} = [{items}]\n"), 1),
        (format!("[[tokens.keys]]\n{long} = [{items}]\n"), 1),
        ("[[tokens.keys]]\nx=1\n".repeat(40_000), 1),
    ] {
        let said = errors(&text);
        assert_eq!(said.len(), count, "{:?}", said.first());
        assert!(said.iter().all(|line| line.len() < 1_100));
    }
    let many = "[[tokens.keys]]\n".repeat(60_000);
    let settings = read(&many).expect("TOML").settings;
    let wrong = settings.tokens.access(None, None, 100).expect_err("no keys");
    let lines = settings.places.lines(wrong);
    assert_eq!(lines.len(), 65, "{lines:?}");
    assert_eq!(
        lines[1],
        "c.toml:2: tokens.keys[1]: accepted is either secret_file or public_key_file"
    );
    assert_eq!(
        lines[64],
        "c.toml:1: tokens.keys: 59936 keys are too many: at most 64 are accepted"
    );
    let many = "[[keys]]\nname=''\nscopes=[]\n".repeat(30_000);
    let settings = read(&many).expect("TOML").settings;
    let wrong = keys::keys(&settings.keys, 1).expect_err("no names");
    assert_eq!(settings.places.lines(wrong).len(), MAX_ERRORS);
}
