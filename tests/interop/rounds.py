"""One store under Java's broker, 4.9 or 5.3, and ours in turn, with small files: each finds what both wrote.

Messages with properties in several scripts, batches, delayed ones, half messages that are committed
and such that stay open, retries, offsets; a stop in order and kill -9 of each kind. In the end queues
and index are deleted, and each kind makes them again: the queues byte for byte.
"""

import json
import os
import shutil
import signal
import time

import stores
import wire
from servers import SETTLED_SECONDS, wait_for
from stores import GROUP, QUEUES, TOPIC
from wire import pairs

SCRIPTS = ["中文", "ελληνικά", "русский", "العربية", "हिन्दी", "한국어", "😀🚀", "Ünïcode"]
# The kind of broker of each round, and the signal that ends it.
ROUNDS = [
    ("java", signal.SIGTERM),
    ("ferrocket", signal.SIGKILL),
    ("java", signal.SIGKILL),
    ("ferrocket", signal.SIGTERM),
]
SMALL = {
    "mappedFileSizeCommitLog": 128 << 10,
    "mappedFileSizeConsumeQueue": 20 * 50,
    "maxHashSlotNum": 97,
    "maxIndexNum": 300,
}
SENT, BATCH = 120, 7
HALF = "RMQ_SYS_TRANS_HALF_TOPIC"
UNIT = 20
COMMIT = 8


class Rounds(stores.Store):
    """The brokers of all rounds, one after another."""

    def __init__(self, folder, version):
        super().__init__(ROUNDS[0][0], ROUNDS[0][1], folder)
        self.name = f"java {version} and ferrocket in turn"
        self.servers.java = version
        self.servers.settings = dict(SMALL)
        if version == "4.9.7":  # the log in turn in two directories
            dirs = ",".join(self.path(name) for name in ("log-b", "log-a"))
            self.servers.settings["storePathCommitLog"] = dirs
        self.keys, self.counts = {}, [0] * QUEUES
        self.delayed = self.retried = 0

    def steps(self):
        self.servers.create_topic(TOPIC, QUEUES)
        group = {"groupName": GROUP, "retryMaxTimes": 3}
        self.ask(200, None, json.dumps(group).encode())
        before = {}
        for number, (_, sig) in enumerate(ROUNDS):
            self.verify(number, before)
            self.put(number)
            before = self.contents()
            self.conn.close()
            self.servers.stop("broker", sig)
            self.is_whole(f"after round {number}")
            if number + 1 < len(ROUNDS):
                self.begin(ROUNDS[number + 1][0])
        for kind in ("ferrocket", "java"):
            self.made_again(kind)

    def begin(self, kind):
        self.servers.kinds["broker"] = kind
        self.servers.start_broker()
        self.connect()

    def put(self, number):
        """Messages of all kinds, each found by its key."""
        for i in range(SENT):
            script = SCRIPTS[i % len(SCRIPTS)]
            key = f"{script}-{number}-{i}"
            self.keys[key] = f"{script} {i}".encode() * (1 + i % 50)
            text = pairs(KEYS=key, TAGS=script, colour=script * 3, **{script: "x"})
            self.send(text, self.keys[key], self.next_queue())
        items = []
        for i in range(BATCH):
            key = f"batch-{number}-{i}"
            self.keys[key] = b"b" * (1 + i)
            items.append(wire.batch_item(self.keys[key], pairs(KEYS=key)))
        self.send("", b"".join(items), 0, batch=True)
        self.counts[0] += BATCH
        for level in (1, 18):
            self.send(pairs(DELAY=level), b"later", topic="sd", queue=0)
        self.delayed += 1
        self.transactions(number)
        self.send_back()
        for queue in range(QUEUES):
            fields = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": str(queue)}
            self.ask(15, dict(fields, commitOffset=str(number * 10 + queue)))

    def next_queue(self):
        queue = self.counts.index(min(self.counts))
        self.counts[queue] += 1
        return queue

    def transactions(self, number):
        """One half message that is committed, and one that stays open."""
        for name in ("done", "open"):
            key = f"{name}-{number}"
            text = pairs(TRAN_MSG="true", PGROUP="pg", UNIQ_KEY=f"U{key}", KEYS=key)
            queue = self.next_queue() if name == "done" else 0
            short = {
                "a": "pg", "b": TOPIC, "c": "TBW102", "d": "4", "e": str(queue), "f": "4",
                "g": "1700000000123", "h": "0", "i": text, "j": "0", "k": "false", "m": "false",
            }  # fmt: skip
            answer = self.ask(310, short, key.encode())
            if answer.code != 0:
                raise RuntimeError(f"no half message: {answer.code} {answer.remark}")
            if name == "done":
                self.keys[key] = key.encode()
                fields = {
                    "producerGroup": "pg",
                    "tranStateTableOffset": answer.fields["queueOffset"],
                    "commitLogOffset": str(int(answer.fields["msgId"][-16:], 16)),
                    "commitOrRollback": str(COMMIT), "fromTransactionCheck": "false",
                    "msgId": key, "transactionId": key,
                }  # fmt: skip
                self.ask(37, fields)

    def send_back(self):
        """The first message, once more, to be consumed again in a second."""
        (first,) = wire.records(self.queue(TOPIC, 0)[0])
        fields = {
            "offset": str(first["physicalOffset"]),
            "group": GROUP, "delayLevel": "1", "originMsgId": "m", "originTopic": TOPIC,
            "unitMode": "false", "maxReconsumeTimes": "3",
        }  # fmt: skip
        answer = self.ask(36, fields)
        if answer.code != 0:
            raise RuntimeError(f"not sent back: {answer.code} {answer.remark}")
        self.retried += 1

    def arrived(self):
        of_topic = [self.max_offset(TOPIC, queue) for queue in range(QUEUES)] == self.counts
        retried = self.max_offset(f"%RETRY%{GROUP}", 0) >= self.retried
        return of_topic and retried and self.max_offset("sd", 0) >= self.delayed

    def contents(self):
        """All queues, once everything that is due is there."""
        wait_for("all messages in their queues", 60, self.arrived)
        time.sleep(SETTLED_SECONDS)  # and in the index
        names = [(TOPIC, queue) for queue in range(QUEUES)]
        names += [("sd", 0), (f"%RETRY%{GROUP}", 0), (HALF, 0)]
        names += [("SCHEDULE_TOPIC_XXXX", 0), ("SCHEDULE_TOPIC_XXXX", 17)]
        return {name: self.queue(*name) for name in names}

    def verify(self, number, before):
        """What the rounds before left is there, and begins with what was there then."""
        if number == 0:
            return
        after = self.contents()
        for name, records in before.items():
            good = after[name][: len(records)] == records and records
            self.check(good, f"round {number}: {name} does not begin as before")
        self.by_keys(f"round {number}")
        if ROUNDS[number - 1][1] == signal.SIGTERM:
            for queue in range(QUEUES):
                fields = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": str(queue)}
                offset = self.ask(14, fields).fields["offset"]
                expected = str((number - 1) * 10 + queue)
                self.check(offset == expected, f"round {number}: offset {queue} is {offset}")

    def by_keys(self, when):
        def found(key):
            return [one["body"] for one in self.by_key(TOPIC, key)].count(self.keys[key].decode())

        newest = next(reversed(self.keys))  # the index is made in the order of the log
        wait_for(f"{when}: the index", 20, lambda: found(newest))
        for key in self.keys:
            self.check(found(key) == 1, f"{when}: {found(key)} messages by the key {key}")

    def made_again(self, kind):
        """Deletes queues and index, and has this kind of broker make them from the log."""
        before = self.units()
        for name in ("consumequeue", "index"):
            shutil.rmtree(self.path(name))
        self.begin(kind)
        self.contents()
        self.by_keys(f"made again by {kind}")
        self.conn.close()
        self.servers.stop("broker", signal.SIGTERM)
        self.is_whole(f"made again by {kind}")
        after = self.units()
        for name, units in before.items():
            alike = after.get(name, b"")[: len(units)] == units
            self.check(alike, f"{name} is another when {kind} makes it again")

    def units(self):
        """Each file of a queue, up to its last entry."""
        found = {}
        for folder, _, names in os.walk(self.path("consumequeue")):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    data = file.read()
                length = -(-len(data.rstrip(b"\0")) // UNIT) * UNIT
                found[os.path.relpath(path, self.path())] = data[:length]
        return found



def run(folder):
    """All rounds, with either version of Java's broker."""
    both = []
    for version in ("4.9.7", "5.3.3"):
        path = os.path.join(folder, version)
        os.makedirs(path)
        both.append(Rounds(path, version))
    stores.together(both)
    return [(one.name, one.faults) for one in both]
