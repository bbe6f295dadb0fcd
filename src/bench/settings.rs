//! The command line of mqbench.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use getopts::{Matches, Options};

use super::template::{SLOTS_MAX, TOPICS_MAX};
use crate::base::console::print;
use crate::base::{Error, Result};
use crate::protocol::Codec;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SEND_MESSAGE_V2, one message a request.
    Send,
    /// SEND_BATCH_MESSAGE.
    Batch,
    /// PULL_MESSAGE from the beginning of each queue, again and again.
    Pull,
    /// From producers to consumers that wait at the broker.
    E2e,
    /// Connections that do nothing.
    Idle,
    /// Pulls that wait at the broker for messages that never come.
    Hold,
    /// This machine without a broker.
    Limits,
}

/// Each kind with its name on the command line.
const KINDS: [(&str, Kind); 7] = [
    ("send", Kind::Send),
    ("batch", Kind::Batch),
    ("pull", Kind::Pull),
    ("e2e", Kind::E2e),
    ("idle", Kind::Idle),
    ("hold", Kind::Hold),
    ("limits", Kind::Limits),
];

impl Kind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether it sends messages.
    pub fn sends(self) -> bool {
        matches!(self, Kind::Send | Kind::Batch | Kind::E2e)
    }
}

/// One of the two sides of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub broker: SocketAddr,
    pub pid: Option<u32>,
}

/// What `compare` needs besides the settings of each run.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub targets: [Target; 2],
    /// Pairs of runs.
    pub pairs: usize,
}

/// One run of mqbench.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    pub comparison: Option<Comparison>,
    /// Address of the broker.
    pub broker: SocketAddr,
    pub topic: String,
    /// Connections that send or pull; those of idle.
    pub connections: usize,
    /// Connections that wait for messages (e2e).
    pub consumers: usize,
    /// Requests under way on each connection of a closed loop.
    pub inflight: usize,
    /// Messages a second of an open loop, all connections together.
    pub rate: Option<f64>,
    /// Requests under way on each connection of an open loop at most: what is due beyond them is
    /// given up.
    pub window: Option<usize>,
    /// Body bytes of a message.
    pub size: usize,
    /// Topics that are used; more than one have a number behind their name.
    pub topics: usize,
    /// Whether they are there already.
    pub existing: bool,
    /// Queues of each topic that are used.
    pub queues: usize,
    /// Messages of one batch, or asked for in one pull.
    pub batch: usize,
    /// Each queue is pulled once instead of again and again.
    pub once: bool,
    /// After each pull comes the next queue, from its first message on.
    pub in_turn: bool,
    /// Messages to send, instead of sending for a time.
    pub messages: Option<u64>,
    /// Seconds before and of the measurement.
    pub warmup: f64,
    pub seconds: f64,
    /// Seconds that the limit of the machine is measured after a run; 0: not at all.
    pub limit_seconds: f64,
    /// Threads of mqbench itself.
    pub threads: usize,
    pub codec: Codec,
    /// Every answer is checked, not only counted.
    pub verify: bool,
    /// Process whose CPU time is reported.
    pub pid: Option<u32>,
    /// Where limits writes its files.
    pub dir: PathBuf,
    pub json: bool,
    /// File for the picture.
    pub plot: Option<PathBuf>,
}

const USAGE: &str = "Usage: mqbench send|batch|pull|e2e|idle|hold|limits [options]
       mqbench compare [NAME=]HOST:PORT[@PID] [NAME=]HOST:PORT[@PID] KIND [options]

Loads one broker and prints throughput, latency and what the broker spent, or compares two.
The topic is created when missing; pull reads what send left in it.";

impl Settings {
    /// Reads the command line; `None` after `--help` or `--version`, which were answered.
    pub fn parse(args: &[String]) -> Result<Option<Settings>> {
        let options = options();
        let matches = options.parse(args).map_err(|error| Error::Config(error.to_string()))?;
        if matches.opt_present("h") {
            print(options.usage(USAGE).trim_end());
            return Ok(None);
        }
        if matches.opt_present("version") {
            print(concat!("mqbench ", env!("CARGO_PKG_VERSION")));
            return Ok(None);
        }
        let words: Vec<&str> = matches.free.iter().map(String::as_str).collect();
        let settings = match words[..] {
            [name] => Settings::from_matches(kind(name)?, &matches)?,
            ["compare", a, b, name] => {
                let mut settings = Settings::from_matches(kind(name)?, &matches)?;
                settings.comparison = Some(Comparison {
                    targets: [target(a, "A")?, target(b, "B")?],
                    pairs: number(&matches, "pairs", 3, 1, 1000)?,
                });
                settings
            }
            _ => return Err(kind_expected()),
        };
        settings.check()?;
        Ok(Some(settings))
    }

    fn from_matches(kind: Kind, matches: &Matches) -> Result<Settings> {
        let default_connections = if kind == Kind::Idle { 2000 } else { 4 };
        let window = optional_number(matches, "window", 1, SLOTS_MAX)?;
        let connections = number(matches, "connections", default_connections, 1, 100_000)?;
        let (rate, once) = (rate(matches)?, matches.opt_present("once"));
        let messages = optional_number(matches, "messages", 1, usize::MAX >> 1)?;
        let messages = messages.map(|count| count as u64);
        // With an end of its own every request counts, and the time is only a bound.
        let (warmup, time) = if once || messages.is_some() { (0.0, 3600.0) } else { (2.0, 10.0) };
        let threads = match rate {
            // One thread can keep any rate that a broker on the same machine can.
            Some(_) => 1,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        Ok(Settings {
            kind,
            comparison: None,
            broker: address("-b ", &matches.opt_str("b").unwrap_or("127.0.0.1:10911".into()))?,
            topic: matches.opt_str("t").unwrap_or("TopicBench".into()),
            connections,
            consumers: number(matches, "consumers", 4, 1, 10_000)?,
            inflight: number(matches, "inflight", 16, 1, 10_000)?,
            rate,
            window,
            size: number(matches, "size", 1024, 0, 4 * 1024 * 1024)?,
            topics: number(matches, "topics", 1, 1, TOPICS_MAX)?,
            existing: matches.opt_present("existing"),
            queues: number(matches, "queues", 4, 1, 1024)?,
            batch: number(matches, "batch", 32, 1, 1024)?,
            once,
            in_turn: matches.opt_present("in-turn"),
            messages,
            warmup: match warmup > 0.0 {
                true => seconds(matches, "warmup", warmup)?,
                false => 0.0,
            },
            seconds: seconds(matches, "seconds", time)?,
            limit_seconds: seconds(matches, "limit-seconds", 1.0)?,
            threads: number(matches, "threads", threads, 1, 256)?.min(connections),
            codec: codec(matches)?,
            verify: matches.opt_present("verify"),
            pid: match matches.opt_present("pid") {
                true => Some(number(matches, "pid", 0, 1, u32::MAX as usize)? as u32),
                false => None,
            },
            dir: matches.opt_str("dir").map_or_else(std::env::temp_dir, PathBuf::from),
            json: matches.opt_present("json"),
            plot: matches.opt_str("plot").map(PathBuf::from),
        })
    }

    /// Refuses what would not measure what it says.
    fn check(&self) -> Result<()> {
        let refuse = |text: &str| Err(Error::Config(text.into()));
        if self.kind == Kind::E2e && self.size < super::template::STAMP_BYTES {
            return refuse("--size: a message of e2e carries 16 bytes for its time");
        }
        if self.rate.is_some() && !self.kind.sends() {
            return refuse("--rate: only what sends can be paced");
        }
        if self.window.is_some() && self.rate.is_none() {
            return refuse("--window: only with --rate");
        }
        if self.messages.is_some() && (!self.kind.sends() || self.rate.is_some()) {
            return refuse("--messages: only for what sends, and not with --rate");
        }
        if self.once && self.kind != Kind::Pull {
            return refuse("--once: only for pull");
        }
        if self.in_turn && (self.kind != Kind::Pull || self.once) {
            return refuse("--in-turn: only for pull, and not with --once");
        }
        if self.comparison.is_some() && self.kind == Kind::Limits {
            return refuse("compare: limits has no broker to compare");
        }
        if self.does_nothing() && self.comparison.is_none() && self.pid.is_none() {
            let name = self.kind.name();
            return refuse(&format!("{name}: needs --pid, the process whose memory is measured"));
        }
        Ok(())
    }

    /// About how long the measurement will take.
    pub fn expected_seconds(&self) -> f64 {
        if self.once || self.messages.is_some() { self.seconds.min(60.0) } else { self.seconds }
    }

    /// Whether the run only shows what it costs to be there.
    pub fn does_nothing(&self) -> bool {
        matches!(self.kind, Kind::Idle | Kind::Hold)
    }

    /// Connections that send, or pull without waiting.
    pub fn senders(&self) -> usize {
        if self.does_nothing() { 0 } else { self.connections }
    }

    /// Connections with pulls that wait.
    pub fn pollers(&self) -> usize {
        match self.kind {
            Kind::E2e => self.consumers,
            Kind::Hold => self.connections,
            _ => 0,
        }
    }

    /// Queues of all topics. They are numbered topic by topic.
    pub fn places(&self) -> usize {
        self.topics * self.queues
    }

    /// Numbers of the topic of a place, and of its queue there.
    pub fn topic_and_queue(&self, place: usize) -> (usize, usize) {
        (place / self.queues, place % self.queues)
    }

    /// Name of topic `number`.
    pub fn topic_name(&self, number: usize) -> String {
        match self.topics {
            1 => self.topic.clone(),
            _ => format!("{}-{number:05}", self.topic),
        }
    }

    /// Messages that one request of a producer carries.
    pub fn per_request(&self) -> usize {
        if self.kind == Kind::Batch { self.batch } else { 1 }
    }
}

fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("b", "brokerAddr", "address of the broker (127.0.0.1:10911)", "HOST:PORT")
        .optopt("t", "topic", "topic to use, created when missing (TopicBench)", "NAME")
        .optopt("", "connections", "connections to open (4; idle: 2000)", "N")
        .optopt("", "consumers", "connections of e2e that wait for messages (4)", "N")
        .optopt("", "inflight", "requests under way on each connection (16)", "N")
        .optopt("", "rate", "open loop: messages a second, whatever the broker does", "N")
        .optopt("", "window", "open loop: requests under way on each connection at most", "N")
        .optopt("", "size", "body bytes of a message (1024)", "BYTES")
        .optopt("", "topics", "topics to use, NAME-00000 and so on if more than 1 (1)", "N")
        .optflag("", "existing", "the topics are there: neither create nor change them")
        .optopt("", "queues", "queues of each topic to use (4)", "N")
        .optopt("", "batch", "messages of a batch or asked for in one pull (32)", "N")
        .optflag("", "once", "pull each queue once and end")
        .optflag("", "in-turn", "pull the first messages of one queue after the other")
        .optopt("", "messages", "send so many and end", "N")
        .optopt("", "warmup", "seconds before the measurement (2)", "SECONDS")
        .optopt("", "seconds", "seconds of the measurement (10)", "SECONDS")
        .optopt("", "limit-seconds", "seconds to measure this machine's limit after (1)", "SECONDS")
        .optopt("", "threads", "threads of mqbench (one a core; 1 with --rate)", "N")
        .optopt("", "codec", "header codec: json or binary (json)", "CODEC")
        .optflag("", "verify", "check every answer, body and offset")
        .optopt("", "pid", "process id of the broker: report its CPU time and memory", "PID")
        .optopt("", "pairs", "pairs of runs of compare (3)", "N")
        .optopt(
            "",
            "dir",
            "folder on the disk that limits measures (that of temporary files)",
            "DIR",
        )
        .optflag("", "json", "print one JSON object instead of text")
        .optopt("", "plot", "draw latency and throughput into this file", "FILE.svg")
        .optflag("h", "help", "print this help")
        .optflag("", "version", "print the version");
    options
}

fn kind(name: &str) -> Result<Kind> {
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or_else(kind_expected)
}

fn kind_expected() -> Error {
    Error::Config(
        "say what to measure: send or pull, batch, e2e, idle, hold, limits, compare (see -h)"
            .into(),
    )
}

/// `[NAME=]HOST:PORT[@PID]`.
fn target(text: &str, default_name: &str) -> Result<Target> {
    let (name, rest) = text.split_once('=').unwrap_or((default_name, text));
    let (host, pid) = match rest.split_once('@') {
        None => (rest, None),
        Some((host, pid)) => match pid.parse() {
            Ok(pid) if pid > 0 => (host, Some(pid)),
            _ => return Err(Error::Config(format!("{text}: {pid} is no process id"))),
        },
    };
    Ok(Target { name: name.into(), broker: address("", host)?, pid })
}

fn number(matches: &Matches, name: &str, default: usize, min: usize, max: usize) -> Result<usize> {
    Ok(optional_number(matches, name, min, max)?.unwrap_or(default))
}

fn optional_number(matches: &Matches, name: &str, min: usize, max: usize) -> Result<Option<usize>> {
    let Some(text) = matches.opt_str(name) else { return Ok(None) };
    match text.parse() {
        Ok(value) if (min..=max).contains(&value) => Ok(Some(value)),
        _ => Err(Error::Config(format!("--{name} {text}: expected a number of {min} to {max}"))),
    }
}

fn seconds(matches: &Matches, name: &str, default: f64) -> Result<f64> {
    let Some(text) = matches.opt_str(name) else { return Ok(default) };
    match text.parse() {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err(Error::Config(format!("--{name} {text}: expected seconds of 0 to 86400"))),
    }
}

fn rate(matches: &Matches) -> Result<Option<f64>> {
    let Some(text) = matches.opt_str("rate") else { return Ok(None) };
    match text.parse() {
        Ok(value) if (0.01..=100e6).contains(&value) => Ok(Some(value)),
        _ => Err(Error::Config(format!("--rate {text}: expected messages a second, 0.01 to 1e8"))),
    }
}

fn codec(matches: &Matches) -> Result<Codec> {
    match matches.opt_str("codec").as_deref() {
        None | Some("json") => Ok(Codec::Json),
        Some("binary") => Ok(Codec::Binary),
        Some(other) => Err(Error::Config(format!("--codec {other}: expected json or binary"))),
    }
}

fn address(option: &str, text: &str) -> Result<SocketAddr> {
    text.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or_else(|| {
        Error::Config(format!("{option}{text}: expected HOST:PORT that can be resolved"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings> {
        let args: Vec<String> = line.split(' ').map(String::from).collect();
        Settings::parse(&args).map(Option::unwrap)
    }

    #[test]
    fn reads_a_full_command_line() {
        let settings = parse(
            "send -b 127.0.0.1:1 --connections 3 --inflight 5 --size 128 --codec binary --pid 7 \
             --json --rate 2.5e3 --verify --plot a.svg",
        )
        .unwrap();
        assert_eq!(settings.kind, Kind::Send);
        assert_eq!((settings.connections, settings.inflight, settings.size), (3, 5, 128));
        assert_eq!(settings.codec, Codec::Binary);
        assert_eq!((settings.pid, settings.rate), (Some(7), Some(2500.0)));
        assert!(settings.json && settings.verify && !settings.once);
        assert_eq!(settings.threads, 1);
        assert_eq!(parse("pull").unwrap().threads.min(4), parse("pull").unwrap().threads);
    }

    #[test]
    fn reads_the_two_sides_of_a_comparison() {
        let settings = parse("compare ours=127.0.0.1:1@12 127.0.0.1:2 batch --pairs 5").unwrap();
        let Comparison { targets: [a, b], pairs } = settings.comparison.unwrap();
        assert_eq!((a.name.as_str(), a.broker.port(), a.pid), ("ours", 1, Some(12)));
        assert_eq!((b.name.as_str(), b.broker.port(), b.pid), ("B", 2, None));
        assert_eq!((pairs, settings.kind), (5, Kind::Batch));
        assert!(parse("compare 127.0.0.1:1@x 127.0.0.1:2 send").is_err());
    }

    #[test]
    fn names_the_option_that_is_wrong() {
        for (line, named) in [
            ("send --size x", "--size x"),
            ("fly", "send or pull"),
            ("send --codec xml", "xml"),
            ("send --rate 0", "--rate 0"),
            ("pull --rate 5", "--rate"),
            ("send --once", "--once"),
            ("pull --once --in-turn", "--in-turn"),
            ("pull --messages 3", "--messages"),
            ("e2e --size 15", "--size"),
            ("idle", "--pid"),
            ("hold", "--pid"),
            ("send --window 5", "--window"),
            ("send --topics 0", "--topics 0"),
            ("compare 127.0.0.1:1 127.0.0.1:2 limits", "limits"),
            ("send -b nowhere", "-b nowhere"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
