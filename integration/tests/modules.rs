//! No two files of a crate need each other: whoever reads one need not know the other. A file and the
//! files in its folder may.
//!
//! Reads `use` trees and paths that begin with `crate` or `super`, up to the tests in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Module = Vec<String>;

#[test]
fn the_files_of_a_crate_need_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for name in ["messages", "edge", "gateway", "publisher"] {
        let circle = circle(&needs(&modules(&root.join(name).join("src"))));
        assert!(circle.is_empty(), "{name}: {}", circle.join(" -> "));
    }
}

#[test]
fn a_circle_of_files_is_found() {
    let file = |path: &str, text: &str| {
        (path.split('/').map(str::to_owned).collect::<Module>(), text.to_owned())
    };
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
                "lib" | "main" | "mod" => {}
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
    modules.remove(&Module::new());
    modules
}

/// Which files each file needs.
fn needs(files: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let needs_of = |module: &Module, text: &String| {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        let mut needs = BTreeSet::new();
        for path in paths(&code) {
            let supers = path.iter().take_while(|name| *name == "super").count();
            let mut needed = match supers {
                0 => path[1..].to_vec(),
                _ => [&module[..module.len().saturating_sub(supers)], &path[supers..]].concat(),
            };
            while !needed.is_empty() && !files.contains_key(&needed) {
                needed.pop();
            }
            let is_kin = needed.starts_with(module) || module.starts_with(&needed);
            if !needed.is_empty() && !is_kin {
                needs.insert(needed);
            }
        }
        needs
    };
    files.iter().map(|(module, text)| (module.clone(), needs_of(module, text))).collect()
}

/// The paths of a text that begin with `crate` or `super`, those of `use` trees each on its own.
fn paths(code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    let starts = code.match_indices("crate::").chain(code.match_indices("super::"));
    for (start, _) in starts {
        let is_start =
            !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if is_start {
            branch(&mut code[start..].chars().peekable(), &[], &mut paths);
        }
    }
    paths
}

/// Reads one branch of a tree, which stands behind `stem`.
fn branch(
    code: &mut std::iter::Peekable<std::str::Chars<'_>>,
    stem: &[String],
    paths: &mut Vec<Module>,
) {
    let mut path = stem.to_vec();
    let mut name = String::new();
    while let Some(&next) = code.peek() {
        match next {
            '{' => {
                code.next();
                while code.peek().is_some_and(|next| *next != '}') {
                    let before = code.clone().count();
                    branch(code, &path, paths);
                    // What follows a name, such as `as Other,`, is not a path.
                    while code.next_if(|next| !matches!(next, ',' | '}')).is_some() {}
                    code.next_if_eq(&',');
                    assert!(code.clone().count() < before, "a tree ends");
                }
                code.next();
                return;
            }
            ':' => {
                path.push(std::mem::take(&mut name));
                code.next();
                code.next_if_eq(&':');
            }
            next if next.is_alphanumeric() || next == '_' => {
                name.push(next);
                code.next();
            }
            next if next.is_whitespace() && name.is_empty() => {
                code.next();
            }
            _ => break,
        }
    }
    path.push(name);
    paths.push(path);
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
