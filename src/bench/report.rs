//! Results as text for a person or as one JSON object for a script.

use serde_json::{Map, Value, json};

use super::figures::{figures, percent_of_append, percent_of_loopback};
use super::limits::{Limits, Loopback};
use super::run::{FOREIGN_MAX, OWN_MAX, Run};
use super::settings::{Kind, Settings};
use crate::protocol::Codec;

/// A run in words, several lines.
pub fn text(run: &Run) -> String {
    let mut lines = vec![match run.idle {
        Some(idle) => format!(
            "{}: {:.0} B each; RSS {:.1} MiB before, {:.1} MiB with them",
            title(&run.settings),
            idle.bytes_each(),
            mib(idle.before),
            mib(idle.with),
        ),
        None => first_line(run),
    }];
    lines.extend(server_line(run));
    lines.extend(machine_line(run));
    lines.extend(limit_line(run));
    lines.extend(remarks(run));
    lines.join("\n")
}

fn first_line(run: &Run) -> String {
    let outcome = &run.outcome;
    let millions = (outcome.messages as f64 / 1e6).max(1e-9);
    let mut line = format!(
        "{}: {:.0} msg/s, {:.1} MB/s, p50 {:.0} p99 {:.0} p99.9 {:.0} p99.99 {:.0} max {:.0} us",
        title(&run.settings),
        outcome.rate(),
        outcome.bytes as f64 / outcome.seconds.max(1e-9) / 1e6,
        outcome.micros(0.5),
        outcome.micros(0.99),
        outcome.micros(0.999),
        outcome.micros(0.9999),
        outcome.micros(1.0),
    );
    if let Some(used) = run.server {
        line.push_str(&format!(
            "; server {:.2} CPU s/M (user {:.2}, system {:.2}), \
             {:.2} minor faults/msg, RSS {:.1} MiB",
            used.cpu() / millions,
            used.user / millions,
            used.system / millions,
            used.minor_faults as f64 / outcome.messages.max(1) as f64,
            mib(used.resident),
        ));
    }
    line.push_str(&format!("; mqbench {:.2} CPU s/M", run.own.cpu() / millions));
    line
}

/// What was run, shortly: `send 4x16 1024 B`.
pub fn title(settings: &Settings) -> String {
    let shape = match (settings.kind, settings.rate) {
        (Kind::Idle, _) => return format!("idle {} connections", settings.connections),
        (Kind::Hold, _) => return format!("hold {} pulls", settings.places()),
        (_, Some(rate)) => format!("{} connections at {rate}/s", settings.connections),
        (_, None) => format!("{}x{}", settings.connections, settings.inflight),
    };
    let many = match settings.kind {
        Kind::Batch => format!(" {} of", settings.batch),
        Kind::Pull => format!(" by {},", settings.batch),
        Kind::E2e => format!(" to {} consumers,", settings.consumers),
        _ => String::new(),
    };
    let codec = if settings.codec == Codec::Binary { " binary" } else { "" };
    let topics = match settings.topics {
        1 => String::new(),
        count => format!(", {count} topics"),
    };
    format!("{} {shape}{many} {} B{codec}{topics}", settings.kind.name(), settings.size)
}

fn server_line(run: &Run) -> Option<String> {
    let used = run.server?;
    let messages = run.outcome.messages.max(1) as f64;
    let calls = match used.calls {
        Some(calls) if run.idle.is_none() => {
            format!(", {:.3} read+write calls/msg", calls as f64 / messages)
        }
        _ => String::new(),
    };
    Some(match run.idle {
        Some(_) => format!(
            "  server: {:.2} CPU s in {:.1} s, {:.2} % of a core",
            used.cpu(),
            run.outcome.seconds,
            run.core_percent()?
        ),
        None => format!(
            "  server: {:.2} CPU s, {:.3} waits/msg, {:.3} preemptions/msg{calls}, {} major faults",
            used.cpu(),
            used.voluntary as f64 / messages,
            used.involuntary as f64 / messages,
            used.major_faults,
        ),
    })
}

fn machine_line(run: &Run) -> Option<String> {
    run.shares.map(|shares| {
        format!(
            "  machine: foreign {:.1} %, kernel threads {:.1} %, \
             steal {:.1} %, disk busy {:.0} %{}",
            shares.foreign,
            shares.kernel,
            shares.steal,
            shares.disk,
            run.bound().map_or(String::new(), |bound| format!("; bound by {bound}")),
        )
    })
}

fn limit_line(run: &Run) -> Option<String> {
    let limits = run.limits?;
    let append = match limits.appends.zip(percent_of_append(run)) {
        Some((appends, percent)) => format!(", {percent:.1} % of {appends:.0}/s appends to memory"),
        None => String::new(),
    };
    Some(format!(
        "  limit: {:.1} % of the {}{append}",
        percent_of_loopback(run)?,
        loopback_text(&limits.loopback),
    ))
}

fn loopback_text(loopback: &Loopback) -> String {
    format!(
        "{:.0} requests/s of an empty server at {}x{} (p50 {:.0} us, {:.2} CPU s/M)",
        loopback.requests_per_second,
        loopback.connections,
        loopback.inflight,
        loopback.p50,
        loopback.server_cpu,
    )
}

/// What a reader must know before believing the figures.
pub fn remarks(run: &Run) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(shares) = run.shares.filter(|_| run.disturbed()) {
        remarks.push(format!(
            "  DISTURBED: others used {:.0} % of the machine (more than {FOREIGN_MAX:.0} %)",
            shares.foreign
        ));
    }
    if let Some(share) = run.own_share().filter(|_| run.is_client_dear()) {
        remarks.push(format!(
            "  DEAR CLIENT: mqbench used {share:.2} of the server's CPU time (more than {OWN_MAX})"
        ));
    }
    let outcome = &run.outcome;
    if outcome.refused > 0 {
        remarks.push(format!(
            "  {} REFUSED, the last with code {}",
            outcome.refused, outcome.refused_code
        ));
    }
    if outcome.given_up > 0 {
        remarks.push(format!("  {} given up: the window was full", outcome.given_up));
    }
    if run.settings.verify && run.idle.is_none() {
        remarks.push(format!(
            "  verified {} answers: {} faults",
            outcome.verified, outcome.faults.count
        ));
    }
    remarks
}

/// A run as one JSON object.
pub fn json(run: &Run) -> Value {
    let (settings, outcome) = (&run.settings, &run.outcome);
    let mut all = json!({
        "kind": settings.kind.name(),
        "connections": settings.connections,
        "consumers": (settings.kind == Kind::E2e).then_some(settings.consumers),
        "inflight": settings.inflight,
        "rate": settings.rate,
        "window": settings.window,
        "size": settings.size,
        "topics": settings.topics,
        "queues": settings.queues,
        "batch": settings.batch,
        "codec": if settings.codec == Codec::Json { "json" } else { "binary" },
        "seconds": outcome.seconds,
        "messages": outcome.messages,
        "requests": outcome.latency.len(),
        "refused": outcome.refused,
        "refusedCode": outcome.refused_code,
        "givenUp": outcome.given_up,
        "unanswered": outcome.unanswered,
        "undelivered": outcome.undelivered,
        "verified": settings.verify.then_some(outcome.verified),
        "faults": settings.verify.then_some(outcome.faults.count),
        "firstFault": outcome.faults.first,
        "disturbed": run.disturbed(),
        "boundBy": run.bound(),
        "dearClient": run.is_client_dear(),
    });
    if let Some(map) = all.as_object_mut() {
        add_figures(map, run);
        map.insert("overTime".into(), over_time(run));
    }
    all
}

fn add_figures(map: &mut Map<String, Value>, run: &Run) {
    for figure in figures(run) {
        map.insert(figure.key.into(), figure.value.map_or(Value::Null, number));
    }
}

/// Whole numbers without a point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

fn over_time(run: &Run) -> Value {
    let seconds = run.outcome.window_ns as f64 / 1e9;
    let windows = run.outcome.whole_windows().iter().enumerate();
    windows
        .map(|(index, window)| {
            json!({
                "second": index as f64 * seconds,
                "messagesPerSecond": window.messages as f64 / seconds,
                "p99us": super::outcome::micros(&window.latency, 0.99),
            })
        })
        .collect()
}

/// The limits of the machine in words.
pub fn limits_text(limits: &Limits) -> String {
    let [one, many] = limits.loopback.map(|loopback| {
        let client = loopback.client_cpu;
        format!("{}; mqbench {client:.2} CPU s/M", loopback_text(&loopback))
    });
    let append = limits.append_warm / limits.record_bytes as f64;
    let [p50, p99, max] = limits.sync;
    let [late, late_p999, latest] = limits.lateness;
    format!(
        "loopback: {one}\nloopback: {many}\n\
         append to a warm map: {append:.0} records/s of {} B, {:.0} MB/s\n\
         first touch of new pages: {:.0} MB/s\n\
         write of 512 MiB to the disk: {:.0} MB/s\n\
         write + fdatasync of one record: p50 {p50:.0} p99 {p99:.0} max {max:.0} us\n\
         a thread that only sleeps is late: p50 {late:.0} p99.9 {late_p999:.0} max {latest:.0} us\n\
         evaluations of a filter of five terms: {:.2} M/s",
        limits.record_bytes,
        limits.append_warm / 1e6,
        limits.first_touch / 1e6,
        limits.write / 1e6,
        limits.evaluations / 1e6,
    )
}

/// The limits of the machine as one JSON object.
pub fn limits_json(limits: &Limits) -> Value {
    let loopback = limits.loopback.map(|loopback| {
        json!({
            "connections": loopback.connections,
            "inflight": loopback.inflight,
            "requestsPerSecond": loopback.requests_per_second,
            "p50us": loopback.p50,
            "p99us": loopback.p99,
            "serverCpuSecondsPerMillion": loopback.server_cpu,
            "benchCpuSecondsPerMillion": loopback.client_cpu,
        })
    });
    let [p50, p99, max] = limits.sync;
    let [late, late_p999, latest] = limits.lateness;
    json!({
        "kind": "limits",
        "loopback": loopback,
        "recordBytes": limits.record_bytes,
        "appendBytesPerSecond": limits.append_warm,
        "firstTouchBytesPerSecond": limits.first_touch,
        "writeBytesPerSecond": limits.write,
        "evaluationsPerSecond": limits.evaluations,
        "fdatasync": { "p50us": p50, "p99us": p99, "maxus": max },
        "lateness": { "p50us": late, "p999us": late_p999, "maxus": latest },
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1048576.0
}
