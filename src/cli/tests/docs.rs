//! What is written in `docs/` is true: pages are those of the table, snippets parse, commands exist.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use granit_parser::Parser;

use super::*;
use crate::catalog::rules::{self, page};
use crate::config::Config;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(docs(name)).unwrap_or_default()
}

/// `FLAGOPS_UPDATE=1 cargo nextest run --lib -E 'test(pages_of_docs_rules)'` writes them anew.
#[test]
fn the_pages_of_docs_rules_are_those_of_the_table() {
    let mut wanted: Vec<(String, String)> =
        rules::all().map(|rule| (format!("{}.md", rule.id), page::render(rule))).collect();
    wanted.push(("README.md".to_owned(), page::index()));
    wanted.sort();
    let folder = docs("rules");
    let there = || {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    if std::env::var_os("FLAGOPS_UPDATE").is_some() {
        there().iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &wanted {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(there(), names, "FLAGOPS_UPDATE=1 writes the pages anew");
    for (name, text) in wanted {
        let is = fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(is, text, "docs/rules/{name}: FLAGOPS_UPDATE=1 writes it anew");
    }
}

/// The fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => (),
        }
    }
    blocks
}

#[test]
fn every_yaml_snippet_is_yaml() {
    let mut n_snippets = 0;
    for name in ["ci.md", "rules.md"] {
        for (language, text) in blocks(&read(name)) {
            if language == "yaml" {
                n_snippets += 1;
                let fault = Parser::new_from_str(&text).find_map(Result::err);
                assert!(fault.is_none(), "docs/{name}: {fault:?} in\n{text}");
            }
        }
    }
    assert!(n_snippets >= 4, "{n_snippets}");
}

#[test]
fn every_command_of_the_docs_is_one() {
    let mut n_commands = 0;
    for name in ["ci.md", "rules.md"] {
        let page = read(name);
        let fenced = blocks(&page).into_iter().map(|(_, text)| text).collect::<String>();
        let spans = page.split('`').skip(1).step_by(2).filter(|it| it.starts_with("flagops "));
        for line in fenced.lines().chain(spans) {
            // The parts that the shell hands to us, one after the other.
            for command in line.split(" || ").flat_map(|part| part.split(" && ")) {
                let Some(at) = command.find("flagops check") else { continue };
                let words = command[at..].split(" > ").next().unwrap_or_default();
                let words = words.replace(['"', '\''], "");
                if let Err(error) = Cli::try_parse_from(words.split_whitespace()) {
                    panic!("docs/{name}: {words}: {error}");
                }
                n_commands += 1;
            }
        }
    }
    assert!(n_commands >= 10, "{n_commands}");
}

#[test]
fn every_command_and_setting_for_operators_is_one() {
    let page = read("operating.md");
    let mut n_commands = 0;
    for (language, text) in blocks(&page) {
        match language.as_str() {
            "sh" => {
                for line in text.lines() {
                    let words = line.split('#').next().unwrap_or_default();
                    if let Err(error) = Cli::try_parse_from(words.split_whitespace()) {
                        panic!("docs/operating.md: {words}: {error}");
                    }
                    n_commands += 1;
                }
            }
            "json" => assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}"),
            "toml" => {
                let file = tempfile::NamedTempFile::new().unwrap();
                fs::write(file.path(), text).unwrap();
                let (need, none) = (crate::config::Need::Client, crate::config::Overrides::new());
                let path = Some(file.path());
                crate::config::Config::load_for(need, path, [].into(), &none).unwrap();
            }
            other => panic!("docs/operating.md: a snippet of `{other}` that nobody checks"),
        }
    }
    assert!(n_commands >= 5, "{n_commands}");
    for kind in crate::model::ConditionType::WORDS {
        assert!(page.contains(&format!("`{kind}`")), "docs/operating.md does not name {kind}");
    }
}

#[test]
fn every_setting_about_forges_is_one() {
    let tables: Vec<String> = blocks(&read("webhooks.md"))
        .into_iter()
        .filter_map(|(language, text)| (language == "toml").then_some(text))
        .collect();
    assert_eq!(tables.len(), 2);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), tables.concat()).unwrap();
    let (need, none) = (crate::config::Need::Client, crate::config::Overrides::new());
    crate::config::Config::load_for(need, Some(file.path()), [].into(), &none).unwrap();
}

#[test]
fn every_command_and_setting_about_secrets_is_one() {
    let page = read("secrets.md");
    let spans = page.split('`').skip(1).step_by(2).filter(|it| it.starts_with("flagops "));
    let spans: Vec<String> = spans.map(|it| it.replace('\n', " ")).collect();
    let mut commands: Vec<String> = Vec::new();
    for (language, text) in blocks(&page) {
        match language.as_str() {
            "sh" => commands.extend(text.lines().map(str::to_owned)),
            "toml" => {
                let file = tempfile::NamedTempFile::new().unwrap();
                fs::write(file.path(), text).unwrap();
                let (need, none) = (crate::config::Need::Client, crate::config::Overrides::new());
                let config = Config::load_for(need, Some(file.path()), [].into(), &none).unwrap();
                assert!(config.secrets.identity_file.is_some());
            }
            _ => (),
        }
    }
    for command in &commands {
        if let Err(error) = Cli::try_parse_from(command.split_whitespace()) {
            panic!("docs/secrets.md: {command}: {error}");
        }
    }
    assert!(commands.len() >= 5, "{commands:?}");
    assert!(spans.iter().any(|it| it == "flagops secrets rekey"), "{spans:?}");
    for state in ["ok", "unopened", "stale", "closed", "broken"] {
        assert!(page.contains(&format!("| `{state}` |")), "{state}");
    }
}

#[test]
fn every_link_of_the_docs_leads_somewhere() {
    for name in ["ci.md", "rules.md", "operating.md", "webhooks.md", "secrets.md"] {
        for link in read(name).split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            assert!(docs(target).exists(), "docs/{name}: {target}");
        }
    }
}
