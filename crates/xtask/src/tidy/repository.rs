//! Rules for the repository as a whole.

use super::tree::File;

const REQUIRED: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Paths of the machine that a session works on; they exist for no user. In parts, so that this file
/// does not mention them itself.
const FORBIDDEN: &[&str] = &[concat!("..", "/shared"), concat!("/work", "/shared")];

/// Missing files, and mentions of paths outside the repository.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for required in REQUIRED {
        let has_text = files
            .iter()
            .any(|file| file.path == *required && !file.text.trim().is_empty());
        if !has_text {
            problems.push(format!("{required} is missing or empty"));
        }
    }
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if FORBIDDEN.iter().any(|path| line.contains(path)) {
                problems.push(format!(
                    "{}:{}: names a path outside the repository",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::tree::file;
    use super::*;

    fn complete() -> Vec<File> {
        REQUIRED.iter().map(|path| file(path, "text")).collect()
    }

    #[test]
    fn complete_repository_passes() {
        assert_eq!(check(&complete()), Vec::<String>::new());
    }

    #[test]
    fn each_missing_or_empty_file_fails() {
        for (index, required) in REQUIRED.iter().enumerate() {
            let mut files = complete();
            files[index].text = "\n".into();
            assert_eq!(check(&files), [format!("{required} is missing or empty")]);
            files.remove(index);
            assert_eq!(check(&files), [format!("{required} is missing or empty")]);
        }
    }

    #[test]
    fn path_outside_the_repository_fails_with_its_line() {
        for forbidden in FORBIDDEN {
            let mut files = complete();
            files.push(file("docs/a.md", &format!("see\n{forbidden}/notes.md\n")));
            assert_eq!(
                check(&files),
                ["docs/a.md:2: names a path outside the repository"]
            );
        }
    }
}
