//! Rows, etc/, man/ and the printed lists agree; files load, and bad ones are refused precisely.
//!
//! After a change of rows: `REGENERATE=1 cargo test config::` writes etc/*.conf and the key
//! sections of man/*.conf.5 anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ferrocket::config::{self, BrokerConfig, BrokerRole, Config, Effect, NamesrvConfig, Row};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with a file of the project, or writes it when REGENERATE is set.
fn same_as_file(path: &str, expected: &str) {
    let path = root().join(path);
    if std::env::var_os("REGENERATE").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let different = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    let hint = "REGENERATE=1 cargo test config:: writes it anew";
    assert!(found == expected, "{}: differs at {different:?}; {hint}", path.display());
}

/// Each key once, with the words for its default and for what its value must be.
fn keys<C: Config>(config: &C) -> Vec<(&'static Row, String, String)> {
    let mut keys: Vec<(&'static Row, String, String)> = Vec::new();
    for section in config.sections() {
        for (index, row) in section.rows().iter().enumerate() {
            if keys.iter().all(|(known, ..)| known.key != row.key) {
                let value = section.get(index).unwrap_or_default();
                let default = row.default.map_or(value, str::to_string);
                keys.push((row, default, section.expected(index)));
            }
        }
    }
    keys
}

fn notes(row: &Row) -> String {
    let unit = if row.unit.is_empty() { String::new() } else { format!("unit: {}; ", row.unit) };
    let closed = if row.mutable { "" } else { "; not over the wire" };
    format!("{unit}{}{closed}", row.effect.words())
}

/// A sentence about the value; none about text, which may be anything.
fn must(expected: &str) -> String {
    if expected.starts_with("text") { String::new() } else { format!(" Must be {expected}.") }
}

fn capital(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..]
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().unwrap();
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_string());
        } else {
            *last = format!("{last} {word}").trim_start().to_string();
        }
    }
    lines
}

fn sample<C: Config>(config: &C) -> String {
    let daemon = if C::NAME == "broker" { "mqbroker" } else { "mqnamesrv" };
    let mut text = format!(
        "# Every key of {daemon} at its default. To change one, take its # away.\n\
         # See {}.conf(5). Check with: {daemon} -c FILE --test-config\n",
        C::NAME
    );
    for (row, default, expected) in keys(config) {
        let about = format!("{}{} {}.", row.doc.trim(), must(&expected), capital(&notes(row)));
        text += "\n";
        for line in wrapped(&about, 97) {
            text += &format!("# {line}\n");
        }
        match row.default {
            Some(words) => text += &format!("# Default: {words}.\n#{}=\n", row.key),
            None => text += &format!("#{}={default}\n", row.key),
        }
    }
    text
}

fn manual_keys<C: Config>(config: &C) -> String {
    let mut text = ".Bl -tag -width Ds\n".to_string();
    for (row, default, expected) in keys(config) {
        text += &format!(".It Cm {}\n", row.key);
        let default = if default.is_empty() { "nothing".to_string() } else { default };
        let about = format!(
            "{}{} Default: {default}. {}.",
            row.doc.trim(),
            must(&expected),
            capital(&notes(row))
        );
        for sentence in about.split(". ") {
            let sentence = format!("{}.", sentence.trim_end_matches('.'));
            text.extend(wrapped(&sentence, 78).into_iter().map(|line| line + "\n"));
        }
    }
    text + ".El\n"
}

fn manual_is_current<C: Config>(config: &C) {
    let path = format!("man/{}.conf.5", C::NAME);
    let page = fs::read_to_string(root().join(&path)).unwrap();
    let (head, rest) = page.split_once(".\\\" BEGIN\n").unwrap();
    let (_, tail) = rest.split_once(".\\\" END\n").unwrap();
    let keys = manual_keys(config);
    same_as_file(&path, &format!("{head}.\\\" BEGIN\n{keys}.\\\" END\n{tail}"));
}

#[test]
fn etc_and_man_agree_with_the_rows() {
    let (broker, namesrv) = (BrokerConfig::new(), NamesrvConfig::new());
    same_as_file("etc/broker.conf", &sample(&broker));
    same_as_file("etc/namesrv.conf", &sample(&namesrv));
    manual_is_current(&broker);
    manual_is_current(&namesrv);
}

#[test]
fn rows_are_sane() {
    let broker = BrokerConfig::new();
    for (row, default, expected) in keys(&broker).into_iter().chain(keys(&NamesrvConfig::new())) {
        assert!(row.doc.trim().ends_with('.'), "{}: doc must be sentences", row.key);
        assert!(!row.key.contains(['=', ' ']), "{}", row.key);
        if row.range.is_some() {
            assert!(expected.starts_with("a whole number"), "{}: range of no number", row.key);
        }
        assert!(row.default.is_none_or(|words| !words.is_empty()), "{}: {default}", row.key);
    }
    // The same key in two sections is one key to whoever reads the manual.
    let mut sections = broker.sections();
    let mut rows: Vec<_> = sections.drain(..).flat_map(|section| section.rows()).collect();
    rows.sort_by_key(|row| row.key);
    for pair in rows.windows(2).filter(|pair| pair[0].key == pair[1].key) {
        let same = (pair[0].unit, pair[0].effect) == (pair[1].unit, pair[1].effect);
        assert!(same, "{}: two meanings", pair[0].key);
    }
}

/// The names of `name=value` lines.
fn names(printed: &str) -> Vec<&str> {
    printed.lines().map(|line| line.split_once('=').unwrap().0).collect()
}

fn java_names(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("tests/data/config").join(file)).unwrap();
    text.lines().map(str::to_string).collect()
}

#[test]
fn lists_are_in_java_order() {
    let broker = BrokerConfig::new();
    // What 4.9.7 does not list.
    let mut new = java_names("more.txt");
    new.push("configBlackList".to_string());
    let without_new = |printed: String| -> Vec<String> {
        names(&printed).into_iter().map(str::to_string).filter(|name| !new.contains(name)).collect()
    };
    assert_eq!(without_new(config::printed(&broker, false)), java_names("broker-p.txt"));
    assert_eq!(without_new(config::printed(&broker, true)), java_names("broker-m.txt"));
    let namesrv = config::printed(&NamesrvConfig::new(), false);
    assert_eq!(without_new(namesrv), java_names("namesrv-p.txt"));
}

#[test]
fn the_dump_shows_each_key_once_and_no_null() {
    let mut broker = BrokerConfig::for_test(Path::new("/store"));
    broker.origin.unknown.push(("mine".to_string(), "1".to_string()));
    let dump = config::dump(&broker);
    let mut keys = names(&dump);
    assert_eq!(keys.last(), Some(&"mine"));
    assert!(!keys.contains(&"haMasterAddress"));
    assert!(dump.contains("\nmessageStorePlugIn=\n"));
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

fn sample_files() -> Vec<PathBuf> {
    let folders = ["etc/2m-2s-sync", "etc/2m-2s-async", "etc/2m-noslave"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn samples_load_without_warnings() {
    let files = sample_files();
    assert_eq!(files.len(), 11);
    for file in files {
        let loaded = config::load::<BrokerConfig>(&file).unwrap();
        assert_eq!(loaded.warnings, [] as [&str; 0], "{}", file.display());
        let is_slave = file.to_str().unwrap().ends_with("-s.properties");
        assert_eq!(loaded.config.store.broker_role == BrokerRole::Slave, is_slave);
        assert_eq!(loaded.config.broker_id, i64::from(is_slave));
        assert_eq!(loaded.config.store.file_reserved_time, 48);
    }
    for file in ["etc/broker.conf", "etc/namesrv.conf"] {
        assert_eq!(config::load::<BrokerConfig>(&root().join(file)).unwrap().warnings.len(), 0);
    }
}

/// What RocketMQ ships as conf/broker.conf: a licence in comments, blanks around the sign.
#[test]
fn a_java_sample_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.conf");
    let text = "# Licensed to the Apache Software Foundation (ASF)\r\n#\r\n\
                brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\n\
                deleteWhen = 04\nfileReservedTime = 48\nbrokerRole = ASYNC_MASTER\n\
                flushDiskType = ASYNC_FLUSH\n";
    fs::write(&path, text).unwrap();
    let loaded = config::load::<BrokerConfig>(&path).unwrap();
    assert_eq!(loaded.warnings, [] as [&str; 0]);
    assert_eq!(loaded.config.broker_name, "broker-a");
    assert_eq!(loaded.config.origin.path, Some(path));
}

#[test]
fn warnings_name_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    fs::write(&path, "myKey = 1\nregionId=a \nregionId=b\nisEnableBatchPush=true\n").unwrap();
    let loaded = config::load::<BrokerConfig>(&path).unwrap();
    let file = path.display();
    let expected = [
        format!("{file}:1: myKey: unknown key, kept without effect"),
        format!("{file}:2: regionId: set again in line 3"),
        format!("{file}:2: regionId: the blanks at the end are part of the value"),
        format!("{file}:4: isEnableBatchPush: accepted, but what it is for is not built yet"),
    ];
    assert_eq!(loaded.warnings, expected);
    assert_eq!(loaded.config.origin.unknown, [("myKey".to_string(), "1".to_string())]);
    assert_eq!(loaded.config.region_id, "b");
    assert!(loaded.config.store.enable_batch_push);
}

#[test]
fn bad_values_name_file_line_key_and_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let cases = [
        ("listenPort=http", "listenPort: \"http\" is not a whole number from 0 to 65535"),
        ("listenPort=70000", "listenPort: \"70000\" is not a whole number from 0 to 65535"),
        ("brokerRole=MASTER", "\"MASTER\" is not one of ASYNC_MASTER, SYNC_MASTER, SLAVE"),
        ("flushDiskType=", "flushDiskType: \"\" is not one of ASYNC_FLUSH, SYNC_FLUSH"),
        ("longPollingEnable=yes", "longPollingEnable: \"yes\" is not true or false"),
        ("brokerId=9223372036854775808", "is not a whole number"),
        ("regionId=\\u00", "2: broken \\uXXXX escape"),
    ];
    for (line, expected) in cases {
        fs::write(&path, format!("# comment\n{line}\n")).unwrap();
        let error = config::load::<BrokerConfig>(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:2: ", path.display())), "{error}");
        assert!(error.ends_with(expected), "{error}");
    }
}

fn run(program: &str, arguments: &[&str], home: Option<&str>) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("NAMESRV_ADDR").env_remove("ROCKETMQ_HOME");
    if let Some(home) = home {
        command.env("ROCKETMQ_HOME", home);
    }
    command.output().unwrap()
}

#[test]
fn the_daemons_list_and_refuse_as_rocketmq_does() {
    let (broker, namesrv) = (env!("CARGO_BIN_EXE_mqbroker"), env!("CARGO_BIN_EXE_mqnamesrv"));
    for program in [broker, namesrv] {
        let listed = run(program, &["-p"], Some("/opt/rocketmq"));
        assert_eq!(listed.status.code(), Some(0));
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(text.starts_with("rocketmqHome=/opt/rocketmq\n"), "{text}");
        assert_eq!(run(program, &["--nonsense"], None).status.code(), Some(1));
        let homeless = run(program, &["-p"], None);
        assert_eq!(homeless.status.code(), Some(254));
        let text = String::from_utf8(homeless.stderr).unwrap();
        assert!(text.starts_with("Please set the ROCKETMQ_HOME variable"), "{text}");
        assert_eq!(run(program, &["-c", "/nonexistent"], None).status.code(), Some(255));
    }
    let important = run(broker, &["-m", "-n", "10.0.0.1:9876"], Some("/"));
    assert!(important.stdout.starts_with(b"namesrvAddr=10.0.0.1:9876\n"));
    let illegal = run(broker, &["-n", "10.0.0.1"], Some("/"));
    assert_eq!(illegal.status.code(), Some(253));
}

#[test]
fn every_flag_has_its_place_in_the_manual() {
    for (program, page) in [
        (env!("CARGO_BIN_EXE_mqbroker"), "man/mqbroker.8"),
        (env!("CARGO_BIN_EXE_mqnamesrv"), "man/mqnamesrv.8"),
    ] {
        let page = fs::read_to_string(root().join(page)).unwrap();
        let usage = String::from_utf8(run(program, &["-h"], None).stdout).unwrap();
        for line in usage.lines().filter(|line| line.starts_with(" -") || line.starts_with("    -"))
        {
            let flag = line.split_whitespace().next().unwrap();
            let long = flag.rsplit_once("--").unwrap().1;
            let listed = page.lines().any(|line| {
                line.starts_with(".It ") && line.split(' ').any(|word| word == format!("-{long}"))
            });
            assert!(listed, "{program}: --{long} is not in its page");
        }
    }
}

/// A key has an effect when the program outside of src/config reads its field.
#[test]
fn effects_are_those_of_the_program() {
    let mut words = std::collections::HashSet::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("src/config") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                words.extend(text.split(|c| !is_part(c)).map(str::to_string));
            }
        }
    }
    let mut wrong = Vec::new();
    for (row, ..) in keys(&BrokerConfig::new()).into_iter().chain(keys(&NamesrvConfig::new())) {
        let has_effect = !matches!(row.effect, Effect::NotYet | Effect::Never);
        // The black list is read by src/config itself.
        if row.key != "configBlackList" && words.contains(row.field) != has_effect {
            wrong.push(format!("{}: the row says {:?}", row.key, row.effect));
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn what_has_no_effect_says_so() {
    let text = fs::read_to_string(root().join("etc/broker.conf")).unwrap();
    for (row, ..) in keys(&BrokerConfig::new()) {
        let block = text.split("\n\n").find(|block| block.contains(&format!("\n#{}=", row.key)));
        let says = block.unwrap().replace("\n# ", " ").contains("no effect");
        let has_none = matches!(row.effect, Effect::NotYet | Effect::Never);
        assert_eq!(says, has_none, "{}", row.key);
    }
}
