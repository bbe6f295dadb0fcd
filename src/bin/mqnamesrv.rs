//! The NameServer daemon: flags, configuration, start, wait for a signal, stop.

use std::process::ExitCode;

use ferrocket::cli::{self, Exit};
use ferrocket::namesrv::NameServer;

fn main() -> ExitCode {
    cli::exit(run())
}

fn run() -> Result<u8, Exit> {
    let mut ready = cli::namesrv(std::env::args_os().skip(1))?;
    let server = NameServer::start(ready.config)?;
    cli::say(cli::NAMESRV_STARTED);
    let status = cli::wait(&mut ready.signals);
    server.stop();
    Ok(status)
}
