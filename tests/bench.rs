//! mqbench against a broker in this process: what it counts, prints and refuses.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::*;

/// Exit code, standard output, standard error.
fn run(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mqbench")).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A short run against the broker of `cluster`, with further options.
fn bench(cluster: &Cluster, kind: &str, more: &[&str]) -> (i32, String, String) {
    let address = format!("127.0.0.1:{}", cluster.broker.local_addr().unwrap().port());
    let short = "--connections 2 --inflight 4 --queues 3 --size 100 --warmup 0 --seconds 0.5 \
                 --limit-seconds 0";
    let short: Vec<&str> = [kind, "-b", &address].into_iter().chain(short.split(' ')).collect();
    run(&[&short, more].concat())
}

fn stored(cluster: &Cluster, topic: &str) -> i64 {
    (0..3).map(|queue_id| max_offset(cluster, topic, queue_id)).sum()
}

#[test]
fn what_is_sent_and_pulled_is_counted() {
    let cluster = Cluster::start();
    for codec in ["json", "binary"] {
        let before = stored(&cluster, "B");
        let more = ["-t", "B", "--codec", codec, "--json"];
        let (code, out, err) = bench(&cluster, "send", &more);
        assert_eq!((code, err.as_str()), (0, ""));
        let sent: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&sent["kind"], &sent["codec"]), (&"send".into(), &codec.into()));
        assert_eq!((&sent["connections"], &sent["size"]), (&2.into(), &100.into()));
        assert_eq!(sent["refused"], 0);
        let messages = sent["messages"].as_i64().unwrap();
        assert!(messages > 0 && sent["requests"].as_i64() >= Some(messages), "{out}");
        wait_until("dispatched", || stored(&cluster, "B") - before >= messages);

        let (code, out, err) = bench(&cluster, "pull", &more);
        assert_eq!((code, err.as_str()), (0, ""));
        let pulled: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&pulled["kind"], &pulled["refused"]), (&"pull".into(), &0.into()));
        assert!(pulled["messages"].as_i64() >= pulled["requests"].as_i64(), "{out}");
        assert!(pulled["serverCpuSecondsPerMillion"].is_null());
    }
}

#[test]
fn the_first_line_says_what_was_measured() {
    let cluster = Cluster::start();
    let pid = std::process::id().to_string();
    for (codec, kind) in
        [("json", "send"), ("json", "pull"), ("binary", "send"), ("binary", "pull")]
    {
        let more = ["-t", "B", "--codec", codec, "--pid", &pid];
        let (code, out, err) = bench(&cluster, kind, &more);
        assert_eq!((code, err.as_str()), (0, ""));
        wait_until("dispatched", || stored(&cluster, "B") > 0);
        assert!(out.starts_with(&format!("{kind} 2x4")), "{out}");
        for part in [" msg/s, ", " MB/s, p50 ", " p99.9 ", "; server ", " MiB; mqbench "] {
            let line = out.lines().next().unwrap();
            assert!(line.contains(part), "{part}: {out}");
        }
    }
}

#[test]
fn batches_and_deliveries_are_checked() {
    let cluster = Cluster::start();
    for kind in ["batch", "e2e", "pull"] {
        for codec in ["json", "binary"] {
            let pace: &[&str] = if kind == "pull" { &["--once"] } else { &["--rate", "2000"] };
            let more = ["-t", "B", "--codec", codec, "--batch", "5", "--verify", "--json"];
            let (code, out, err) = bench(&cluster, kind, &[&more, pace].concat());
            assert_eq!((code, err.as_str()), (0, ""), "{kind} {codec}: {out}");
            let outcome: Value = serde_json::from_str(&out).unwrap();
            assert_eq!((&outcome["kind"], &outcome["faults"]), (&kind.into(), &0.into()));
            assert!(outcome["verified"].as_i64() > Some(0), "{out}");
            assert_eq!(outcome["undelivered"], 0, "{out}");
        }
    }
}

#[test]
fn several_topics_get_their_share() {
    let cluster = Cluster::start();
    let all: [(&str, &[&str]); 5] = [
        ("send", &["--messages", "200"]),
        ("batch", &["--messages", "200"]),
        ("e2e", &["--rate", "2000"]),
        ("pull", &["--existing", "--once"]),
        ("pull", &["--existing", "--in-turn"]),
    ];
    for (kind, how) in all {
        let more = ["-t", "M", "--topics", "5", "--verify", "--json"];
        let (code, out, err) = bench(&cluster, kind, &[&more, how].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{kind}: {out}");
        let outcome: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&outcome["topics"], &outcome["faults"]), (&5.into(), &0.into()), "{out}");
        wait_until("dispatched", || (0..5).all(|n| stored(&cluster, &format!("M-0000{n}")) > 0));
    }
}

#[test]
fn pulls_that_wait_are_shown_with_what_they_cost() {
    let cluster = Cluster::start();
    let pid = std::process::id().to_string();
    let more = ["-t", "H", "--topics", "4", "--pid", &pid];
    let (code, out, err) = bench(&cluster, "hold", &more);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("hold 12 pulls: ") && out.contains(" % of a core"), "{out}");
}

#[test]
fn what_the_window_has_no_room_for_is_given_up() {
    let cluster = Cluster::start();
    let more = ["-t", "W", "--rate", "1e6", "--window", "1", "--json"];
    let (code, out, err) = bench(&cluster, "send", &more);
    assert_eq!((code, err.as_str()), (0, ""));
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert!(outcome["givenUp"].as_i64() > Some(0), "{out}");
    assert!(outcome["messages"].as_i64() > Some(0), "{out}");
    assert_eq!(outcome["unanswered"], 0, "{out}");
}

#[test]
fn refused_requests_fail_the_run() {
    let cluster = Cluster::with(|config| config.store.max_message_size = 64);
    let (code, out, err) = bench(&cluster, "send", &["-t", "B", "--json"]);
    assert_eq!(code, 1);
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(outcome["messages"], 0);
    assert!(outcome["refused"].as_i64() > Some(0), "{out}");
    assert!(err.starts_with("mqbench: "), "{err}");
    assert!(bench(&cluster, "send", &["-t", "B"]).1.contains(" REFUSED"));
}

#[test]
fn nothing_to_pull_and_nobody_to_ask_are_errors() {
    let cluster = Cluster::start();
    let (code, _, err) = bench(&cluster, "pull", &["-t", "Empty"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "mqbench: no message was answered in the time of the run\n")
    );
    let (code, _, err) = run(&["send", "-b", "127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(err.contains("127.0.0.1:1"), "{err}");
}

#[test]
fn the_option_that_is_wrong_is_named() {
    for (words, reason) in [
        (&[][..], "say what to measure: send or pull"),
        (&["pull", "--rate", "5"], "--rate: only what sends can be paced"),
        (&["idle"], "idle: needs --pid"),
        (&["fly"], "send or pull"),
        (&["send", "--size", "x"], "--size x: expected a number of 0 to 4194304"),
        (&["send", "--connections", "0"], "--connections 0: expected a number of 1 to 100000"),
        (&["send", "--seconds", "-1"], "--seconds -1: expected seconds"),
        (&["send", "--codec", "xml"], "--codec xml: expected json or binary"),
        (&["send", "-b", "nonsense"], "-b nonsense: expected HOST:PORT"),
        (&["send", "--speed", "1"], "speed"),
    ] {
        let (code, out, err) = run(words);
        assert_eq!((code, out.as_str()), (1, ""), "{words:?}");
        assert!(err.starts_with("mqbench: ") && err.contains(reason), "{words:?}: {err}");
    }
    assert_eq!(
        run(&["--version"]),
        (0, concat!("mqbench ", env!("CARGO_PKG_VERSION"), "\n").into(), String::new())
    );
}

#[test]
fn every_option_has_its_place_in_the_manual() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/mqbench.1");
    let page = fs::read_to_string(page).unwrap();
    let long = |word: &str| word.trim_start_matches('-').to_string();
    let mut documented: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl "))
        .map(|item| long(item.split(' ').rfind(|word| word.starts_with('-')).unwrap()))
        .collect();
    let usage = run(&["--help"]).1;
    let mut offered: Vec<String> = usage
        .lines()
        .filter(|line| line.starts_with("    -") || line.starts_with("        --"))
        .map(|line| long(line.split_whitespace().find(|word| word.starts_with("--")).unwrap()))
        .collect();
    documented.sort();
    offered.sort();
    assert_eq!(documented, offered);
}
