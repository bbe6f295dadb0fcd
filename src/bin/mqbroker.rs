//! The broker daemon, and with `--standalone` a NameServer beside it: flags, configuration, start,
//! wait for a signal, stop.

use std::process::ExitCode;

use ferrocket::broker::Broker;
use ferrocket::cli::{self, Exit};
use ferrocket::namesrv::NameServer;

fn main() -> ExitCode {
    cli::exit(run())
}

fn run() -> Result<u8, Exit> {
    let mut ready = cli::broker(std::env::args_os().skip(1))?;
    let namesrv = ready.namesrv.map(NameServer::start).transpose()?;
    if namesrv.is_some() {
        cli::say(cli::NAMESRV_STARTED);
    }
    let broker = Broker::start(ready.config)?;
    cli::say(&cli::broker_started(&broker.config.get(), broker.local_addr()));
    let status = cli::wait(&mut ready.signals);
    broker.stop();
    if let Some(namesrv) = namesrv {
        namesrv.stop();
    }
    Ok(status)
}
