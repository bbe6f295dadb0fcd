//! mqbench: a cheap load generator that measures a broker, ours or Java's, over the wire.
//!
//! A run: `template` holds ready frames that only have digits patched into them; `load` starts
//! threads, each a `worker` with an event loop over its `connection`s, paced by `schedule` in an
//! open loop; `answer` reads what comes back and `check` checks it; the counts are in `outcome`.
//! `usage` reads what the measured process and the machine spent meanwhile, `limits` what the
//! machine could do at most. `run` puts one run together, `compare` alternates two brokers, and
//! `figures`, `report` and `plot` show it.

mod answer;
mod check;
mod compare;
mod connection;
mod control;
mod figures;
mod idle;
mod limits;
mod load;
mod outcome;
mod plot;
mod report;
mod run;
mod schedule;
mod settings;
mod template;
mod usage;
mod worker;

use serde_json::Value;
use std::fs;

use crate::base::Result;
use crate::base::console::{complain, print};
use crate::base::error::IoContext;
use run::Run;

pub use settings::{Comparison, Kind, Settings, Target};

/// Runs what the command line says and returns the exit code: 0 done, 1 failed or bad usage.
pub fn main(args: &[String]) -> i32 {
    let settings = match Settings::parse(args) {
        Ok(Some(settings)) => settings,
        Ok(None) => return 0,
        Err(error) => {
            complain(format_args!("mqbench: {error}"));
            return 1;
        }
    };
    let done = match &settings.comparison {
        Some(comparison) => compare(&settings, comparison),
        None if settings.kind == Kind::Limits => limits(&settings),
        None => one(&settings),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("mqbench: {error}"));
            1
        }
    }
}

fn one(settings: &Settings) -> Result<()> {
    let run = Run::new(settings)?;
    show(settings, || report::text(&run), || report::json(&run));
    draw(settings, || plot::of_run(&run))?;
    run.failure().map_or(Ok(()), Err)
}

fn limits(settings: &Settings) -> Result<()> {
    let limits = limits::measure(settings)?;
    show(settings, || report::limits_text(&limits), || report::limits_json(&limits));
    Ok(())
}

/// Each run is told on standard error, since all of them take a while.
fn compare(settings: &Settings, comparison: &Comparison) -> Result<()> {
    let compared = compare::compare(settings, comparison, |name, run| {
        complain(format_args!("{name}: {}", report::text(run)));
    })?;
    show(settings, || compared.text(settings), || compared.json());
    draw(settings, || plot::of_compared(&compared))
}

fn show(settings: &Settings, text: impl Fn() -> String, json: impl Fn() -> Value) {
    match settings.json {
        true => print(json()),
        false => print(text()),
    }
}

fn draw(settings: &Settings, picture: impl Fn() -> String) -> Result<()> {
    match &settings.plot {
        Some(path) => fs::write(path, picture()).what(|| format!("write {}", path.display())),
        None => Ok(()),
    }
}
