//! Rules for Rust files: size, names, and nothing left unfinished.

use super::tree::File;

const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const VAGUE_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager"];

/// Where all files come in through `toka_ledger::disk`,
const WITHOUT_FILES: &[&str] = &["crates/toka-ledger/src/", "crates/toka-raft/src/"];
/// except in the seam itself, and in the engine that has files of its own.
const WITH_FILES: &[&str] = &[
    "crates/toka-ledger/src/disk/system.rs",
    "crates/toka-ledger/src/engine/rocks/",
];

/// Code that is not finished. In parts, so that this file does not contain it itself.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[", "ignore"),
];

/// Violations in all Rust files.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        problems.extend(check_size(file));
        problems.extend(check_names(file));
        problems.extend(check_finished(file));
        problems.extend(check_disk(file));
    }
    problems
}

/// Lines outside inline test modules, with their numbers from 1.
///
/// Relies on rustfmt: a module at the top level closes with a brace in the first column.
pub(crate) fn product_lines(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut after_attribute = false;
    let mut in_tests = false;
    for (index, line) in text.lines().enumerate() {
        if in_tests {
            in_tests = line != "}";
        } else if line == "#[cfg(test)]" {
            after_attribute = true;
        } else if after_attribute && line.starts_with("mod ") && line.ends_with('{') {
            after_attribute = false;
            in_tests = true;
        } else {
            // Attributes may stand between `cfg(test)` and the module.
            after_attribute = after_attribute && line.starts_with("#[");
            kept.push((index + 1, line));
        }
    }
    kept
}

pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn check_size(file: &File) -> Option<String> {
    if file.is_test() {
        return None;
    }
    let lines = product_lines(&file.text).len();
    (lines > LINES_MAX).then(|| {
        format!(
            "{}: {lines} lines without tests, at most {LINES_MAX}",
            file.path
        )
    })
}

fn check_names(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    let stems = file
        .path
        .split('/')
        .map(|component| component.trim_end_matches(".rs"));
    for name in stems.filter(|stem| VAGUE_NAMES.contains(stem)) {
        problems.push(format!(
            "{}: `{name}` says nothing; name what it does",
            file.path
        ));
    }
    for (index, line) in file.text.lines().enumerate() {
        let inline = declared_module(line).filter(|name| VAGUE_NAMES.contains(name));
        if let Some(name) = inline {
            problems.push(format!(
                "{}:{}: `mod {name}` says nothing; name what it does",
                file.path,
                index + 1
            ));
        }
    }
    problems
}

/// The name in `mod NAME;` and `pub(crate) mod NAME {`.
fn declared_module(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "mod")?;
    let is_declaration = at == 0 || (words[0].starts_with("pub") && at <= 2);
    is_declaration.then(|| {
        words
            .get(at + 1)
            .map(|name| name.trim_end_matches([';', '{']))
    })?
}

fn check_finished(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in file
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| !is_comment(line))
    {
        for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
            problems.push(format!("{}:{}: `{mark}`", file.path, index + 1));
        }
    }
    problems
}

/// A simulation has no other disk than the one that is passed in.
fn check_disk(file: &File) -> Vec<String> {
    let begins = |with: &[&str]| with.iter().any(|prefix| file.path.starts_with(prefix));
    if file.is_test() || !begins(WITHOUT_FILES) || begins(WITH_FILES) {
        return Vec::new();
    }
    let lines = product_lines(&file.text).into_iter();
    let lines = lines.filter(|(_, line)| !is_comment(line) && line.contains("std::fs"));
    lines
        .map(|(number, _)| format!("{}:{number}: use `toka_ledger::disk`", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::file;
    use super::*;

    fn long(lines: usize) -> String {
        "fn f() {}\n".repeat(lines)
    }

    #[test]
    fn file_over_the_limit_fails_and_at_the_limit_passes() {
        let path = "crates/a/src/b.rs";
        assert_eq!(check(&[file(path, &long(500))]), Vec::<String>::new());
        let expected = format!("{path}: 501 lines without tests, at most 500");
        assert_eq!(check(&[file(path, &long(501))]), [expected]);
    }

    #[test]
    fn inline_test_module_does_not_count_but_code_after_it_does() {
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "    fn t() {}\n".repeat(600)
        );
        let path = "crates/a/src/b.rs";
        assert_eq!(
            check(&[file(path, &format!("{}{tests}", long(500)))]),
            Vec::<String>::new()
        );
        assert_eq!(
            check(&[file(path, &format!("{tests}{}", long(501)))]).len(),
            1
        );
    }

    #[test]
    fn test_only_item_hides_no_code_after_it() {
        let text = format!("#[cfg(test)]\nuse x::Y;\nmod real {{\n{}", long(501));
        assert_eq!(check(&[file("crates/a/src/b.rs", &text)]).len(), 1);
    }

    #[test]
    fn test_files_may_be_long() {
        let files = [
            file("crates/a/src/b/tests.rs", &long(900)),
            file("crates/a/tests/c.rs", &long(900)),
            file("tests/cluster/d.rs", &long(900)),
        ];
        assert_eq!(check(&files), Vec::<String>::new());
    }

    #[test]
    fn vague_module_names_fail() {
        for path in [
            "crates/a/src/utils.rs",
            "crates/a/src/common/x.rs",
            "tests/src/helpers.rs",
        ] {
            assert_eq!(check(&[file(path, "")]).len(), 1, "{path}");
        }
        for line in [
            "mod manager {",
            "pub mod utils;",
            "    pub(crate) mod common {",
        ] {
            assert_eq!(check(&[file("a.rs", line)]).len(), 1, "{line}");
        }
        assert_eq!(
            check(&[file("a.rs", "// a mod utils would be bad\nmod store;")]).len(),
            0
        );
    }

    #[test]
    fn unfinished_code_fails_and_comments_pass() {
        for mark in UNFINISHED {
            let code = check(&[file("a.rs", &format!("fn f() {{\n    {mark}\n}}"))]);
            assert_eq!(code, [format!("a.rs:2: `{mark}`")]);
            assert_eq!(
                check(&[file("a.rs", &format!("// {mark}"))]),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn file_system_is_used_in_the_seam_only() {
        let text = "use std::fs;\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        for path in [
            "crates/toka-raft/src/layout.rs",
            "crates/toka-ledger/src/dir.rs",
        ] {
            let expected = format!("{path}:1: use `toka_ledger::disk`");
            assert_eq!(check(&[file(path, text)]), [expected]);
        }
        for path in [
            "crates/toka-ledger/src/disk/system.rs",
            "crates/toka-ledger/src/engine/rocks/wal.rs",
            "crates/toka-raft/src/snapshot/tests.rs",
            "crates/toka-raft/tests/log_suite.rs",
            "crates/toka-cli/src/main.rs",
        ] {
            assert_eq!(check(&[file(path, text)]), Vec::<String>::new(), "{path}");
        }
    }
}
