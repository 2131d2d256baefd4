//! A bare repository, and an author who pushes to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Challenge;

/// A bare repository with a work tree of its author beside it.
#[derive(Debug)]
pub(crate) struct Remote {
    bare: PathBuf,
    work: PathBuf,
}

impl Remote {
    /// An empty bare repository at `bare`, whose branch will be `main`.
    pub(crate) fn create(bare: &Path) -> Self {
        let remote = Self { bare: bare.to_owned(), work: bare.with_extension("work") };
        let folder = bare.parent().expect("a repository is inside of a folder");
        run(folder, &["init", "--quiet", "--bare", "--initial-branch=main", &display(bare)]);
        run(folder, &["init", "--quiet", "--initial-branch=main", &display(&remote.work)]);
        run(&remote.work, &["remote", "add", "origin", &display(bare)]);
        remote
    }

    /// What a daemon is told.
    pub(crate) fn url(&self) -> String {
        display(&self.bare)
    }

    /// The bare repository's folder.
    pub(crate) fn bare(&self) -> &Path {
        &self.bare
    }

    /// A path in the author's work tree.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.work.join(path)
    }

    /// Writes a file; `#!` makes it a program.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().expect("it is inside of the work tree"))
            .expect("the work tree can be written");
        fs::write(&file, content.as_ref()).expect("the work tree can be written");
        if content.as_ref().starts_with(b"#!") {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
                .expect("the mode of an own file can be changed");
        }
    }

    /// Writes every file of a challenge.
    pub(crate) fn put(&self, challenge: &Challenge) {
        for (name, content) in &challenge.files {
            self.write(&format!("{}/{name}", challenge.folder), content);
        }
    }

    /// Commits the work tree and pushes it to `main`; the commit.
    pub(crate) fn push(&self, message: &str) -> String {
        self.commit(message);
        run(&self.work, &["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
        self.tip()
    }

    /// Commits the work tree as a history of its own and forces it onto `main`; the commit.
    pub(crate) fn force_push(&self, message: &str) -> String {
        run(&self.work, &["update-ref", "-d", "HEAD"]);
        self.commit(message);
        run(&self.work, &["push", "--quiet", "--force", "origin", "HEAD:refs/heads/main"]);
        // What nobody names is really gone, as after a collection at a forge.
        run(&self.bare, &["reflog", "expire", "--expire=now", "--all"]);
        run(&self.bare, &["gc", "--quiet", "--prune=now"]);
        self.tip()
    }

    /// Tags what was pushed last and pushes the tag, in place of an earlier one of that name.
    pub(crate) fn tag(&self, name: &str) {
        run(&self.work, &["tag", "--annotate", "--force", "-m", "release", name]);
        let refspec = format!("refs/tags/{name}");
        run(&self.work, &["push", "--quiet", "--force", "origin", &refspec]);
    }

    /// Runs git in the bare repository.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        run(&self.bare, arguments)
    }

    /// Runs git in the author's work tree.
    pub(crate) fn author(&self, arguments: &[&str]) -> String {
        run(&self.work, arguments)
    }

    /// Runs git in the author's work tree by a clock that says `date`.
    pub(crate) fn author_at(&self, date: &str, arguments: &[&str]) {
        run_with(&self.work, arguments, &[("GIT_COMMITTER_DATE", date)]);
    }

    /// Commits the work tree without pushing it; the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        run(&self.work, &["add", "--all"]);
        run(&self.work, &["commit", "--quiet", "--allow-empty", "-m", message]);
        self.tip()
    }

    fn tip(&self) -> String {
        run(&self.work, &["rev-parse", "HEAD"]).trim().to_owned()
    }
}

fn display(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

/// Runs git with an identity of its own and nobody's configuration.
fn run(folder: &Path, arguments: &[&str]) -> String {
    run_with(folder, arguments, &[])
}

fn run_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        // It would outweigh what the repository says of certificates.
        .env_remove("GIT_SSL_CAINFO")
        .envs([("GIT_AUTHOR_NAME", "Author"), ("GIT_AUTHOR_EMAIL", "author@example.invalid")])
        .envs([("GIT_COMMITTER_NAME", "Author"), ("GIT_COMMITTER_EMAIL", "author@example.invalid")])
        .envs(variables.iter().copied())
        .output()
        .expect("git is installed");
    assert!(
        output.status.success(),
        "git {} in {}: {}",
        arguments.join(" "),
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
