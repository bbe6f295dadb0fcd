//! Memory that the system does not let be locked or made ready: the broker works all the same, and
//! says once what it would take.

use std::fs;
use std::os::unix::fs::MetadataExt;

use ferrocket::message::record;
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, create_topic, number, request, send_v2, wait_until};

const POOL: &str = "transientStorePoolEnable=true\ntransientStorePoolSize=3\n\
                    commitIntervalCommitLog=10\ncommitCommitLogThoroughInterval=10";
/// More than one file of the log.
const MESSAGES: i64 = 20;
const BODY_BYTES: usize = 30_000;
const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

/// Sends over a roll to the next file, reads everything, stops; what the broker logged.
fn work(broker: Daemon) -> String {
    let mut peer = broker.peer();
    assert_eq!(peer.ask(&create_topic("T", 1, 6)).code, 0);
    let body = |n: i64| vec![n as u8; BODY_BYTES];
    for n in 0..MESSAGES {
        assert_eq!(peer.ask(&send_v2("T", 0, "", &body(n))).code, 0);
    }
    let max = request(codes::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")]);
    wait_until("dispatch", || number(&peer.ask(&max), "offset") == MESSAGES);
    for n in 0..MESSAGES {
        let reply = peer.ask(&Pull { max: 1, ..Pull::new("T", 0, n) }.command());
        assert_eq!(record::decode_all(&reply.body).unwrap()[0].body, body(n));
    }
    broker.stop()
}

/// The log has one line with this, and `more` in it.
fn once(log: &str, what: &str, more: &[&str]) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(what)).collect();
    assert_eq!(lines.len(), 1, "{what}: {log}");
    assert!(more.iter().all(|part| lines[0].contains(part)), "{more:?}: {}", lines[0]);
}

const LOG_UNLOCKED: &str = "the commit log is not locked in memory: ";
const POOL_UNLOCKED: &str = "the transient store pool is not locked in memory: ";
const LOG_UNREADY: &str = "no pages are made ready ahead of sends: ";
const POOL_UNREADY: &str = "the transient store pool gets its memory when it is used: ";

#[test]
fn a_memlock_limit_is_told_with_what_it_takes() {
    // With none at all EPERM is what the system answers.
    for (bytes, error) in [(65_536, "(os error 12)"), (0, "(os error 1)")] {
        let mut words = vec!["prlimit".to_owned(), format!("--memlock={bytes}:{bytes}")];
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            // Root may lock as much as it likes.
            words.extend(["setpriv", "--bounding-set=-ipc_lock"].map(str::to_owned));
        }
        for (lines, told, kib) in [("", LOG_UNLOCKED, 512), (POOL, POOL_UNLOCKED, 768)] {
            let dir = tempfile::tempdir().unwrap();
            let config = broker_config(dir.path(), lines);
            let log = work(Daemon::broker_within(&words, dir.path(), &config));
            once(&log, told, &[error, "CAP_IPC_LOCK", &format!("(ulimit -l) of {kib} KiB")]);
        }
    }
}

#[test]
fn what_cannot_be_made_ready_is_told_and_done_without() {
    let cases = [
        ("", format!("Madvise commitlog {EINVAL}"), LOG_UNREADY),
        ("", format!("Mlock commitlog {ENOMEM}"), LOG_UNLOCKED),
        (POOL, format!("Madvise transient {EINVAL}"), POOL_UNREADY),
        (POOL, format!("Mlock transient {ENOMEM}"), POOL_UNLOCKED),
    ];
    for (lines, fault, told) in cases {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("faults"), fault).unwrap();
        let log = work(Daemon::broker(dir.path(), &broker_config(dir.path(), lines)));
        once(&log, told, &["this takes "]);
    }
    // A pool for which there is no memory is refused.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("faults"), format!("Madvise transient {ENOMEM}")).unwrap();
    let refused = Daemon::refused(dir.path(), &broker_config(dir.path(), POOL), "no memory");
    let why = "transientStorePoolSize = 3 buffers of 262144 bytes: Cannot allocate memory";
    assert!(refused.text.contains(why), "{}", refused.text);
    assert_eq!(refused.status, Some(255), "{}", refused.text);
}
