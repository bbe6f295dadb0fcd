//! The figures of a run, each once: the JSON object, and the rows that a comparison sets side by
//! side.

use super::outcome::micros;
use super::run::Run;
use super::usage::Usage;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its name in a table; empty when it is not compared.
    pub title: &'static str,
    /// Unknown or senseless in this run: `None`.
    pub value: Option<f64>,
}

fn figure(key: &'static str, title: &'static str, value: Option<f64>) -> Figure {
    Figure { key, title, value: value.filter(|value| value.is_finite()) }
}

/// All figures of a run.
pub fn figures(run: &Run) -> Vec<Figure> {
    let mut all = throughput(run);
    all.extend(latency(run));
    all.extend(server(run));
    all.extend(beside(run));
    all
}

fn throughput(run: &Run) -> Vec<Figure> {
    let outcome = &run.outcome;
    let counted = run.idle.is_none();
    let per_second = |count: u64| counted.then(|| count as f64 / outcome.seconds.max(1e-9));
    vec![
        figure("messagesPerSecond", "messages/s", per_second(outcome.messages)),
        figure("bytesPerSecond", "", per_second(outcome.bytes)),
        figure("requestsPerSecond", "", per_second(outcome.latency.len())),
        figure("refusedPerSecond", "refused/s", per_second(outcome.refused).filter(|n| *n > 0.0)),
        figure("givenUpPerSecond", "", per_second(outcome.given_up)),
    ]
}

fn latency(run: &Run) -> Vec<Figure> {
    let outcome = &run.outcome;
    let of = |latencies, quantile| match latencies {
        none if super::outcome::Latencies::is_empty(none) => None,
        some => Some(micros(some, quantile)),
    };
    let latency = |quantile| of(&outcome.latency, quantile);
    vec![
        figure("p50us", "p50 us", latency(0.5)),
        figure("p90us", "", latency(0.9)),
        figure("p99us", "p99 us", latency(0.99)),
        figure("p999us", "p99.9 us", latency(0.999)),
        figure("p9999us", "p99.99 us", latency(0.9999)),
        figure("maxus", "max us", latency(1.0)),
        figure("ackP50us", "ack p50 us", of(&outcome.acks, 0.5)),
        figure("ackP99us", "ack p99 us", of(&outcome.acks, 0.99)),
        figure("ackP999us", "ack p99.9 us", of(&outcome.acks, 0.999)),
        figure("refusalP99us", "refusal p99 us", of(&outcome.refusals, 0.99)),
        figure("refusalMaxus", "", of(&outcome.refusals, 1.0)),
    ]
}

fn server(run: &Run) -> Vec<Figure> {
    let server = run.server;
    let million = |figure: fn(&Usage) -> f64| run.per_million(figure);
    let message = |figure: fn(&Usage) -> f64| run.per_million(figure).map(|value| value / 1e6);
    let calls = server.and_then(|server| server.calls);
    let messages = Some(run.outcome.messages as f64).filter(|count| *count > 0.0);
    vec![
        figure("serverCpuSecondsPerMillion", "CPU s/M", million(Usage::cpu)),
        figure("serverUserSecondsPerMillion", "user s/M", million(|used| used.user)),
        figure("serverSystemSecondsPerMillion", "system s/M", million(|used| used.system)),
        figure("serverMinorFaults", "", server.map(|used| used.minor_faults as f64)),
        figure("minorFaultsPerMessage", "minor faults/msg", message(|u| u.minor_faults as f64)),
        figure("majorFaultsPerMessage", "major faults/msg", message(|u| u.major_faults as f64)),
        figure("serverMajorFaults", "major faults", server.map(|used| used.major_faults as f64)),
        figure("waitsPerMessage", "waits/msg", message(|used| used.voluntary as f64)),
        figure("preemptionsPerMessage", "preemptions/msg", message(|u| u.involuntary as f64)),
        figure(
            "readWriteCallsPerMessage",
            "read+write calls/msg",
            calls.zip(messages).map(|(calls, messages)| calls as f64 / messages),
        ),
        figure("serverCpuSeconds", "CPU s", server.map(|used| used.cpu())),
        figure("serverCorePercent", "% of a core", run.core_percent()),
        figure("serverResidentBytes", "", server.map(|used| used.resident as f64)),
        figure("serverResidentMiB", "RSS MiB", server.map(|used| used.resident as f64 / 1048576.0)),
        figure("idleBytesEach", "B each", run.idle.map(|idle| idle.bytes_each())),
    ]
}

fn beside(run: &Run) -> Vec<Figure> {
    let millions = run.outcome.messages as f64 / 1e6;
    let shares = run.shares;
    vec![
        figure("benchCpuSecondsPerMillion", "mqbench CPU s/M", Some(run.own.cpu() / millions)),
        figure("benchCpuShare", "", run.own_share()),
        figure("foreignPercent", "foreign %", shares.map(|shares| shares.foreign)),
        figure("kernelPercent", "kernel %", shares.map(|shares| shares.kernel)),
        figure("diskPercent", "disk busy %", shares.map(|shares| shares.disk)),
        figure("stealPercent", "steal %", shares.map(|shares| shares.steal)),
        figure("loopbackRequestsPerSecond", "", run.limits.map(|l| l.loopback.requests_per_second)),
        figure("loopbackP50us", "", run.limits.map(|limits| limits.loopback.p50)),
        figure("loopbackCpuSecondsPerMillion", "", run.limits.map(|l| l.loopback.server_cpu)),
        figure("percentOfLoopback", "% of loopback", percent_of_loopback(run)),
        figure("appendsPerSecond", "", run.limits.and_then(|limits| limits.appends)),
        figure("percentOfAppend", "", percent_of_append(run)),
    ]
}

/// Requests a second in percent of those of a server that does nothing.
pub fn percent_of_loopback(run: &Run) -> Option<f64> {
    let requests = run.outcome.latency.len() as f64 / run.outcome.seconds.max(1e-9);
    run.limits.map(|limits| requests / limits.loopback.requests_per_second * 100.0)
}

/// Messages a second in percent of the records that can be appended to a warm map.
pub fn percent_of_append(run: &Run) -> Option<f64> {
    run.limits.and_then(|limits| Some(run.outcome.rate() / limits.appends? * 100.0))
}
