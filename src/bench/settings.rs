//! The command line of mqbench.

use std::net::{SocketAddr, ToSocketAddrs};

use getopts::{Matches, Options};

use crate::base::{Error, Result};
use crate::protocol::Codec;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SEND_MESSAGE_V2, one message a request.
    Send,
    /// PULL_MESSAGE, up to 32 messages a request, from the beginning of each queue, again and
    /// again.
    Pull,
}

/// One run of mqbench.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    /// Address of the broker.
    pub broker: SocketAddr,
    pub topic: String,
    pub connections: usize,
    /// Requests under way on each connection.
    pub inflight: usize,
    /// Body bytes of a message.
    pub size: usize,
    /// Queues of the topic that are used.
    pub queues: usize,
    /// Messages asked for in one pull.
    pub batch: usize,
    /// Seconds before and of the measurement.
    pub warmup: f64,
    pub seconds: f64,
    /// Threads of mqbench itself.
    pub threads: usize,
    pub codec: Codec,
    /// Process whose CPU time is reported.
    pub pid: Option<u32>,
    pub json: bool,
}

const USAGE: &str = "Usage: mqbench send|pull [options]

Loads one broker in a closed loop and prints throughput, latency and what the broker spent.
A producer sends to a topic that mqbench creates; pull reads what send left in the topic.";

impl Settings {
    /// Reads the command line; `None` after `--help` or `--version`, which were answered.
    pub fn parse(args: &[String]) -> Result<Option<Settings>> {
        let options = options();
        let matches = options.parse(args).map_err(|error| Error::Config(error.to_string()))?;
        if matches.opt_present("h") {
            print!("{}", options.usage(USAGE));
            return Ok(None);
        }
        if matches.opt_present("version") {
            println!("mqbench {}", env!("CARGO_PKG_VERSION"));
            return Ok(None);
        }
        let kind = match matches.free.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["send"] => Kind::Send,
            ["pull"] => Kind::Pull,
            _ => return Err(Error::Config("say what to measure: send or pull (see -h)".into())),
        };
        Settings::from_matches(kind, &matches).map(Some)
    }

    fn from_matches(kind: Kind, matches: &Matches) -> Result<Settings> {
        let connections = number(matches, "connections", 4, 1, 100_000)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            kind,
            broker: address(&matches.opt_str("b").unwrap_or("127.0.0.1:10911".into()))?,
            topic: matches.opt_str("t").unwrap_or("TopicBench".into()),
            connections,
            inflight: number(matches, "inflight", 16, 1, 10_000)?,
            size: number(matches, "size", 1024, 0, 4 * 1024 * 1024)?,
            queues: number(matches, "queues", 4, 1, 1024)?,
            batch: number(matches, "batch", 32, 1, 1024)?,
            warmup: seconds(matches, "warmup", 2.0)?,
            seconds: seconds(matches, "seconds", 10.0)?,
            threads: number(matches, "threads", cores, 1, 256)?.min(connections),
            codec: codec(matches)?,
            pid: match matches.opt_present("pid") {
                true => Some(number(matches, "pid", 0, 1, u32::MAX as usize)? as u32),
                false => None,
            },
            json: matches.opt_present("json"),
        })
    }
}

fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("b", "brokerAddr", "address of the broker (127.0.0.1:10911)", "HOST:PORT")
        .optopt("t", "topic", "topic to use, created when missing (TopicBench)", "NAME")
        .optopt("", "connections", "connections to open (4)", "N")
        .optopt("", "inflight", "requests under way on each connection (16)", "N")
        .optopt("", "size", "body bytes of a message (1024)", "BYTES")
        .optopt("", "queues", "queues of the topic to use (4)", "N")
        .optopt("", "batch", "messages asked for in one pull (32)", "N")
        .optopt("", "warmup", "seconds before the measurement (2)", "SECONDS")
        .optopt("", "seconds", "seconds of the measurement (10)", "SECONDS")
        .optopt("", "threads", "threads of mqbench (one a core)", "N")
        .optopt("", "codec", "header codec: json or binary (json)", "CODEC")
        .optopt("", "pid", "process id of the broker: report its CPU time and memory", "PID")
        .optflag("", "json", "print one JSON object instead of text")
        .optflag("h", "help", "print this help")
        .optflag("", "version", "print the version");
    options
}

fn number(matches: &Matches, name: &str, default: usize, min: usize, max: usize) -> Result<usize> {
    let Some(text) = matches.opt_str(name) else { return Ok(default) };
    match text.parse() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
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

fn codec(matches: &Matches) -> Result<Codec> {
    match matches.opt_str("codec").as_deref() {
        None | Some("json") => Ok(Codec::Json),
        Some("binary") => Ok(Codec::Binary),
        Some(other) => Err(Error::Config(format!("--codec {other}: expected json or binary"))),
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| Error::Config(format!("-b {text}: expected HOST:PORT that can be resolved")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Settings>> {
        Settings::parse(&args.iter().map(|arg| arg.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn reads_a_full_command_line() {
        let settings = parse(&[
            "send",
            "-b",
            "127.0.0.1:1",
            "--connections",
            "3",
            "--inflight",
            "5",
            "--size",
            "128",
            "--codec",
            "binary",
            "--pid",
            "7",
            "--json",
        ])
        .unwrap()
        .unwrap();
        assert_eq!(settings.kind, Kind::Send);
        assert_eq!((settings.connections, settings.inflight, settings.size), (3, 5, 128));
        assert_eq!(settings.codec, Codec::Binary);
        assert_eq!(settings.pid, Some(7));
        assert!(settings.json);
        assert!(settings.threads <= 3);
    }

    #[test]
    fn names_the_option_that_is_wrong() {
        let error = parse(&["send", "--size", "x"]).unwrap_err().to_string();
        assert!(error.contains("--size x"), "{error}");
        assert!(parse(&["fly"]).unwrap_err().to_string().contains("send or pull"));
        assert!(parse(&["send", "--codec", "xml"]).unwrap_err().to_string().contains("xml"));
    }
}
