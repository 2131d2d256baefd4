//! The binary: hands its arguments to [`flagops::cli`].

fn main() -> std::process::ExitCode {
    flagops::cli::main(std::env::args_os())
}
