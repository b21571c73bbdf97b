//! No two files of a crate need each other: whoever reads one need not know the other. A file and the
//! files in its folder may.
//!
//! Reads `use` trees and paths that begin with `crate` or `super`, up to the tests in a file. A name
//! that a file has from elsewhere (`crate::Name` where `lib.rs` says `pub use file::Name`) counts as
//! the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The path of a module or of a name in it. That of `lib.rs` is empty.
type Module = Vec<String>;

#[test]
fn the_files_of_a_crate_need_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for name in [
        "messages",
        "edge",
        "channel",
        "gateway",
        "publisher",
        "integration",
        "integration/bench",
        "integration/harness",
    ] {
        let circle = circle(&needs(&modules(&root.join(name).join("src"))));
        assert!(circle.is_empty(), "{name}: {}", circle.join(" -> "));
    }
}

#[test]
fn a_circle_of_files_is_found() {
    let mut files = BTreeMap::from([
        file("a", "use crate::{b::{B, c::C as D}, x};\nmod child;"),
        file("a/child", "use super::A; fn f() { crate::b::g(); }"),
        file("b/c", "// use crate::a::A;\n#[cfg(test)]\nmod tests { use crate::a::A; }"),
        file("b", "pub mod c;"),
    ]);
    assert_eq!(circle(&needs(&files)), [""; 0]);
    files.extend([file("b/c", "use super::super::a::A;")]);
    assert_eq!(circle(&needs(&files)), ["a", "b::c", "a"]);
}

#[test]
fn a_circle_through_names_from_elsewhere_is_found() {
    let root =
        file("", "mod a;\nmod b;\npub use b::{B as Renamed, c};\npub(crate) use self::a::A;");
    let mut files = BTreeMap::from([
        root,
        file("a", "use crate::Renamed;\npub struct A;"),
        file("b", "mod c;\npub use c::B;"),
        file("b/c", "pub struct B;"),
    ]);
    assert_eq!(circle(&needs(&files)), [""; 0]);
    files.extend([file("b/c", "use crate::{\n    A,\n};\npub struct B;")]);
    assert_eq!(circle(&needs(&files)), ["a", "b::c", "a"]);
    files.extend([file("a", "fn f() { crate::c::f() }"), file("b/c", "use super::A;")]);
    files.extend([file("b", "mod c;\nuse super::A;")]);
    assert_eq!(circle(&needs(&files)), ["a", "b::c", "a"]);
}

fn file(path: &str, text: &str) -> (Module, String) {
    (path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect(), text.to_owned())
}

/// The files below `folder` by their modules.
fn modules(folder: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let mut module = module.clone();
            match &*name {
                "lib" | "main" => {}
                "tests" => continue,
                _ => module.push(name),
            }
            if path.is_dir() {
                folders.push((path, module));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                modules.insert(module, std::fs::read_to_string(path).expect("a text"));
            }
        }
    }
    modules
}

/// A file without its tests and comments.
struct Source {
    code: String,
    /// The names that `use` brings into it, and where they are from.
    names: BTreeMap<String, Module>,
}

impl Source {
    fn read(text: &str) -> Self {
        let end = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub mod tests"];
        let end = end.iter().filter_map(|tests| text.find(tests)).min().unwrap_or(text.len());
        let code = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        let names = uses(&code).into_iter().map(|(path, name)| (name, path)).collect();
        Self { code, names }
    }
}

/// Which files each file needs.
fn needs(files: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let sources: BTreeMap<_, _> =
        files.iter().map(|(module, text)| (module.clone(), Source::read(text))).collect();
    let needs_of = |module: &Module, source: &Source| {
        let used = uses(&source.code).into_iter().map(|(path, _)| path);
        let paths = used.chain(paths(&source.code)).filter_map(|path| absolute(module, &path));
        let needed = paths.map(|path| origin(&sources, path));
        let is_kin = |needed: &Module| needed.starts_with(module) || module.starts_with(needed);
        needed.filter(|needed| !is_kin(needed)).collect()
    };
    let files = sources.iter().filter(|(module, _)| !module.is_empty());
    files.map(|(module, source)| (module.clone(), needs_of(module, source))).collect()
}

/// The path from the crate's root of one that stands in `module`; `None` if it may be another crate's.
fn absolute(module: &Module, path: &[String]) -> Option<Module> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    match (path.first().map(String::as_str), supers) {
        (Some("crate"), _) => Some(path[1..].to_vec()),
        (Some("self"), _) => Some([module, &path[1..]].concat()),
        (_, 0) => None,
        _ => Some([&module[..module.len().saturating_sub(supers)], &path[supers..]].concat()),
    }
}

/// The file that a path comes from, through every `use` on its way.
fn origin(sources: &BTreeMap<Module, Source>, mut path: Module) -> Module {
    // As many as no sound crate has.
    for _ in 0..20 {
        let file_len = (0..=path.len()).rev().find(|len| sources.contains_key(&path[..*len]));
        let (file, rest) = path.split_at(file_len.unwrap_or(0));
        let file = file.to_vec();
        let used = rest.first().and_then(|name| sources.get(&file)?.names.get(name));
        let from = used.and_then(|used| {
            // A path that begins with the name of a child stands for one that begins with `self`.
            let child = [&file[..], &used[..1]].concat();
            if sources.contains_key(&child) {
                Some([&file[..], used].concat())
            } else {
                absolute(&file, used)
            }
        });
        match from {
            Some(from) => path = [&from[..], &rest[1..]].concat(),
            None => return file,
        }
    }
    panic!("{} is used in a circle", path.join("::"));
}

/// The paths of all `use` trees, each with the name that it brings into the file.
fn uses(code: &str) -> Vec<(Module, String)> {
    let starts = code.match_indices("use ").filter(|(start, _)| {
        let line = code[..*start].rsplit('\n').next().unwrap_or_default().trim_start();
        line.is_empty() || line.starts_with("pub")
    });
    let trees = starts.filter_map(|(start, word)| code[start + word.len()..].split_once(';'));
    trees.flat_map(|(tree, _)| branches(&[], tree)).collect()
}

fn branches(stem: &[String], tree: &str) -> Vec<(Module, String)> {
    let tree = tree.trim();
    let names = |path: &str| {
        let names = path.split("::").map(str::trim).filter(|name| !name.is_empty());
        [stem, &names.map(str::to_owned).collect::<Vec<_>>()].concat()
    };
    if let Some((path, inner)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) {
        let (stem, mut depth) = (names(path), 0);
        let inner = inner.split(|next| {
            depth += i32::from(next == '{') - i32::from(next == '}');
            next == ',' && depth == 0
        });
        return inner.flat_map(|branch| branches(&stem, branch)).collect();
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path = names(path);
    path.pop_if(|last| last == "self");
    let name = if alias.is_empty() { path.last().cloned() } else { Some(alias.to_owned()) };
    name.map(|name| (path, name)).into_iter().collect()
}

/// The paths outside of `use` trees that begin with `crate` or `super`.
fn paths(code: &str) -> Vec<Module> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let starts = code.match_indices("crate::").chain(code.match_indices("super::"));
    let starts = starts.filter(|(start, _)| !code[..*start].ends_with(is_path));
    let path = |(start, _): (usize, &str)| {
        let path = code[start..].split(|c: char| !is_path(c)).next().unwrap_or_default();
        path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    starts.map(path).collect()
}

/// A way from a file back to it; empty if there is none.
fn circle(needs: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    fn walk(
        needs: &BTreeMap<Module, BTreeSet<Module>>,
        module: &Module,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(start) = way.iter().position(|other| other == module) {
            way.drain(..start);
            way.push(module.clone());
            return true;
        }
        if done.contains(module) {
            return false;
        }
        way.push(module.clone());
        let found = needs[module].iter().any(|needed| walk(needs, needed, way, done));
        if !found {
            way.pop();
            done.insert(module.clone());
        }
        found
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    let found = needs.keys().any(|module| walk(needs, module, &mut way, &mut done));
    if found { way.iter().map(|module| module.join("::")).collect() } else { Vec::new() }
}
