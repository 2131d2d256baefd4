//! The statement as verifiers read it; that it is the same for the same facts, and whole; and that no
//! credential gets into it.

use proptest::prelude::*;

use super::*;
use crate::model::compose::BuildSpec;
use crate::model::{ObjectId, Revision, TreeId};
use crate::release::manifest::{Cause, EntryDisposition};

fn object(n: u8) -> ObjectId {
    ObjectId::from_bytes([n; 20])
}

fn key(n: u8) -> BuildKey {
    BuildKey::from_digest([n; 32])
}

fn entry(path: &str, n: u8, images: Vec<BuildKey>) -> Entry {
    let disposition = EntryDisposition::Include;
    Entry {
        path: path.to_owned(),
        revision: Revision(object(n)),
        tree: TreeId(object(n)),
        images,
        disposition,
    }
}

fn unit(service: &str, n: u8, source: ImageSource) -> BuildUnit {
    BuildUnit { service: service.parse().unwrap(), key: key(n), source }
}

fn built() -> ImageSource {
    ImageSource::Build(BuildSpec {
        context: "services/web".into(),
        dockerfile: "Dockerfile".into(),
        target: None,
        args: BTreeMap::new(),
    })
}

fn record(n: u8, started_at: Option<i64>) -> ImageRecord {
    let image = format!("sha256:{}", format!("{n:02x}").repeat(32));
    ImageRecord { image, started_at: started_at.map(Timestamp::from_millis) }
}

/// Everything that a statement is made from.
struct Sample {
    installation: InstallationId,
    repository: String,
    generation: Generation,
    manifest: Manifest,
    units: BTreeMap<ChallengeId, Vec<BuildUnit>>,
    images: BTreeMap<BuildKey, ImageRecord>,
}

impl Sample {
    fn new(repository: &str, entries: BTreeMap<ChallengeId, Entry>) -> Self {
        let tag = Some(("event-1.2.0".parse().unwrap(), object(9)));
        let manifest = Manifest::new(tag, Revision(object(1)), entries);
        Self {
            installation: "0123456789abcdef".parse().unwrap(),
            repository: repository.to_owned(),
            generation: Generation {
                number: 12,
                release: manifest.id(),
                cause: Cause::Tag,
                who: "flagops".to_owned(),
                why: "tag `event-1.2.0`".to_owned(),
                at: Timestamp::from_millis(1_795_200_000_000),
            },
            manifest,
            units: BTreeMap::new(),
            images: BTreeMap::new(),
        }
    }

    fn statement(&self) -> Statement {
        Statement::of(&Facts {
            installation: &self.installation,
            repository: &self.repository,
            generation: &self.generation,
            manifest: &self.manifest,
            units: &self.units,
            images: &self.images,
        })
    }
}

/// A challenge with a built and a referenced image, an older one without containers, and one whose
/// image nobody noted.
fn sample() -> Sample {
    let kept = EntryDisposition::LastKnownGood;
    let mut sample = Sample::new(
        "https://ada:s3cret@git.example.org/ctf/challenges.git?token=s3cret",
        BTreeMap::from([
            ("WEB-001".parse().unwrap(), entry("WEB/WEB-001", 1, vec![key(1), key(2)])),
            (
                "OSINT-1".parse().unwrap(),
                Entry { disposition: kept, ..entry("OSINT/OSINT-1", 3, vec![]) },
            ),
            ("PWN-001".parse().unwrap(), entry("PWN/PWN-001", 1, vec![key(5)])),
        ]),
    );
    let units =
        vec![unit("web", 1, built()), unit("db", 2, ImageSource::Reference("redis:7".to_owned()))];
    sample.units.insert("WEB-001".parse().unwrap(), units);
    sample.images.insert(key(1), record(1, Some(1_795_199_990_000)));
    sample.images.insert(key(2), record(2, None));
    sample
}

#[test]
fn a_statement_is_what_verifiers_read() {
    insta::assert_snapshot!(sample().statement().text());
}

#[test]
fn a_generation_without_noted_images_took_no_time() {
    let mut sample = sample();
    sample.images.clear();
    let told = serde_json::to_value(sample.statement()).unwrap();
    let times = &told["predicate"]["runDetails"]["metadata"];
    assert_eq!(times["startedOn"], times["finishedOn"]);
}

#[test]
fn an_address_is_shown_without_what_lets_somebody_in() {
    for (address, shown) in [
        ("https://git.example.org/a/b.git", "https://git.example.org/a/b.git"),
        ("https://ada:pw@git.example.org:8443/a", "https://git.example.org:8443/a"),
        ("https://p@ss@git.example.org/a", "https://git.example.org/a"),
        ("https://ada:p/w@git.example.org/a", "https://git.example.org/a"),
        ("https://git.example.org/@scope/a", "https://git.example.org/@scope/a"),
        ("https://git.example.org/a?key=pw#pw", "https://git.example.org/a"),
        ("ssh://git@git.example.org/a", "ssh://git.example.org/a"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("git@git.example.org:a/b.git", "git@git.example.org:a/b.git"),
        ("/srv/challenges", "/srv/challenges"),
        ("https://", "https://"),
    ] {
        assert_eq!(without_credentials(address), shown, "{address}");
    }
}

#[test]
fn a_remote_is_named_as_spdx_does() {
    for (repository, uri) in [
        ("https://git.example.org/a", "git+https://git.example.org/a"),
        ("git@git.example.org:a/b.git", "git+ssh://git@git.example.org/a/b.git"),
        ("/srv/challenges", "git+file:///srv/challenges"),
    ] {
        assert_eq!(git_uri(repository), uri);
    }
}

proptest! {
    #[test]
    fn the_same_facts_are_the_same_bytes_and_every_part_is_a_subject(
        versions in prop::collection::btree_map("[A-Z]{3}-[0-9]{1,3}", (0_u8..9, prop::collection::vec(0_u8..6, 0..4)), 0..6),
        noted in prop::collection::btree_set(0_u8..6, 0..6),
        services in 0_usize..4,
    ) {
        let entries = versions.iter().map(|(id, (tree, images))| {
            let images = images.iter().map(|n| key(*n)).collect();
            (id.parse().unwrap(), entry(&format!("X/{id}"), *tree, images))
        });
        let mut sample = Sample::new("/srv/challenges", entries.collect());
        for (id, (_, images)) in &versions {
            let unit = |(nth, n): (usize, &u8)| unit(&format!("s{nth}"), *n, built());
            let units = images.iter().take(services).enumerate().map(unit).collect();
            sample.units.insert(id.parse().unwrap(), units);
        }
        sample.images = noted.iter().map(|n| (key(*n), record(*n, None))).collect();
        let text = sample.statement().text();
        prop_assert_eq!(&text, &sample.statement().text());

        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let subjects = told["subject"].as_array().unwrap();
        for (id, entry) in &sample.manifest.challenges {
            let is_folder = |it: &&serde_json::Value| {
                it["annotations"]["challenge"] == id.as_str()
                    && it["digest"]["gitTree"] == entry.tree.to_string()
            };
            prop_assert_eq!(subjects.iter().filter(is_folder).count(), 1);
            for key in &entry.images {
                let is_it = |it: &&serde_json::Value| {
                    it["annotations"]["buildKey"] == key.to_string()
                        && it["name"].as_str().unwrap().starts_with(&format!("{}/", entry.path))
                };
                let found: Vec<_> = subjects.iter().filter(is_it).collect();
                prop_assert!(!found.is_empty());
                for subject in found {
                    let has_id = subject["digest"].get("sha256").is_some();
                    prop_assert_eq!(has_id, sample.images.contains_key(key));
                }
            }
        }
    }

    #[test]
    fn no_credential_of_the_remote_is_ever_written(
        scheme in "https|ssh|http|git\\+ssh",
        user in "[a-z]{0,6}",
        password in "[A-Za-z0-9!$&'()*+,;=:@%._~/-]{0,4}PW7x[A-Za-z0-9!$&'()*+,;=:@%._~/-]{0,4}",
        query in "(\\?token=PW7x)?(#PW7x)?",
    ) {
        let address = format!("{scheme}://{user}:{password}@git.example.org/a.git{query}");
        let sample = Sample::new(&address, BTreeMap::new());
        let text = sample.statement().text();
        prop_assert!(!text.contains("PW7x"), "{address}: {text}");
    }
}
