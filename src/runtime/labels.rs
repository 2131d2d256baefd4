//! The labels that everything of ours bears in an engine, and how they are read back.
//!
//! In:  whose object it is. Out: label maps, engine-side filters, parsed labels.
//!
//! # Invariants
//! * An object without our installation id is not ours, whatever else it claims.
//! * No label holds a secret: labels are shown by every `inspect`.
//! * Never `com.docker.compose.*`: a stray `docker compose down` must not find us.

use std::collections::HashMap;

use crate::model::{BuildKey, InstallationId, InstanceId, ServiceName};
use crate::release::spec::ContainerSpec;

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
    labels.insert("ctfy.role".to_owned(), "instance".to_owned());
    labels.insert("ctfy.instance_id".to_owned(), spec.instance.to_string());
    labels
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

    #[test]
    fn an_object_without_our_id_is_not_ours() {
        let ours: InstallationId = "0123456789abcdef".parse().unwrap();
        let other: InstallationId = "fedcba9876543210".parse().unwrap();
        assert!(is_ours(&ours, Some(&of_kind(&ours, KIND_VOLUME))));
        assert!(!is_ours(&ours, Some(&of_kind(&other, KIND_VOLUME))));
        assert!(!is_ours(&ours, Some(&Labels::new())));
        assert!(!is_ours(&ours, None));
    }
}
