//! Wires the rooms and runs the loops.

pub mod platform;
