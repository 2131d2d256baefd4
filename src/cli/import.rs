//! `flagops import`: challenges out of what exists already.
//!
//! In:  a folder with a compose file, or a file with questions. Out: folders of the repository.
//!
//! # Invariants
//! * No answer is invented, and none is printed.
//! * Nothing that exists is written over unless asked.

mod compose;
mod quiz;
mod residue;

use clap::{Args, Subcommand};

use super::failure::{Ending, Failure};
use super::settings::Global;

/// Make challenges of what you have
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    Compose(compose::ComposeArgs),
    Quiz(quiz::QuizArgs),
}

/// Imports, and says what came of it.
pub(crate) fn run(global: &Global, args: &ImportArgs) -> Result<Ending, Failure> {
    match &args.source {
        Source::Compose(args) => compose::run(global, args),
        Source::Quiz(args) => quiz::run(global, args),
    }
}
