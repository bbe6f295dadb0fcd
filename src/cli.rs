//! What the daemons have in common: flags, usage text, exit statuses, the way from arguments to a
//! checked configuration, logs, and the wait for signals.
//!
//! Exit statuses are RocketMQ's, as a JVM ends: 0 after `-h`, `-p`, `-m`; 1 for a bad option; 254
//! without ROCKETMQ_HOME; 253 for a configuration that breaks a rule or a store that does not load;
//! 255 for every other failure to start; 143 and 130 after an orderly stop by TERM and INT.
//! `--check-store` has its own: 0 without faults, 1 with faults, 2 when nothing could be checked.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use log::LevelFilter;

use crate::base::console::{complain, print};
use crate::base::log::{self as logs, LogFile};
use crate::base::{Error, Result};
use crate::config::{self, BrokerConfig, Config, Loaded, NamesrvConfig};
use crate::store::check::{self, Plan};
use crate::sys::signal::{Signal, Signals};
use crate::sys::{host, process};

const HOME_UNSET: &str = "Please set the ROCKETMQ_HOME variable in your environment to match the \
                          location of the RocketMQ installation";

/// Ends a program before its work: a status and what to print, to standard output for status 0 and
/// 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    pub status: u8,
    pub text: String,
}

impl Exit {
    const USAGE: u8 = 1;
    const NOT_CHECKED: u8 = 2;
    const RULE: u8 = 253;
    const HOME: u8 = 254;
    const FAILED: u8 = 255;

    fn new(status: u8, text: impl Into<String>) -> Exit {
        Exit { status, text: text.into() }
    }

    /// A failure to start.
    pub fn failed(text: impl Into<String>) -> Exit {
        Exit::new(Exit::FAILED, text)
    }
}

/// A failure to start: a damaged store is 253, anything else 255.
impl From<Error> for Exit {
    fn from(e: Error) -> Exit {
        let status = if matches!(e, Error::Corrupt(_)) { Exit::RULE } else { Exit::FAILED };
        Exit::new(status, e.to_string())
    }
}

/// Turns the result of a daemon's `run` into its exit status, printing what is to be printed.
pub fn exit(result: std::result::Result<u8, Exit>) -> ExitCode {
    let status = match result {
        Ok(status) => status,
        Err(Exit { status, text }) => {
            if status > Exit::USAGE {
                log::error!("{}", text.trim_end());
                complain(text.trim_end());
            } else if !text.is_empty() {
                print(text.trim_end());
            }
            status
        }
    };
    logs::flush();
    ExitCode::from(status)
}

/// Prints a line and logs it.
pub fn say(text: &str) {
    print(text);
    log::info!("{text}");
}

/// A flag of a daemon.
struct Flag {
    short: &'static str,
    long: &'static str,
    /// Name of its argument, "" when it has none.
    argument: &'static str,
    doc: &'static str,
}

const fn flag(
    short: &'static str,
    long: &'static str,
    argument: &'static str,
    doc: &'static str,
) -> Flag {
    Flag { short, long, argument, doc }
}

/// Flags of both daemons, in the order of the usage text.
const COMMON: &[Flag] = &[
    flag("c", "configFile", "FILE", "Configuration file, Java properties"),
    flag("h", "help", "", "Print help"),
    flag("m", "printImportantConfig", "", "Print important config items"),
    flag(
        "n",
        "namesrvAddr",
        "LIST",
        "Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'",
    ),
    flag("p", "printConfigItem", "", "Print all config items"),
    flag("", "log", "WHERE", "Log to 'stderr' or into this folder; $HOME/logs/rocketmqlogs"),
    flag("", "log-level", "LEVEL", "off, error, warn, info or debug; info"),
    flag("", "test-config", "", "Check the configuration and exit"),
    flag("", "version", "", "Print the version"),
];

/// Flags of the broker alone.
const BROKER: &[Flag] = &[
    flag("", "check-store", "DIR", "Check a store that no broker has open, changing nothing"),
    flag("", "standalone", "", "Run a name server in the same process"),
    flag("", "data", "DIR", "With --standalone: folder of all data and logs"),
];

/// A command line that was understood.
#[derive(Debug)]
struct Command {
    program: &'static str,
    matches: getopts::Matches,
}

impl Command {
    /// Ends with the usage text for `-h` and for a bad flag, with the version for `--version`.
    fn parse(
        program: &'static str,
        flags: &[&[Flag]],
        arguments: impl IntoIterator<Item = OsString>,
    ) -> std::result::Result<Command, Exit> {
        let mut options = getopts::Options::new();
        for flag in flags.iter().copied().flatten() {
            if flag.argument.is_empty() {
                options.optflag(flag.short, flag.long, flag.doc);
            } else {
                options.optopt(flag.short, flag.long, flag.doc, flag.argument);
            }
        }
        let usage = usage(program, flags);
        let matches = options
            .parse(arguments)
            .map_err(|e| Exit::new(Exit::USAGE, format!("{program}: {e}\n{usage}")))?;
        if matches.opt_present("h") {
            return Err(Exit::new(0, usage));
        }
        if matches.opt_present("version") {
            return Err(Exit::new(0, format!("{program} {}", env!("CARGO_PKG_VERSION"))));
        }
        // RocketMQ passes over them without a word, and commands with them are in use.
        for free in &matches.free {
            complain(format!("{program}: argument ignored: {free}"));
        }
        Ok(Command { program, matches })
    }

    fn has(&self, flag: &str) -> bool {
        self.matches.opt_present(flag)
    }

    fn value(&self, flag: &str) -> Option<String> {
        self.matches.opt_str(flag)
    }

    /// The defaults and the file of `-c`. Warnings go to standard error: logs are not open yet.
    fn config<C: Config>(&self) -> Result<C> {
        let Some(path) = self.value("c") else { return Ok(C::default()) };
        let Loaded { config, warnings } = config::load(Path::new(&path))?;
        for warning in warnings {
            complain(format!("{}: warning: {warning}", self.program));
        }
        Ok(config)
    }

    /// Ends for `-p`, `-m` and `--test-config`; otherwise catches signals and opens the logs.
    fn begin<C: Config>(
        &self,
        config: &C,
        logs: &[&[LogFile]],
        folder: PathBuf,
    ) -> std::result::Result<Signals, Exit> {
        if self.has("p") || self.has("m") {
            return Err(Exit::new(0, config::printed(config, !self.has("p"))));
        }
        let level = match self.value("log-level") {
            None => LevelFilter::Info,
            Some(text) => text.parse().map_err(|_| {
                let program = self.program;
                Exit::new(Exit::USAGE, format!("{program}: --log-level {text}: unknown level"))
            })?,
        };
        if self.has("test-config") {
            let file = config.origin().path.as_ref().map(|path| path.display().to_string());
            let subject = file.unwrap_or_else(|| "built-in defaults".to_string());
            return Err(Exit::new(0, format!("{}: {subject}: OK", self.program)));
        }
        let dir = match self.value("log").as_deref() {
            Some("stderr") => None,
            Some(folder) => Some(PathBuf::from(folder)),
            None => Some(folder),
        };
        let signals = Signals::install()
            .map_err(|e| Exit::new(Exit::FAILED, format!("cannot catch signals: {e}")))?;
        logs::init(logs::Settings { dir, files: logs.concat(), level })?;
        log_panics();
        match process::raise_open_files() {
            Ok(files) => log::info!("{files} files and connections may be open"),
            Err(e) => log::warn!("cannot raise the number of open files: {e}"),
        }
        for item in config::printed(config, false).lines() {
            log::info!("{item}");
        }
        Ok(signals)
    }
}

/// Where the first lines of a usage text are broken.
const USAGE_COLUMNS: usize = 80;

/// Usage as commons-cli prints it: the flags in brackets, then a line for each.
fn usage(program: &str, flags: &[&[Flag]]) -> String {
    let flags = || flags.iter().copied().flatten();
    let mut text = String::new();
    let mut line = format!("usage: {program}");
    for flag in flags() {
        let name = match flag.short {
            "" => format!("--{}", flag.long),
            short => format!("-{short}"),
        };
        let item = format!(" [{}]", format!("{name} {}", flag.argument).trim_end());
        if line.len() + item.len() > USAGE_COLUMNS {
            text += &line;
            line = "\n      ".to_string();
        }
        line += &item;
    }
    text += &line;
    let left = |flag: &Flag| {
        let short = if flag.short.is_empty() { "   ".into() } else { format!("-{},", flag.short) };
        format!(" {short}--{} {}", flag.long, flag.argument)
    };
    let width = flags().map(|flag| left(flag).len()).max().unwrap_or(0);
    for flag in flags() {
        text += &format!("\n{:width$}  {}", left(flag), flag.doc);
    }
    text
}

/// A panic of any thread goes to the main log as well.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log::error!("{panic}");
        before(panic);
    }));
}

/// Waits until a signal says stop, and answers the exit status that follows; opens the logs anew on
/// HUP and USR1.
pub fn wait(signals: &mut Signals) -> u8 {
    loop {
        match signals.wait() {
            Ok(Signal::Reopen) => {
                logs::reopen();
                log::info!("logs opened anew");
            }
            Ok(Signal::Stop(status)) => {
                log::info!("stopping");
                return u8::try_from(status).unwrap_or(Exit::FAILED);
            }
            Err(e) => {
                log::error!("cannot wait for signals: {e}; stopping");
                return Exit::FAILED;
            }
        }
    }
}

/// What a NameServer prints when it listens. Scripts wait for `boot success`.
pub const NAMESRV_STARTED: &str = "The Name Server boot success. serializeType=JSON";

/// A NameServer that is ready to start.
#[derive(Debug)]
pub struct Namesrv {
    pub config: NamesrvConfig,
    pub signals: Signals,
}

/// From the arguments of `mqnamesrv` (without its name) to a NameServer to start.
pub fn namesrv(
    arguments: impl IntoIterator<Item = OsString>,
) -> std::result::Result<Namesrv, Exit> {
    let command = Command::parse("mqnamesrv", &[COMMON], arguments)?;
    let mut config: NamesrvConfig = command.config()?;
    if let Some(path) = &config.origin.path {
        config.config_store_path = path.to_string_lossy().into_owned();
        print(format!("load config properties file OK, {}", path.display()));
    }
    if config.rocketmq_home.is_none() {
        return Err(Exit::new(Exit::HOME, HOME_UNSET));
    }
    let signals = command.begin(&config, &[NAMESRV_LOGS], log_folder())?;
    let (port, default) = (config.server.listen_port, host::advertised());
    say(&format!(
        "Clients reach this name server at {}:{port}: {}",
        default.address, default.reason
    ));
    Ok(Namesrv { config, signals })
}

/// A broker that is ready to start.
#[derive(Debug)]
pub struct Broker {
    pub config: BrokerConfig,
    /// With `--standalone`: the NameServer to start before it.
    pub namesrv: Option<NamesrvConfig>,
    pub signals: Signals,
}

/// From the arguments of `mqbroker` (without its name) to a broker to start.
pub fn broker(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<Broker, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let checks = arguments.iter().any(|item| item.to_string_lossy().starts_with("--check-store"));
    let command = match Command::parse("mqbroker", &[COMMON, BROKER], arguments) {
        Err(exit) if checks && exit.status == Exit::USAGE => {
            return Err(Exit { status: Exit::NOT_CHECKED, ..exit });
        }
        command => command?,
    };
    if let Some(dir) = command.value("check-store") {
        return Err(check_store(&command, Path::new(&dir)));
    }
    let standalone = command.has("standalone");
    let mut config: BrokerConfig = command.config()?;
    if let Some(list) = command.value("n") {
        config.namesrv_addr = Some(list);
    }
    let data = data_folder(&command, standalone)?;
    let namesrv = standalone.then(|| stand_alone(&mut config, data.as_deref())).transpose()?;
    if config.rocketmq_home.is_none() && !standalone {
        return Err(Exit::new(Exit::HOME, HOME_UNSET));
    }
    config.settle().map_err(|e| Exit::new(Exit::RULE, e.to_string()))?;
    let mut folder = data.map_or_else(log_folder, |data| data.join("logs"));
    if config.isolate_log_enable {
        folder.push(format!("{}_{}", config.broker_name, config.broker_id));
    }
    let logs = if standalone { &[BROKER_LOGS, NAMESRV_LOGS][..] } else { &[BROKER_LOGS] };
    let signals = command.begin(&config, logs, folder)?;
    for (is_warning, note) in config.address_notes() {
        if is_warning {
            complain(format!("mqbroker: warning: {note}"));
            log::warn!("{note}");
        } else {
            say(&note);
        }
    }
    if standalone {
        say(&format!("All data is in {}", config.store.store_path_root_dir));
    }
    Ok(Broker { config, namesrv, signals })
}

/// Checks a store, printing what is found.
fn check_store(command: &Command, dir: &Path) -> Exit {
    let config = match command.has("c").then(|| command.config::<BrokerConfig>()).transpose() {
        Ok(config) => config,
        Err(e) => return Exit::new(Exit::NOT_CHECKED, e.to_string()),
    };
    if !std::io::stderr().is_terminal() {
        let settings =
            logs::Settings { dir: None, files: BROKER_LOGS.into(), level: LevelFilter::Info };
        if let Err(e) = logs::init(settings) {
            return Exit::new(Exit::NOT_CHECKED, e.to_string());
        }
    }
    let plan = Plan::new(dir, config.as_ref().map(|config| &config.store));
    match check::check(&plan, &mut std::io::stdout()) {
        Ok(faults) => Exit::new(u8::from(faults > 0), ""),
        Err(e) => Exit::new(Exit::NOT_CHECKED, format!("mqbroker: not checked: {e}")),
    }
}

/// What a broker prints when it listens at `listens`. Scripts wait for `boot success`.
pub fn broker_started(config: &BrokerConfig, listens: Option<SocketAddr>) -> String {
    let BrokerConfig { broker_name, broker_ip1, .. } = config;
    let port = listens.map_or(config.server.listen_port, |address| i32::from(address.port()));
    let mut text = format!("The broker[{broker_name}, {broker_ip1}:{port}] boot success. ");
    text += "serializeType=JSON";
    if let Some(list) = &config.namesrv_addr {
        text += &format!(" and name server is {list}");
    }
    text
}

fn data_folder(command: &Command, standalone: bool) -> std::result::Result<Option<PathBuf>, Exit> {
    match command.value("data") {
        Some(_) if !standalone => {
            Err(Exit::new(Exit::USAGE, "mqbroker: --data goes with --standalone only"))
        }
        data => Ok(data.map(PathBuf::from)),
    }
}

/// The NameServer of `--standalone`: it listens where the broker's `namesrvAddr` says, on port 9876
/// of this machine without one. With a data folder the files of both go there.
fn stand_alone(
    config: &mut BrokerConfig,
    data: Option<&Path>,
) -> std::result::Result<NamesrvConfig, Exit> {
    let list = config.namesrv_addr.get_or_insert_with(|| "127.0.0.1:9876".to_string());
    let mut namesrv = NamesrvConfig::new();
    let port = list.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) if !list.contains(';') => namesrv.server.listen_port = i32::from(port),
        _ => {
            let text = format!("--standalone takes one name server address, not {list:?}");
            return Err(Exit::new(Exit::RULE, text));
        }
    }
    if let Some(data) = data {
        let inside = |name: &str| data.join(name).to_string_lossy().into_owned();
        config.store.store_path_root_dir = inside("store");
        config.store.store_path_commit_log = None;
        namesrv.kv_config_path = inside("namesrv/kvConfig.json");
        namesrv.config_store_path = inside("namesrv/namesrv.properties");
    }
    namesrv.rocketmq_home = config.rocketmq_home.clone();
    Ok(namesrv)
}

fn log_folder() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join("logs/rocketmqlogs")
}

const MIB: u64 = 1024 * 1024;

const fn log_file(target: &'static str, name: &'static str, mib: u64, keep: u32) -> LogFile {
    LogFile { target, name, bytes_max: mib * MIB, keep }
}

/// RocketMQ's files, of those that something is written to here.
const BROKER_LOGS: &[LogFile] = &[
    log_file("broker", "broker", 128, 20),
    log_file("store", "store", 128, 10),
    log_file("storeerror", "storeerror", 100, 10),
    log_file("remoting", "remoting", 100, 10),
    log_file("transaction", "transaction", 100, 10),
    log_file("protection", "protection", 100, 10),
    log_file("watermark", "watermark", 100, 10),
    log_file("filter", "filter", 100, 10),
    log_file("stats", "stats", 100, 5),
    log_file("lock", "lock", 100, 5),
];

const NAMESRV_LOGS: &[LogFile] = &[log_file("namesrv", "namesrv", 100, 5)];

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn broker_exit(text: &str) -> (u8, String) {
        let exit = broker(arguments(text)).unwrap_err();
        (exit.status, exit.text)
    }

    #[test]
    fn help_version_and_bad_flags() {
        let (status, text) = broker_exit("-h");
        assert_eq!(status, 0);
        assert!(text.starts_with("usage: mqbroker [-c FILE] [-h] [-m] [-n LIST] [-p]"), "{text}");
        assert!(text.contains("\n -p,--printConfigItem "), "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
        assert_eq!(broker_exit("--version").1, "mqbroker 0.1.0");
        let (status, text) = broker_exit("-z");
        assert_eq!(status, 1);
        assert!(text.starts_with("mqbroker: Unrecognized option: 'z'\nusage: mqbroker"), "{text}");
        assert_eq!(namesrv(arguments("--standalone")).unwrap_err().status, 1);
        assert_eq!(broker_exit("--data x").0, 1);
    }

    #[test]
    fn the_rules_have_their_statuses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let run = |text: &str| {
            std::fs::write(&path, format!("rocketmqHome=/x\nbrokerIP1=127.0.0.1\n{text}")).unwrap();
            broker_exit(&format!("-c {} --test-config", path.display()))
        };
        assert_eq!(run(""), (0, format!("mqbroker: {}/c: OK", dir.path().display())));
        assert_eq!(run("brokerRole=SLAVE"), (253, "Slave's brokerId must be > 0".to_string()));
        assert_eq!(run("namesrvAddr=a").0, 253);
        let (status, text) = run("fileReservedTime=x");
        assert_eq!(status, 255);
        assert!(text.ends_with("/c:3: fileReservedTime: \"x\" is not a whole number, at least 0"));
        let (status, text) = broker_exit("-c /nonexistent/c");
        assert_eq!(status, 255);
        assert!(text.starts_with("open /nonexistent/c: "), "{text}");
    }

    #[test]
    fn the_command_line_wins_and_standalone_needs_no_home() {
        let (status, text) = broker_exit("-p --standalone -n 127.0.0.1:19876 --data /d");
        assert_eq!(status, 0);
        for line in ["namesrvAddr=127.0.0.1:19876", "storePathRootDir=/d/store"] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(broker_exit("--standalone -n a:1;b:2 -p").0, 253);
    }
}
