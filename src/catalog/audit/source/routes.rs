//! Folders and routes that only explain the service (SOURCE004).
//!
//! In:  the name of a folder, or a source. Out: the shortcut it is.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// First segments of such routes, and names of such folders.
pub(super) const SEGMENTS: [&str; 15] = [
    "help",
    "faq",
    "docs",
    "doc",
    "api-docs",
    "apidocs",
    "swagger",
    "openapi",
    "readme",
    "changelog",
    "changelogs",
    "release-notes",
    "releasenotes",
    "internal-docs",
    "dev-docs",
];

/// Extensions of sources that declare routes.
const EXTENSIONS: [&str; 8] = ["py", "js", "jsx", "ts", "tsx", "mjs", "cjs", "rb"];

static ROUTE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = concat!(
        r"(?:@[A-Za-z_][A-Za-z0-9_]*\.(?:route|get|post|put|delete|patch)",
        r"|(?:app|router|bp)\.(?:get|post|put|delete|patch|use|route|all))",
        r#"\s*\(\s*['"](/[^'"]*)['"]"#,
    );
    Regex::new(pattern).expect("the pattern is a constant that the tests compile")
});

/// Whether a file of this extension declares routes.
pub(super) fn has_routes(extension: &str) -> bool {
    EXTENSIONS.contains(&extension)
}

/// Whether a folder of this name is a shortcut.
pub(super) fn is_shortcut(name: &str) -> bool {
    SEGMENTS.contains(&name.to_lowercase().as_str())
}

/// Each shortcut that `text` declares, once: where the path begins, and the path.
pub(super) fn shortcuts(text: &str) -> Vec<(usize, &str)> {
    let mut seen = BTreeSet::new();
    ROUTE
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .filter(|path| {
            let folded = path.as_str().to_lowercase();
            let path = folded.strip_suffix('\n').unwrap_or(&folded);
            let segment = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let is_single = !path.starts_with("//");
            is_single && SEGMENTS.contains(&segment) && seen.insert(folded.clone())
        })
        .map(|path| (path.start(), path.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_recognised() {
        for (text, want) in [
            ("@app.route('/docs')", vec!["/docs"]),
            ("@my_bp.get ( \"/Help/x\" )", vec!["/Help/x"]),
            ("x.router.use('/docs/:id', f)", vec!["/docs/:id"]),
            ("app.get('/docs'); app.post('/DOCS'); app.get('/faq')", vec!["/docs", "/faq"]),
            ("app.get(\n '/docs//x')", vec!["/docs//x"]),
            ("app.get('/docsx') app.get('//docs') app.get('/x/docs')", vec![]),
            ("app.get(`/docs`) app.head('/docs') foo.get('/docs') App.get('/docs')", vec![]),
            ("@x.use('/docs') @ x.get('/docs') @é.get('/docs')", vec![]),
            ("app.get('/docs?x') app.get('docs') app.get('/')", vec![]),
        ] {
            let found: Vec<_> = shortcuts(text).into_iter().map(|(_, path)| path).collect();
            assert_eq!(found, want, "{text}");
        }
    }
}
