//! Signals as a queue that one thread reads.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level::pipe};

/// What the operator asks of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT: stop in order, then end with this exit status (128 + signal, as a JVM).
    Stop(i32),
    /// HUP or USR1: open the log files anew.
    Reopen,
}

/// The signals that were caught. SIGPIPE needs nothing: Rust programs ignore it from the start.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    flags: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// Catches TERM, INT, HUP and USR1 from now on. To be called once, before other threads start.
    pub fn install() -> io::Result<Signals> {
        let (wake, write) = UnixStream::pair()?;
        let mut flags = Vec::new();
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] {
            let caught = Arc::new(AtomicBool::new(false));
            // In this order: the flag is set by the time that the byte arrives.
            flag::register(signal, caught.clone())?;
            pipe::register(signal, write.try_clone()?)?;
            flags.push((signal, caught));
        }
        Ok(Signals { wake, flags })
    }

    /// Waits for the next signal.
    pub fn wait(&mut self) -> io::Result<Signal> {
        loop {
            for (signal, caught) in &self.flags {
                if caught.swap(false, Ordering::SeqCst) {
                    return Ok(match *signal {
                        SIGTERM | SIGINT => Signal::Stop(128 + signal),
                        _ => Signal::Reopen,
                    });
                }
            }
            match self.wake.read(&mut [0; 64]) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_arrive_as_values() {
        let mut signals = Signals::install().unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(signals.wait().unwrap(), Signal::Reopen);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.wait().unwrap(), Signal::Stop(143));
    }
}
