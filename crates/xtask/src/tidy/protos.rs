//! Every message, service, rpc, enum, field and value in `proto/` has a comment.

use super::tree::File;

/// Violations in all `.proto` files; relies on the usual form of one declaration per line.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.path.starts_with("proto/") && file.path.ends_with(".proto"))
        .flat_map(check_file)
        .collect()
}

fn check_file(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    let mut has_comment_above = false;
    let mut in_statement = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("//") || line.starts_with("/*") || line.starts_with('*') {
            has_comment_above = true;
            continue;
        }
        let code = line.split("//").next().unwrap_or_default().trim();
        if !in_statement
            && !has_comment_above
            && !line.contains("//")
            && let Some(what) = declaration(code)
        {
            problems.push(format!(
                "{}:{}: {what} has no comment",
                file.path,
                index + 1
            ));
        }
        // A statement may go over several lines: only its first one declares something.
        in_statement = !(code.is_empty() || code.ends_with([';', '{', '}']));
        has_comment_above = false;
    }
    problems
}

/// What a line of code declares, if it is something that wants a comment.
fn declaration(code: &str) -> Option<String> {
    let words: Vec<&str> = code
        .split(|c: char| c.is_whitespace() || c == '(')
        .collect();
    let (first, second) = (*words.first()?, words.get(1).copied().unwrap_or_default());
    match first {
        "message" | "service" | "rpc" | "enum" => Some(format!("{first} {second}")),
        "" | "syntax" | "package" | "import" | "option" | "oneof" | "reserved" | "extensions"
        | "}" => None,
        // `TYPE NAME = 1;`, `map<K, V> NAME = 1;`, `VALUE = 1;`
        _ => {
            let (declared, number) = code.split_once('=')?;
            let is_numbered = number
                .trim_start()
                .starts_with(|c: char| c.is_ascii_digit() || c == '-');
            let name = declared.split_whitespace().last()?;
            // The zero value of an enum means what its name says.
            (is_numbered && !name.ends_with("_UNSPECIFIED")).then(|| name.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::file;
    use super::*;

    const GOOD: &str = r#"
syntax = "proto3";
package toka.vault.v1;
import "google/protobuf/timestamp.proto";

// A service.
service S {
  // Does a thing.
  rpc Get(GetRequest) returns (GetResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}
// A request.
message GetRequest {
  reserved 4;
  // The sequence.
  uint64 sequence = 1;
  map<string, string> pairs = 2; // Pairs, at most 16.
  oneof what {
    // A name.
    string name = 3 [
      deprecated = true
    ];
  }
}
// A state.
enum State {
  STATE_UNSPECIFIED = 0;
  // Stored.
  STATE_STORED = 1;
}
"#;

    #[test]
    fn commented_file_passes() {
        assert_eq!(
            check(&[file("proto/toka/vault/v1/a.proto", GOOD)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_declaration_without_its_comment_fails() {
        for comment in [
            "// A service.",
            "// Does a thing.",
            "// A request.",
            "// The sequence.",
            "// Pairs, at most 16.",
            "// A name.",
            "// A state.",
            "// Stored.",
        ] {
            let bad = GOOD.replace(comment, "");
            let problems = check(&[file("proto/a.proto", &bad)]);
            assert_eq!(problems.len(), 1, "without `{comment}`: {problems:?}");
        }
    }
}
