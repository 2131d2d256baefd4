//! Files out of images: the same for everybody, of the image that runs, and none goes live without.

use super::*;
use crate::daemon::platform::ListedFile;
use crate::planner::lifecycle::Answers;

const WITH_EXPORT: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\nexports:\n  - {service: web, path: /page, as: bin/page}\n";

fn files(metadata: &'static str, page: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut files = FULL_FILES.to_vec();
    files[0].1 = metadata;
    files[3].1 = page;
    files
}

fn exporting_rig() -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(&files(WITH_EXPORT, "hello\n"));
    rig
}

async fn download(platform: &Platform, name: &str) -> Option<Vec<u8>> {
    let file = platform.attachment(&challenge_id("WEB-001"), name).await.ok()?;
    Some(file.bytes())
}

#[tokio::test]
async fn a_file_of_the_image_is_downloaded_before_and_during_an_instance() {
    let rig = exporting_rig();
    let (daemon, platform, red) = playing(&rig).await;
    assert_eq!(download(&platform, "bin/page").await.as_deref(), Some(&b"hello\n"[..]));
    assert!(
        download(&platform, "/page").await.is_none() && download(&platform, "page").await.is_none()
    );
    let live = platform.live()[&challenge_id("WEB-001")].challenge.clone();
    let listed = platform.exported(&live).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].size_bytes), (1, "bin/page", 6));
    let instance = ready_instance(&daemon, &red).await;
    // Another version: the instance keeps what its own image has.
    rig.push(&files(WITH_EXPORT, "changed\n"));
    until("the new version to be live", async || {
        download(&platform, "bin/page").await.filter(|it| it == b"changed\n")
    })
    .await;
    let old = platform.instance_attachment(&instance, "bin/page").await.unwrap();
    let new_tag = platform.attachment(&challenge_id("WEB-001"), "bin/page").await.unwrap().tag;
    assert_ne!(old.tag, new_tag);
    assert_eq!(old.bytes(), b"hello\n");
    let all = platform.instance_attachments(&instance).await.unwrap();
    assert!(all.iter().any(|it| it.name == "bin/page" && it.size_bytes == 6), "{all:?}");
    // Lost from the disk, it is taken out again at the next look at the images.
    std::fs::remove_dir_all(rig.config.data_dir.join("exports")).unwrap();
    assert!(download(&platform, "bin/page").await.is_none());
    drop(platform);
    daemon.stop().await;
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("it to be there again", async || download(&platform, "bin/page").await).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_version_without_its_file_stays_back_and_says_which() {
    let rig = Rig::new();
    rig.add_image("base:1");
    let missing = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nexports:\n  - {service: web, path: /srv/chal, as: chal}\n";
    rig.push(&files(missing, "hello\n"));
    let daemon = rig.start().await;
    let platform = daemon.platform();
    let scope = Scope::Challenge(challenge_id("WEB-001"));
    let held = until("it to be said", async || {
        condition(&platform, &scope, ConditionType::Released).await
    })
    .await;
    assert_eq!(held.reason, "ExportMissing");
    assert_eq!(held.message, "exports[0]: /srv/chal is not in the image of service web");
    assert!(platform.live().is_empty());
    rig.push(&files(WITH_EXPORT, "hello\n"));
    live(&platform, "WEB-001").await;
    daemon.stop().await;
}

const OF_EACH: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\nexports:\n  - {service: web, path: /srv/chal, as: bin/chal, per_team: true}\n";

/// A rig whose service has a file of its own for each instance, if it writes one.
fn making_rig() -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    let mut files = ONE_FILES.to_vec();
    files[0].1 = OF_EACH;
    rig.push(&files);
    rig
}

async fn own(platform: &Platform, instance: &Instance) -> Option<Vec<u8>> {
    let file = platform.instance_attachment(instance, "bin/chal").await.ok()?;
    Some(file.bytes())
}

#[tokio::test]
async fn each_team_downloads_what_its_own_service_wrote() {
    let rig = making_rig();
    rig.engine.copy_at_start("/answers/flag", "/srv/chal");
    let (daemon, platform, red) = playing(&rig).await;
    let blue = player(&platform, "blue").await;
    let live = platform.live()[&challenge_id("WEB-001")].challenge.clone();
    assert!(platform.exported(&live).await.unwrap().is_empty(), "nobody has one before a start");
    assert!(download(&platform, "bin/chal").await.is_none());
    let (ours, theirs) =
        (ready_instance(&daemon, &red).await, ready_instance(&daemon, &blue).await);
    let first = own(&platform, &ours).await.unwrap();
    assert!(first.starts_with(b"FLAG{"), "{first:?}");
    assert_ne!(own(&platform, &theirs).await.unwrap(), first);
    let listed = platform.instance_attachments(&ours).await.unwrap();
    let size_bytes = first.len() as u64;
    assert!(listed.contains(&ListedFile { name: "bin/chal".to_owned(), size_bytes }), "{listed:?}");
    assert_eq!(platform.instance_exports(&ours, &live).await.unwrap(), listed);

    // Lost from the disk, or of a container that is no more: they are taken out again.
    let collected = rig.config.data_dir.join("collected");
    std::fs::remove_dir_all(&collected).unwrap();
    assert!(own(&platform, &ours).await.is_none());
    let container = container(&rig, ours.id, "web");
    rig.engine.remove_by_hand(&container);
    let again = until("it to be taken out again", async || own(&platform, &ours).await).await;
    assert_eq!(again, first);

    // Other answers, another file.
    platform.reset(&red, &ours.id.to_string(), Answers::Renew).await.unwrap();
    let reset = ready(&daemon, ours.id).await;
    assert_ne!(own(&platform, &reset).await.unwrap(), first);
    platform.stop(&red, &ours.id.to_string(), StopReason::User).await.unwrap();
    in_phase(&daemon, ours.id, InstancePhase::Stopped).await;
    assert!(own(&platform, &reset).await.is_none());
    assert!(!collected.join(ours.id.to_string()).exists(), "it goes with the instance");
    daemon.stop().await;
}

#[tokio::test]
async fn a_start_whose_service_writes_nothing_fails_and_says_what() {
    let rig = making_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let failed = until("it to fail", async || row(&daemon, started.id).await.error).await;
    assert_eq!(
        failed,
        "the file `bin/chal`: service `web` was usable and had not written /srv/chal: write it before the health check passes, and not to a tmpfs"
    );
    daemon.stop().await;
}
