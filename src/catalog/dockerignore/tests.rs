//! The patterns of Docker's documentation, and what holds for all others.

use proptest::prelude::*;

use super::*;

/// Whether `path` is left out by the lines of `text`, asked folder by folder.
fn is_left_out(text: &str, path: &str) -> bool {
    let ignore = Ignore::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let mut verdict = Verdict::default();
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        assert!(ignore.may_hold_files(verdict) || ignore.is_left_out(verdict));
        verdict = ignore.verdict(verdict, &path[..end]);
    }
    ignore.is_left_out(verdict)
}

#[test]
fn patterns_match_what_docker_says_they_match() {
    for (text, left_out, sent) in [
        // docs.docker.com/build/concepts/context/#dockerignore-files
        ("# comment\n", "", "comment #"),
        ("*/temp*", "a/temp a/temporary.txt a/temp/x", "temp a/b/temp"),
        ("*/*/temp*", "a/b/temporary.txt", "a/temp a/b/c/temp"),
        ("temp?", "tempa tempb", "temp tempab a/tempa"),
        ("**/*.go", "x.go a/x.go a/b/x.go", "x.gox a/go"),
        ("*.md\n!README.md", "a.md", "README.md a/b.md"),
        ("*.md\n!README*.md\nREADME-secret.md", "a.md README-secret.md", "README.md README-x.md"),
        ("*.md\nREADME-secret.md\n!README*.md", "a.md", "README.md README-secret.md"),
        ("/foo/bar", "foo/bar foo/bar/x", "bar a/foo/bar"),
        ("foo/bar", "foo/bar", "a/foo/bar foo/barx"),
        (".", "", "a a/b"),
        ("/", "", "a a/b"),
        // Anchored, unlike in a .gitignore.
        ("foo", "foo foo/x foo/x/y", "sub/foo foobar"),
        ("foo/\n", "foo foo/x", "sub/foo"),
        ("  ./foo//bar/../baz/  \r\n", "foo/baz", "foo/bar"),
        ("../foo", "", "foo"),
        ("/../foo", "foo", ""),
        ("\u{feff}foo", "foo", ""),
        // `!` takes back below what is left out, as a whole folder too.
        ("*\n!src/a", "x src src/b", "src/a src/a/b"),
        ("foo\n!foo/bar\nfoo/bar/baz", "foo/x foo/bar/baz", "foo/bar/x"),
        ("! foo\nfoo", "foo", "x"),
        // `**` in all places.
        ("**", "a a/b", ""),
        ("**/foo", "foo a/foo a/b/foo", "xfoo a/xfoo"),
        ("**foo", "foo a/foo", "xfoo"),
        ("foo/**", "foo/a foo/a/b", "foo foox/a"),
        ("a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb"),
        ("a**/b", "ab ax/b a/b ax/y/b", "axb x/ab"),
        ("a**", "a ab ab/c a/c", "xa x/a"),
        ("**/**/a", "a x/a x/y/a", "xa"),
        ("a**/**/b", "ab ax/b ax/y/b", "axb"),
        ("a**/**", "a ab ab/c", "b"),
        ("***/a", "x/a x/y/a", "a"),
        // Sets and escapes.
        ("[a-c]x", "ax bx cx", "dx x"),
        ("[^a-c]x", "dx", "ax x"),
        ("[!a]x", "ax !x", "bx"),
        (r"[\]\-a]x", "]x -x ax", r"\x bx"),
        (r"[^\]\-]x", "ax", "]x -x"),
        ("[,{]x", ",x {x", "x }x"),
        (r"\*x", "*x", "ax"),
        (r"\!x", "!x", "x"),
        ("{a,b}", "{a,b}", "a b"),
        (" #x", "#x", "x"),
        ("a b", "a b", "a"),
        ("é*", "é éa", "e"),
        ("a.b+(c)|$", "a.b+(c)|$", "axb"),
    ] {
        // Names with a blank in them are one entry where the pattern has one.
        let split = |names: &'static str| -> Vec<&'static str> {
            if text == "a b" { vec![names] } else { names.split_whitespace().collect() }
        };
        for path in split(left_out) {
            assert!(is_left_out(text, path), "{text:?} should leave out {path:?}");
        }
        for path in split(sent) {
            assert!(!is_left_out(text, path), "{text:?} should not leave out {path:?}");
        }
    }
}

#[test]
fn a_bad_pattern_is_named_with_its_line() {
    for (text, want) in [
        ("a\n!\n", "line 2: `!` needs a pattern"),
        ("a\n\n[a", "line 3: a `[` is never closed; write `\\[` for the character itself"),
        ("[]", "line 1: `]` and `-` inside of `[…]` need a `\\` before them"),
        ("[a-]", "line 1: `]` and `-` inside of `[…]` need a `\\` before them"),
        ("[b-a]", "line 1: a range in `[…]` runs backwards"),
        ("[é]", "line 1: only ASCII characters can be in `[…]`; use `*` for others"),
        ("a\\", "line 1: a `\\` ends the pattern"),
    ] {
        assert_eq!(Ignore::parse(text.as_bytes()).unwrap_err().to_string(), want, "{text:?}");
    }
    assert_eq!(
        Ignore::parse(b"a\n\xff\n").unwrap_err(),
        IgnoreError::Line { line: 2, reason: "the line is not UTF-8" }
    );
    assert_eq!(Ignore::parse(&b"a\n".repeat(1001)).unwrap_err(), IgnoreError::TooMuch);
    assert_eq!(Ignore::parse(&b"[ -~]".repeat(5000)).unwrap_err(), IgnoreError::TooMuch);
}

#[test]
fn a_folder_is_entered_only_when_a_later_line_takes_back() {
    for (text, want) in [
        ("a", false),
        ("!a/b\na", false),
        ("a\n!a/b", true),
        ("a\n!z", true),
        ("b", true),
        ("a\n!a", true),
    ] {
        let ignore = Ignore::parse(text.as_bytes()).unwrap();
        let verdict = ignore.verdict(Verdict::default(), "a");
        assert_eq!(ignore.may_hold_files(verdict), want, "{text:?}");
    }
}

/// Moby's own reading of a pattern: its regular expression, matched by trying everything.
fn reference(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*', rest @ ..] => {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            let after_slash = |at: usize| at == 0 || path[at - 1] == b'/';
            rest.is_empty()
                || (0..=path.len()).any(|at| after_slash(at) && reference(rest, &path[at..]))
        }
        [b'*', rest @ ..] => {
            let end = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
            (0..=end).any(|at| reference(rest, &path[at..]))
        }
        [b'?', rest @ ..] => {
            path.first().is_some_and(|&byte| byte != b'/') && reference(rest, &path[1..])
        }
        [byte, rest @ ..] => path.first() == Some(byte) && reference(rest, &path[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_pattern_matches_as_in_moby(
        pattern in "[ab*?/]{1,8}",
        path in "[ab]{1,3}(/[ab]{1,2}){0,3}",
    ) {
        let pattern = cleaned(&pattern);
        prop_assume!(!pattern.is_empty());
        let glob = glob_of(&pattern).unwrap();
        prop_assert_eq!(
            glob.compile_matcher().is_match(&path),
            reference(pattern.as_bytes(), path.as_bytes()),
            "{} as {} on {}", pattern, glob.glob(), path
        );
    }

    #[test]
    fn every_set_and_escape_that_parses_compiles(text in r"[\[\]\\^!,{}a\-*/\n]{0,24}") {
        prop_assert_ne!(Ignore::parse(text.as_bytes()).err(), Some(IgnoreError::TooMuch));
        for line in text.lines() {
            prop_assert_ne!(glob_of(line).err(), Some("the pattern cannot be understood"));
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), path in ".*") {
        if let Ok(ignore) = Ignore::parse(&bytes) {
            let verdict = ignore.verdict(Verdict::default(), &path);
            prop_assert!(ignore.may_hold_files(verdict) || ignore.is_left_out(verdict));
        }
    }

    #[test]
    fn a_folder_that_is_not_entered_holds_nothing(
        text in "(!?[ab*/]{1,4}\n){1,5}",
        path in "[ab](/[ab]){1,3}",
    ) {
        if let Ok(ignore) = Ignore::parse(text.as_bytes()) {
            let mut verdict = Verdict::default();
            let mut was_closed = false;
            for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
                verdict = ignore.verdict(verdict, &path[..end]);
                prop_assert!(!was_closed || ignore.is_left_out(verdict));
                was_closed |= !ignore.may_hold_files(verdict);
            }
        }
    }
}
