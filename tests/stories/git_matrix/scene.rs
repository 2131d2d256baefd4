//! The ground of a matrix: a daemon where signed tags go live, the repository that it reads over
//! one transport, and an organizer who works with git itself.

use std::fs;

use serde_json::Value;

use crate::support::{
    Challenge, Client, Daemon, PATIENCE, Served, Stage, Transport, make_key, until,
};

/// The one challenge. It needs no image, and its name says its version.
pub(super) const CHALLENGE: &str = "QUIZ-140";
/// Whose key signs what goes live.
pub(super) const ORGANIZER: &str = "organizer";
/// Whose key is taken out while the event runs.
pub(super) const LEAVER: &str = "leaver";
/// Whose key was valid until yesterday, so to speak.
pub(super) const EXPIRED: &str = "expired";
/// Whose key nobody listed.
pub(super) const STRANGER: &str = "stranger";

/// It.
pub(super) struct Scene {
    // Ends first, and tells its log while there is one.
    pub(super) daemon: Daemon,
    pub(super) served: Served,
    pub(super) stage: Stage,
    pub(super) admin: Client,
    team: Client,
    transport: Transport,
    n_versions: u32,
}

/// What players have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Live {
    /// The tag.
    pub(super) tag: String,
    /// The generation.
    pub(super) number: u64,
    /// The commit that the challenge is from.
    pub(super) revision: String,
    /// What a team reads.
    pub(super) name: String,
}

impl Scene {
    /// A daemon that reads over `transport`, with `v1.0.0` live.
    pub(super) async fn set(transport: Transport) -> Self {
        let stage = Stage::set().await;
        let served = Served::open(transport, &stage.remote, &stage.path(""));
        trust(&stage);
        let settings = served
            .settings(stage.settings())
            // A release tag may have a folder in front of it.
            .text("release.pattern", "^(?:[a-z0-9.]+/)?v(?<v>.+)$")
            .yes("release.require_signed")
            .text("release.trust", &stage.path("trust/trust.toml").display().to_string())
            .list("release.ancestor_of", &["main"]);
        write(&stage, 1);
        stage.remote.commit("version 1");
        publish(&stage);
        let daemon = Daemon::start(settings).await;
        let (admin, team) = (daemon.admin(), daemon.team("red").await);
        let scene = Self { stage, served, daemon, admin, team, transport, n_versions: 1 };
        scene.sign("v1.0.0", "HEAD", ORGANIZER);
        scene.publish();
        scene.goes_live("v1.0.0").await;
        scene
    }

    /// How the daemon reads.
    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// A new version of the challenge, committed and not pushed; the name of its tag-to-be.
    pub(super) fn version(&mut self) -> String {
        self.n_versions += 1;
        write(&self.stage, self.n_versions);
        self.stage.remote.commit(&format!("version {}", self.n_versions));
        format!("v{}.0.0", self.n_versions)
    }

    /// Runs git as the organizer.
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        self.stage.remote.author(arguments).trim().to_owned()
    }

    /// Makes a tag that the key of `who` signs, in place of an earlier one of that name.
    pub(super) fn sign(&self, tag: &str, what: &str, who: &str) {
        let key = format!("user.signingKey={}", self.key(who));
        let tag = ["tag", "--sign", "--force", "-m", "release", tag, what];
        self.git(&[["-c", "gpg.format=ssh", "-c", &key].as_slice(), &tag].concat());
    }

    /// Makes a signed tag by a clock that says `date`.
    pub(super) fn sign_at(&self, tag: &str, what: &str, date: &str) {
        let key = format!("user.signingKey={}", self.key(ORGANIZER));
        let arguments =
            ["-c", "gpg.format=ssh", "-c", &key, "tag", "-s", "-m", "release", tag, what];
        self.stage.remote.author_at(date, &arguments);
    }

    /// Takes somebody's key out.
    pub(super) fn revoke(&self, who: &str) {
        let file = self.stage.path("trust/revoked_keys");
        fs::copy(format!("{}.pub", self.key(who)), file).expect("a file can be copied");
    }

    /// The private key of somebody.
    fn key(&self, who: &str) -> String {
        self.stage.path(&format!("trust/{who}")).display().to_string()
    }

    /// Makes the remote's branches and tags those of the organizer, as git pushes them.
    pub(super) fn publish(&self) {
        publish(&self.stage);
    }

    /// Publishes, and waits until the daemon has looked.
    pub(super) async fn show(&self) {
        self.publish();
        self.admin.reconcile().await;
    }

    /// What players have now.
    pub(super) async fn live(&self) -> Live {
        self.try_live().await.expect("something is live")
    }

    async fn try_live(&self) -> Result<Live, String> {
        let page = self.admin.try_get("/gitops/releases").await?.body;
        let row = self.admin.challenge(CHALLENGE).await?;
        let shown = self.team.try_get(&format!("/challenges/{CHALLENGE}")).await?.body;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(page.to_string());
        Ok(Live {
            tag: text(&page["active"]["tag"])?,
            number: page["active"]["number"].as_u64().ok_or(page.to_string())?,
            revision: text(&row["live"]["revision"])?,
            name: text(&shown["name"])?,
        })
    }

    /// Waits until players have what `tag` names at the organizer's.
    pub(super) async fn goes_live(&self, tag: &str) {
        let commit = self.git(&["rev-parse", &format!("refs/tags/{tag}^{{commit}}")]);
        until(&format!("{tag} at {commit} to be live"), PATIENCE, || async {
            let live = self.try_live().await?;
            let is_it = live.tag == tag && live.revision == commit;
            if is_it { Ok(()) } else { Err(format!("{live:?}")) }
        })
        .await;
        let version = self.git(&["show", &format!("{commit}:MISC/{CHALLENGE}/metadata.yaml")]);
        let name = self.live().await.name;
        assert!(version.contains(&format!("name: {name}\n")), "a team reads {name}: {version}");
    }

    /// Checks a condition, its words, and that two more looks change nothing for players.
    pub(super) async fn says(
        &self,
        row: &str,
        live: &Live,
        (scope, condition, words): (&str, &str, &str),
    ) {
        let (kind, status, reason) = parts(condition);
        let stated = self.admin.stated(scope, kind, status, reason).await;
        let said = stated["message"].as_str().unwrap_or_default();
        assert!(said.contains(words), "{row}: {said}");
        let is_kept = said.contains("the last good revision stays in use");
        assert!(is_kept || kind != "SourceReachable", "{row}: {said}");
        self.admin.reconcile().await;
        assert_eq!(self.live().await, *live, "{row}: what players have");
        let after = self.admin.condition(scope, kind).await.expect("it was stated");
        assert_eq!(after["since"], stated["since"], "{row}: the same fault is the same condition");
        tell(&format!("  {row:<34} {} stays live; {scope} {condition}: {said}", live.tag));
    }

    /// Takes every tag away but the one that is live, which names `object` again, and waits until
    /// nothing is held back.
    pub(super) async fn tidy(&self, live: &Live, object: &str) {
        for tag in self.git(&["tag", "--list"]).lines() {
            self.git(&["tag", "--delete", tag]);
        }
        self.git(&["update-ref", &format!("refs/tags/{}", live.tag), object]);
        self.show().await;
        self.admin.stated("release", "Held", "False", "Ok").await;
        assert_eq!(self.live().await, *live, "after tidying up");
    }

    /// The object that a tag names at the organizer's.
    pub(super) fn object(&self, tag: &str) -> String {
        self.git(&["rev-parse", &format!("refs/tags/{tag}")])
    }

    /// A row that ends with a tag that is live.
    pub(super) fn told(row: &str, tag: &str) {
        tell(&format!("  {row:<34} {tag} goes live"));
    }
}

/// A line of the record that `--no-capture` shows.
#[expect(clippy::print_stdout, reason = "the test harness shows it when somebody asks")]
pub(super) fn tell(line: &str) {
    println!("{line}");
}

/// `Held=True (TagMoved)` into its parts.
fn parts(condition: &str) -> (&str, &str, &str) {
    let (kind, rest) = condition.split_once('=').expect("a kind");
    let (status, reason) = rest.split_once(" (").expect("a status");
    (kind, status, reason.strip_suffix(')').expect("a reason"))
}

fn write(stage: &Stage, version: u32) {
    let quiz = Challenge::quiz(CHALLENGE);
    let name = format!("name: Version {version}\n");
    let text = quiz.files["metadata.yaml"].replace(&format!("name: Quiz {CHALLENGE}\n"), &name);
    stage.remote.put(&quiz.with("metadata.yaml", text));
}

fn publish(stage: &Stage) {
    stage.remote.author(&[
        "push",
        "--quiet",
        "--force",
        "--prune",
        "origin",
        "refs/heads/*:refs/heads/*",
        "refs/tags/*:refs/tags/*",
    ]);
}

/// Keys, and who may sign with which.
fn trust(stage: &Stage) {
    fs::create_dir_all(stage.path("trust")).expect("a folder can be made");
    let files =
        "allowed_signers = \"allowed_signers\"\nrevoked_keys = \"revoked_keys\"\n\n[roles]\n";
    let (mut allowed, mut roles) = (Vec::new(), vec![files.to_owned()]);
    for who in [ORGANIZER, LEAVER, EXPIRED, STRANGER] {
        let path = stage.path(&format!("trust/{who}"));
        make_key(&path);
        let key = fs::read_to_string(path.with_extension("pub")).expect("it was made");
        let until = if who == EXPIRED { ",valid-before=\"20260101Z\"" } else { "" };
        if who != STRANGER {
            allowed.push(format!("{who}@ctf.example namespaces=\"git\"{until} {key}"));
            roles.push(format!("\"{who}@ctf.example\" = [\"release\"]\n"));
        }
    }
    for (name, text) in [
        ("allowed_signers", allowed.concat()),
        ("revoked_keys", String::new()),
        ("trust.toml", roles.concat()),
    ] {
        fs::write(stage.path("trust").join(name), text).expect("a file can be written");
    }
}
