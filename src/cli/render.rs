//! `flagops render-attachments`: what the daemon starts to render the templates of one instance. It
//! takes its limits before it reads a byte.
//!
//! In:  a request on standard input (`render::attachments::job`). Out: the replies on standard output.
//!
//! # Invariants
//! * It opens nothing, writes no file, starts no process, and leaves no core file with answers.
//! * It may use so much memory and processor time, whatever a template does.

use std::io::{self, Read as _};

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::render::attachments::job;

use super::failure::{Ending, Failure};

/// Memory for the program itself, a request, and what is made of it.
const LIMITS: Limits = Limits { memory_bytes: 256 << 20, cpu_secs: 5 };
/// Largest request.
const MAX_REQUEST_BYTES: u64 = 64 << 20;

/// Render the attachments of one instance, for the daemon
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {}

/// Renders what standard input asks for.
pub(crate) fn run() -> Result<Ending, Failure> {
    let answered = limit(LIMITS).and_then(|()| {
        let mut request = Vec::new();
        io::stdin().lock().take(MAX_REQUEST_BYTES).read_to_end(&mut request)?;
        job::answer(&request, &mut io::stdout().lock())
    });
    match answered {
        Ok(()) => Ok(Ending::Fine),
        // What is wrong could repeat a part of the request.
        Err(error) => Err(Failure::failed(
            format!("could not answer a request ({})", error.kind()),
            "this command is for the daemon; players download from `flagops serve`",
        )),
    }
}

/// What a child may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most memory, as address space.
    pub(super) memory_bytes: u64,
    /// Most processor time.
    pub(super) cpu_secs: u64,
}

/// Gives this process its limits, which it can never raise again.
pub(super) fn limit(limits: Limits) -> io::Result<()> {
    for (resource, most) in [
        (Resource::As, limits.memory_bytes),
        (Resource::Cpu, limits.cpu_secs),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}
