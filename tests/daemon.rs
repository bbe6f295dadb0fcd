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
