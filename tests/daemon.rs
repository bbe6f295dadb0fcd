//! The daemons as an operator sees them: what they print, signals, exit statuses, logs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running daemon, killed when dropped.
struct Daemon {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    printed: String,
}

impl Daemon {
    fn start(program: &str, arguments: &[&str], home: &Path) -> Daemon {
        let mut child = Command::new(program)
            .args(arguments)
            .env("HOME", home)
            .env("ROCKETMQ_HOME", home)
            .env_remove("NAMESRV_ADDR")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Daemon { child, output, printed: String::new() }
    }

    /// Reads what it prints until a line has `wanted`, which is answered. Panics when it ends
    /// before.
    fn until(&mut self, wanted: &str) -> String {
        loop {
            let from = self.printed.len();
            if self.output.read_line(&mut self.printed).unwrap() == 0 {
                let errors = self.errors();
                panic!("ended without {wanted:?}: {}{errors}", self.printed);
            }
            let line = self.printed[from..].trim_end();
            if line.contains(wanted) {
                return line.to_string();
            }
        }
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn status(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

#[test]
fn a_standalone_broker_starts_reopens_its_logs_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("broker.conf");
    fs::write(
        &config,
        "listenPort=0\nbrokerName=alone\nbrokerIP1=127.0.0.1\n\
                        mappedFileSizeCommitLog=1048576\n",
    )
    .unwrap();
    let data = dir.path().join("data");
    let namesrv = format!("127.0.0.1:{}", free_port());
    let arguments = [
        "--standalone",
        "-c",
        config.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "-n",
        &namesrv,
    ];
    let mut broker = Daemon::start(env!("CARGO_BIN_EXE_mqbroker"), &arguments, dir.path());
    broker.until("The broker advertises 127.0.0.1:");
    assert!(broker.until("All data is in ").ends_with("/data/store"));
    let banner = broker.until("boot success. serializeType=JSON and name server is");
    assert!(banner.starts_with("The broker[alone, 127.0.0.1:"), "{banner}");
    assert!(banner.ends_with(&namesrv), "{banner}");
    assert!(data.join("store/abort").exists());

    let log = data.join("logs/broker.log");
    fs::rename(&log, data.join("logs/moved")).unwrap();
    broker.signal("-HUP");
    while !log.exists() {
        std::thread::yield_now();
    }
    broker.signal("-TERM");
    assert_eq!(broker.status(), Some(143));
    assert!(broker.errors().contains("warning: brokerIP1 127.0.0.1: loopback"));
    assert!(!data.join("store/abort").exists());
    let before = text(data.join("logs/moved"));
    assert!(before.contains(" INFO main - The broker[alone, 127.0.0.1:"), "{before}");
    assert!(before.contains(" INFO main - brokerName=alone\n"), "{before}");
    assert!(text(&log).contains(" INFO main - stopping\n"));
}

#[test]
fn a_name_server_starts_and_stops_and_names_a_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = dir.path().join("namesrv.conf");
    fs::write(&config, format!("listenPort={port}\n")).unwrap();
    let arguments = ["-c", config.to_str().unwrap(), "--log", "stderr"];
    let program = env!("CARGO_BIN_EXE_mqnamesrv");

    let mut refused = Daemon::start(program, &arguments, dir.path());
    assert_eq!(refused.status(), Some(255));
    let errors = refused.errors();
    assert!(errors.contains(&format!(":{port}")), "{errors}");

    drop(taken);
    let mut namesrv = Daemon::start(program, &arguments, dir.path());
    let loaded = namesrv.until("load config properties file OK, ");
    assert!(loaded.ends_with("/namesrv.conf"), "{loaded}");
    namesrv.until(&format!(":{port}: "));
    let banner = namesrv.until("boot success");
    assert_eq!(banner, "The Name Server boot success. serializeType=JSON");
    namesrv.signal("-INT");
    assert_eq!(namesrv.status(), Some(130));
    assert!(namesrv.errors().contains(" INFO main - stopping\n"));
    assert!(!dir.path().join("logs").exists(), "--log stderr writes no files");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    const BROKER: &str = env!("CARGO_BIN_EXE_mqbroker");
    const NAMESRV: &str = env!("CARGO_BIN_EXE_mqnamesrv");
    const BENCH: &str = env!("CARGO_BIN_EXE_mqbench");
    const ADMIN: &str = env!("CARGO_BIN_EXE_mqadmin");
    let home = tempfile::tempdir().unwrap();
    let without_reader = |program, argument| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(program);
        command.arg(argument).env("HOME", home.path()).env("ROCKETMQ_HOME", home.path());
        command.env_remove("NAMESRV_ADDR");
        (command, writer)
    };
    for (program, flag, status) in [
        (BROKER, "-h", 0),
        (BROKER, "-p", 0),
        (NAMESRV, "-h", 0),
        (NAMESRV, "-p", 0),
        (BENCH, "-h", 0),
        // As if SIGPIPE had ended it.
        (ADMIN, "help", 141),
    ] {
        let (mut command, writer) = without_reader(program, flag);
        let output = command.stdout(writer).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &errors[..]), (Some(status), ""), "{program} {flag}");
    }
    // The same of standard error.
    for (program, argument) in [(BENCH, "nothing"), (ADMIN, "updateTopic")] {
        let (mut command, writer) = without_reader(program, argument);
        let output = command.stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{program} {argument}");
    }
}
