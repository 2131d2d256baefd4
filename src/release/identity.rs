//! Hashes that do not lie: which image a service needs, and what an instance was started from.
//!
//! Each field goes in with its length before it, in a fixed order, under a version word; golden
//! tests pin the result. A field left out would be an image that is not rebuilt, an unstable field
//! a rebuild that never ends (`contract/gitops.md` §4.4).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::spec::InstanceSpec;
use crate::model::compose::{BuildSpec, ImageSource};
use crate::model::{BuildKey, Challenge, ContextId, ServiceName, SpecHash};
use crate::render::vpn;

/// What images are built for: the machine that this binary was made for.
const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// One image that a challenge needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildUnit {
    /// The service that needs it.
    pub service: ServiceName,
    /// What determines it.
    pub key: BuildKey,
    /// Where it comes from.
    pub source: ImageSource,
}

/// The images that `challenge` needs, in file order. Empty for a challenge without containers.
pub fn build_units(challenge: &Challenge) -> Vec<BuildUnit> {
    let Some(compose) = &challenge.compose else { return Vec::new() };
    let unit = |service: &crate::model::compose::Service| {
        let key = match &service.image {
            ImageSource::Build(build) => {
                build_key(build, challenge.contexts.get(&service.name), PLATFORM)
            }
            ImageSource::Reference(reference) => reference_key(reference),
            ImageSource::Gateway => gateway_key(PLATFORM),
        };
        BuildUnit { service: service.name.clone(), key, source: service.image.clone() }
    };
    compose.services.iter().map(unit).collect()
}

/// The key of an image built from a context. `context` is `None` only when the catalog could not
/// hash it, which makes the challenge invalid before this matters.
fn build_key(build: &BuildSpec, context: Option<&ContextId>, platform: &str) -> BuildKey {
    let mut hash = Fields::new("bk1");
    hash.add(&context.map(ToString::to_string).unwrap_or_default());
    hash.add(&build.dockerfile);
    hash.add(build.target.as_deref().unwrap_or_default());
    hash.add_map(&build.args);
    hash.add(platform);
    BuildKey::from_digest(hash.finish())
}

/// The key of an image that is only referred to.
fn reference_key(reference: &str) -> BuildKey {
    let mut hash = Fields::new("ref1");
    hash.add(reference);
    BuildKey::from_digest(hash.finish())
}

/// The key of the image of our own VPN gateway.
fn gateway_key(platform: &str) -> BuildKey {
    let mut hash = Fields::new("gw1");
    for (name, content) in vpn::IMAGE {
        hash.add(name);
        hash.add(content);
    }
    hash.add(platform);
    BuildKey::from_digest(hash.finish())
}

/// The hash of what an instance is started from.
///
/// [`InstanceSpec`] is our own explicit list of fields with ordered maps, so its JSON is canonical.
///
/// `n_resets` tells the incarnations of one instance apart: what an earlier one left is of another
/// hash, so that it is made anew. That of the first is the hash of `spec` alone.
pub fn spec_hash(spec: &InstanceSpec, n_resets: u32) -> SpecHash {
    // What players download determines no container: those that run are not made anew for it.
    let hashed = InstanceSpec { templates: Vec::new(), exports: Vec::new(), ..spec.clone() };
    let mut bytes = serde_json::to_vec(&hashed).expect("an InstanceSpec has string keys only");
    if n_resets > 0 {
        // JSON holds no NUL: no other spec gives these bytes.
        bytes.push(0);
        bytes.extend(n_resets.to_be_bytes());
    }
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    format!("v{}:{}", spec.schema, crate::model::id::hex(&digest))
        .parse()
        .expect("a version and 64 hex digits make a spec hash")
}

/// A hash over length-prefixed fields.
struct Fields(Sha256);

impl Fields {
    fn new(version: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.add(version);
        fields
    }

    fn add(&mut self, field: &str) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field.as_bytes());
    }

    fn add_map(&mut self, map: &BTreeMap<String, String>) {
        self.0.update((map.len() as u64).to_be_bytes());
        for (key, value) in map {
            self.add(key);
            self.add(value);
        }
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(dockerfile: &str, args: &[(&str, &str)]) -> BuildSpec {
        BuildSpec {
            context: "services/web".into(),
            dockerfile: dockerfile.into(),
            target: None,
            args: args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn the_key_of_a_build_is_pinned() {
        let context = ContextId::from_digest([7; 32]);
        let key = build_key(&build("Dockerfile", &[("A", "1")]), Some(&context), "x86_64");
        // A change of this value rebuilds every image of every event: bump `bk1` on purpose only.
        insta::assert_snapshot!(key, @"941cc75ab0d8f7d08e2f8bf27b1f4a5b31dc4156e9864340b61f74035a228f83");
    }

    /// What was started before there were demands keeps its hash; what asks for something has another.
    #[test]
    fn a_spec_without_demands_is_hashed_as_before_there_were_any() {
        let before = r#"{"schema":1,"challenge":"WEB-001","services":[],"networks":[],"volumes":[],"answers":{}}"#;
        let mut spec: InstanceSpec = serde_json::from_str(before).unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), before);
        let plain = spec_hash(&spec, 0);
        insta::assert_snapshot!(plain, @"v1:51403a6ee454ea742d07d346f5990276df9c4ea03afadc80c734cc1e9aaa07fa");
        spec.demands.egress = crate::model::Egress::Internet;
        assert_ne!(spec_hash(&spec, 0), plain);
        let asking = serde_json::to_string(&spec).unwrap();
        assert!(asking.ends_with(r#""demands":{"egress":"internet"}}"#), "{asking}");
        assert_eq!(serde_json::from_str::<InstanceSpec>(&asking).unwrap(), spec);
    }

    proptest! {
        #[test]
        fn moving_text_between_fields_changes_the_key(a in "[a-z]{1,8}", b in "[a-z]{1,8}") {
            let context = ContextId::from_digest([0; 32]);
            let one = build_key(&build(&format!("{a}{b}"), &[]), Some(&context), "");
            let two = build_key(&build(&a, &[]), Some(&context), &b);
            prop_assert_ne!(one, two);
            let three = build_key(&build(&a, &[(&b, "")]), Some(&context), "");
            let four = build_key(&build(&a, &[("", &b)]), Some(&context), "");
            prop_assert_ne!(three, four);
        }
    }
}
