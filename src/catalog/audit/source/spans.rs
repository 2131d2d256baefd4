//! The parts of a source that players see (`contract/challenges.md` §3.7).
//!
//! In:  a text and its extension. Out: [`Piece`]s of it.
//!
//! # Invariants
//! * Linear in the text; a piece knows where it came from.
//!
//! # Not here
//! JSX (`jsx`), what a piece may not say (`words`).

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::jsx;

/// Shortest literal of a script that counts as text, in characters.
const MIN_SCRIPT_CHARS: usize = 30;

/// Whether internal paths matter in a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    Checked,
    Ignored,
}

/// A text that players see.
#[derive(Debug)]
pub(super) struct Piece<'t> {
    /// What they see.
    pub text: Cow<'t, str>,
    /// Where it begins in the source.
    pub start: usize,
    /// What was taken out of it: before which byte of `text`, and how many bytes.
    pub holes: Vec<(usize, usize)>,
    /// Whether internal paths matter.
    pub paths: Paths,
}

impl<'t> Piece<'t> {
    /// A part of the source as it is.
    pub(super) fn whole(start: usize, text: &'t str, paths: Paths) -> Self {
        Self { text: Cow::Borrowed(text), start, holes: Vec::new(), paths }
    }

    /// Where byte `at` of the piece is in the source.
    pub(super) fn origin(&self, at: usize) -> usize {
        let before = self.holes.iter().take_while(|(hole, _)| *hole <= at);
        self.start + at + before.map(|(_, n_bytes)| n_bytes).sum::<usize>()
    }
}

/// Whether any part of a file with this extension is shown to players.
pub(super) fn is_rendered(extension: &str) -> bool {
    kind(extension).is_some()
}

/// Whether what players see of such a file is not written in it letter by letter.
pub(super) fn is_rewritten(extension: &str) -> bool {
    matches!(kind(extension), Some(Kind::Jsx))
}

/// How to find what players see.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Php,
    Page,
    Component,
    Python,
    Jsx,
    Script,
}

fn kind(extension: &str) -> Option<Kind> {
    Some(match extension {
        "php" => Kind::Php,
        "html" | "htm" | "ejs" | "hbs" | "handlebars" | "j2" | "jinja" | "jinja2" | "tmpl"
        | "tpl" | "twig" | "mustache" => Kind::Page,
        "vue" | "svelte" => Kind::Component,
        "py" => Kind::Python,
        "jsx" | "tsx" => Kind::Jsx,
        "js" | "ts" | "mjs" | "cjs" => Kind::Script,
        _ => return None,
    })
}

/// What players see of `text`.
pub(super) fn rendered<'t>(extension: &str, text: &'t str) -> Vec<Piece<'t>> {
    match kind(extension) {
        None => Vec::new(),
        Some(Kind::Page) => vec![Piece::whole(0, text, Paths::Checked)],
        Some(Kind::Php) => php(text),
        Some(Kind::Component) => groups(&COMPONENT, text, Paths::Checked).collect(),
        Some(Kind::Script) => literals(text, Paths::Ignored).collect(),
        Some(Kind::Python) => {
            let blocks = groups(&TRIPLE, text, Paths::Checked)
                .filter(|piece| piece.text.chars().count() >= MIN_SCRIPT_CHARS);
            blocks.chain(literals(text, Paths::Checked)).collect()
        }
        Some(Kind::Jsx) => {
            let mut pieces = jsx::pieces(text);
            pieces.extend(literals(text, Paths::Ignored));
            pieces
        }
    }
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests compile")
}

static COMPONENT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?is)<template(?:\s[^>]*)?>(.*?)</template>"));
static TRIPLE: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?s)"""(.*?)"""|'''(.*?)'''"#));
/// A literal of one line. No letter touches it: the apostrophe of `don't` opens none.
static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:^|[^A-Za-z0-9_])(?:",
        r#""((?:\\.|[^"\n\r]){30,})""#,
        r"|'((?:\\.|[^'\n\r]){30,})'",
        r"|`((?:\\.|[^`\n\r]){30,})`)",
    ))
});
static PHP_CODE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)<\?.*?(?:\?>|\z)"));
static PHP_LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?s)(?:^|[^A-Za-z0-9_])(?:",
        r#""((?:\\.|[^"]){8,})""#,
        r"|'((?:\\.|[^']){8,})')",
    ))
});

/// The group of each match, whichever took part.
fn groups<'t>(
    pattern: &'static Regex,
    text: &'t str,
    paths: Paths,
) -> impl Iterator<Item = Piece<'t>> {
    pattern.captures_iter(text).filter_map(move |found| {
        let group = found.iter().skip(1).flatten().next()?;
        Some(Piece::whole(group.start(), group.as_str(), paths))
    })
}

/// The quoted parts of `text`. The quote that ends one can be what stands before the next.
fn quoted<'t>(pattern: &'static Regex, text: &'t str) -> impl Iterator<Item = (usize, &'t str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let found = pattern.captures_at(text, from)?;
        let group = found.iter().skip(1).flatten().next()?;
        from = group.end();
        Some((group.start(), group.as_str()))
    })
}

/// Long literals of a script, but not the paths of its routes.
fn literals(text: &str, paths: Paths) -> impl Iterator<Item = Piece<'_>> {
    quoted(&LITERAL, text)
        .filter(|(start, _)| !is_route(&text[..start - 1]))
        .map(move |(start, literal)| Piece::whole(start, literal, paths))
}

fn php(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for code in PHP_CODE.find_iter(text) {
        pieces.push(Piece::whole(from, &text[from..code.start()], Paths::Ignored));
        for (start, literal) in quoted(&PHP_LITERAL, code.as_str()) {
            pieces.push(Piece::whole(code.start() + start, literal, Paths::Ignored));
        }
        from = code.end();
    }
    pieces.push(Piece::whole(from, &text[from..], Paths::Ignored));
    pieces
}

/// What declares a route.
const VERBS: [&str; 12] = [
    "route", "get", "post", "put", "delete", "patch", "head", "options", "use", "all", "on",
    "mount",
];

/// Whether `before` ends with `ident.verb(` on its last line. Read backwards, so that the cost is
/// that of what is read.
fn is_route(before: &str) -> bool {
    let is_space = |c: char| c.is_whitespace() && c != '\n' && c != '\r';
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(call) = before.trim_end_matches(is_space).strip_suffix('(') else { return false };
    let call = call.trim_end_matches(is_space);
    let object = call.trim_end_matches(is_word);
    if !VERBS.contains(&&call[object.len()..]) {
        return false;
    }
    let Some(object) = object.trim_end_matches(is_space).strip_suffix('.') else { return false };
    let object = object.trim_end_matches(is_space);
    let name = &object[object.trim_end_matches(is_word).len()..];
    name.contains(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(extension: &str, text: &str) -> Vec<String> {
        rendered(extension, text).into_iter().map(|piece| piece.text.into_owned()).collect()
    }

    const LONG: &str = "a text of at least thirty letters";

    #[test]
    fn literals_are_long_and_on_one_line() {
        for (text, want) in [
            (format!("x = '{LONG}'"), vec![LONG.to_owned()]),
            (format!("x = `{LONG}`"), vec![LONG.to_owned()]),
            (format!("x = 'short' + \"{LONG}\""), vec![LONG.to_owned()]),
            (format!("f('{LONG}''{LONG}')"), vec![LONG.to_owned(), LONG.to_owned()]),
            (format!("x = \"{LONG} \\\" b\""), vec![format!("{LONG} \\\" b")]),
            (format!("x = f'{LONG}'"), vec![]),
            (format!("don't {LONG} don't"), vec![]),
            (format!("x = '{LONG}\n'"), vec![]),
            (format!("app.get('{LONG}')"), vec![]),
            (format!("a.b . on ( '{LONG}')"), vec![]),
            (format!("f().get('{LONG}')"), vec![LONG.to_owned()]),
            (format!("app.fetch('{LONG}')"), vec![LONG.to_owned()]),
            ("x = 'short'".to_owned(), vec![]),
        ] {
            assert_eq!(texts("js", &text), want, "{text}");
        }
    }

    #[test]
    fn python_has_blocks_too() {
        let text = format!("'''{LONG}\n'''\n\"\"\"short\"\"\"");
        assert_eq!(texts("py", &text), [format!("{LONG}\n")]);
    }

    #[test]
    fn php_is_what_stands_around_it_and_its_literals() {
        let text = "<h1>Hi</h1><?php $x = 'a\nlong one'; $y = 'short'; ?>bye <?= $z";
        assert_eq!(texts("php", text), ["<h1>Hi</h1>", "a\nlong one", "bye ", ""]);
    }

    #[test]
    fn components_are_their_templates() {
        let text = "<script>no</script><TEMPLATE lang='x'>yes</template><template-x>no</template>";
        assert_eq!(texts("vue", text), ["yes"]);
        assert_eq!(texts("html", text), [text]);
        assert_eq!(texts("go", text), Vec::<String>::new());
    }

    #[test]
    fn unclosed_quotes_are_cheap() {
        for text in ["\\\"".repeat(50_000), "' \" ` ".repeat(50_000), "<?".repeat(50_000)] {
            for extension in ["js", "py", "php", "jsx", "vue"] {
                assert!(rendered(extension, &text).len() < 50_000);
            }
        }
    }
}
