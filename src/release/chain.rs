//! From what runs back to who released it: every link of the way, and where to read more.
//!
//! In:  an instance or a live version, the generation that it came with, its images.
//! Out: [`Link`]s in the order instance, generation, tag, commit, tree, then build key and image of
//! each service.
//!
//! # Invariants
//! * A link that is not known is said to be unknown, or left out; it is never guessed.
//! * A command names objects by number or hash only: what somebody chose to call a tag is never part
//!   of what a person pastes into a shell.

use serde::{Deserialize, Serialize};

use super::manifest::{Generation, Manifest};
use crate::model::challenge::word_enum;
use crate::model::{BuildKey, ChallengeId, InstanceId, Revision, ServiceName, Timestamp, TreeId};

word_enum!(
    /// What a link is.
    LinkKind {
        /// One copy of a challenge.
        Instance = "instance",
        /// What players had when it was started, or have now.
        Generation = "generation",
        /// The tag that was released, and who signed it.
        Tag = "tag",
        /// The commit that the version is read from.
        Commit = "commit",
        /// The challenge's folder at that commit.
        Tree = "tree",
        /// What determines an image.
        BuildKey = "build_key",
        /// The image, by the engine's id.
        Image = "image",
    }
);

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Its number, name or hash; empty when it is not known.
    pub id: String,
    /// What is known of it, for people.
    pub words: String,
    /// The command that shows more; empty when there is none.
    pub more: String,
}

/// The image of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceImage {
    /// The service.
    pub service: ServiceName,
    /// What determines the image; `None` when the version can be read no more.
    pub key: Option<BuildKey>,
    /// The engine's id; `None` when it is not built.
    pub image: Option<String>,
}

/// What was found of a tag's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// Nobody says who may sign: `release.trust` is not set.
    NotAsked,
    /// It is good: who, and when.
    Good(String),
    /// It does not count, or could not be checked: why.
    Bad(String),
}

/// The generation that a version came with.
#[derive(Debug, Clone)]
pub struct Released {
    /// It.
    pub generation: Generation,
    /// What it consists of.
    pub manifest: Manifest,
    /// Of its tag, if it has one.
    pub signature: Signature,
}

/// Where something comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The instance, and when it was asked for; `None` for what players can start now.
    pub instance: Option<(InstanceId, Timestamp)>,
    /// The challenge.
    pub challenge: ChallengeId,
    /// The generation; `None` when none that is kept has this version.
    pub released: Option<Released>,
    /// The commit that the version is read from.
    pub revision: Revision,
    /// The challenge's folder there.
    pub tree: TreeId,
    /// Its images, in file order.
    pub images: Vec<ServiceImage>,
}

/// The way back, the nearest first.
pub fn links(origin: &Origin) -> Vec<Link> {
    let mut links = Vec::new();
    if let Some((id, since)) = &origin.instance {
        links.push(Link {
            kind: LinkKind::Instance,
            id: id.to_string(),
            words: format!("of {}, asked for at {since}", origin.challenge),
            more: format!("flagops instances show {id}"),
        });
    }
    match &origin.released {
        Some(released) => {
            links.push(generation(origin, &released.generation));
            links.extend(tag(released));
        }
        None => links.push(Link {
            kind: LinkKind::Generation,
            id: String::new(),
            words: "no generation that is kept has this version".to_owned(),
            more: "flagops releases".to_owned(),
        }),
    }
    links.push(commit(origin));
    links.push(Link {
        kind: LinkKind::Tree,
        id: origin.tree.to_string(),
        words: format!("the folder of {} at that commit", origin.challenge),
        more: format!("git ls-tree -r {}", origin.tree),
    });
    for image in &origin.images {
        links.extend(image_links(&origin.challenge, image));
    }
    links
}

fn generation(origin: &Origin, generation: &Generation) -> Link {
    let how = match &origin.instance {
        Some((_, since)) if generation.at > *since => "this version went live with it, later, at",
        Some(_) => "live when it was asked for, since",
        None => "live since",
    };
    Link {
        kind: LinkKind::Generation,
        id: generation.number.to_string(),
        words: format!("{how} {}: {}", generation.at, generation.why),
        more: format!("flagops releases show {}", generation.number),
    }
}

fn tag(released: &Released) -> Option<Link> {
    let (name, object) = released.manifest.tag.as_ref()?;
    let (words, verb) = match &released.signature {
        Signature::Good(words) => (words.clone(), "git verify-tag"),
        Signature::Bad(why) => (format!("its signature does not count: {why}"), "git verify-tag"),
        Signature::NotAsked => (
            "nobody checks who signed it: `release.trust` is not set".to_owned(),
            "git cat-file -p",
        ),
    };
    Some(Link {
        kind: LinkKind::Tag,
        id: name.to_string(),
        words: format!("object {object}, {words}"),
        more: format!("{verb} {object}"),
    })
}

fn commit(origin: &Origin) -> Link {
    let released = origin.released.as_ref().map(|it| it.manifest.revision);
    let words = match released {
        Some(released) if released == origin.revision => "the commit that was released".to_owned(),
        Some(released) => format!(
            "the version was read from it, and not changed or kept when {} was released",
            released.short()
        ),
        None => "the version was read from it".to_owned(),
    };
    Link {
        kind: LinkKind::Commit,
        id: origin.revision.to_string(),
        words,
        more: format!("git show {}", origin.revision),
    }
}

fn image_links(challenge: &ChallengeId, image: &ServiceImage) -> [Link; 2] {
    let ServiceImage { service, key, image } = image;
    let key = match key {
        Some(key) => Link {
            kind: LinkKind::BuildKey,
            id: key.to_string(),
            words: format!("what determines the image of `{service}`"),
            more: format!("flagops builds log {challenge}"),
        },
        None => Link {
            kind: LinkKind::BuildKey,
            id: String::new(),
            words: format!("of `{service}`: the files of this version can be read no more"),
            more: String::new(),
        },
    };
    let image = match image {
        Some(image) => Link {
            kind: LinkKind::Image,
            id: image.clone(),
            words: format!("the image of `{service}`"),
            more: format!("docker image inspect {image}"),
        },
        None => Link {
            kind: LinkKind::Image,
            id: String::new(),
            words: format!("the image of `{service}` is not built"),
            more: "flagops builds".to_owned(),
        },
    };
    [key, image]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectId;
    use crate::release::manifest::Cause;
    use std::collections::BTreeMap;

    fn object(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 20])
    }

    fn origin(tag: Option<&str>, signature: Signature) -> Origin {
        let tag = tag.map(|name| (name.parse().unwrap(), object(9)));
        let manifest = Manifest::new(tag, Revision(object(1)), BTreeMap::new());
        let generation = Generation {
            number: 12,
            release: manifest.id(),
            cause: Cause::Tag,
            who: "flagops".to_owned(),
            why: "tag at 0101".to_owned(),
            at: Timestamp::from_millis(1_000),
        };
        Origin {
            instance: Some((
                InstanceId::new(uuid::Uuid::from_bytes([5; 16])),
                Timestamp::from_millis(2_000),
            )),
            challenge: "WEB-001".parse().unwrap(),
            released: Some(Released { generation, manifest, signature }),
            revision: Revision(object(1)),
            tree: TreeId(object(2)),
            images: vec![
                ServiceImage {
                    service: "web".parse().unwrap(),
                    key: Some(BuildKey::from_digest([3; 32])),
                    image: Some("sha256:abc".to_owned()),
                },
                ServiceImage { service: "db".parse().unwrap(), key: None, image: None },
            ],
        }
    }

    fn text(origin: &Origin) -> String {
        let line = |it: Link| format!("{} [{}] {} -> {}", it.kind, it.id, it.words, it.more);
        links(origin).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_way_back_names_every_link() {
        let signed =
            Signature::Good("signed by `ada` (SHA256:x) at 1970-01-01T00:00:01Z".to_owned());
        insta::assert_snapshot!(text(&origin(Some("event-1.2.0"), signed)));
    }

    #[test]
    fn what_is_not_known_is_said_or_left_out() {
        let mut branch = origin(None, Signature::NotAsked);
        branch.revision = Revision(object(8));
        branch.instance = None;
        branch.images.clear();
        let told = text(&branch);
        assert!(!told.contains("tag ["), "{told}");
        assert!(told.contains("not changed or kept when 0101010101 was released"), "{told}");
        branch.released = None;
        assert!(text(&branch).contains("no generation that is kept has this version"));
    }

    #[test]
    fn the_name_of_a_tag_is_never_part_of_a_command() {
        for signature in [Signature::NotAsked, Signature::Bad("why".to_owned())] {
            let hostile = origin(Some("$(reboot)"), signature);
            assert!(links(&hostile).iter().all(|link| !link.more.contains("reboot")));
        }
    }
}
