//! The NameServer daemon: flags, configuration, start, wait for a signal, stop.

use std::process::ExitCode;

use ferrocket::cli::{self, Exit};
use ferrocket::namesrv::NameServer;

fn main() -> ExitCode {
    cli::exit(run())
}

fn run() -> Result<u8, Exit> {
    let mut daemon = cli::namesrv(std::env::args_os().skip(1))?;
    let server = NameServer::start(daemon.config)?;
    cli::say("The Name Server boot success. serializeType=JSON");
    let status = cli::wait(&mut daemon.signals);
    server.stop();
    Ok(status)
}
