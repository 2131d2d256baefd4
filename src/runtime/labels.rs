//! The labels that everything of ours bears in an engine, and how they are read back.
//!
//! In:  whose object it is. Out: label maps, engine-side filters, parsed labels.
//!
//! # Invariants
//! * An object without our installation id is not ours, whatever else it claims.
//! * No label holds a secret: labels are shown by every `inspect`.
//! * Never `com.docker.compose.*`: a stray `docker compose down` must not find us.

use std::collections::{BTreeMap, HashMap};

use crate::model::{
    BuildKey, ChallengeId, InstallationId, InstanceId, Provenance, ServiceName, Timestamp,
};
use crate::release::spec::ContainerSpec;
use crate::runtime::BuildRequest;

/// Whose object it is.
pub(crate) const INSTALLATION: &str = "flagops.installation";
/// What it is: one of the `KIND_…` words.
pub(crate) const KIND: &str = "flagops.kind";
/// The instance it belongs to.
pub(crate) const INSTANCE: &str = "flagops.instance";
/// The challenge it belongs to.
pub(crate) const CHALLENGE: &str = "flagops.challenge";
/// The service it runs or was built for.
pub(crate) const SERVICE: &str = "flagops.service";
/// The hash of the specification it was made from.
pub(crate) const SPEC_HASH: &str = "flagops.spec_hash";
/// The key of everything that determines an image.
pub(crate) const BUILD_KEY: &str = "flagops.build_key";
/// Whose instance it is: the team's id, which says nothing about its name.
const TEAM: &str = "flagops.team";
/// The competition it was started in.
const COMPETITION: &str = "flagops.competition";
/// The commit it was started from.
const REVISION: &str = "flagops.revision";
/// The challenge's tree: at that commit, or the one that an image was built from.
const TREE: &str = "flagops.tree";
/// When the instance was asked for (RFC 3339).
const CREATED: &str = "flagops.created";
/// The lease in seconds, as granted when the container was made.
const TTL: &str = "flagops.ttl";
/// Which incarnation of the instance it is of.
const N_RESETS: &str = "flagops.resets";
/// Which answers are the instance's own.
const ANSWER_EPOCH: &str = "flagops.answer_epoch";
/// JSON: the engine's id of the network that fulfils each wish of the service.
const NETWORKS: &str = "flagops.networks";
/// The version of this set of labels.
const SCHEMA: &str = "flagops.schema";

/// A container of an instance.
pub(crate) const KIND_INSTANCE: &str = "instance";
/// An image that we built.
pub(crate) const KIND_IMAGE: &str = "image";
/// A network of an instance.
pub(crate) const KIND_NETWORK: &str = "network";
/// A named volume of an instance.
pub(crate) const KIND_VOLUME: &str = "volume";
/// An unnamed volume; it goes with its container.
pub(crate) const KIND_UNNAMED: &str = "unnamed";
/// What `prove` makes and removes.
pub(crate) const KIND_PROBE: &str = "probe";

/// Labels as the engine's API wants and gives them.
pub(crate) type Labels = HashMap<String, String>;

/// The labels of every object of `kind`.
pub(crate) fn of_kind(installation: &InstallationId, kind: &str) -> Labels {
    Labels::from([
        (INSTALLATION.to_owned(), installation.to_string()),
        (KIND.to_owned(), kind.to_owned()),
        (SCHEMA.to_owned(), "1".to_owned()),
    ])
}

/// The labels of an image that we build. Its tree is the one that was first built: later trees with
/// the same key use the same image.
pub(crate) fn of_image(installation: &InstallationId, request: &BuildRequest) -> Labels {
    let mut labels = of_kind(installation, KIND_IMAGE);
    labels.insert(BUILD_KEY.to_owned(), request.key.to_string());
    labels.insert(CHALLENGE.to_owned(), request.challenge.to_string());
    labels.insert(SERVICE.to_owned(), request.service.to_string());
    labels.extend(request.tree.map(|tree| (TREE.to_owned(), tree.to_string())));
    labels
}

/// The labels of an object of `kind` that belongs to `instance`.
pub(crate) fn of_instance(
    installation: &InstallationId,
    kind: &str,
    instance: InstanceId,
) -> Labels {
    let mut labels = of_kind(installation, kind);
    labels.insert(INSTANCE.to_owned(), instance.to_string());
    labels
}

/// The labels of a container; the last two are what existing event tooling looks for.
pub(crate) fn of_container(installation: &InstallationId, spec: &ContainerSpec) -> Labels {
    let mut labels = of_instance(installation, KIND_INSTANCE, spec.instance);
    labels.insert(CHALLENGE.to_owned(), spec.challenge.to_string());
    labels.insert(SERVICE.to_owned(), spec.service.name.to_string());
    labels.insert(SPEC_HASH.to_owned(), spec.spec_hash.clone());
    insert_provenance(&mut labels, &spec.provenance);
    let ends = std::iter::once(&spec.network).chain(&spec.more_networks);
    let networks: BTreeMap<_, _> = ends.map(|end| (&end.wish, &end.network)).collect();
    labels.insert(NETWORKS.to_owned(), serde_json::json!(networks).to_string());
    labels.insert("ctfy.role".to_owned(), "instance".to_owned());
    labels.insert("ctfy.instance_id".to_owned(), spec.instance.to_string());
    labels
}

fn insert_provenance(labels: &mut Labels, from: &Provenance) {
    let facts = [
        (TEAM, from.team.to_string()),
        (COMPETITION, from.competition.clone()),
        (REVISION, from.revision.to_string()),
        (TREE, from.tree.to_string()),
        (CREATED, from.created_at.rfc3339()),
        (TTL, from.ttl_secs.to_string()),
        (N_RESETS, from.n_resets.to_string()),
        (ANSWER_EPOCH, from.answer_epoch.to_string()),
    ];
    labels.extend(facts.map(|(label, fact)| (label.to_owned(), fact)));
}

/// Where the instance of a container comes from; `None` when an older flagops made it.
pub(crate) fn provenance(labels: Option<&Labels>) -> Option<Provenance> {
    Some(Provenance {
        team: text(labels, TEAM)?.parse().ok()?,
        competition: text(labels, COMPETITION)?.to_owned(),
        revision: text(labels, REVISION)?.parse().ok()?,
        tree: text(labels, TREE)?.parse().ok()?,
        created_at: Timestamp::parse_rfc3339(text(labels, CREATED)?).ok()?,
        ttl_secs: text(labels, TTL)?.parse().ok()?,
        n_resets: text(labels, N_RESETS)?.parse().ok()?,
        answer_epoch: text(labels, ANSWER_EPOCH)?.parse().ok()?,
    })
}

/// The engine's id of the network that fulfils each wish; empty when an older flagops made it.
pub(crate) fn networks(labels: Option<&Labels>) -> BTreeMap<String, String> {
    text(labels, NETWORKS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// A filter of a listing: ours, of `kind`, and with the further `label=value` pairs.
pub(crate) fn filter(
    installation: &InstallationId,
    kind: &str,
    more: &[(&str, String)],
) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{INSTALLATION}={installation}"), format!("{KIND}={kind}")];
    wanted.extend(more.iter().map(|(label, value)| format!("{label}={value}")));
    HashMap::from([("label".to_owned(), wanted)])
}

/// Whether an object with these labels is ours.
pub(crate) fn is_ours(installation: &InstallationId, labels: Option<&Labels>) -> bool {
    text(labels, INSTALLATION) == Some(installation.as_str())
}

/// The value of one label.
pub(crate) fn text<'a>(labels: Option<&'a Labels>, label: &str) -> Option<&'a str> {
    labels?.get(label).map(String::as_str)
}

/// The instance named by the labels.
pub(crate) fn instance(labels: Option<&Labels>) -> Option<InstanceId> {
    text(labels, INSTANCE)?.parse().ok()
}

/// The challenge named by the labels.
pub(crate) fn challenge(labels: Option<&Labels>) -> Option<ChallengeId> {
    text(labels, CHALLENGE)?.parse().ok()
}

/// The service named by the labels.
pub(crate) fn service(labels: Option<&Labels>) -> Option<ServiceName> {
    text(labels, SERVICE)?.parse().ok()
}

/// The build key named by the labels.
pub(crate) fn build_key(labels: Option<&Labels>) -> Option<BuildKey> {
    text(labels, BUILD_KEY)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TreeId;

    #[test]
    fn an_object_without_our_id_is_not_ours() {
        let ours: InstallationId = "0123456789abcdef".parse().unwrap();
        let other: InstallationId = "fedcba9876543210".parse().unwrap();
        assert!(is_ours(&ours, Some(&of_kind(&ours, KIND_VOLUME))));
        assert!(!is_ours(&ours, Some(&of_kind(&other, KIND_VOLUME))));
        assert!(!is_ours(&ours, Some(&Labels::new())));
        assert!(!is_ours(&ours, None));
    }

    #[test]
    fn labels_of_an_image_tell_its_key_and_the_tree_it_was_built_from() {
        let ours: InstallationId = "0123456789abcdef".parse().unwrap();
        let tree = TreeId(crate::model::ObjectId::from_bytes([4; 20]));
        let plain = crate::runtime::suite::build_request("FROM scratch", &[]);
        let labels = of_image(&ours, &plain);
        assert_eq!(build_key(Some(&labels)), Some(plain.key));
        assert_eq!(text(Some(&labels), TREE), None, "what comes from no repository has none");
        let request = BuildRequest { tree: Some(tree), ..plain };
        let labels = of_image(&ours, &request);
        assert_eq!(text(Some(&labels), TREE), Some(tree.to_string().as_str()));
        assert_eq!(text(Some(&labels), REVISION), None, "many commits share an image");
    }

    #[test]
    fn labels_tell_where_an_instance_comes_from() {
        let from = Provenance { n_resets: 2, answer_epoch: 1, ..Provenance::for_tests() };
        let mut labels = Labels::new();
        assert_eq!(provenance(Some(&labels)), None, "an older flagops wrote none of them");
        insert_provenance(&mut labels, &from);
        assert_eq!(provenance(Some(&labels)), Some(from));
        labels.remove(TREE);
        assert_eq!(provenance(Some(&labels)), None, "half a story is none");
    }
}
