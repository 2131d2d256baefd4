//! Everything that can be wrong with tags, branches and remotes, each over a folder, over HTTPS
//! (`git http-backend`) and over SSH (an `sshd` of the story), with git itself as who pushes. Every
//! row says what stays live and what the condition reads.
//!
//! One daemon goes through all rows of a transport: what one row leaves behind is there for the
//! next, as it is in an event.
//!
//! # Not here
//! Signatures against their oracles (`tests/trust`), what a folder alone can do (`source_faults`),
//! pushes that are told by a forge (`forge_tells`).

mod remote;
mod scene;
mod tags;

use scene::{Scene, tell};

use crate::support::Transport;

async fn walk(transport: Transport) {
    let begin = std::time::Instant::now();
    let mut scene = Scene::set(transport).await;
    tags::walk(&mut scene).await;
    remote::walk(&mut scene).await;
    let secs = begin.elapsed().as_secs_f32();
    tell(&format!("{transport:?}: every row holds, {secs:.1} s"));
}

#[tokio::test]
async fn every_row_holds_over_a_folder() {
    walk(Transport::Folder).await;
}

#[tokio::test]
async fn every_row_holds_over_https() {
    walk(Transport::Https).await;
}

#[tokio::test]
async fn every_row_holds_over_ssh() {
    walk(Transport::Ssh).await;
}
