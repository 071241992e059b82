//! The top-level modules of a crate import each other in no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::{is_comment, product_lines};
use super::tree::File;

/// Modules that belong into one room, and so are checked as one: (crate, module, the other).
const ONE_ROOM: &[(&str, &str, &str)] = &[
    ("crates/toka-ledger", "error", "core"),
    // The ledger is replaced by a snapshot, and a snapshot is a copy of the ledger.
    ("crates/toka-raft", "ledger_host", "snapshot"),
    // openraft's handle names the state machine in its type, and the state machine counts for it.
    ("crates/toka-raft", "compaction", "state_machine"),
];

/// Module to the modules that it names as `crate::MODULE`.
type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// A circle for each crate that has one. Re-exports at the crate's root hide edges from this check.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut crates: BTreeMap<&str, Vec<(&str, &File)>> = BTreeMap::new();
    for file in files
        .iter()
        .filter(|file| file.is_rust() && !file.is_test())
    {
        if let Some((name, path)) = file.path.split_once("/src/") {
            let module = path
                .split('/')
                .next()
                .unwrap_or(path)
                .trim_end_matches(".rs");
            if !["lib", "main", "bin"].contains(&module) {
                crates.entry(name).or_default().push((module, file));
            }
        }
    }
    crates
        .iter()
        .filter_map(|(name, modules)| {
            let circle = find_circle(&imports(name, modules))?;
            Some(format!(
                "{name}: modules import each other in a circle: {}",
                circle.join(" -> ")
            ))
        })
        .collect()
}

fn imports<'a>(crate_path: &str, modules: &[(&'a str, &File)]) -> Imports<'a> {
    let room = |module: &'a str| {
        let shared = ONE_ROOM
            .iter()
            .find(|(owner, name, _)| *owner == crate_path && *name == module);
        shared.map_or(module, |(_, _, room)| *room)
    };
    let mut imports: Imports<'a> = BTreeMap::new();
    for (module, file) in modules {
        let named = named_modules(&file.text);
        // Only names of modules: an item at the root is a re-export.
        let known = modules.iter().map(|(name, _)| *name);
        let targets = known.filter(|name| named.contains(*name)).map(room);
        let own = room(module);
        imports
            .entry(own)
            .or_default()
            .extend(targets.filter(|target| *target != own));
    }
    imports
}

/// Every NAME in `crate::NAME` and `crate::{NAME::.., NAME}`.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code: String = product_lines(text)
        .into_iter()
        .filter(|(_, line)| !is_comment(line))
        .flat_map(|(_, line)| [line, "\n"])
        .collect();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.extend(rest.split(|c| !is_word(c)).next().map(str::to_owned)),
        }
    }
    names
}

/// The first name of each part of `a::B, c::{D, E}, f}`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![String::new()];
    let mut depth = 0_usize;
    let mut in_head = true;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(String::new());
                in_head = true;
            }
            ':' => in_head = false,
            c if in_head && depth == 0 => {
                let head = heads.last_mut().expect("there is always a head");
                if !c.is_whitespace() {
                    head.push(c);
                } else if !head.is_empty() {
                    in_head = false;
                }
            }
            _ => {}
        }
    }
    heads
}

/// A path that ends where it starts.
fn find_circle<'a>(imports: &Imports<'a>) -> Option<Vec<&'a str>> {
    let mut finished = BTreeSet::new();
    imports
        .keys()
        .find_map(|start| visit(start, imports, &mut Vec::new(), &mut finished))
}

fn visit<'a>(
    module: &'a str,
    imports: &Imports<'a>,
    path: &mut Vec<&'a str>,
    finished: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(at) = path.iter().position(|earlier| *earlier == module) {
        return Some(path[at..].iter().copied().chain([module]).collect());
    }
    if finished.contains(module) {
        return None;
    }
    path.push(module);
    let circle = imports
        .get(module)
        .into_iter()
        .flatten()
        .find_map(|target| visit(target, imports, path, finished));
    path.pop();
    finished.insert(module);
    circle
}

#[cfg(test)]
mod tests {
    use super::super::tree::file;
    use super::*;

    #[test]
    fn one_way_imports_pass() {
        let files = [
            file("crates/a/src/lib.rs", "pub use crate::bus::Bus;"),
            file(
                "crates/a/src/bus.rs",
                "use crate::{store::Table, error::Error};",
            ),
            file(
                "crates/a/src/store/table.rs",
                "use crate::error;\n// see crate::bus\n",
            ),
            file(
                "crates/a/src/error.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::bus;\n}\n",
            ),
        ];
        assert_eq!(check(&files), Vec::<String>::new());
    }

    #[test]
    fn modules_of_one_room_may_import_each_other() {
        let files = |owner: &str| {
            [
                file(
                    &format!("{owner}/src/core/id.rs"),
                    "use crate::error::Error;",
                ),
                file(&format!("{owner}/src/error.rs"), "use crate::core::Id;"),
            ]
        };
        assert_eq!(check(&files("crates/toka-ledger")), Vec::<String>::new());
        assert_eq!(check(&files("crates/toka-raft")).len(), 1);
    }

    #[test]
    fn circle_fails_with_its_path() {
        let files = [
            file(
                "crates/a/src/bus.rs",
                "use crate::{\n    error::Error,\n    store::{A, B},\n};",
            ),
            file("crates/a/src/store/table.rs", "fn f() { crate::hash::g() }"),
            file("crates/a/src/hash.rs", "use crate::bus::Bus;"),
            file("crates/a/src/error.rs", ""),
        ];
        assert_eq!(
            check(&files),
            ["crates/a: modules import each other in a circle: bus -> store -> hash -> bus"]
        );
    }
}
