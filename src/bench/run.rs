//! One measured run, whole: load, what it cost whom, and the limit of the machine beside it.

use super::control;
use super::idle::{self, Idle};
use super::limits::{self, Beside};
use super::load::Load;
use super::outcome::Outcome;
use super::settings::{Kind, Settings};
use super::usage::{self, Machine, Shares, Usage};
use crate::base::{Error, Result};

/// Foreign load, in percent of the machine, from which a run counts as disturbed.
pub const FOREIGN_MAX: f64 = 10.0;
/// Percent from which disk or processors count as busy all the time.
const BUSY: f64 = 90.0;
/// Part of the server's CPU time above which mqbench itself is too dear.
pub const OWN_MAX: f64 = 0.25;

/// The result of a run.
pub struct Run {
    pub settings: Settings,
    pub outcome: Outcome,
    /// What the broker spent, when its process id was given.
    pub server: Option<Usage>,
    pub own: Usage,
    /// Unknown without the broker's process id.
    pub shares: Option<Shares>,
    pub limits: Option<Beside>,
    pub idle: Option<Idle>,
}

/// The counters at one moment.
struct Look {
    server: Usage,
    own: Usage,
    machine: Machine,
}

impl Look {
    fn now(settings: &Settings) -> Result<Look> {
        Ok(Look {
            server: Usage::of(settings.pid)?,
            own: Usage::of(Some(std::process::id()))?,
            machine: Machine::now()?,
        })
    }
}

impl Run {
    /// Does what the settings say.
    pub fn new(settings: &Settings) -> Result<Run> {
        // What a waiting pull costs is counted with its topic and queue.
        let untouched = Usage::of(settings.pid)?.resident;
        if !settings.existing {
            control::prepare_topics(settings)?;
        }
        if settings.kind == Kind::Idle {
            return Run::idle(settings);
        }
        let offsets = match settings.kind {
            _ if settings.pollers() > 0 => control::max_offsets(settings)?,
            _ => Vec::new(),
        };
        // Without a warm-up the first request counts, and so must what it costs.
        let early = Look::now(settings)?;
        let mut load = Load::start(settings, offsets)?;
        load.warm_up();
        let before = if settings.warmup > 0.0 { Look::now(settings)? } else { early };
        load.measure();
        let after = Look::now(settings)?;
        let outcome = load.finish()?;
        let mut run = Run::of(settings, outcome, &before, &after);
        if settings.kind == Kind::Hold {
            let (count, with) = (settings.places(), after.server.resident);
            run.idle = Some(Idle { count, before: untouched, with });
        } else if settings.limit_seconds > 0.0 {
            run.limits = Some(limits::beside(settings)?);
        }
        Ok(run)
    }

    fn idle(settings: &Settings) -> Result<Run> {
        let before = Look::now(settings)?;
        let idle = idle::hold(settings)?;
        let after = Look::now(settings)?;
        let mut outcome = Outcome::new(settings.expected_seconds(), settings.places())?;
        outcome.seconds = settings.seconds;
        let mut run = Run::of(settings, outcome, &before, &after);
        run.idle = Some(idle);
        Ok(run)
    }

    fn of(settings: &Settings, outcome: Outcome, before: &Look, after: &Look) -> Run {
        let server = usage::spent(before.server, after.server);
        let own = after.own.minus(before.own);
        let shares =
            server.map(|server| after.machine.shares(&before.machine, own.cpu() + server.cpu()));
        let settings = settings.clone();
        Run { settings, outcome, server, own, shares, limits: None, idle: None }
    }

    /// A figure of the server for each million messages.
    pub fn per_million(&self, figure: impl Fn(&Usage) -> f64) -> Option<f64> {
        let millions = self.outcome.messages as f64 / 1e6;
        self.server.as_ref().filter(|_| millions > 0.0).map(|server| figure(server) / millions)
    }

    /// Whether others used too much of the machine meanwhile.
    pub fn disturbed(&self) -> bool {
        self.shares.is_some_and(|shares| shares.foreign > FOREIGN_MAX)
    }

    /// What kept the run from being faster, as far as the counters tell; unknown without the
    /// broker's process id.
    pub fn bound(&self) -> Option<&'static str> {
        let (shares, server) = (self.shares?, self.server?);
        let cpu = shares.known + shares.foreign + shares.kernel + shares.steal;
        Some(match () {
            () if self.idle.is_some() => return None,
            () if self.settings.rate.is_some() => "the rate asked for",
            () if shares.disk >= BUSY => "the disk",
            () if cpu >= BUSY && self.own.cpu() > server.cpu() => "the CPU, mostly the client's",
            () if cpu >= BUSY => "the CPU",
            () => "waiting: round trips, or one busy thread",
        })
    }

    /// CPU time of the server as a part of one core's, in percent.
    pub fn core_percent(&self) -> Option<f64> {
        self.server.map(|server| server.cpu() / self.outcome.seconds.max(1e-9) * 100.0)
    }

    /// Whether mqbench used so much that the figures are not the server's alone.
    pub fn is_client_dear(&self) -> bool {
        self.idle.is_none() && self.own_share().is_some_and(|share| share > OWN_MAX)
    }

    /// CPU time of mqbench as a part of the server's.
    pub fn own_share(&self) -> Option<f64> {
        self.server.filter(|server| server.cpu() > 0.0).map(|server| self.own.cpu() / server.cpu())
    }

    /// The error that the run ends with, when something went wrong in it.
    pub fn failure(&self) -> Option<Error> {
        let outcome = &self.outcome;
        if let Some(first) = &outcome.faults.first {
            let count = outcome.faults.count;
            return Some(Error::Protocol(format!("{count} faults found, the first: {first}")));
        }
        if self.idle.is_some() {
            return None;
        }
        if outcome.refused > 0 {
            let what = format!("the code of the last of {} refused requests", outcome.refused);
            return Some(Error::refused(outcome.refused_code, what));
        }
        if outcome.messages == 0 {
            return Some(Error::Timeout("no message was answered in the time of the run".into()));
        }
        if outcome.unanswered > 0 || outcome.undelivered > 0 {
            return Some(Error::Timeout(format!(
                "{} requests without an answer, {} messages not delivered",
                outcome.unanswered, outcome.undelivered
            )));
        }
        None
    }
}
