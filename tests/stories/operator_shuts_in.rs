//! An operator gives a machine gVisor, and what asks for it has a kernel of its own there.

use crate::support::{Challenge, Daemon, OwnEngine, Stage, fetch};

const ID: &str = "WEB-871";

/// What says which kernel it runs on, and serves it.
fn shut_in() -> Challenge {
    let challenge = Challenge::web_and_db(ID, "one");
    let metadata = challenge.files["metadata.yaml"].clone();
    let kernel = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexec dmesg\n";
    let dockerfile = challenge.files["services/web/Dockerfile"]
        .replace("COPY version", "COPY kernel /www/cgi-bin/kernel\nCOPY version");
    challenge
        .with("metadata.yaml", format!("{metadata}instance: {{runtime: runsc}}\n"))
        .with("services/web/Dockerfile", dockerfile)
        .with("services/web/kernel", kernel)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_gvisor_has_a_kernel_of_its_own_and_the_same_walls() {
    let stage = Stage::with(&[shut_in()]).await;
    let engine = OwnEngine::with_gvisor(&stage.path("machine")).await;
    let settings = stage
        .settings()
        .elsewhere(engine.engine(), engine.runner(), &engine.address())
        .text("engine.endpoint", &format!("unix://{}", engine.socket().display()))
        .text("network.wall", "required");
    engine.has_debian();
    let daemon = Daemon::start(settings).await;
    daemon.live(ID).await;
    // The node has looked from inside of it.
    daemon.admin().stated("node/local", "Isolated", "True", "Ok").await;
    // The token in the data directory is not sent to another machine unless it is named.
    let token = stage.path("data/admin.token").display().to_string();
    let matrix = daemon.cli(&["doctor", "isolation", "--last", "--token-file", &token]).fine();
    let (_, inside) = matrix.split_once("from inside of gVisor").expect("it looked there");
    assert!(inside.contains("the kernel of this host") && !inside.contains("MISS"), "{matrix}");
    let team = daemon.team("red").await;
    let ready = team.play(ID).await;
    let (host, port) = ready.first();
    let read = async |path: &str| fetch(&format!("http://{host}:{port}/cgi-bin/{path}")).await;
    let kernel = read("kernel").await.expect("it says its kernel");
    assert!(kernel.contains("Starting gVisor"), "{kernel}");
    // Both services, the network between them and the answer work as anywhere else.
    let flag = read("flag").await.expect("it has a flag");
    assert!(flag.starts_with("FLAG{"), "{flag}");
    team.stop(&ready.id).await;
    team.gone(&ready.id).await;
    daemon.nothing_left().await;
}
