"""A store that one kind of broker wrote, opened by the other: after a clean stop and after kill -9.

All messages must be there, byte for byte, by queue offset, by key and by id; topics, groups,
offsets and delay offsets as they were; and the files of config/ must be alike, line by line.
"""

import json
import os
import re
import signal
import struct
import subprocess
import threading
import time

import wire
from build import binaries
from servers import SETTLED_SECONDS, Servers, free_port, wait_for
from wire import pairs

TOPIC, QUEUES, GROUP = "st", 4, "sg"
SENT, BATCHES, BATCH = 600, 20, 10
FILES = ("topics.json", "subscriptionGroup.json", "consumerOffset.json", "delayOffset.json")
RECORD_AT = 28  # physical offset in a stored record
CHANGING = re.compile(r'("(?:timestamp|counter)":)\d+')
# Java makes this topic when it first looks for half messages, or while it ends.
NOT_ALWAYS = "RMQ_SYS_TRANS_HALF_TOPIC"
CHECKPOINT = 4096
BUSY = 2
# Several files of the log, each written to a buffer first, by either broker.
BUFFERS = 6
POOL = {
    "transientStorePoolEnable": "true",
    "transientStorePoolSize": BUFFERS,
    "mappedFileSizeCommitLog": 256 << 10,
}


class Store:
    """One broker after another on one folder."""

    def __init__(self, kind, sig, folder):
        self.kind, self.signal, self.faults, self.files = kind, sig, [], {}
        self.name = f"{kind}, {sig.name}"
        self.servers = Servers(kind, folder)
        self.servers.kinds["namesrv"] = "ferrocket"
        self.conn = None

    def check(self, good, what):
        if not good:
            self.faults.append(what)

    def ask(self, code, fields=None, body=b""):
        answer = self.conn.receive(self.conn.send(code, fields, body, version=409), 120)
        if isinstance(answer, str):
            raise RuntimeError(f"code {code} {fields}: {answer}")
        return answer

    def path(self, *names):
        return os.path.join(self.servers.folder, "store", *names)

    def connect(self):
        self.conn = wire.Connection(self.servers.port)

    def run(self):
        """Starts the servers, does the steps, stops all; what goes wrong is a fault."""
        try:
            self.servers.start_all()
            self.connect()
            self.steps()
        except Exception as error:  # noqa: shown with the result
            self.faults.append(repr(error))
        finally:
            self.servers.stop_all()

    def steps(self):
        self.servers.create_topic(TOPIC, QUEUES)
        keys = self.fill()
        before = self.state(keys)
        self.check(os.path.exists(self.path("abort")), "no abort file while it runs")
        if self.signal == signal.SIGTERM:
            self.refuses_another()
        self.end()
        self.servers.swap_broker()
        self.connect()
        self.compare(before, self.state(keys))
        self.goes_on(keys)
        self.conn.close()
        self.servers.stop("broker", signal.SIGTERM)
        self.is_whole("after the second broker")

    def fill(self):
        """Messages of all kinds; returns the keys, each of one message."""
        group = {"groupName": GROUP, "retryMaxTimes": 3, "consumeBroadcastEnable": False}
        self.ask(200, None, json.dumps(group).encode())
        keys = []
        for i in range(SENT):
            keys.append(f"k{i}")
            text = pairs(KEYS=keys[-1], UNIQ_KEY=f"U{i}", TAGS=f"T{i % 3}")
            self.send(text, b"%d " % i * (i % 700), queue=i % QUEUES)
        for i in range(BATCHES):
            items = []
            for j in range(BATCH):
                keys.append(f"b{i}-{j}")
                items.append(wire.batch_item(b"x" * j, pairs(KEYS=keys[-1], TAGS="B")))
            self.send("", b"".join(items), queue=i % QUEUES, batch=True)
        for level in (1, 18):
            text = pairs(DELAY=level, KEYS=f"delayed{level}")
            self.send(text, b"later", topic="sd", queue=0)
        wait_for("a delayed message", 15, lambda: self.max_offset("sd", 0) == 1)
        time.sleep(1)  # what was delivered is marked as delivered
        for queue in range(QUEUES):
            offset = str(queue * 10 + 3)
            fields = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": str(queue)}
            self.ask(15, dict(fields, commitOffset=offset))
        return keys

    def send(self, text, body, queue, topic=TOPIC, batch=False):
        short = {
            "a": "sp", "b": topic, "c": "TBW102", "d": "4", "e": str(queue), "f": "0",
            "g": "1700000000123", "h": "0", "i": text, "j": "0", "k": "false",
            "m": str(batch).lower(),
        }  # fmt: skip
        answer = self.ask(320 if batch else 310, short, body)
        while answer.code == BUSY:
            answer = self.ask(320 if batch else 310, short, body)
        if answer.code != 0:
            raise RuntimeError(f"not stored: {answer.code} {answer.remark}")

    def max_offset(self, topic, queue):
        return int(self.ask(30, {"topic": topic, "queueId": str(queue)}).fields["offset"])

    def queue(self, topic, queue):
        """All records of a queue, as stored."""
        found, offset = [], 0
        while True:
            fields = {
                "consumerGroup": GROUP, "topic": topic, "queueId": str(queue),
                "queueOffset": str(offset), "maxMsgNums": "32", "sysFlag": "4",
                "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*",
                "subVersion": "1", "expressionType": "TAG",
            }  # fmt: skip
            answer = self.ask(11, fields)
            if answer.code != 0:
                return found
            data = answer.body
            while data:
                size = int.from_bytes(data[:4], "big")
                found.append(data[:size])
                data = data[size:]
            offset = int(answer.fields["nextBeginOffset"])

    def state(self, keys):
        """What the broker knows."""
        expected = (SENT + BATCHES * BATCH) // QUEUES

        def dispatched():
            return all(self.max_offset(TOPIC, queue) >= expected for queue in range(QUEUES))

        wait_for("all messages in their queues", 30, dispatched)
        time.sleep(SETTLED_SECONDS)  # and in the index
        state = {f"queue {one}": self.queue(TOPIC, one) for one in range(QUEUES)}
        state["delayed"] = self.queue("sd", 0)
        state["parked"] = self.queue("SCHEDULE_TOPIC_XXXX", 17)
        whole = [record for one in range(QUEUES) for record in state[f"queue {one}"]]
        for record in whole:
            (offset,) = struct.unpack_from(">q", record, RECORD_AT)
            answer = self.ask(33, {"offset": str(offset)})
            self.check(answer.body == record, f"record at {offset}: {answer.remark}")
        state["keys"] = {key: self.by_key(TOPIC, key) for key in keys}
        for key in [key for key in keys if len(state["keys"][key]) != 1]:
            self.check(False, f"{len(state['keys'][key])} messages by the key {key}")
        state["ids"] = [self.by_key(TOPIC, f"U{i}") for i in range(0, SENT, 50)]
        for code in (21, 201):
            table = wire.read_json(self.ask(code).body.decode())
            state[f"table {code}"] = {name: table[name] for name in table if name != "dataVersion"}
        fields = {"consumerGroup": GROUP, "topic": TOPIC}
        for one in range(QUEUES):
            answer = self.ask(14, dict(fields, queueId=str(one)))
            state[f"offset {one}"] = answer.fields["offset"]
        return state

    def by_key(self, topic, key):
        fields = {
            "topic": topic, "key": key, "maxNum": "32",
            "beginTimestamp": "0", "endTimestamp": str(2**63 - 1),
        }  # fmt: skip
        answer = self.ask(12, fields)
        return wire.records(answer.body) if answer.body else []

    def refuses_another(self):
        """A second broker, of the other kind, on the store of a running one."""
        conf = os.path.join(self.servers.folder, "broker.conf")
        with open(conf, encoding="latin-1") as file:
            text = file.read()
        port = free_port((-2, 0, 1))
        second = os.path.join(self.servers.folder, "second.conf")
        with open(second, "w", encoding="latin-1") as file:
            file.write(re.sub(r"listenPort=\d+", f"listenPort={port}", text))
        other = Servers("java" if self.kind == "ferrocket" else "ferrocket", self.servers.folder)
        other.start("broker", second)
        try:
            code = other.processes["broker"].wait(90)
            self.check(code != 0, "a second broker on the store ended with exit code 0")
        except subprocess.TimeoutExpired:
            self.check(False, "a second broker runs on the same store")
        finally:
            other.stop("broker", signal.SIGKILL)
        self.check(os.path.exists(self.path("abort")), "a refused second broker took abort away")

    def end(self):
        """Ends the writer, and looks at what it leaves."""
        self.conn.close()
        self.servers.stop("broker", self.signal)
        self.is_whole("after the first broker")
        clean = self.signal == signal.SIGTERM
        self.check(os.path.exists(self.path("abort")) != clean, "abort file after the end")
        self.check(os.path.exists(self.path("lock")), "no lock file")
        with open(self.path("checkpoint"), "rb") as file:
            data = file.read()
        self.check(len(data) == CHECKPOINT, f"checkpoint has {len(data)} bytes")
        if clean:
            times = struct.unpack_from(">qqq", data)
            # The third is the index's, which Java notes with a full index file only.
            good = all(abs(one - time.time() * 1000) < 600_000 for one in times[:2])
            self.check(good and not any(data[24:]), f"checkpoint holds {times}")
            for name in FILES:
                with open(self.path("config", name), encoding="utf-8") as file:
                    self.files[name] = CHANGING.sub(r"\1N", file.read())

    def is_whole(self, when):
        """mqbroker --check-store finds no fault."""
        conf = os.path.join(self.servers.folder, "broker.conf")
        command = [os.path.join(binaries(), "mqbroker"), "-c", conf, "--check-store", self.path()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.check(done.returncode == 0, f"{when}: {done.stdout}{done.stderr}")

    def compare(self, before, after):
        clean = self.signal == signal.SIGTERM
        for name, value in before.items():
            if (name.startswith("offset ") or name == "delayed") and not clean:
                continue  # what is written every few seconds goes with a kill
            if isinstance(value, dict):
                self.compare(value, after[name])
                continue
            if after.get(name) == value:
                continue
            if isinstance(value, list) and name in after:
                there = f"{len(value)} before, {len(after[name])} after"
                self.check(False, f"{name} differs: {there}")
            else:
                self.check(False, f"{name} differs: {value} before, {after.get(name)} after")

    def goes_on(self, keys):
        """The second broker appends behind the first one's messages."""
        offsets = [self.max_offset(TOPIC, queue) for queue in range(QUEUES)]
        for queue in range(QUEUES):
            self.send(pairs(KEYS=f"after{queue}"), b"after", queue)
        wait_for("what the second broker stored", 10, lambda: self.advanced(offsets))
        for queue, offset in enumerate(offsets):
            last = wire.records(b"".join(self.queue(TOPIC, queue)))[-1]
            good = last["queueOffset"] == offset and last["body"] == "after"
            self.check(good, f"queue {queue} does not go on at {offset}: {last}")

    def advanced(self, offsets):
        return all(self.max_offset(TOPIC, one) == offset + 1 for one, offset in enumerate(offsets))


class Pooled(Store):
    """Both brokers have a transient store pool."""

    def __init__(self, kind, sig, folder):
        super().__init__(kind, sig, folder)
        self.servers.settings = dict(POOL)

    def fill(self):
        keys = super().fill()
        self.has_used_buffers()
        return keys

    def refuses_another(self):
        """No other than without a pool."""

    def goes_on(self, keys):
        """The file that the first broker began is not written to a buffer, the next one is."""
        super().goes_on(keys)
        offset = self.max_offset(TOPIC, 0)
        body = b"more" * 1024
        more = 2 * POOL["mappedFileSizeCommitLog"] // len(body)
        for _ in range(more):
            self.send("", body, 0)
        wait_for("what went to buffers", 10, lambda: self.max_offset(TOPIC, 0) == offset + more)
        found = wire.records(b"".join(self.queue(TOPIC, 0)[offset:]))
        good = [one["body"] for one in found] == [body.decode()] * more
        self.check(good, "what went to buffers is not there")
        self.has_used_buffers()

    def has_used_buffers(self):
        info = wire.read_json(self.ask(28).body.decode())["table"]
        free = int(info["remainTransientStoreBufferNumbs"])
        self.check(free < BUFFERS, f"{free} buffers are free")


def lines(text):
    """The lines of a file, whose tables have no order of their own."""
    return {line.rstrip(",") for line in text.splitlines() if NOT_ALWAYS not in line}


def together(stores):
    """Runs them side by side."""
    threads = [threading.Thread(target=store.run, daemon=True) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def of_each_kind(make, folder):
    """Runs a writer of each kind, ours ended by kill -9 and Java's in order; returns the two."""
    both = []
    for kind, sig in (("ferrocket", signal.SIGKILL), ("java", signal.SIGTERM)):
        path = os.path.join(folder, kind)
        os.makedirs(path)
        both.append(make(kind, sig, path))
    together(both)
    return both


def run(folder, make=Store):
    """All four; returns (name, faults) of each."""
    stores = []
    for kind in ("ferrocket", "java"):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            path = os.path.join(folder, f"{kind}-{sig.name}")
            os.makedirs(path)
            stores.append(make(kind, sig, path))
    for pair in (stores[::2], stores[1::2]):
        together(pair)
    ours, java = stores[0], stores[2]
    alike = [
        f"{name}: {line}"
        for name in ours.files.keys() & java.files.keys()
        for line in sorted(lines(ours.files[name]) ^ lines(java.files[name]))
    ]
    results = [(f"store of {store.name}", store.faults) for store in stores]
    return [*results, ("files of config/, ours and Java's", alike)]
