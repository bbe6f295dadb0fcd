//! The ceilings of this machine, measured without a broker.

mod echo;
mod storage;
mod wake;

use std::time::{Duration, Instant};

use super::load::Load;
use super::outcome::micros;
use super::settings::{Kind, Settings};
use super::template::{body, properties};
use crate::base::{Error, Result};
use crate::message::sql::Expression;
use crate::message::{MessageRef, record as stored};
use crate::protocol::Command;
use echo::Echo;

/// What a server that does nothing gives in the place of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Loopback {
    pub connections: usize,
    pub inflight: usize,
    pub requests_per_second: f64,
    pub p50: f64,
    pub p99: f64,
    /// CPU seconds for a million requests.
    pub server_cpu: f64,
    pub client_cpu: f64,
}

/// The limits that stand beside the result of a run.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    pub loopback: Loopback,
    /// Records a second that can be appended to a warm map; of runs that send.
    pub appends: Option<f64>,
}

/// All that `limits` measures.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One connection with one request, then the settings' numbers.
    pub loopback: [Loopback; 2],
    pub record_bytes: usize,
    /// Bytes a second.
    pub append_warm: f64,
    pub first_touch: f64,
    pub write: f64,
    /// Microseconds of write and fdatasync of one record: p50, p99, longest.
    pub sync: [f64; 3],
    /// Microseconds that a thread which only sleeps goes on too late: p50, p99.9, longest.
    pub lateness: [f64; 3],
    /// Evaluations a second, by one thread, of a filter expression of five terms.
    pub evaluations: f64,
}

/// The limits for a run with these settings, in the shape of its requests. An open loop is compared
/// with what a closed one could do.
pub fn beside(settings: &Settings) -> Result<Beside> {
    let loopback = loopback(settings, settings.connections, settings.inflight)?;
    let appends = match settings.kind.sends() {
        true => {
            let record = record(&settings.topic, 0, &body(settings.size));
            let time = Duration::from_secs_f64(settings.limit_seconds / 4.0);
            let bytes = storage::append_warm(&std::env::temp_dir(), &record, time)?;
            Some(bytes / record.len() as f64)
        }
        false => None,
    };
    Ok(Beside { loopback, appends })
}

/// Measures everything, each for the seconds of the settings' limits.
pub fn measure(settings: &Settings) -> Result<Limits> {
    let record = record(&settings.topic, 0, &body(settings.size));
    let time = Duration::from_secs_f64(settings.limit_seconds.max(0.1));
    let settings = Settings { kind: Kind::Send, ..settings.clone() };
    let lateness = wake::lateness(time)?;
    let sync = storage::data_sync(&settings.dir, &record, time)?;
    Ok(Limits {
        loopback: [
            loopback(&settings, 1, 1)?,
            loopback(&settings, settings.connections, settings.inflight)?,
        ],
        record_bytes: record.len(),
        append_warm: storage::append_warm(&settings.dir, &record, time)?,
        first_touch: storage::first_touch(&settings.dir)?,
        write: storage::write_through(&settings.dir)?,
        sync: [0.5, 0.99, 1.0].map(|quantile| micros(&sync, quantile)),
        lateness: [0.5, 0.999, 1.0].map(|quantile| micros(&lateness, quantile)),
        evaluations: evaluations(time)?,
    })
}

/// Evaluations a second of an expression that needs all of its five terms.
fn evaluations(time: Duration) -> Result<f64> {
    let filter = "size > 100 AND region = 'north' AND price BETWEEN 10 AND 20 \
                  AND colour IN ('red', 'green') AND owner IS NOT NULL";
    let filter = Expression::parse(filter).map_err(|error| Error::Config(error.to_string()))?;
    let named = [
        ("size", "150"),
        ("region", "north"),
        ("price", "12"),
        ("colour", "green"),
        ("owner", "me"),
    ];
    let named = named.map(|(name, value)| format!("{name}\u{1}{value}\u{2}"));
    let properties = format!("{}\u{2}{}", properties(), named.concat());
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        for _ in 0..1000 {
            if !filter.matches(std::hint::black_box(&properties)) {
                return Err(Error::Corrupt("limits: the filter does not match".into()));
            }
        }
        count += 1000;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

fn loopback(settings: &Settings, connections: usize, inflight: usize) -> Result<Loopback> {
    let echo = Echo::start(&reply(settings))?;
    let kind = if settings.kind == Kind::E2e { Kind::Send } else { settings.kind };
    let settings = Settings {
        kind,
        broker: echo.address,
        connections,
        inflight,
        rate: None,
        window: None,
        topics: 1,
        once: false,
        messages: None,
        verify: false,
        pid: None,
        warmup: 0.1,
        seconds: settings.limit_seconds.max(0.1),
        threads: settings.threads.min(connections),
        ..settings.clone()
    };
    let own = std::process::id();
    let mut load = Load::start(&settings, Vec::new())?;
    load.warm_up();
    let (server, all) = (echo.cpu(), super::usage::Usage::of(Some(own))?);
    load.measure();
    let server = echo.cpu() - server;
    let all = super::usage::Usage::of(Some(own))?.minus(all);
    let outcome = load.finish();
    echo.stop();
    let outcome = outcome?;
    if outcome.messages == 0 {
        return Err(Error::Timeout("limits: no answer within its time".into()));
    }
    let requests = outcome.latency.len() as f64;
    Ok(Loopback {
        connections,
        inflight,
        requests_per_second: requests / outcome.seconds,
        p50: outcome.micros(0.5),
        p99: outcome.micros(0.99),
        server_cpu: server / requests * 1e6,
        client_cpu: (all.cpu() - server).max(0.0) / requests * 1e6,
    })
}

/// A reply as long as the broker's to the requests of a run.
fn reply(settings: &Settings) -> Command {
    let mut reply = Command::request(0).reply(0);
    reply.codec = settings.codec;
    let fields = reply.fields_mut();
    if settings.kind == Kind::Pull {
        for (name, value) in [
            ("nextBeginOffset", "1000000"),
            ("minOffset", "0"),
            ("maxOffset", "1000000"),
            ("suggestWhichBrokerId", "0"),
        ] {
            fields.push(name, value);
        }
        let one = record(&settings.topic, 0, &body(settings.size));
        reply.body = one.repeat(settings.batch);
    } else {
        fields.push("msgId", "7F00000100002A9F0000000000000000");
        fields.push("queueId", "0");
        fields.push("queueOffset", "1000000");
        fields.push("MSG_REGION", "DefaultRegion");
        fields.push("TRACE_ON", "true");
    }
    reply
}

/// A stored record with this body.
pub fn record(topic: &str, queue_id: i32, body: &[u8]) -> Vec<u8> {
    let host = ([127, 0, 0, 1], 10911).into();
    let properties = properties();
    let message = MessageRef {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: &properties,
    };
    let mut out = Vec::new();
    // A topic too long for a record would be refused by the broker before.
    let _ = stored::encode(&message, usize::MAX, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_matches() {
        assert!(evaluations(Duration::from_millis(1)).unwrap() > 0.0);
    }

    #[test]
    fn loopback_in_every_form() {
        for line in ["send", "batch --codec binary", "pull --codec binary", "e2e", "pull"] {
            let line = format!("{line} --connections 2 --inflight 3 --limit-seconds 0.1");
            let args: Vec<String> = line.split(' ').map(String::from).collect();
            let settings = Settings::parse(&args).unwrap().unwrap();
            let found = loopback(&settings, 2, 3).unwrap();
            assert!(found.requests_per_second > 0.0 && found.p50 > 0.0, "{line}");
        }
    }
}
