//! mqbench: a cheap load generator that measures a broker, ours or Java's, over the wire.
//!
//! `template` holds ready frames that only have digits patched into them, `load` drives the
//! connections in a closed loop, `server` reads what the measured process spent, `report` prints.

mod load;
mod report;
mod server;
mod settings;
mod template;

use std::time::Duration;

use crate::base::Result;

pub use settings::{Kind, Settings};

/// Runs what the command line says and returns the exit code: 0 done, 1 failed or bad usage.
pub fn main(args: &[String]) -> i32 {
    let settings = match Settings::parse(args) {
        Ok(Some(settings)) => settings,
        Ok(None) => return 0,
        Err(error) => {
            eprintln!("mqbench: {error}");
            return 1;
        }
    };
    match run(&settings) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mqbench: {error}");
            1
        }
    }
}

fn run(settings: &Settings) -> Result<()> {
    template::prepare_topic(settings)?;
    let load = load::Load::start(settings)?;
    load.measure_after(Duration::from_secs_f64(settings.warmup));
    let before = server::Usage::of(settings.pid)?;
    let own_before = server::Usage::of(Some(std::process::id()))?;
    load.run_for(Duration::from_secs_f64(settings.seconds));
    let after = server::Usage::of(settings.pid)?;
    let own_after = server::Usage::of(Some(std::process::id()))?;
    let outcome = load.finish()?;
    report::print(settings, &outcome, server::spent(before, after), own_after.minus(own_before))
}
