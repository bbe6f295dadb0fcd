//! One line for a person, or one JSON object for a script.

use super::load::Outcome;
use super::server::Usage;
use super::{Kind, Settings};
use crate::base::{Error, Result};
use crate::protocol::Codec;

/// Prints the result of a run; fails when the broker refused requests or nothing was measured.
pub fn print(
    settings: &Settings,
    outcome: &Outcome,
    server: Option<Usage>,
    own: Usage,
) -> Result<()> {
    if settings.json {
        println!("{}", json(settings, outcome, server, own));
    } else {
        println!("{}", text(settings, outcome, server, own));
    }
    if outcome.messages == 0 {
        return Err(Error::Timeout("no message was answered in the time of the run".into()));
    }
    if outcome.refused > 0 {
        return Err(Error::refused(
            outcome.refused_code,
            format!("the code of the last of {} refused requests", outcome.refused),
        ));
    }
    Ok(())
}

fn text(settings: &Settings, outcome: &Outcome, server: Option<Usage>, own: Usage) -> String {
    let millions = (outcome.messages as f64 / 1e6).max(1e-9);
    let micros = |quantile| outcome.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let mut line = format!(
        "{} {}x{} {} B: {:.0} msg/s, {:.1} MB/s, p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} us",
        name(settings.kind),
        settings.connections,
        settings.inflight,
        settings.size,
        outcome.messages as f64 / outcome.seconds,
        outcome.bytes as f64 / outcome.seconds / 1e6,
        micros(0.5),
        micros(0.99),
        micros(0.999),
        outcome.latency.max() as f64 / 1000.0,
    );
    if let Some(used) = server {
        line.push_str(&format!(
            "; server {:.2} CPU s/M (user {:.2}, system {:.2}), \
             {:.2} minor faults/msg, RSS {:.1} MiB",
            used.cpu() / millions,
            used.user / millions,
            used.system / millions,
            used.minor_faults as f64 / outcome.messages.max(1) as f64,
            used.resident as f64 / 1048576.0,
        ));
    }
    line.push_str(&format!("; mqbench {:.2} CPU s/M", own.cpu() / millions));
    if outcome.refused > 0 {
        line.push_str(&format!("; {} REFUSED", outcome.refused));
    }
    line
}

fn json(settings: &Settings, outcome: &Outcome, server: Option<Usage>, own: Usage) -> String {
    let millions = (outcome.messages as f64 / 1e6).max(1e-9);
    let micros = |quantile| outcome.latency.value_at_quantile(quantile) as f64 / 1000.0;
    serde_json::json!({
        "kind": name(settings.kind),
        "connections": settings.connections,
        "inflight": settings.inflight,
        "size": settings.size,
        "queues": settings.queues,
        "codec": if settings.codec == Codec::Json { "json" } else { "binary" },
        "seconds": outcome.seconds,
        "messages": outcome.messages,
        "requests": outcome.latency.len(),
        "refused": outcome.refused,
        "messagesPerSecond": outcome.messages as f64 / outcome.seconds,
        "bytesPerSecond": outcome.bytes as f64 / outcome.seconds,
        "p50us": micros(0.5),
        "p99us": micros(0.99),
        "p999us": micros(0.999),
        "maxus": outcome.latency.max() as f64 / 1000.0,
        "serverCpuSecondsPerMillion": server.map(|used| used.cpu() / millions),
        "serverUserSecondsPerMillion": server.map(|used| used.user / millions),
        "serverSystemSecondsPerMillion": server.map(|used| used.system / millions),
        "serverMinorFaults": server.map(|used| used.minor_faults),
        "serverResidentBytes": server.map(|used| used.resident),
        "benchCpuSecondsPerMillion": own.cpu() / millions,
    })
    .to_string()
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Send => "send",
        Kind::Pull => "pull",
    }
}
