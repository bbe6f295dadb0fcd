//! Back end of the `log` facade: callers format a line and leave it in a bounded queue, one thread
//! writes it.
//!
//! A record goes to the file of its target (`log::info!(target: "store", ...)`); records of targets
//! without a file of their own, such as module paths, go to the first file. Lines that find the
//! queue full are dropped and counted: a slow disk must not slow down requests.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use log::{LevelFilter, Log, Metadata, Record};

use super::clock;
use super::error::IoContext;
use super::limits::{LOG_LINE_BYTES_MAX, LOG_QUEUE_LINES};
use super::{Error, Result, thread};

/// How long the end of a program, or a reopening, waits for lines under way.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// Lines are gathered for a write of about so many bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// What is logged, and where to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the files; `None` is standard error.
    pub dir: Option<PathBuf>,
    /// The first is the main one.
    pub files: Vec<LogFile>,
    pub level: LevelFilter,
}

/// One log file.
#[derive(Debug, Clone, Copy)]
pub struct LogFile {
    /// Records with this target go here.
    pub target: &'static str,
    /// Its name without `.log`.
    pub name: &'static str,
    /// A longer file moves to `otherdays/<name>.1.log`, older ones to higher numbers.
    pub bytes_max: u64,
    /// How many of those are kept.
    pub keep: u32,
}

static BACK_END: OnceLock<BackEnd> = OnceLock::new();

struct BackEnd {
    to_writer: Sender<Order>,
    files: Vec<LogFile>,
    dropped: AtomicU64,
}

enum Order {
    Line(Line),
    /// Opens the files anew, then tells.
    Reopen(Sender<()>),
    /// Writes all that came before, then tells.
    Flush(Sender<()>),
}

struct Line {
    file: usize,
    ms: i64,
    /// Level, thread and message, with the newline.
    text: String,
}

/// Starts logging; once in a process. Fails when a file cannot be opened, naming it.
pub fn init(settings: Settings) -> Result<()> {
    let Settings { dir, files, level } = settings;
    let mut outputs = match &dir {
        None => vec![Output::stderr()],
        Some(dir) => files.iter().map(|file| Output::file(dir, file)).collect(),
    };
    // Only the main file: the others are made when there is something to write.
    if let Some(main) = outputs.first_mut() {
        main.open()?;
    }
    let (to_writer, orders) = bounded(LOG_QUEUE_LINES);
    let files = if dir.is_some() { files } else { Vec::new() };
    let back_end = BackEnd { to_writer, files, dropped: AtomicU64::new(0) };
    let taken = BACK_END.set(back_end).is_err() || log::set_logger(&Facade).is_err();
    if taken {
        return Err(Error::Config("logging was started twice".to_string()));
    }
    // Never joined: it serves until the process ends; `flush` waits for what was logged.
    thread::spawn("log", move || Writer { orders, outputs, second: None }.run())?;
    log::set_max_level(level);
    Ok(())
}

/// Opens all files anew, after another program moved them away.
pub fn reopen() {
    order_and_wait(Order::Reopen);
}

/// Waits until everything logged so far is written, two seconds at most.
pub fn flush() {
    order_and_wait(Order::Flush);
}

fn order_and_wait(order: impl FnOnce(Sender<()>) -> Order) {
    let Some(back_end) = BACK_END.get() else { return };
    let (done, told) = bounded(1);
    if back_end.to_writer.send_timeout(order(done), FLUSH_WAIT).is_ok() {
        let _ = told.recv_timeout(FLUSH_WAIT);
    }
}

struct Facade;

impl Log for Facade {
    /// The level is checked before, by the macros.
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let Some(back_end) = BACK_END.get() else { return };
        let file = back_end.files.iter().position(|file| file.target == record.target());
        let current = std::thread::current();
        let mut text = String::with_capacity(128);
        // Writing to a String cannot fail, but a Display of the record's may say so.
        let _ = write!(
            text,
            " {} {} - {}",
            record.level(),
            current.name().unwrap_or("unnamed"),
            record.args()
        );
        cut(&mut text);
        text.push('\n');
        let line = Line { file: file.unwrap_or(0), ms: clock::now_ms(), text };
        if let Err(TrySendError::Full(_)) = back_end.to_writer.try_send(Order::Line(line)) {
            back_end.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        flush();
    }
}

/// Keeps a text that a peer had a hand in within its limit.
fn cut(text: &mut String) {
    if text.len() > LOG_LINE_BYTES_MAX {
        let mut end = LOG_LINE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
}

struct Writer {
    orders: Receiver<Order>,
    outputs: Vec<Output>,
    /// The last second that was put into words, and the words.
    second: Option<(i64, String)>,
}

impl Writer {
    fn run(mut self) {
        while let Ok(order) = self.orders.recv() {
            self.obey(order);
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            self.tell_dropped();
            self.write_all();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Line(line) => self.line(line),
            Order::Flush(done) => {
                self.write_all();
                let _ = done.send(());
            }
            Order::Reopen(done) => {
                self.write_all();
                for output in &mut self.outputs {
                    output.reopen();
                }
                let _ = done.send(());
            }
        }
    }

    fn line(&mut self, line: Line) {
        let second = line.ms.div_euclid(1000);
        if self.second.as_ref().is_none_or(|(known, _)| *known != second) {
            self.second = Some((second, clock::seconds_text(&clock::local_time(line.ms), ' ')));
        }
        let (Some((_, time)), Some(output)) = (&self.second, self.outputs.get_mut(line.file))
        else {
            return;
        };
        output.pending.extend_from_slice(time.as_bytes());
        output.pending.extend_from_slice(line.text.as_bytes());
        if output.pending.len() >= WRITE_BYTES {
            output.write();
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = BACK_END.get().map_or(0, |b| b.dropped.swap(0, Ordering::Relaxed));
        if dropped > 0 {
            let text = format!(" WARN log - {dropped} lines dropped, the queue was full\n");
            self.line(Line { file: 0, ms: clock::now_ms(), text });
        }
    }

    fn write_all(&mut self) {
        for output in &mut self.outputs {
            output.write();
        }
    }
}

/// One file or standard error, with lines that are not written yet.
struct Output {
    /// `None` is standard error.
    target: Option<Target>,
    pending: Vec<u8>,
    /// Said once to standard error, until a write succeeds again.
    failing: bool,
}

struct Target {
    path: PathBuf,
    rule: LogFile,
    /// With its length in bytes; `None` until the first line.
    file: Option<(File, u64)>,
}

impl Output {
    fn stderr() -> Output {
        Output { target: None, pending: Vec::new(), failing: false }
    }

    fn file(dir: &Path, rule: &LogFile) -> Output {
        let path = dir.join(format!("{}.log", rule.name));
        let target = Some(Target { path, rule: *rule, file: None });
        Output { target, pending: Vec::new(), failing: false }
    }

    fn open(&mut self) -> Result<()> {
        match &mut self.target {
            Some(t) => t.open().what(|| format!("open log {}", t.path.display())),
            None => Ok(()),
        }
    }

    fn write(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let result = match &mut self.target {
            None => io::stderr().write_all(&self.pending),
            Some(target) => target.write(&self.pending),
        };
        self.pending.clear();
        self.report(result);
    }

    fn reopen(&mut self) {
        if let Some(target) = &mut self.target
            && target.file.take().is_some()
        {
            let result = target.open();
            self.report(result);
        }
    }

    fn report(&mut self, result: io::Result<()>) {
        if let (Err(e), Some(target), false) = (&result, &self.target, self.failing) {
            let _ = writeln!(io::stderr(), "log {}: {e}", target.path.display());
        }
        self.failing = result.is_err();
    }
}

impl Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open()?;
        let long = |len: u64| len > 0 && len + bytes.len() as u64 > self.rule.bytes_max;
        // A file that cannot be moved away is written on: better too long than lines lost.
        let rotated = match self.file {
            Some((_, len)) if long(len) => self.rotate(),
            _ => Ok(()),
        };
        if let Some((file, len)) = &mut self.file {
            file.write_all(bytes)?;
            *len += bytes.len() as u64;
        }
        rotated
    }

    fn rotate(&mut self) -> io::Result<()> {
        let old = self.path.with_file_name("otherdays");
        fs::create_dir_all(&old)?;
        let numbered = |n: u32| old.join(format!("{}.{n}.log", self.rule.name));
        for n in (1..self.rule.keep).rev() {
            match fs::rename(numbered(n), numbered(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => (),
            }
        }
        fs::rename(&self.path, numbered(1))?;
        let old = self.file.take();
        self.open().inspect_err(|_| self.file = old)
    }

    /// Opens the file to append to it, unless it is open.
    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            if let Some(dir) = self.path.parent() {
                fs::create_dir_all(dir)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let len = file.metadata()?.len();
            self.file = Some((file, len));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: LogFile = LogFile { target: "store", name: "store", bytes_max: 10, keep: 2 };

    fn line(text: &str) -> Order {
        Order::Line(Line { file: 0, ms: 0, text: text.to_string() })
    }

    #[test]
    fn full_files_move_on_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut output = Output::file(dir.path(), &RULE);
        for text in ["first 1\n", "second\n", "third\n", "a line longer than the file may be\n"] {
            output.pending.extend_from_slice(text.as_bytes());
            output.write();
        }
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(text("store.log"), "a line longer than the file may be\n");
        assert_eq!(text("otherdays/store.1.log"), "third\n");
        assert_eq!(text("otherdays/store.2.log"), "second\n");
        assert!(!dir.path().join("otherdays/store.3.log").exists());
    }

    #[test]
    fn a_file_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let rule = LogFile { bytes_max: 1000, ..RULE };
        let outputs = vec![Output::file(dir.path(), &rule)];
        let (_to, orders) = bounded(1);
        let mut writer = Writer { orders, outputs, second: None };
        let (done, told) = bounded(1);
        let path = dir.path().join("store.log");
        writer.obey(line(" INFO main - before\n"));
        writer.write_all();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        writer.obey(line(" INFO main - while away\n"));
        writer.obey(Order::Reopen(done));
        told.recv().unwrap();
        writer.obey(line(" INFO main - after\n"));
        writer.write_all();
        let time = clock::seconds_text(&clock::local_time(0), ' ');
        assert_eq!(fs::read_to_string(path).unwrap(), format!("{time} INFO main - after\n"));
        let moved = fs::read_to_string(dir.path().join("moved")).unwrap();
        assert!(moved.ends_with("INFO main - while away\n"), "{moved}");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut text = "ä".repeat(LOG_LINE_BYTES_MAX);
        text.insert(0, 'x');
        cut(&mut text);
        assert!(text.len() <= LOG_LINE_BYTES_MAX + 3 && text.ends_with("ä..."));
    }
}
