//! Daemons as processes of their own, to be killed, starved and watched from outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use ferrocket::sys::process;

use crate::peer::Peer;

/// A running daemon, killed when dropped. Its log goes to a file.
pub struct Daemon {
    child: Child,
    /// Open, or printing would fail.
    _output: BufReader<ChildStdout>,
    addr: SocketAddr,
    log: PathBuf,
}

/// How a start ended that was to fail.
pub struct Refused {
    pub status: Option<i32>,
    pub text: String,
}

/// A broker whose configuration has these lines and small files in `dir`; it refuses nothing for
/// being slow.
pub fn broker_config(dir: &Path, lines: &str) -> String {
    format!(
        "rocketmqHome={dir}\nstorePathRootDir={dir}/store\nlistenPort=0\nbrokerIP1=127.0.0.1\n\
         brokerName=broker-a\nmappedFileSizeCommitLog=262144\nmappedFileSizeConsumeQueue=4000\n\
         maxHashSlotNum=1000\nmaxIndexNum=2000\nserverSelectorThreads=1\n\
         brokerFastFailureEnable=false\nosPageCacheBusyTimeOutMills=60000\n{lines}\n",
        dir = dir.display()
    )
}

impl Daemon {
    /// A broker with this configuration; its files and its log are in `dir`.
    pub fn broker(dir: &Path, config: &str) -> Daemon {
        Daemon::started(dir, broker_command(dir, config))
    }

    /// A broker behind words that run its command in some surroundings.
    pub fn broker_within(words: &[String], dir: &Path, config: &str) -> Daemon {
        let inner = broker_command(dir, config);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(inner.get_program()).args(inner.get_args());
        Daemon::started(dir, command)
    }

    /// A NameServer on a port that was free a moment ago.
    pub fn namesrv(dir: &Path) -> Daemon {
        let port = free_port();
        let path = dir.join("namesrv.conf");
        let here = dir.display();
        let text = format!(
            "rocketmqHome={here}\nlistenPort={port}\nkvConfigPath={here}/kv.json\n\
             serverSelectorThreads=1\n"
        );
        fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqnamesrv"));
        command.arg("-c").arg(&path).args(["--log", "stderr"]);
        let mut daemon = Daemon::started(dir, command);
        daemon.addr = SocketAddr::from(([127, 0, 0, 1], port));
        daemon
    }

    fn started(dir: &Path, command: Command) -> Daemon {
        match Daemon::spawn(dir, command) {
            Ok(daemon) => daemon,
            Err(refused) => panic!("it ended, {:?}: {}", refused.status, refused.text),
        }
    }

    /// A broker that is to refuse its start because of `why`.
    pub fn refused(dir: &Path, config: &str, why: &str) -> Refused {
        match Daemon::spawn(dir, broker_command(dir, config)) {
            Ok(_) => panic!("the broker started in spite of {why}"),
            Err(refused) => refused,
        }
    }

    /// Waits until it listens.
    fn spawn(dir: &Path, mut command: Command) -> Result<Daemon, Refused> {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let log = dir.join(format!("log.{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        command.env("HOME", dir).env_remove("NAMESRV_ADDR").stdout(Stdio::piped());
        command.env("FERROCKET_FAULTS", dir.join("faults"));
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("boot success") {
            line.clear();
            if output.read_line(&mut line).unwrap() == 0 {
                let status = child.wait().unwrap().code();
                return Err(Refused { status, text: fs::read_to_string(&log).unwrap() });
            }
        }
        // The broker[name, ip:port] boot success.
        let port = line.split_once(']').and_then(|(head, _)| head.rsplit_once(':'));
        let port = port.and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Daemon { child, _output: output, addr, log })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn peer(&self) -> Peer {
        Peer::connect(self.addr)
    }

    pub fn resident_mib(&self) -> u64 {
        process::resident_bytes(self.pid()).expect("it runs") >> 20
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Stops it in order and returns what it logged.
    pub fn stop(mut self) -> String {
        self.signal("-TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(143), "{}", self.log());
        self.log()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn broker_command(dir: &Path, config: &str) -> Command {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let path = dir.join(format!("broker.{}.conf", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqbroker"));
    command.arg("-c").arg(&path).args(["--log", "stderr"]);
    command
}

/// Below the range from which the system takes the ports of outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// The seed of a test that `scripts/endure` repeats: what that says, or else `other`.
pub fn seed(other: u64) -> u64 {
    std::env::var("ENDURE_SEED").map_or(other, |text| text.parse().unwrap())
}

/// Numbers that look random and are the same in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One of 0 to `end` - 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }
}
