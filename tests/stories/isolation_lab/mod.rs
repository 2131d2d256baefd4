//! The lab of `contract/security.md` §5.2: 24 rows, on an engine as it comes and behind our wall, and
//! behind our wall after everything that breaks around it (N01, N02).
//!
//! Everything is in network namespaces of its own: the engine's, and a LAN with another node, a metadata
//! service and the internet. Only addresses that the test made are contacted.

mod arena;
mod matrix;

use arena::Arena;
use matrix::{Expected, MATRIX, Stock};

use crate::support::{PATIENCE, until};

/// A check that could not fail would prove nothing: without our wall the known holes are seen.
#[tokio::test]
async fn n01_an_engine_as_it_comes_shows_the_known_holes() {
    let arena = Arena::set().await;
    let cast = arena.stock_cast();
    let seen = arena.look(&cast);
    let closed: Vec<_> = MATRIX
        .iter()
        .zip(&seen)
        .filter(|(row, reached)| row.stock == Stock::Reached && !**reached)
        .map(|(row, _)| row.what)
        .collect();
    assert_eq!(closed, Vec::<&str>::new(), "these are open on every engine that we know");
    let open: Vec<_> = MATRIX
        .iter()
        .zip(&seen)
        .filter(|(row, reached)| row.stock == Stock::Blocked && **reached)
        .map(|(row, _)| row.what)
        .collect();
    assert_eq!(open, Vec::<&str>::new(), "the engine keeps these itself");
    let n_holes = MATRIX
        .iter()
        .zip(&seen)
        .filter(|(row, reached)| row.expected == Expected::Blocked && **reached)
        .count();
    assert!(n_holes >= 8, "only {n_holes} holes are seen");
    // The other probes can fail, too.
    let ports = arena.ports(&cast);
    assert!(ports.iter().any(|port| port.ends_with(":9000")), "{} answer", ports.len());
    arena.count_questions();
    arena.ask_for_names("web1", &cast);
    assert!(arena.n_questions() > 0, "names are asked for outside");
}

#[tokio::test]
async fn n07_no_port_of_the_node_says_anything_to_an_instance() {
    let arena = Arena::set().await;
    let play = arena.play().await;
    let cast = play.cast(&arena).await;
    assert_eq!(arena.ports(&cast), Vec::<String>::new());
    play.end().await;
}

#[tokio::test]
async fn r10_a_scan_fills_no_table_of_neighbours() {
    let arena = Arena::set().await;
    let play = arena.play().await;
    let cast = play.cast(&arena).await;
    let (of_node, of_instance) = arena.neighbours_after_a_scan(&cast);
    // A network has fourteen addresses, an instance has two, and there are two instances and a LAN.
    assert!(of_node < 64, "the node knows {of_node} neighbours");
    assert!((1..=32).contains(&of_instance), "the instance knows {of_instance}");
    play.end().await;
}

#[tokio::test]
async fn n08_no_question_for_a_name_leaves_the_node() {
    let arena = Arena::set().await;
    let play = arena.play().await;
    let cast = play.cast(&arena).await;
    arena.count_questions();
    for service in ["-web", "-db"] {
        arena.ask_for_names(&play.container(&arena, service), &cast);
    }
    assert_eq!(arena.n_questions(), 0);
    let web = play.container(&arena, "-web");
    let mate = arena.engine.engine().inside(&web, &["nslookup", "db", "127.0.0.11"]);
    assert!(mate.is_ok(), "services find each other: {mate:?}");
    play.end().await;
}

/// A challenge with `egress: internet`: one row of the table opens, and no other.
#[tokio::test]
async fn n20_a_way_out_leads_to_the_internet_and_nowhere_else() {
    let mut arena = Arena::with_way_out().await;
    let play = arena.play().await;
    let is_open =
        |row: &matrix::Row| row.expected == Expected::Reached || row.what == "the internet";
    let wrong = |cast: &arena::Cast, arena: &Arena| -> Vec<_> {
        let seen = MATRIX.iter().zip(arena.look(cast));
        seen.filter(|(row, reached)| is_open(row) != *reached).collect()
    };
    let cast = play.cast(&arena).await;
    assert!(wrong(&cast, &arena).is_empty(), "{:#?}", wrong(&cast, &arena));
    arena.inside(&["nft", "flush", "ruleset"]);
    play.tick().await;
    let cast = play.cast(&arena).await;
    let leaks: Vec<_> = wrong(&cast, &arena).into_iter().filter(|(_, reached)| *reached).collect();
    assert!(leaks.is_empty(), "after `nft flush ruleset` and one tick: {leaks:#?}");
    arena.engine.halt().await;
    arena.engine.boot().await;
    arena.accept_forwarding();
    let cast = play.cast(&arena).await;
    until("the way out is back, and nothing else", PATIENCE, || {
        let wrong = wrong(&cast, &arena);
        let leaks = wrong.iter().any(|(_, reached)| *reached);
        assert!(!leaks, "{wrong:#?}");
        std::future::ready(if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) })
    })
    .await;
    play.end().await;
}

#[tokio::test]
async fn n02_behind_our_wall_every_row_holds_after_every_fault() {
    let mut arena = Arena::set().await;
    let mut play = arena.play().await;
    play.holds(&arena, "to begin with").await;

    // Nobody looks after the wall, and it stands.
    play.daemon.kill9();
    assert!(arena.wrong(&play.cast_as_it_is(&arena)).is_empty(), "while our daemon is dead");
    play.daemon.restart().await;
    play.holds(&arena, "after our daemon came back").await;

    // The engine lost its rules by this, and its proxy still carries what is published.
    arena.inside(&["nft", "flush", "ruleset"]);
    play.tick().await;
    arena.shuts(&play.cast(&arena).await, "after `nft flush ruleset` and one tick");
    play.holds(&arena, "after `nft flush ruleset` and one tick").await;

    arena.engine.halt().await;
    arena.engine.boot().await;
    arena.accept_forwarding();
    play.holds(&arena, "after a restart of the engine").await;

    arena.kill_engine();
    arena.engine.boot().await;
    arena.accept_forwarding();
    play.holds(&arena, "after `kill -9` of the engine and its containerd").await;

    play.start_anew(&arena).await;
    play.holds(&arena, "with networks that were made anew").await;
    play.end().await;
}
