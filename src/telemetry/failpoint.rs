//! Named points between two effects, at which a test ends the process as a power cut would.
//!
//! A point is `<room>.<what>.before` or `<room>.<what>.after`: `engine.create_network.after`,
//! `store.insert_instance.before`. Every engine call that changes something, every write
//! transaction, every moved reference of the mirror and every load of the wall has both.
//!
//! In:  [`before`] and [`after`], called where the effect is made. Two variables, which only a debug
//! build reads: `FLAGOPS_TEST_TRACE=FILE` appends the name of each point that is passed, one a line;
//! `FLAGOPS_TEST_KILL=NAME[:N]` ends the process at the `N`th (first) time that `NAME` is passed.
//! `FLAGOPS_TEST_KILL=@FILE` reads that text from `FILE` at each point, so that a trap can be set in
//! a process that runs: it counts from when the file was written, and `FILE` is gone once it closed.
//!
//! # Invariants
//! * A release build contains none of it: both functions are empty there.
//! * A trap that closes leaves what SIGKILL leaves: no destructor runs, nothing is flushed.
//! * `after` is passed before the one who asked for the effect hears of it.
//!
//! This is global state, which we otherwise have none of: a point has to be one line in any room,
//! and a process has one environment.

#[cfg(debug_assertions)]
mod armed;

/// What ends in this is no name of its own but a function without one.
#[cfg(debug_assertions)]
const CLOSURE: &str = "::{{closure}}";

/// The effect `what` of `room` comes now. `what` is a verb, or the type name of a closure, which
/// stands for the function that the closure is written in.
#[inline]
pub fn before(room: &str, what: &str) {
    hit(room, what, "before");
}

/// The effect `what` of `room` was made, or was tried and failed.
#[inline]
pub fn after(room: &str, what: &str) {
    hit(room, what, "after");
}

#[cfg(debug_assertions)]
fn hit(room: &str, what: &str, side: &str) {
    if let Some(points) = armed::points() {
        points.pass(&format!("{room}.{}.{side}", function(what)));
    }
}

#[cfg(not(debug_assertions))]
#[inline]
fn hit(_room: &str, _what: &str, _side: &str) {}

/// The name of the function that a closure of this type name is written in; a verb is its own.
#[cfg(debug_assertions)]
fn function(mut path: &str) -> &str {
    while let Some(outer) = path.strip_suffix(CLOSURE) {
        path = outer;
    }
    // What the function is generic in comes last: `change<closure of somebody>`.
    if path.ends_with('>') {
        let mut depth = 0_i32;
        let open = path.char_indices().rev().find(|(_, c)| {
            depth += i32::from(*c == '>') - i32::from(*c == '<');
            depth == 0
        });
        path = open.map_or(path, |(at, _)| &path[..at]);
    }
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_closure_is_named_by_the_function_it_is_written_in() {
        for (path, name) in [
            ("create_network", "create_network"),
            (
                "flagops::store::live::<impl flagops::store::Store>::set_live::{{closure}}",
                "set_live",
            ),
            ("a::b::pin::{{closure}}::{{closure}}", "pin"),
            ("a::<impl a::Store>::change<bool, a::end::{{closure}}>::{{closure}}", "change"),
        ] {
            assert_eq!(function(path), name, "{path}");
        }
    }

    #[test]
    fn the_compiler_names_closures_as_we_read_them() {
        fn name_of<F: Fn()>(_: F) -> &'static str {
            function(std::any::type_name::<F>())
        }
        fn generic<T: Default>() -> &'static str {
            name_of(|| drop(T::default()))
        }
        assert_eq!(name_of(|| ()), "the_compiler_names_closures_as_we_read_them");
        assert_eq!(generic::<Vec<Option<u8>>>(), "generic");
    }
}
