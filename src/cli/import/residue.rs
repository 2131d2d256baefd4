//! What should not be in a repository of challenges, and came along with an imported folder.
//!
//! In:  a folder on disk. Out: file and line of each literal flag, and of each secret in a file of
//! variables.
//!
//! # Invariants
//! * The value of a flag or secret is never given, only where it stands.
//! * Links are not followed.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::catalog;

/// Larger files are not looked into.
const MAX_BYTES: u64 = 2 << 20;
/// Parts of the name of a variable that holds a secret.
const SECRET_WORDS: &[&str] = &["FLAG", "KEY", "PASS", "PASSWD", "PASSWORD", "SECRET", "TOKEN"];

/// One line that holds one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Residue {
    /// Inside of the folder.
    pub(super) file: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// What stands there, without its value.
    pub(super) what: String,
}

/// Everything found below `folder`, in order.
///
/// # Errors
/// When a file or folder cannot be read.
pub(super) fn find(folder: &Path) -> io::Result<Vec<Residue>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() && entry.file_name() != ".git" {
                open.push(path);
            } else if kind.is_file() && entry.metadata()?.len() <= MAX_BYTES {
                let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                // What is no text is no place where an author writes a flag.
                if let Ok(text) = String::from_utf8(fs::read(&path)?) {
                    found.extend(lines(&name, &text));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

fn lines(file: &str, text: &str) -> Vec<Residue> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let is_variables = name == ".env" || name.starts_with(".env.") || name.ends_with(".env");
    let what = |line: &str| {
        if catalog::literal_flags(line).next().is_some() {
            return Some("a literal flag".to_owned());
        }
        let secret = secret(line).filter(|_| is_variables)?;
        Some(format!("a value of `{secret}`"))
    };
    let numbered = (1..).zip(text.lines());
    numbered
        .filter_map(|(line, text)| Some(Residue { file: file.to_owned(), line, what: what(text)? }))
        .collect()
}

/// The name of the variable that a line sets, when it is that of a secret.
fn secret(line: &str) -> Option<&str> {
    let (name, value) = line.trim().split_once('=')?;
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_secret =
        name.split('_').any(|part| SECRET_WORDS.iter().any(|word| word.eq_ignore_ascii_case(part)));
    let is_set = !value.trim().trim_matches(['"', '\'']).is_empty();
    (is_name && is_secret && is_set).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, text: &str) -> Vec<String> {
        let shown = |it: Residue| format!("{}:{} {}", it.file, it.line, it.what);
        lines(file, text).into_iter().map(shown).collect()
    }

    #[test]
    fn flags_are_found_everywhere_and_secrets_in_files_of_variables() {
        let text =
            "A=1\nFLAG=FLAG{real_one_123}\n# DB_PASSWORD=\nexport DB_PASSWORD='x'\nAPI_KEY=\n";
        let named = ["web/.env:2 a literal flag", "web/.env:4 a value of `DB_PASSWORD`"];
        assert_eq!(check("web/.env", text), named);
        assert_eq!(check("web/app.sh", text), ["web/app.sh:2 a literal flag"]);
        assert!(check("app.py", "x = 'FLAG{...}'\ny = 'FLAG{sample-flag}'\n").is_empty());
    }

    #[test]
    fn the_value_is_never_told() {
        let told = check(".env.local", "TOKEN=hunter2\nF=FLAG{real_one_123}\n").join(" ");
        assert!(!told.contains("hunter2") && !told.contains("real_one"), "{told}");
    }
}
