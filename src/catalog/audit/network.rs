//! The gateway of an engagement (NET): it is there, can be reached, and nobody expects it to be another.

pub(super) mod from;

use super::Subject;
use crate::catalog::decode::{Report, shown};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::catalog::spanned::{Map, Node, ScalarKind, Span};
use crate::model::compose::GATEWAY;
use crate::model::{Topology, TreeError};

/// The image that a gateway must be built on, without registry, tag and digest.
const BASE_IMAGE: &str = "ctfy/openvpn-base";
/// Its port.
const PORT: &str = "1194";

/// Judges the family.
///
/// # Errors
/// Only when the store fails.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    if subject.topology != Some(Topology::Engagement) || subject.compose.is_none() {
        return Ok(());
    }
    let Some((entry, gateway)) = subject.services().find(|(entry, _)| entry.key == GATEWAY) else {
        let at = subject.compose.and_then(|map| map.get("services")).map(|it| it.key_span);
        let message = format!("an engagement needs a service `{GATEWAY}`, and there is none");
        let hint = match subject.renamed(GATEWAY) {
            Some(entry) => format!("rename `{}` to `{GATEWAY}`", shown(&entry.key)),
            None => {
                format!("add `{GATEWAY}` with `image: {BASE_IMAGE}` and `ports: [\"{PORT}/udp\"]`")
            }
        };
        let path = subject.path("docker-compose.yml");
        report.at(Weight::Error, rules::NET001, path, at.unwrap_or_default(), message, hint);
        return Ok(());
    };
    check_image(subject, gateway, report)?;
    check_port(subject, entry.key_span, gateway, report);
    Ok(())
}

/// NET002: the image of the gateway is built on the base image, or is it. NET004: it has no build.
fn check_image(subject: &Subject<'_>, gateway: &Map, report: &mut Report) -> Result<(), TreeError> {
    let hint = format!("write `image: {BASE_IMAGE}`: the gateway of the platform runs, not this");
    if let Some(build) = gateway.get("build") {
        let message = format!("the gateway `{GATEWAY}` is ours, so its build is not used");
        let instead = format!("write `image: {BASE_IMAGE}` instead of `build`");
        let path = subject.path("docker-compose.yml");
        report.at(Weight::Warning, rules::NET004, path, build.key_span, message, instead);
        let Some(build) = subject.builds.iter().find(|build| build.service.as_str() == GATEWAY)
        else {
            // The build itself has a fault, which is said where it stands.
            return Ok(());
        };
        let name = crate::catalog::folder::join(&build.spec.context, &build.spec.dockerfile);
        let Some(text) = subject.text(&name)? else { return Ok(()) };
        let (image, line) = match from::base_of(&text, build.spec.target.as_deref()) {
            Some(base) if is_base_image(&base.image) => return Ok(()),
            Some(base) => (format!("on `{}`", shown(&base.image)), base.line),
            None => ("on no image".to_owned(), 0),
        };
        let message = format!("the gateway is built {image} instead of `{BASE_IMAGE}`");
        let at = Span { line, column: u32::from(line > 0), ..Span::default() };
        report.at(Weight::Error, rules::NET002, subject.path(&name), at, message, hint);
        return Ok(());
    }
    let Some(image) = gateway.get("image") else { return Ok(()) };
    let Some(reference) = image.value.as_scalar() else { return Ok(()) };
    if !is_base_image(&reference.text) {
        let message = format!(
            "the gateway runs the image `{}` instead of `{BASE_IMAGE}`",
            shown(&reference.text)
        );
        let path = subject.path("docker-compose.yml");
        report.at(Weight::Error, rules::NET002, path, image.value.span, message, hint);
    }
    Ok(())
}

/// Whether `reference` is the base image: of any registry, with any tag or digest.
fn is_base_image(reference: &str) -> bool {
    let name = reference.split('@').next().unwrap_or_default();
    let name = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    };
    name.split(':').next() == Some(BASE_IMAGE)
}

/// NET003: the gateway publishes its port.
fn check_port(subject: &Subject<'_>, service: Span, gateway: &Map, report: &mut Report) {
    let ports = gateway.get("ports");
    let items = ports.and_then(|entry| entry.value.as_list()).unwrap_or_default();
    if items.iter().any(is_gateway_port) {
        return;
    }
    let message = format!("the gateway `{GATEWAY}` does not publish {PORT}/udp");
    let hint =
        format!("write `ports: [\"{PORT}/udp\"]`; which port of the host it gets is our choice");
    let at = ports.map_or(service, |entry| entry.value.span);
    let path = subject.path("docker-compose.yml");
    report.at(Weight::Error, rules::NET003, path, at, message, hint);
}

/// Whether a port as written, in its short or long form, is 1194/udp inside the container.
fn is_gateway_port(item: &Node) -> bool {
    if let Some(scalar) = item.as_scalar() {
        let container = scalar.text.rsplit(':').next().unwrap_or_default();
        return container
            .split_once('/')
            .is_some_and(|(port, kind)| port == PORT && kind.eq_ignore_ascii_case("udp"));
    }
    let scalar = |key: &str| item.as_map()?.get(key)?.value.as_scalar();
    let is_target =
        scalar("target").is_some_and(|it| it.kind == ScalarKind::Int && it.text == PORT);
    is_target && scalar("protocol").is_some_and(|it| it.text.eq_ignore_ascii_case("udp"))
}

#[cfg(test)]
mod tests {
    use super::is_base_image;

    #[test]
    fn registry_tag_and_digest_do_not_make_it_another_image() {
        for image in [
            "ctfy/openvpn-base",
            "ctfy/openvpn-base:1",
            "ctfy/openvpn-base@sha256:00",
            "ctfy/openvpn-base:1@sha256:00",
            "docker.io/ctfy/openvpn-base",
            "ghcr.io/ctfy/openvpn-base:1",
            "localhost:5000/ctfy/openvpn-base",
            "localhost/ctfy/openvpn-base",
        ] {
            assert!(is_base_image(image), "{image}");
        }
        for image in [
            "",
            "busybox",
            "kylemanna/openvpn",
            "my/ctfy/openvpn-base",
            "ctfy/openvpn-base-evil",
            "ctfy/openvpn",
            "ghcr.io/other/openvpn-base",
        ] {
            assert!(!is_base_image(image), "{image}");
        }
    }
}
