//! The broker daemon: flags, configuration, start, wait for a signal, stop.

use std::process::ExitCode;

use ferrocket::cli::{self, Exit};

fn main() -> ExitCode {
    cli::exit(run())
}

fn run() -> Result<u8, Exit> {
    cli::broker(std::env::args_os().skip(1))?;
    Err(Exit::failed("this build checks and prints configurations only"))
}
