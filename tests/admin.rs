//! mqadmin as its users see it: what it prints and how it exits.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ferrocket::client::{ConsumeFrom, ConsumeStatus, ConsumerSettings, PushConsumer, Settings};

use crate::common::*;

fn tool(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqadmin"));
    command.args(words).env_remove("NAMESRV_ADDR").env_remove("MQADMIN_STRICT_EXIT");
    command
}

fn on(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = tool(words);
    command.env("NAMESRV_ADDR", namesrv(cluster));
    command
}

fn namesrv(cluster: &Cluster) -> String {
    cluster.config.namesrv_addr.clone().unwrap()
}

fn broker(cluster: &Cluster) -> String {
    format!("127.0.0.1:{}", cluster.broker.local_addr().unwrap().port())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Exit code, standard output, standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), text(&stdout).to_string(), text(&stderr).to_string())
}

/// The output of a command that has no complaint.
fn said(cluster: &Cluster, words: &[&str]) -> String {
    let (code, out, err) = run(on(cluster, words));
    assert_eq!((code, err.as_str()), (0, ""), "{words:?}: {out}");
    out
}

/// What a command complains of; it exits with 0, and with 1 when asked to be strict.
fn complaint(cluster: &Cluster, words: &[&str]) -> String {
    let (code, out, err) = run(on(cluster, words));
    assert_eq!((code, out.as_str()), (0, ""), "{words:?}: {err}");
    assert_eq!(err.lines().next(), Some(format!("{} command failed", words[0]).as_str()));
    let mut strict = on(cluster, words);
    strict.env("MQADMIN_STRICT_EXIT", "1");
    assert_eq!(run(strict).0, 1, "{words:?}");
    err
}

/// Sends by mqadmin and returns the unique key.
fn send(cluster: &Cluster, words: &[&str]) -> String {
    let out = said(cluster, &[&["sendMessage"], words].concat());
    let lines: Vec<&str> = out.lines().collect();
    let head = "#Broker Name                      #QID  #Send Result            #MsgId";
    assert_eq!((lines.len(), lines[0]), (2, head));
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((cells.len(), cells[2]), (4, "SEND_OK"), "{out}");
    cells[3].to_string()
}

/// The offset id of the first message of a queue.
fn offset_id(cluster: &Cluster, topic: &str) -> String {
    let topic = topic.to_string();
    let out = said(cluster, &["consumeMessage", "-t", &topic, "-b", "broker-a", "-i", "0"]);
    let (_, rest) = out.split_once(" msgId=").unwrap();
    rest.split(',').next().unwrap().to_string()
}

fn config_text(topic: &str, queues: i32, sys_flag: i32, order: bool) -> String {
    format!(
        "TopicConfig [topicName={topic}, readQueueNums={queues}, writeQueueNums={queues}, \
         perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag={sys_flag}, order={order}]"
    )
}

fn one_broker() -> Cluster {
    Cluster::with(|config| config.broker_name = "broker-a".into())
}

#[test]
fn without_a_cluster_it_explains_itself() {
    let (code, out, _) = run(tool(&[]));
    assert_eq!(code, 0);
    assert!(
        out.starts_with("The most commonly used mqadmin commands are:\n   updateTopic          ")
    );
    let last = "\n\nSee 'mqadmin help <command>' for more information on a specific command.\n";
    assert!(out.ends_with(last), "{out}");
    for words in [&["help"][..], &["nope"], &["help", "nope"]] {
        let name = words.last().unwrap();
        let (code, out, _) = run(tool(words));
        assert_eq!((code, out), (0, format!("The sub command {name} not exist.\n")));
    }
    assert_eq!(run(tool(&["--version"])).1, concat!("mqadmin ", env!("CARGO_PKG_VERSION"), "\n"));

    let help = run(tool(&["help", "topicroute"])).1;
    assert!(help.starts_with("usage: mqadmin topicRoute [-h] [-l] [-n <arg>] -t <arg>\n"));
    let (code, out, err) = run(tool(&["topicRoute"]));
    assert_eq!((code, &out, err.as_str()), (1, &help, "Missing required option: t\n"));
    assert_eq!(run(tool(&["topicRoute", "-h"])).0, 1, "-t is missing all the same");
    assert_eq!(run(tool(&["topicList", "-h"])).0, 0);
    let (code, _, err) = run(tool(&["topicList"]));
    assert_eq!(code, 0);
    assert!(err.contains("give -n HOST:PORT or set NAMESRV_ADDR"), "{err}");
}

#[test]
fn topics_are_created_and_shown() {
    let cluster = one_broker();
    let created = format!("create topic to {} success.\n", broker(&cluster));
    let out = said(&cluster, &["updateTopic", "-t", "T", "-c", "DefaultCluster"]);
    assert_eq!(out, format!("{created}{}", config_text("T", 8, 0, false)));
    let words = ["updateTopic", "-tT", "-b", &broker(&cluster), "-r2", "-w2", "-u", "true"];
    assert_eq!(said(&cluster, &words), format!("{created}{}", config_text("T", 2, 1, false)));
    let words = ["updateTopic", "-t", "O", "-b", &broker(&cluster), "-o", "true"];
    let order = "set broker orderConf. isOrder=true, orderConf=[broker-a:8]";
    assert_eq!(said(&cluster, &words), format!("{order}{created}{}", config_text("O", 8, 0, true)));
    let words = ["updateTopic", "-t", "O", "-c", "DefaultCluster", "-o", "true"];
    let order = "set cluster orderConf. isOrder=true, orderConf=[broker-a:8]";
    assert_eq!(said(&cluster, &words), format!("{created}{order}{}", config_text("O", 8, 0, true)));
    let words = ["updateTopic", "-t", "T", "-c", "Nowhere"];
    let error = "[error] Make sure the specified clusterName exists or the name server connected \
                 to is correct.";
    assert_eq!(said(&cluster, &words), format!("{error}{}", config_text("T", 8, 0, false)));
    let err = complaint(&cluster, &["updateTopic", "-t", "no!", "-c", "DefaultCluster"]);
    assert!(err.contains("CODE: 1  DESC: The specified topic contains illegal"), "{err}");
    let err = complaint(&cluster, &["updateTopic", "-t", "T", "-c", "DefaultCluster", "-r", "x"]);
    assert!(err.contains("-r x: expected a number"), "{err}");

    let list = said(&cluster, &["topicList"]);
    assert!(list.lines().any(|line| line == "T") && list.lines().any(|line| line == "O"), "{list}");
}

#[test]
fn routes_are_shown_as_json_and_as_a_table() {
    let cluster = one_broker();
    cluster.create_topic("T", 2, 6);
    let address = broker(&cluster);
    let out = said(&cluster, &["topicRoute", "-t", "T"]);
    let expected = format!(
        "{{\n\t\"brokerDatas\":[\n\t\t{{\n\t\t\t\"brokerAddrs\":{{0:\"{address}\"\n\t\t\t}},\n\
         \t\t\t\"brokerName\":\"broker-a\",\n\t\t\t\"cluster\":\"DefaultCluster\"\n\t\t}}\n\t],\n\
         \t\"filterServerTable\":{{}},\n\t\"queueDatas\":[\n\t\t{{\n\
         \t\t\t\"brokerName\":\"broker-a\",\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":2,\n\
         \t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":2\n\t\t}}\n\t]\n}}\n"
    );
    assert_eq!(out, expected);
    let out = said(&cluster, &["topicRoute", "-lt", "T", "-n", &namesrv(&cluster)]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[0].starts_with("#ClusterName                                  #BrokerName "));
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    let addresses = format!("{{0={address}}}");
    assert_eq!(cells, ["DefaultCluster", "broker-a", &addresses, "2", "2", "6"]);
    assert_eq!(lines[2], "-".repeat(158));
    assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["Total:", "1", "2", "2"]);
    let err = complaint(&cluster, &["topicRoute", "-t", "Nowhere"]);
    let no_route = "CODE: 17  DESC: No topic route info in name server for the topic: Nowhere";
    assert!(err.contains(no_route), "{err}");
}

#[test]
fn a_message_is_sent_found_and_shown() {
    let cluster = one_broker();
    cluster.create_topic("T", 1, 6);
    let key = send(&cluster, &["-t", "T", "-p", "hellö", "-k", "K1 K2", "-c", "TagA"]);
    wait_until("dispatched", || max_offset(&cluster, "T", 0) == 1);

    let out = said(&cluster, &["topicStatus", "-t", "T"]);
    let row = out.lines().nth(1).unwrap();
    assert!(row.starts_with(
        "broker-a                          0     0                     1                       20"
    ));
    let out = said(&cluster, &["queryMsgByKey", "-t", "T", "-k", "K2"]);
    assert_eq!(
        out,
        format!("{:<50} {:>4} {:>40}\n", "#Message ID", "#QID", "#Offset")
            + &format!("{key:<50} {:>4} {:>40}\n", 0, 0)
    );
    let err = complaint(&cluster, &["queryMsgByKey", "-t", "T", "-k", "K3"]);
    assert!(err.contains("CODE: 208  DESC: query message by key finished"), "{err}");

    let id = offset_id(&cluster, "T");
    let out = said(&cluster, &["queryMsgById", "-i", &id]);
    let path = format!("/tmp/rocketmq/msgbodys/{key}");
    let value = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap();
        line[21..].to_string()
    };
    assert_eq!(value("OffsetID:"), id);
    assert_eq!((value("Tags:"), value("Keys:")), ("[TagA]".into(), "[K1 K2]".into()));
    assert_eq!(value("Store Host:"), broker(&cluster));
    assert_eq!(value("Message Body Path:"), path);
    assert!(value("Properties:").contains(&format!("UNIQ_KEY={key}")));
    assert!(out.ends_with("\n\n\nWARN: No Consumer"), "{out}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "hellö");
    fs::remove_file(path).unwrap();
    assert!(complaint(&cluster, &["queryMsgById", "-i", &key]).contains("CODE: 208"));
}

#[test]
fn a_message_is_sent_again_to_a_queue_or_to_a_broker() {
    let cluster = one_broker();
    cluster.create_topic("T", 2, 6);
    let key = send(&cluster, &["-t", "T", "-p", "x", "-b", "broker-a", "-i", "0"]);
    send(&cluster, &["-t", "T", "-p", "x", "-b", "broker-a", "-m", "false"]);
    let id = offset_id(&cluster, "T");
    let out = said(&cluster, &["queryMsgById", "-i", &id, "-s", "true", "-u", "unit"]);
    let begin = format!(
        "prepare resend msg. originalMsgId={id}SendResult [sendStatus=SEND_OK, msgId={key}, \
         offsetMsgId="
    );
    assert!(out.starts_with(&begin), "{out}");
    assert_eq!(said(&cluster, &["queryMsgById", "-i", &id, "-s", "false"]), "");
    let err = complaint(&cluster, &["queryMsgById", "-i", &id, "-g", "g", "-d", "client"]);
    assert!(err.contains("CODE: 1  DESC: The Consumer <g> <client> not online"), "{err}");

    let words = ["sendMessage", "-t", "T", "-p", "x", "-i", "0"];
    assert_eq!(said(&cluster, &words), "Broker name must be set if the queue is chosen!");
    for (words, reason) in [
        (&["-b", "nobody"][..], "The broker[nobody] not exist"),
        (&["-b", "nobody", "-i", "0"], "The broker[nobody] not exist"),
        (&["-b", "broker-a", "-i", "7"], "request queueId[7] is illegal"),
        (&["-m", "true"], "message tracing is not built yet"),
    ] {
        let all = [&["sendMessage", "-t", "T", "-p", "x"], words].concat();
        let err = complaint(&cluster, &all);
        assert!(err.contains(reason), "{words:?}: {err}");
    }
}

#[test]
fn a_topic_is_printed_without_committing() {
    let cluster = one_broker();
    cluster.create_topic("T", 2, 6);
    for body in ["a", "b", "c"] {
        send(&cluster, &["-t", "T", "-p", body, "-b", "broker-a", "-i", "1"]);
    }
    wait_until("dispatched", || max_offset(&cluster, "T", 1) == 3);
    let queue = |id| format!("MessageQueue [topic=T, brokerName=broker-a, queueId={id}]");
    let out = said(&cluster, &["consumeMessage", "-t", "T"]);
    let lines: Vec<&str> = out.lines().collect();
    let end = |id, at| format!("{} print msg finished. status=NO_NEW_MSG, offset={at}", queue(id));
    assert_eq!((lines[0], lines[1], lines[5]), (&*end(0, 0), "Consume ok", &*end(1, 3)));
    assert!(lines[2].starts_with("MSGID: ") && lines[2].ends_with(" BODY: a"), "{out}");
    assert!(lines[2].contains("properties={MIN_OFFSET=0, MAX_OFFSET=3, "), "{out}");
    assert!(lines[2].contains("body=[97], transactionId='null'}]"), "{out}");

    let of_queue = |more: &[&str]| {
        said(
            &cluster,
            &[&["consumeMessage", "-t", "T", "-b", "broker-a", "-i", "1"], more].concat(),
        )
    };
    let out = of_queue(&["-c", "2"]);
    assert!(out.starts_with("The oldler 2 message will be provided\nConsume ok\nMSGID: "));
    assert_eq!(out.matches(" BODY: ").count(), 2);
    assert_eq!(of_queue(&["-o", "2"]).matches(" BODY: c\n").count(), 1);
    assert_eq!(of_queue(&["-o", "9"]), format!("{} no matched msg, offset=9\n", queue(1)));
    let out = said(&cluster, &["consumeMessage", "-t", "T", "-c", "1"]);
    assert!(out.contains("The older 1 message of the 1 queue will be provided\n"), "{out}");
    let out = said(&cluster, &["consumeMessage", "-t", "T", "-i", "1"]);
    assert_eq!(out, "Please set the brokerName before queueId!");
    let err = complaint(&cluster, &["consumeMessage", "-t", "T", "-s", "yesterday"]);
    assert!(err.contains("-s yesterday: expected ms or yyyy-MM-dd#HH:mm:ss:SSS"), "{err}");
}

#[test]
fn what_became_of_a_message_is_told_for_every_group() {
    let cluster = one_broker();
    cluster.create_topic("T", 1, 6);
    put(&cluster, "T", 0, &properties(&[("TAGS", "A")]), b"x");
    let consumer = |group: &str, expression: &str| {
        let settings = ConsumerSettings {
            common: Settings::namesrv(namesrv(&cluster)),
            from: ConsumeFrom::FirstOffset,
            ..ConsumerSettings::default()
        };
        let subscriptions = [("T", expression)];
        PushConsumer::start(group, settings, &subscriptions, |_| ConsumeStatus::Success).unwrap()
    };
    let gone = consumer("gone", "*");
    wait_until("assigned", || !gone.assigned().is_empty());
    gone.shutdown();
    let all = consumer("all", "*");
    let picky = consumer("picky", "B");
    let id = offset_id(&cluster, "T");
    let track = |group: &str, kind: &str, trouble: &str| {
        format!("MessageTrack [consumerGroup={group}, trackType={kind}, exceptionDesc={trouble}]")
    };
    let offline = "CODE:206 DESC:the consumer group[gone] not online";
    let expected = track("all", "CONSUMED", "null")
        + &track("gone", "NOT_ONLINE", offline)
        + &track("picky", "CONSUMED_BUT_FILTERED", "null");
    let mut out = String::new();
    wait_until("consumed", || {
        out = said(&cluster, &["queryMsgById", "-i", &id]);
        out.ends_with(&format!("\n\n\n{expected}"))
    });
    let list = said(&cluster, &["topicList", "-c"]);
    let groups: Vec<&str> = list
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|cells| cells[1] == "T")
        .map(|cells| cells[2])
        .collect();
    assert_eq!(groups, ["all", "gone", "picky"], "{list}");
    all.shutdown();
    picky.shutdown();
}

#[test]
fn brokers_are_listed_with_their_load() {
    let cluster = one_broker();
    put(&cluster, "T", 0, "", b"x");
    let out = said(&cluster, &["clusterList"]);
    let lines: Vec<&str> = out.lines().collect();
    let head =
        "#Cluster Name     #Broker Name            #BID  #Addr                  #Version      ";
    assert!(lines[0].starts_with(head), "{out}");
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(cells[..3], ["DefaultCluster", "broker-a", "0"]);
    assert_eq!(cells[3..5], [broker(&cluster).as_str(), "V4_9_8"]);
    assert!(cells[5].ends_with("(0,0ms)") && cells.len() == 10, "{out}");
    let out = said(&cluster, &["clusterList", "-m"]);
    assert!(out.lines().nth(1).unwrap().contains(" 0              0              1 "), "{out}");

    cluster.namesrv.stop();
    let err = complaint(&cluster, &["clusterList"]);
    assert!(err.contains(&namesrv(&cluster)), "{err}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let cluster = Cluster::start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = on(&cluster, &["topicList"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), ""));
}

/// Of an `.It Fl t , -topic Ar arg` line the short and the long name.
fn documented(section: &str) -> Vec<(String, String)> {
    let items = section.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    let words = items.map(|item| item.replace('"', "").split(' ').map(str::to_string).collect());
    words.map(|words: Vec<String>| (words[0].clone(), words[2][1..].to_string())).collect()
}

/// Of a help text the short and the long names, `-h` and `-n` apart.
fn offered(help: &str) -> Vec<(String, String)> {
    let names = help.lines().filter_map(|line| line.strip_prefix(" -")?.split_once(",--"));
    let pairs = names.map(|(short, rest)| {
        let long = rest.split_whitespace().next().unwrap();
        (short.to_string(), long.to_string())
    });
    pairs.filter(|(short, _)| !["h", "n"].contains(&short.as_str())).collect()
}

#[test]
fn every_command_and_option_has_its_place_in_the_manual() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/mqadmin.1");
    let page = fs::read_to_string(page).unwrap();
    let sections: Vec<(&str, &str)> =
        page.split("\n.Ss ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let listing = run(tool(&[])).1;
    let commands = listing.lines().filter_map(|line| line.strip_prefix("   "));
    let commands: Vec<&str> =
        commands.map(|line| line.split_whitespace().next().unwrap()).collect();
    let mut names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    names.retain(|name| *name != "All commands");
    assert_eq!(names, commands);
    for (name, section) in sections {
        let section = section.split("\n.Sh ").next().unwrap();
        if name == "All commands" {
            let common = [("h", "help"), ("n", "namesrvAddr")];
            let common = common.map(|(short, long)| (short.to_string(), long.to_string()));
            assert_eq!(documented(section), common);
        } else {
            let mut offered = offered(&run(tool(&["help", name])).1);
            let mut documented = documented(section);
            offered.sort();
            documented.sort();
            assert_eq!(documented, offered, "{name}");
        }
    }
}
