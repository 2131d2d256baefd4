//! An operator looks at what players did on the wire: packets and requests of instances whose challenge
//! asks for it, bounded, and gone with the record.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Challenge, Client, Daemon, Finished, PATIENCE, Ready, Stage, fetch, until};

/// A web server whose packets are captured.
fn captured(id: &str) -> Challenge {
    let challenge = Challenge::web(id, "one");
    let metadata = challenge.files["metadata.yaml"].clone() + "\ninstance: {capture: packets}\n";
    challenge.with("metadata.yaml", metadata)
}

/// Asks for a page that is not there, so that nobody else asks for it.
async fn visit(instance: &Ready, page: &str) {
    let (host, port) = instance.first();
    fetch(&format!("http://{host}:{port}/{page}")).await.expect_err("there is no such page");
}

/// Waits until a visit is seen, visiting again while the capture may not have begun.
async fn seen(client: &Client, instance: &Ready, page: &str) -> Value {
    until(&format!("/{page} is seen"), PATIENCE, || async {
        visit(instance, page).await;
        let flows = client.get(&format!("/instances/{}/traffic", instance.id)).await;
        let flows = flows.expect_status(200).body;
        let path = format!("/{page}");
        let found = flows.as_array().into_iter().flatten().find(|flow| {
            flow["request"]["path"] == path.as_str() && flow["response"]["status_code"] == 404
        });
        found.cloned().ok_or_else(|| flows.to_string())
    })
    .await
}

/// What `tcpdump` reads in the packets that the command line saves.
fn packets(daemon: &Daemon, id: &str, file: &Path) -> String {
    let _ = fs::remove_file(file);
    let out = file.display().to_string();
    daemon.cli(&["instances", "pcap", id, "--out", &out]).fine();
    Finished::of(Command::new("tcpdump").args(["-n", "-A", "-r"]).arg(file)).fine()
}

/// Processes of this daemon that capture.
fn captures(daemon: &Daemon) -> Vec<String> {
    let tag = format!("flagops-capture-{}", daemon.installation());
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
    let lines = entries.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
    lines.filter(|line| line.split('\0').next() == Some(tag.as_str())).collect()
}

async fn n_captures(daemon: &Daemon, wanted: usize) {
    until(&format!("{wanted} captures run"), PATIENCE, || async {
        let running = captures(daemon);
        if running.len() == wanted { Ok(()) } else { Err(format!("{running:?}")) }
    })
    .await;
}

fn on_disk(folder: PathBuf) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
}

#[tokio::test]
async fn packets_and_requests_of_an_instance_are_there_for_who_may_see_them() {
    let stage = Stage::with(&[captured("WEB-951"), Challenge::web("WEB-952", "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-951").await;
    daemon.live("WEB-952").await;
    let (red, admin) = (daemon.team("red").await, daemon.admin());
    let (instance, plain) = (red.play("WEB-951").await, red.play("WEB-952").await);

    let flow = seen(&red, &instance, "cookie-jar").await;
    assert_eq!(flow["request"]["method"], "GET", "{flow}");
    visit(&plain, "nobody-sees").await;
    let file = stage.path("web.pcap");
    let read = packets(&daemon, &instance.id, &file);
    assert!(read.contains("GET /cookie-jar HTTP/1.1"), "{read}");
    let path = format!("/admin/instances/{}/pcap", instance.id);
    red.get(&path).await.expect_status(403);
    let audit = admin.get("/gitops/audit").await.expect_status(200).body.to_string();
    assert!(audit.contains("download_pcap") && audit.contains(&instance.id), "{audit}");

    // Nobody asked for the other one.
    let none = admin.get(&format!("/admin/instances/{}/pcap", plain.id)).await;
    let none = none.expect_refusal(404, "http_404").body.to_string();
    assert!(none.contains("instance.capture: packets"), "{none}");
    let flows = red.get(&format!("/instances/{}/traffic", plain.id)).await.expect_status(200);
    assert_eq!(flows.body, Value::Array(Vec::new()));

    // A kill leaves one that nobody reads; the next daemon has exactly one again.
    n_captures(&daemon, 1).await;
    daemon.kill9();
    daemon.relaunch();
    daemon.ready().await;
    seen(&red, &instance, "after-the-kill").await;
    n_captures(&daemon, 1).await;
    let read = packets(&daemon, &instance.id, &file);
    assert!(read.contains("/cookie-jar") && read.contains("/after-the-kill"), "{read}");

    // It is over, and in the archive.
    red.stop(&instance.id).await;
    red.gone(&instance.id).await;
    n_captures(&daemon, 0).await;
    let read = packets(&daemon, &instance.id, &file);
    assert!(read.contains("/after-the-kill"), "{read}");
    let record = format!("/admin/instance-records/{}", instance.id);
    let artifacts = admin.get(&record).await.expect_status(200).body["artifacts"].clone();
    assert!(artifacts["traffic_count"].as_u64() >= Some(2), "{artifacts}");
    assert!(artifacts["pcap_bytes"].as_u64() > Some(24), "{artifacts}");
    red.stop(&plain.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn r16_a_flood_stays_inside_of_what_is_set_aside() {
    let large = "FROM busybox:latest
COPY version /www/version
RUN dd if=/dev/zero of=/www/large bs=1048576 count=4
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]
";
    let stage = Stage::with(&[captured("WEB-953").with("services/web/Dockerfile", large)]).await;
    let settings = stage.settings().number("capture.instance_mib", 8).number("capture.node_mib", 8);
    let daemon = Daemon::start(settings).await;
    daemon.live("WEB-953").await;
    let red = daemon.team("red").await;
    let instance = red.play("WEB-953").await;
    seen(&red, &instance, "first").await;
    let (host, port) = instance.first();
    let folder = daemon.data_dir().join("captures").join(&instance.id);
    for _ in 0..12 {
        let page = fetch(&format!("http://{host}:{port}/www/large")).await;
        assert_eq!(page.expect("it answers").len(), 4 << 20);
        let n_bytes = on_disk(folder.clone());
        assert!(n_bytes <= 8 << 20, "{n_bytes} bytes are kept");
    }
    // The newest are there, and it says that there were more.
    let read = packets(&daemon, &instance.id, &stage.path("flood.pcap"));
    assert!(read.contains("/www/large"), "the newest packets are kept");
    assert!(folder.join("cut").exists());
    red.stop(&instance.id).await;
    daemon.nothing_left().await;
}
