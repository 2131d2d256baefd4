//! What is fuzzed: one file of a challenge at a time, everything else around it in order.
//!
//! In:  any bytes. Out: nothing; an invariant that does not hold panics.
//!
//! Shared by the corpus test of CI (`tests/fuzz/main.rs`) and by `cargo fuzz` (`fuzz/`).

use flagops::catalog::rules::{Base, What};
use flagops::catalog::{Catalog, Policy, Severity, load};
use flagops::model::MemoryTree;

/// One kind of file that authors write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Its name, and that of its folder in `fuzz/corpus/`.
    pub(crate) name: &'static str,
    /// The challenge around it.
    pub(crate) base: Base,
    /// Where the bytes go; with a leading `/` inside the repository.
    pub(crate) path: &'static str,
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "metadata", base: Base::Web, path: "metadata.yaml" },
    Target { name: "quiz", base: Base::Quiz, path: "metadata.yaml" },
    Target { name: "compose", base: Base::Web, path: "docker-compose.yml" },
    Target { name: "gateway", base: Base::Engagement, path: "docker-compose.yml" },
    Target { name: "dockerfile", base: Base::Web, path: "services/web/Dockerfile" },
    Target { name: "dockerignore", base: Base::Web, path: "services/web/.dockerignore" },
    Target { name: "allowlist", base: Base::Web, path: "audit-allowlist.yaml" },
    Target { name: "exploit", base: Base::Web, path: "solution/exploit.py" },
    Target { name: "page", base: Base::Web, path: "services/web/www/index.html" },
    Target { name: "script", base: Base::Web, path: "services/web/app.tsx" },
    Target { name: "python", base: Base::Web, path: "services/web/app.py" },
    Target { name: "php", base: Base::Web, path: "services/web/index.php" },
    Target { name: "template", base: Base::Pwn, path: "attachments/note.txt.tpl" },
    Target { name: "competition", base: Base::Web, path: "/competitions/finals.yaml" },
];

/// Checks a challenge in which the file of `target` holds `bytes`.
///
/// # Panics
/// When an invariant does not hold.
pub(crate) fn check(target: &Target, bytes: &[u8]) {
    let base = target.base;
    let mut tree = MemoryTree::new();
    for file in base.files() {
        if let What::Text(text) = file.what {
            tree = tree.with(&format!("{}/{}", base.folder(), file.path), text);
        }
    }
    let path = match target.path.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None => format!("{}/{}", base.folder(), target.path),
    };
    let catalog =
        load(&tree.with(&path, bytes), None, &Policy::default()).expect("memory can be read");
    check_findings(&catalog);
}

fn check_findings(catalog: &Catalog) {
    for folder in catalog.folders.values() {
        let is_blocked = folder.findings.iter().any(|finding| finding.blocks);
        assert_eq!(folder.challenge.is_none(), is_blocked, "{:#?}", folder.findings);
    }
    for finding in catalog.all_findings() {
        assert!(!finding.message.is_empty() && !finding.hint.is_empty(), "{finding:?}");
        assert!(!finding.blocks || finding.severity == Severity::Error, "{finding:?}");
        let line = finding.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 4000, "{line}");
        assert!((finding.line == 0) == (finding.column == 0), "{finding:?}");
        let snippet = finding.snippet.as_deref().unwrap_or_default();
        assert!(snippet.chars().count() <= 400, "{finding:?}");
    }
}

/// The target of this name.
///
/// # Panics
/// When there is none.
pub(crate) fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("the target exists")
}
