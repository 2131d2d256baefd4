//! What is read out of Dockerfiles.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::words::{Expanded, Value, expand};
use super::{Instruction, Reading, parse};

/// One line per instruction: place, keyword, flags, words with their places.
fn shown(text: &str, reading: Reading) -> String {
    let file = parse(text, reading);
    let line = |it: &Instruction| {
        let flags: Vec<String> =
            it.flags.iter().map(|flag| format!(" --{}={}", flag.name, flag.value)).collect();
        let words: Vec<String> = it
            .words
            .iter()
            .map(|word| format!(" {}@{}:{}", word.text, word.at.line, word.at.column))
            .collect();
        format!(
            "{}:{} {}{}{}",
            it.at.line,
            it.at.column,
            it.keyword,
            flags.concat(),
            words.concat()
        )
    };
    let mut lines: Vec<String> = file.instructions.iter().map(line).collect();
    lines.extend(file.faults.iter().map(|it| format!("{}: {}", it.at.line, it.message)));
    lines.join("\n")
}

#[test]
fn instructions_flags_and_words_know_where_they_stand() {
    let text = "\u{feff}# escape=`\n# hello\n\n from --platform=linux/amd64 é:1 AS b\r\nCOPY --from=b `\n  # why\n\n  a \"b c\"   /d\nENV A=\"b c\" D=e\\ f\n";
    insta::assert_snapshot!(shown(text, Reading::Modern), @r#"
    4:2 FROM --platform=linux/amd64 é:1@4:30 AS@4:34 b@4:37
    5:1 COPY --from=b a@8:3 "b@8:5 c"@8:8 /d@8:13
    9:1 ENV A="b c"@9:5 D=e\@9:13 f@9:18
    "#);
}

#[test]
fn a_heredoc_belongs_to_its_instruction_for_a_modern_engine_only() {
    let text = "FROM a\nRUN <<EOF cat <<-'E 2'\nADD x y\nEOF\n\t\tE 2\nCOPY a b\n";
    insta::assert_snapshot!(shown(text, Reading::Modern), @r"
    1:1 FROM a@1:6
    2:1 RUN <<EOF@2:5 cat@2:11 <<-'E 2'@2:15
    6:1 COPY a@6:6 b@6:8
    ");
    insta::assert_snapshot!(shown(text, Reading::Old), @r"
    1:1 FROM a@1:6
    2:1 RUN <<EOF@2:5 cat@2:11 <<-'E 2'@2:15
    3:1 ADD x@3:5 y@3:7
    4:1 EOF
    5:3 E 2@5:5
    6:1 COPY a@6:6 b@6:8
    ");
    assert!(parse(text, Reading::Modern).is_ambiguous);
    insta::assert_snapshot!(shown("RUN <<EOF\nx", Reading::Modern), @r"
    1:1 RUN <<EOF@1:5
    1: a heredoc that begins here never ends
    ");
    for no_heredoc in ["RUN cat << EOF", "RUN a<<EOF", "RUN \"<<EOF\"", "ENV A=<<EOF", "RUN <<<x"] {
        assert!(parse(no_heredoc, Reading::Modern).heredoc.is_none(), "{no_heredoc}");
    }
}

#[test]
fn a_doubled_escape_continues_for_an_old_engine_only() {
    let text = "RUN echo \\\\ \nADD x y\n";
    assert_eq!(parse(text, Reading::Modern).instructions.len(), 2);
    assert_eq!(parse(text, Reading::Old).instructions.len(), 1);
    assert!(parse(text, Reading::Modern).is_ambiguous);
}

#[test]
fn directives_stand_at_the_top_only() {
    let names = |text: &str| {
        let file = parse(text, Reading::Modern);
        let names: Vec<String> =
            file.directives.iter().map(|it| format!("{}={}", it.name, it.value)).collect();
        names.join(" ")
    };
    for (text, want) in [
        ("# syntax = a/b\n#escape=`\nFROM x", "syntax=a/b escape=`"),
        ("#!/bin/x\n# Syntax=a\n", "syntax=a"),
        ("# hi\n# syntax=a\n", ""),
        ("\n# syntax=a\n", ""),
        ("FROM x\n# syntax=a\n", ""),
    ] {
        assert_eq!(names(text), want, "{text:?}");
    }
}

#[test]
fn variables_quotes_and_escapes_are_resolved() {
    let lookup = |name: &str| match name {
        "A" => Value::Text("a".to_owned()),
        "EMPTY" => Value::Text(String::new()),
        "BASE" => Value::Unknown,
        _ => Value::Unset,
    };
    for (word, want, unknown_at, has_unset) in [
        ("x$A-${A}", "xa-a", None, false),
        ("'$A' \"$A\" \\$A", "$A a $A", None, false),
        ("${X:-d${A}}", "da", None, false),
        ("${A:-d}${EMPTY:-e}${EMPTY-f}", "aef", None, false),
        ("${A:+y}${X+y}", "y", None, false),
        ("$X", "", None, true),
        ("ht${BASE}tp", "http", Some(2), false),
        ("${A#x}y", "y", Some(0), false),
        ("${", "", Some(0), false),
        ("$", "$", None, false),
    ] {
        let want = Expanded { text: want.to_owned(), unknown_at, has_unset, is_cut: false };
        assert_eq!(expand(word, '\\', &lookup), want, "{word}");
    }
}

#[test]
fn hostile_files_are_read_in_linear_time() {
    let start = Instant::now();
    for text in [
        format!("RUN {}", "a ".repeat(120_000)),
        "RUN a \\\n".repeat(28_000),
        "RUN <<A <<B\nA\n".repeat(16_000),
        format!("RUN {}", "<<A ".repeat(60_000)),
        "${a:-".repeat(50_000),
        format!("ENV {}", "A=$A ".repeat(50_000)),
        "\"".repeat(250_000),
        format!("ADD {}", "--a=b ".repeat(40_000)),
        "ONBUILD ".repeat(30_000),
    ] {
        for reading in [Reading::Modern, Reading::Old] {
            let file = parse(&text, reading);
            for word in file.instructions.iter().flat_map(|it| &it.words) {
                expand(&word.text, '\\', &|_| Value::Unset);
            }
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn no_text_panics_and_every_place_is_inside(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("FROM "), Just("RUN "), Just("ADD "), Just("<<E"), Just("E\n"), Just("\n"),
                Just("\\\n"), Just("\\"), Just("\""), Just("'"), Just("${"), Just("}"), Just("--a="),
                Just("ONBUILD "), Just("# escape=`\n"), Just("é\u{a0}"), Just("\u{feff}"), Just("x"),
                Just("[\"a\"]"), Just("\t"), Just("\u{212a}"), Just("\r\n"), Just(" "),
            ],
            0..40,
        ),
        noise in ".{0,12}",
    ) {
        let text = parts.concat() + &noise;
        let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines: Vec<&str> = body.split('\n').collect();
        for reading in [Reading::Modern, Reading::Old] {
            let file = parse(&text, reading);
            for instruction in &file.instructions {
                let spans = instruction.words.iter().map(|word| word.at);
                for span in spans.chain([instruction.at]) {
                    let line = lines.get(span.line as usize - 1);
                    prop_assert!(line.is_some(), "{:?}", span);
                    let n_chars = line.map_or(0, |line| line.chars().count());
                    prop_assert!(span.column as usize <= n_chars + 1, "{:?} {:?}", span, line);
                    prop_assert!(span.start <= body.len());
                }
                for word in &instruction.words {
                    expand(&word.text, file.escape, &|_| Value::Unknown);
                }
            }
        }
    }
}
