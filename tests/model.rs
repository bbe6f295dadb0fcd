//! Random produce, consume, send-back, transaction, restart and kill -9 sequences from a seed,
//! against a model in memory.
//!
//! What must hold: every message that was acknowledged (or committed) reaches every group at least
//! once, or its dead letters; queues keep their order and what they once showed; what was rolled
//! back never shows; a second copy or delivery has a cause: a send-back, a consumer that began
//! anew, a kill. Committed offsets survive a stop exactly, and a kill as one of the last commits.
//!
//! `FERROCKET_MODEL_SEEDS=100..200 FERROCKET_MODEL_STEPS=5000 cargo test model::` runs as many as
//! one likes; a failure names its seed and step.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use ferrocket::base::clock::now_ms;
use ferrocket::message::{Message, batch, record};
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;
use tempfile::TempDir;

use crate::child::{Daemon, Numbers, broker_config};
use crate::common::{
    Pull, create_topic, heart_beat, log_offset, number, properties, request, send_v2, wait_until,
};
use crate::peer::Peer;

const TOPIC: &str = "Model";
const QUEUES: usize = 3;
const GROUPS: [&str; 2] = ["one", "two"];
/// Failures before a message is a dead letter.
const RETRIES: i32 = 2;
/// Delay of each level in ms, as `messageDelayLevel` has them.
const DELAYS: [i64; 3] = [0, 1000, 0];
const CONFIG: &str = "messageDelayLevel=0s 1s 0s\nflushDelayOffsetInterval=100\n\
    flushConsumerOffsetInterval=100\ntransactionTimeOut=50\ntransactionCheckInterval=50\n\
    transactionCheckMax=1000\nmappedFileSizeCommitLog=131072\n";

/// A place in the store: topic, queue, offset.
type Place = (String, i32, i64);

/// What a client knows of a message it sent.
#[derive(Clone)]
struct Sent {
    body: Vec<u8>,
    /// Level of its delay; 0: none.
    level: usize,
    sent_ms: i64,
    /// Kills before it was sent.
    kills: usize,
    /// The broker was killed before it answered: the message may be there or not.
    unsure: bool,
}

/// A message to send.
struct Next {
    key: String,
    level: usize,
    queue: i32,
    command: Command,
}

/// A half message whose end nobody has told the broker yet.
struct Open {
    key: String,
    commits: bool,
    queue_offset: String,
    log_offset: String,
}

/// A copy that a send-back asks for.
#[derive(Default)]
struct Wanted {
    times: usize,
    kills_before: Option<usize>,
}

#[derive(Default)]
struct Group {
    /// Where the consumer is, by topic and queue.
    positions: BTreeMap<(String, i32), i64>,
    /// Commits since the broker surely had one on disk, that one first.
    commits: BTreeMap<(String, i32), Vec<i64>>,
    received: HashSet<String>,
    /// Retried copies, by key and how often the message had failed before.
    retries: HashMap<(String, i32), Wanted>,
    retried: HashSet<(String, i32)>,
    dead: HashMap<String, Wanted>,
}

struct World {
    dir: TempDir,
    broker: Option<Daemon>,
    peer: Option<Peer>,
    /// Questions about transactions that came between answers.
    questions: VecDeque<Command>,
    numbers: Numbers,
    seed: u64,
    step: usize,
    kills: usize,
    next_key: usize,
    sent: BTreeMap<String, Sent>,
    open: Vec<Open>,
    /// Committed or rolled back, or sent to be never ended.
    ended: HashSet<String>,
    never: HashSet<String>,
    /// What an answer said of where a message is.
    told: HashMap<Place, String>,
    /// What pulls showed: key and how often the message had failed.
    shown: HashMap<Place, (String, i32)>,
    copies: HashMap<(String, String, i32), usize>,
    groups: BTreeMap<&'static str, Group>,
}

fn retry_topic(group: &str) -> String {
    format!("%RETRY%{group}")
}

fn queues_of(group: &str) -> Vec<(String, i32)> {
    let own = (0..QUEUES as i32).map(|queue| (TOPIC.to_owned(), queue));
    own.chain([(retry_topic(group), 0)]).collect()
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            dir: tempfile::tempdir().unwrap(),
            broker: None,
            peer: None,
            questions: VecDeque::new(),
            numbers: Numbers::new(seed),
            seed,
            step: 0,
            kills: 0,
            next_key: 0,
            sent: BTreeMap::new(),
            open: Vec::new(),
            ended: HashSet::new(),
            never: HashSet::new(),
            told: HashMap::new(),
            shown: HashMap::new(),
            copies: HashMap::new(),
            groups: GROUPS.map(|group| (group, Group::default())).into(),
        };
        world.start();
        world
    }

    fn at(&self) -> String {
        format!("seed {}, step {}", self.seed, self.step)
    }

    fn start(&mut self) {
        let config = broker_config(self.dir.path(), CONFIG);
        let broker = Daemon::broker(self.dir.path(), &config);
        self.peer = Some(broker.peer());
        self.broker = Some(broker);
        self.questions.clear();
        // A producer of the half messages' group, to be asked about them.
        assert_eq!(self.ask(&heart_beat("model", "others", "Other", "*", 1)).code, 0);
        for group in GROUPS {
            let mut command = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
            command.body =
                format!(r#"{{"groupName":"{group}","retryMaxTimes":{RETRIES}}}"#).into_bytes();
            assert_eq!(self.ask(&command).code, 0);
        }
        assert_eq!(self.ask(&create_topic(TOPIC, QUEUES as i32, 6)).code, 0);
        for group in GROUPS {
            for place in queues_of(group) {
                let offset = self.committed(group, &place);
                let state = self.groups.get_mut(group).unwrap();
                let commits = state.commits.entry(place.clone()).or_insert_with(|| vec![0]);
                let known = commits.contains(&offset);
                assert!(known, "{group} {place:?}: {offset} after commits {commits:?}");
                *commits = vec![offset];
                state.positions.insert(place, offset);
            }
        }
    }

    fn stop(&mut self) {
        self.peer = None;
        self.broker.take().unwrap().stop();
        for group in self.groups.values_mut() {
            // An orderly stop keeps the last commit.
            group.commits.values_mut().for_each(|all| *all = vec![*all.last().unwrap()]);
        }
    }

    /// kill -9, with sends under way whose answers nobody reads.
    fn kill(&mut self) {
        for _ in 0..self.numbers.below(20) {
            let next = self.next_send(&[0, 1, 2], true);
            self.peer.as_mut().unwrap().send(&next.command);
        }
        std::thread::sleep(Duration::from_micros(self.numbers.below(2000) as u64));
        self.peer = None;
        self.broker.take().unwrap().kill();
        self.kills += 1;
    }

    /// Sends a request and waits for its answer; questions of the broker are kept.
    fn ask(&mut self, command: &Command) -> Command {
        let peer = self.peer.as_mut().unwrap();
        peer.send(command);
        loop {
            let frame = peer.receive();
            if frame.is_response() {
                assert_eq!(frame.opaque, command.opaque);
                return frame;
            }
            if frame.code == codes::CHECK_TRANSACTION_STATE {
                self.questions.push_back(frame);
            }
        }
    }

    fn next_message(&mut self) -> (String, Vec<u8>) {
        self.next_key += 1;
        let key = format!("{}.{}", self.seed, self.next_key);
        let len = self.numbers.below(1500);
        let body = key.bytes().chain(key.bytes().cycle().map(|b| b ^ 0x55).take(len)).collect();
        (key, body)
    }

    /// A send at one of these levels, remembered.
    fn next_send(&mut self, levels: &[usize], unsure: bool) -> Next {
        let (key, body) = self.next_message();
        let level = levels[self.numbers.below(levels.len())];
        let mut text = vec![("KEYS", key.as_str())];
        let digits = level.to_string();
        if level > 0 {
            text.push(("DELAY", &digits));
        }
        let queue = self.numbers.below(QUEUES) as i32;
        let command = send_v2(TOPIC, queue, &properties(&text), &body);
        self.remember(&key, body, level.min(DELAYS.len()), unsure);
        Next { key, level, queue, command }
    }

    fn remember(&mut self, key: &str, body: Vec<u8>, level: usize, unsure: bool) {
        let sent = Sent { body, level, sent_ms: now_ms(), kills: self.kills, unsure };
        self.sent.insert(key.to_owned(), sent);
    }
}

/// Producing.
impl World {
    fn send(&mut self) {
        let Next { key, level, queue, command } = self.next_send(&[0, 0, 0, 1, 2, 3, 99], false);
        let reply = self.ask(&command);
        assert_eq!((reply.code, &reply.remark), (0, &None), "{}", self.at());
        if level == 0 {
            self.told.insert((TOPIC.to_owned(), queue, number(&reply, "queueOffset")), key);
        }
    }

    fn send_batch(&mut self) {
        let queue = self.numbers.below(QUEUES) as i32;
        let mut command = send_v2(TOPIC, queue, "", b"");
        command.code = codes::SEND_BATCH_MESSAGE;
        command.fields_mut().push("m", "true");
        let mut keys = Vec::new();
        for _ in 0..1 + self.numbers.below(5) {
            let (key, body) = self.next_message();
            batch::push(&mut command.body, 0, &body, &properties(&[("KEYS", &key)])).unwrap();
            self.remember(&key, body, 0, false);
            keys.push(key);
        }
        let reply = self.ask(&command);
        assert_eq!((reply.code, &reply.remark), (0, &None), "{}", self.at());
        let first = number(&reply, "queueOffset");
        for (n, key) in keys.into_iter().enumerate() {
            self.told.insert((TOPIC.to_owned(), queue, first + n as i64), key);
        }
    }

    fn send_half(&mut self) {
        let (key, body) = self.next_message();
        let text = [("TRAN_MSG", "true"), ("PGROUP", "producers"), ("KEYS", &key)];
        let queue = self.numbers.below(QUEUES) as i32;
        let mut command = send_v2(TOPIC, queue, &properties(&text), &body);
        command.fields_mut().push("g", &now_ms().to_string());
        let reply = self.ask(&command);
        assert_eq!((reply.code, &reply.remark), (0, &None), "{}", self.at());
        let commits = self.numbers.below(2) == 0;
        if commits {
            self.remember(&key, body, 0, false);
        } else {
            self.never.insert(key.clone());
        }
        let queue_offset = reply.field("queueOffset").unwrap().to_owned();
        let half = Open { key, commits, queue_offset, log_offset: log_offset(&reply).to_string() };
        // A third is left to be asked about.
        match self.numbers.below(3) {
            0 => self.open.push(half),
            _ => self.end(&half),
        }
    }

    fn end(&mut self, half: &Open) {
        let fields = [
            ("producerGroup", "producers"),
            ("tranStateTableOffset", half.queue_offset.as_str()),
            ("commitLogOffset", half.log_offset.as_str()),
            ("commitOrRollback", if half.commits { "8" } else { "12" }),
            ("fromTransactionCheck", "false"),
            ("msgId", half.key.as_str()),
            ("transactionId", half.key.as_str()),
        ];
        let reply = self.ask(&request(codes::END_TRANSACTION, &fields));
        assert_eq!((reply.code, &reply.remark), (0, &None), "{}", self.at());
        self.ended.insert(half.key.clone());
    }

    /// Answers what the broker has asked about open half messages, each once.
    fn answer(&mut self) {
        while let Some(question) = self.questions.pop_front() {
            let message = record::decode(&question.body).unwrap();
            let key = message.property("KEYS").unwrap().to_owned();
            if self.ended.contains(&key) {
                continue;
            }
            let place = self.open.iter().position(|open| open.key == key);
            let place = place.unwrap_or_else(|| panic!("{}: asked about {key}", self.at()));
            let mut half = self.open.swap_remove(place);
            half.queue_offset = question.field("tranStateTableOffset").unwrap().to_owned();
            half.log_offset = question.field("commitLogOffset").unwrap().to_owned();
            self.end(&half);
        }
    }
}

/// Consuming.
impl World {
    /// The offset the broker has; 0 when there is none yet.
    fn committed(&mut self, group: &str, (topic, queue): &(String, i32)) -> i64 {
        let queue = queue.to_string();
        let fields = [("consumerGroup", group), ("topic", topic), ("queueId", &queue)];
        let reply = self.ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
        if reply.code == 0 { number(&reply, "offset") } else { 0 }
    }

    /// A consumer that lost its memory goes on at the last commit.
    fn begin_anew(&mut self, group: &'static str) {
        for place in queues_of(group) {
            let offset = self.committed(group, &place);
            let at = self.at();
            let state = self.groups.get_mut(group).unwrap();
            assert_eq!(Some(&offset), state.commits[&place].last(), "{at}: {group} {place:?}");
            state.positions.insert(place, offset);
        }
    }

    fn commit(&mut self, group: &'static str, place: &(String, i32)) {
        let state = self.groups.get_mut(group).unwrap();
        let offset = state.positions[place];
        state.commits.get_mut(place).unwrap().push(offset);
        let (queue, offset) = (place.1.to_string(), offset.to_string());
        let fields = [
            ("consumerGroup", group),
            ("topic", &place.0),
            ("queueId", &queue),
            ("commitOffset", &offset),
        ];
        assert_eq!(self.ask(&request(codes::UPDATE_CONSUMER_OFFSET, &fields)).code, 0);
    }

    /// Pulls once from one queue of a group; how many messages came.
    fn consume(&mut self, group: &'static str, place: &(String, i32), fails: bool) -> usize {
        let offset = self.groups[group].positions[place];
        let max = 1 + self.numbers.below(16) as i32;
        let pull = Pull { group, max, ..Pull::new(&place.0, place.1, offset) };
        let reply = self.ask(&pull.command());
        if reply.code != 0 {
            // Nothing there yet, no such queue yet: never that the offset is not there.
            let none =
                reply.code == 19 || reply.code == 17 || number(&reply, "nextBeginOffset") == offset;
            assert!(
                none,
                "{}: {} {:?} at {offset} of {place:?}",
                self.at(),
                reply.code,
                reply.remark
            );
            return 0;
        }
        let messages = record::decode_all(&reply.body).unwrap();
        for (n, message) in messages.iter().enumerate() {
            let next = (place.0.as_str(), place.1, offset + n as i64);
            let found = (message.topic.as_str(), message.queue_id, message.queue_offset);
            assert_eq!(found, next, "{}", self.at());
            self.see(group, message);
            if fails && self.numbers.below(5) == 0 {
                self.send_back(group, message);
            }
        }
        let end = offset + messages.len() as i64;
        self.groups.get_mut(group).unwrap().positions.insert(place.clone(), end);
        messages.len()
    }

    /// Compares a message with what was sent, and with what its place showed before.
    fn see(&mut self, group: &'static str, message: &Message) {
        let at = self.at();
        let key = message.property("KEYS").unwrap().to_owned();
        assert!(!self.never.contains(&key), "{at}: {key} was rolled back");
        let sent = self.sent.get(&key).unwrap_or_else(|| panic!("{at}: {key} was never sent"));
        assert!(message.body == sent.body, "{at}: {key} has another body");
        let place = (message.topic.clone(), message.queue_id, message.queue_offset);
        if let Some(told) = self.told.get(&place) {
            assert_eq!(told, &key, "{at}: {place:?}");
        }
        let times = message.reconsume_times;
        let shown = self.shown.get(&place).cloned();
        match shown {
            Some(before) => assert_eq!(before, (key.clone(), times), "{at}: {place:?}"),
            None => self.first_seen(group, message, place, &key),
        }
        let state = self.groups.get_mut(group).unwrap();
        if message.topic == TOPIC {
            state.received.insert(key);
        } else {
            state.retried.insert((key, times));
        }
    }

    fn first_seen(&mut self, group: &str, message: &Message, place: Place, key: &str) {
        let at = self.at();
        let times = message.reconsume_times;
        let sent = &self.sent[key];
        let copies = self.copies.entry((message.topic.clone(), key.to_owned(), times)).or_default();
        *copies += 1;
        let allowed = if message.topic == TOPIC {
            assert_eq!(times, 0, "{at}: {key}");
            let due = sent.sent_ms + sent.level.checked_sub(1).map_or(0, |level| DELAYS[level]);
            assert!(message.store_timestamp >= due, "{at}: {key} came too early");
            // What was delivered shortly before a kill may be delivered again.
            if sent.level > 0 { 1 + self.kills - sent.kills } else { 1 }
        } else {
            let wanted = self.groups[group].retries.get(&(key.to_owned(), times));
            wanted.map_or(0, |wanted| wanted.allowed(self.kills))
        };
        assert!(
            *copies <= allowed,
            "{at}: {copies} copies of {key} in {}, {allowed} have a cause",
            message.topic
        );
        self.shown.insert(place, (key.to_owned(), times));
    }

    /// CONSUMER_SEND_MSG_BACK: at some level, or straight to the dead letters.
    fn send_back(&mut self, group: &'static str, message: &Message) {
        let level = [0, 1, 1, 3, -1][self.numbers.below(5)];
        let fields = [
            ("offset", message.physical_offset.to_string()),
            ("group", group.to_owned()),
            ("delayLevel", level.to_string()),
            ("originMsgId", message.offset_id()),
            ("originTopic", message.topic.clone()),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = self.ask(&request(codes::CONSUMER_SEND_MSG_BACK, &fields));
        assert_eq!((reply.code, &reply.remark), (0, &None), "{}", self.at());
        let key = message.property("KEYS").unwrap().to_owned();
        let kills = self.kills;
        let state = self.groups.get_mut(group).unwrap();
        let wanted = if level < 0 || message.reconsume_times >= RETRIES {
            state.dead.entry(key).or_default()
        } else {
            state.retries.entry((key, message.reconsume_times + 1)).or_default()
        };
        wanted.times += 1;
        wanted.kills_before.get_or_insert(kills);
    }
}

impl Wanted {
    /// Copies that have a cause: send-backs, and kills that repeat what had just been delivered.
    fn allowed(&self, kills: usize) -> usize {
        self.times * (1 + kills - self.kills_before.unwrap_or(kills))
    }
}

/// The whole.
impl World {
    fn take_step(&mut self) {
        let group = GROUPS[self.numbers.below(GROUPS.len())];
        let places = queues_of(group);
        let place = places[self.numbers.below(places.len())].clone();
        match self.numbers.below(100) {
            0..30 => self.send(),
            30..38 => self.send_batch(),
            38..46 => self.send_half(),
            46..86 => {
                self.consume(group, &place, true);
                if self.numbers.below(10) < 7 {
                    self.commit(group, &place);
                }
            }
            86..94 => self.answer(),
            94..98 => self.begin_anew(group),
            _ => {}
        }
    }

    /// Consumes until nothing is missing, and looks at the dead letters.
    fn finish(&mut self) {
        for group in GROUPS {
            self.begin_anew(group);
        }
        wait_until(&format!("everything, {}", self.at()), || {
            self.answer();
            for group in GROUPS {
                for place in queues_of(group) {
                    while self.consume(group, &place, false) > 0 {}
                }
            }
            self.open.is_empty() && self.missing().is_empty()
        });
        for group in GROUPS {
            self.look_at_dead_letters(group);
        }
    }

    /// What some group has not received yet.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, group) in &self.groups {
            let sure = self.sent.iter().filter(|(_, sent)| !sent.unsure).map(|(key, _)| key);
            let lost = sure.filter(|key| !group.received.contains(*key));
            missing.extend(lost.map(|key| format!("{key} at {name}")));
            let lost = group.retries.keys().filter(|retry| !group.retried.contains(*retry));
            missing.extend(lost.map(|retry| format!("{retry:?} again at {name}")));
        }
        missing
    }

    fn look_at_dead_letters(&mut self, group: &'static str) {
        let topic = format!("%DLQ%{group}");
        let (mut found, mut offset) = (HashMap::<String, usize>::new(), 0);
        loop {
            let reply = self.ask(&Pull { group, ..Pull::new(&topic, 0, offset) }.command());
            if reply.code != 0 {
                break;
            }
            for message in record::decode_all(&reply.body).unwrap() {
                assert_eq!(message.queue_offset, offset);
                offset += 1;
                let key = message.property("KEYS").unwrap();
                assert!(message.body == self.sent[key].body, "{}: {key}", self.at());
                *found.entry(key.to_owned()).or_default() += 1;
            }
        }
        let wanted = &self.groups[group].dead;
        let times = wanted.iter().map(|(key, wanted)| (key.clone(), wanted.times)).collect();
        assert_eq!(found, times, "{}: dead letters of {group}", self.at());
    }

    fn run(&mut self, steps: usize) {
        while self.step < steps {
            self.step += 1;
            match self.numbers.below(250) {
                0 => self.stop(),
                1 => self.kill(),
                _ => {
                    self.take_step();
                    continue;
                }
            }
            self.start();
        }
        self.finish();
        let delivered: usize = self.groups.values().map(|group| group.received.len()).sum();
        assert!(delivered > steps / 4, "{}: hardly anything happened", self.at());
    }
}

fn number_of(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[test]
fn random_sequences_agree_with_the_model() {
    let seeds = number_of("FERROCKET_MODEL_SEEDS", "1..4");
    let (from, to) = seeds.split_once("..").expect("FERROCKET_MODEL_SEEDS is FROM..TO");
    let steps = number_of("FERROCKET_MODEL_STEPS", "1000").parse().unwrap();
    for seed in from.parse().unwrap()..to.parse::<u64>().unwrap() {
        World::new(seed).run(steps);
    }
}
