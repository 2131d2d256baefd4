//! Where images are built, and what is mounted from the folder (STRUCT003 to STRUCT005).

use super::super::Subject;
use super::super::compose::written::{self, Build};
use super::COMPOSE;
use crate::catalog::decode::{Report, nearest, shown};
use crate::catalog::files::shown_path;
use crate::catalog::finding::Weight;
use crate::catalog::folder::MAX_DOCKERFILE_BYTES;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Span};
use crate::model::EntryKind;

/// Where the sources of services are kept.
const SERVICES: &str = "services";

/// Judges every service.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) {
    check_services_folder(subject, report);
    for (entry, service) in subject.services() {
        if let Some(build) = written::build(subject, &entry.key, service) {
            check_build(subject, entry, &build, report);
        }
        for mount in written::mounts(service) {
            if let Some(path) = mount.host_path() {
                check_mount(subject, path, mount.at, report);
            }
        }
    }
}

fn check_services_folder(subject: &Subject<'_>, report: &mut Report) {
    if subject.files.is_dir(SERVICES) {
        return;
    }
    let built = subject.services().find(|(_, service)| written::said(service, "build").is_some());
    if let Some((entry, _)) = built {
        let message = format!(
            "`{}` is built from sources, but there is no folder `{SERVICES}/`",
            shown(&entry.key)
        );
        let hint = format!(
            "move what is built to `{SERVICES}/{name}/`, and write `build: {SERVICES}/{name}`",
            name = shown(&entry.key)
        );
        let path = subject.path(SERVICES);
        report.on_file(Weight::Error, rules::STRUCT003, path, message, hint);
    }
}

/// Whether the context is a folder with a Dockerfile of sane size.
fn check_build(subject: &Subject<'_>, entry: &Entry, build: &Build, report: &mut Report) {
    let context = &build.context;
    let service = shown(&entry.key);
    if !context.is_empty() && !subject.files.is_dir(context) {
        let message = format!(
            "the build context `{}` of `{service}` is no folder of the challenge",
            shown(&build.written)
        );
        let hint = "create the folder, or name the one that has the Dockerfile";
        let path = subject.path(COMPOSE);
        report.at(Weight::Refusal, rules::STRUCT004, path, build.at, message, hint);
        return;
    }
    let path = build.path();
    let file = shown(&path);
    let (message, hint) = match subject.files.kind(&path) {
        // A link is refused as such (STRUCT020).
        Some(EntryKind::Symlink) => return,
        Some(EntryKind::File { .. }) => match subject.files.size_bytes(&path) {
            0 => (
                format!("`{file}` is empty, so there is no image for `{service}`"),
                "write at least a line `FROM …`".to_owned(),
            ),
            size if size <= MAX_DOCKERFILE_BYTES => return,
            _ => (
                format!("`{file}` has more than 256 KiB"),
                "move data into files beside it, and `COPY` them".to_owned(),
            ),
        },
        Some(EntryKind::Directory | EntryKind::Submodule) | None => {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let beside = subject.files.below(folder).map(|(name, _)| name);
            let beside: Vec<&str> = beside.filter(|name| !name.contains('/')).collect();
            let hint = match nearest(name, &beside) {
                Some((near, _)) => format!("rename `{}` to `{}`", shown(near), shown(name)),
                None => {
                    format!(
                        "write the file `{file}`, or mend `build` of `{service}` in `{COMPOSE}`"
                    )
                }
            };
            (format!("`{file}` is missing, from which `{service}` is built"), hint)
        }
    };
    let path = shown_path(&subject.path(&path));
    report.on_file(Weight::Refusal, rules::STRUCT004, path, message, hint);
}

/// A mount of the folder itself. It is refused whatever the path names (HARDEN006); one that names
/// nothing is most likely a slip of the pen.
fn check_mount(subject: &Subject<'_>, path: &str, at: Span, report: &mut Report) {
    let is_there =
        written::inside(path).is_some_and(|it| it.is_empty() || subject.files.kind(&it).is_some());
    if !is_there {
        let message = format!("the mounted path `{}` is not in the challenge", shown(path));
        let hint = "copy what the service needs in its Dockerfile, and remove the mount";
        let file = subject.path(COMPOSE);
        report.at(Weight::Error, rules::STRUCT005, file, at, message, hint);
    }
}
