//! Stories: one file per person and wish, told with the real binary, a real container engine and
//! real bare repositories.
//!
//! In:  the binary under test, `/var/run/docker.sock` (or `DOCKER_HOST`), the image
//! `busybox:latest` (`scripts/base-images` makes it), `git`, `docker`.
//! Out: nothing is left behind: every daemon of a story removes what bears its installation id.
//!
//! # Invariants
//! * No story waits for a time; it waits for a fact, with a deadline that prints what it saw.
//! * At most two stories run at a time, since they share one engine.

mod agent_plays;
mod author_begins;
mod author_breaks;
mod author_keeps_secrets;
mod author_plays;
mod author_pushes;
mod author_reads_verdict;
mod chaos;
mod daemon_killed;
mod database_lost;
mod engine_faults;
mod examples;
mod forge_tells;
mod front_speaks;
mod git_matrix;
mod isolation_lab;
mod machine_probes;
mod machines_apart;
mod node_serves;
mod operator;
mod operator_captures;
mod operator_frees_disk;
mod operator_gets_certificate;
mod operator_sees_walls;
mod operator_shuts_in;
mod organizer_looks_inside;
mod organizer_proves;
mod organizer_releases;
mod platform_lost;
mod player_attacks;
mod player_connects;
mod player_downloads;
mod player_enters;
mod player_limits;
mod player_manages;
mod player_signs_in;
mod player_tunnels;
mod sdk;
mod source_faults;
mod stranger_knocks;
mod support;
mod teams_side_by_side;
mod whole_event;

#[test]
fn every_file_of_this_folder_is_listed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let listed = include_str!("main.rs");
    let forgotten: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder of this file can be read")
        .map(|entry| entry.expect("its entries can be read").file_name())
        .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
        .filter(|name| !["main", "fixtures"].contains(&name.as_str()))
        .filter(|name| !listed.contains(&format!("\nmod {name};\n")))
        .collect();
    assert_eq!(forgotten, Vec::<String>::new(), "add `mod …;` for these to tests/stories/main.rs");
}
