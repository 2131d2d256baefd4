//! Files of one instance: rendered before its first container, its own, gone with it, and made again
//! from the same commit whenever they are missing.

use std::path::PathBuf;

use super::*;
use crate::planner::lifecycle::Answers;
use crate::runtime::fake::Verb;

const NOTES: &str = "flag {{ answer.flag }} of {{ team.name }} in {{ event.title }}\n\
                     {{ challenge.name }} {{ instance.id }} nc {{ service.web.host }} {{ service.web.port }}\n";

fn files(notes: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut files = ONE_FILES.to_vec();
    files.push(("WEB/WEB-001/attachments/notes.txt.tpl", notes));
    files.push(("WEB/WEB-001/attachments/plain.txt", "for everybody"));
    files
}

fn rendering_rig(notes: &'static str) -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(&files(notes));
    rig
}

async fn read(platform: &Platform, instance: &Instance, name: &str) -> Option<String> {
    let file = platform.instance_attachment(instance, name).await.ok()?;
    Some(String::from_utf8(file.bytes()).unwrap())
}

async fn listed(platform: &Platform, instance: &Instance) -> Vec<(String, u64)> {
    let files = platform.instance_attachments(instance).await.unwrap();
    files.into_iter().map(|file| (file.name, file.size_bytes)).collect()
}

fn flag(rig: &Rig, id: InstanceId) -> String {
    let files = rig.engine.files(&container(rig, id, "web"));
    String::from_utf8(files["/answers/flag"].clone()).unwrap()
}

fn home(rig: &Rig, id: InstanceId) -> PathBuf {
    rig.config.data_dir.join("instances").join(id.to_string())
}

#[tokio::test]
async fn two_teams_get_their_own_files_and_nothing_is_left_of_them() {
    let rig = rendering_rig(NOTES);
    let (daemon, platform, red) = playing(&rig).await;
    let blue = player(&platform, "blue").await;
    let (first, second) =
        (ready_instance(&daemon, &red).await, ready_instance(&daemon, &blue).await);
    let (ours, theirs) = (
        read(&platform, &first, "notes.txt").await.unwrap(),
        read(&platform, &second, "notes.txt").await.unwrap(),
    );
    let port = first.surface[0].port;
    let flag_of = |instance: &Instance| flag(&rig, instance.id);
    let expected = format!(
        "flag {} of red in All challenges\nOne {} nc 127.0.0.1 {port}\n",
        flag_of(&first),
        first.id
    );
    assert_eq!(ours, expected);
    assert!(theirs.contains(&flag_of(&second)) && !theirs.contains(&flag_of(&first)));
    assert!(!ours.contains(&flag_of(&second)));
    let size = ours.len() as u64;
    let all = [("notes.txt".to_owned(), size), ("plain.txt".to_owned(), 13)];
    assert_eq!(listed(&platform, &first).await, all);
    assert!(read(&platform, &first, "notes.txt.tpl").await.is_none());
    let (tag, other) = (
        platform.instance_attachment(&first, "plain.txt").await.unwrap().tag,
        platform.instance_attachment(&second, "plain.txt").await.unwrap().tag,
    );
    assert_ne!(tag, other, "t08: what one team may keep is no answer for another");
    for (caller, instance) in [(&red, &first), (&blue, &second)] {
        platform.stop(caller, &instance.id.to_string(), StopReason::User).await.unwrap();
        in_phase(&daemon, instance.id, InstancePhase::Stopped).await;
        assert!(!home(&rig, instance.id).exists());
    }
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_template_that_fails_ends_the_start_before_any_container() {
    // What only a player of that name meets, the catalogue cannot know.
    let rig = rendering_rig("fine\n{% if team.name == 'red' %}{{ answer.nope }}{% endif %}");
    let (daemon, platform, red) = playing(&rig).await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let failed = in_phase(&daemon, started.id, InstancePhase::Failed).await;
    assert_eq!(
        failed.error.as_deref(),
        Some("attachment template render failed: notes.txt.tpl: 2:31 `answer.nope` is not defined")
    );
    assert_eq!(objects_of(&rig, started.id), BTreeSet::new());
    assert!(!home(&rig, started.id).exists());
    assert!(!rig.engine.calls().contains(&Verb::CreateContainer), "no container was ever made");
    let blue = player(&platform, "blue").await;
    ready_instance(&daemon, &blue).await;
    daemon.stop().await;
}

#[tokio::test]
async fn t13_lost_files_are_rendered_again_and_identically() {
    let rig = rendering_rig(NOTES);
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let before = read(&platform, &instance, "notes.txt").await.unwrap();
    std::fs::remove_dir_all(home(&rig, instance.id)).unwrap();
    assert!(read(&platform, &instance, "notes.txt").await.is_none());
    assert_eq!(listed(&platform, &instance).await, [("plain.txt".to_owned(), 13)]);
    until("the files to be there again", async || {
        assert_eq!(row(&daemon, instance.id).await.phase, InstancePhase::Ready, "it runs on");
        daemon.relist().await;
        read(&platform, &instance, "notes.txt").await.filter(|after| *after == before)
    })
    .await;
    // The next daemon finds them as they are.
    drop(platform);
    daemon.stop().await;
    let daemon = rig.start().await;
    ready(&daemon, instance.id).await;
    let after = read(&daemon.platform(), &instance, "notes.txt").await;
    assert_eq!(after.as_deref(), Some(before.as_str()));
    daemon.stop().await;
}

#[tokio::test]
async fn a_reset_keeps_the_bytes_unless_it_asks_for_new_answers() {
    let rig = rendering_rig(NOTES);
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let id = instance.id.to_string();
    let first = read(&platform, &instance, "notes.txt").await.unwrap();
    let reset = platform.reset(&red, &id, Answers::Keep).await.unwrap();
    assert!(
        read(&platform, &reset, "notes.txt").await.is_none_or(|it| it == first),
        "what is not of this incarnation is not served"
    );
    let reset = ready(&daemon, reset.id).await;
    assert_eq!(read(&platform, &reset, "notes.txt").await.unwrap(), first);
    platform.reset(&red, &id, Answers::Renew).await.unwrap();
    let renewed = ready(&daemon, reset.id).await;
    let second = read(&platform, &renewed, "notes.txt").await.unwrap();
    assert_ne!(second, first);
    assert!(second.contains(&flag(&rig, renewed.id)));
    assert!(read(&platform, &instance, "notes.txt").await.is_none(), "the old incarnation");
    let left: Vec<_> = std::fs::read_dir(home(&rig, renewed.id)).unwrap().collect();
    assert_eq!(left.len(), 1, "one incarnation is on disk");
    daemon.stop().await;
}

#[tokio::test]
async fn a_start_sweeps_what_no_row_knows() {
    let rig = rendering_rig(NOTES);
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    drop(platform);
    daemon.stop().await;
    let stranger = home(&rig, InstanceId::new(uuid::Uuid::from_bytes([9; 16])));
    std::fs::create_dir_all(stranger.join("0/attachments")).unwrap();
    let partial = home(&rig, instance.id).join("partial/attachments");
    std::fs::create_dir_all(&partial).unwrap();
    let daemon = rig.start().await;
    assert!(!stranger.exists());
    assert!(home(&rig, instance.id).join("0/rendered.json").exists());
    ready(&daemon, instance.id).await;
    daemon.stop().await;
}
