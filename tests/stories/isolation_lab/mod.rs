//! The lab of `contract/security.md` §5.2: 24 rows, on an engine as it comes and behind our wall, and
//! behind our wall after everything that breaks around it (N01, N02).
//!
//! Everything is in network namespaces of its own: the engine's, and a LAN with another node, a metadata
//! service and the internet. Only addresses that the test made are contacted.

mod arena;
mod matrix;

use arena::Arena;
use matrix::{Expected, MATRIX, Stock};

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

    // The engine may have lost rules of its own by this: until it restarts it publishes nothing.
    arena.inside(&["nft", "flush", "ruleset"]);
    play.tick().await;
    arena.shuts(&play.cast(&arena).await, "after `nft flush ruleset` and one tick");

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
