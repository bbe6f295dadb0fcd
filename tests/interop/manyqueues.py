"""More queues than our broker maps files of, so that units wait in memory; ended in order and by
kill -9. Java's broker must find each message of each queue.
"""

import os
import signal

import stores
import wire

# Java's broker keeps each file open: so many are possible with 20,000 descriptors.
TOPICS, QUEUES, ROUNDS = 8, 1000, 3
MAPPED_MAX = 100
# Short files, which mqbroker --check-store reads to their ends.
SETTINGS = {"consumeQueueFilesMappedMax": MAPPED_MAX, "mappedFileSizeConsumeQueue": 20_000}
AT_ONCE = 500


class ManyQueues(stores.Store):
    """Our broker, then Java's, on one folder."""

    def __init__(self, kind, sig, folder):
        super().__init__(kind, sig, folder)
        self.servers.settings = SETTINGS
        self.name = f"{TOPICS * QUEUES:,} queues, {sig.name}"

    def steps(self):
        places = [(f"mq{topic}", queue) for topic in range(TOPICS) for queue in range(QUEUES)]
        for topic in range(TOPICS):
            self.servers.create_topic(f"mq{topic}", QUEUES)
        for number in range(ROUNDS):
            sent = self.each(310, [(place, self.send_fields(*place)) for place in places], number)
            refused = [place for place, answer in sent if answer.code != 0]
            self.check(not refused, f"{len(refused)} refused, first {refused[:1]}")
        mapped = self.mapped()
        self.check(mapped <= 2 * MAPPED_MAX, f"{mapped} files are mapped: few units wait")
        self.conn.close()
        self.servers.stop("broker", self.signal)
        self.is_whole("after our broker")
        self.servers.swap_broker()
        self.connect()
        found = self.each(11, [(place, self.pull_fields(*place)) for place in places])
        wrong = [place for place, answer in found if not self.is_all(place, answer)]
        self.check(not wrong, f"{len(wrong)} queues lack messages, first {wrong[:1]}")
        self.conn.close()

    def each(self, code, requests, number=0):
        """Asks all, some at a time; (place, answer) of each."""
        found = []
        for begin in range(0, len(requests), AT_ONCE):
            some = requests[begin : begin + AT_ONCE]
            waiting, frames = {}, []
            for place, fields in some:
                opaque = next(wire.Connection.opaques)
                waiting[opaque] = place
                body = self.body(place, number) if code == 310 else b""
                header = wire.binary_header(code, opaque, fields, 409, 0)
                frames.append(wire.frame(header, body, 1))
            self.conn.send_raw(b"".join(frames))
            while waiting:
                answer = self.conn.receive(None, 60)
                if isinstance(answer, str):
                    raise RuntimeError(f"code {code}, {len(waiting)} not answered: {answer}")
                if place := waiting.pop(answer.opaque, None):
                    found.append((place, answer))
        return found

    def is_all(self, place, answer):
        """Whether a pull found one message of each round, in order."""
        bodies = [record["body"] for record in wire.records(answer.body)]
        return bodies == [self.body(place, number).decode() for number in range(ROUNDS)]

    def mapped(self):
        pid = self.servers.processes["broker"].pid
        with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
            return sum("/consumequeue/" in line for line in file)

    @staticmethod
    def body(place, number):
        return f"{place} {number}".encode()

    @staticmethod
    def send_fields(topic, queue):
        return {
            "a": "sp", "b": topic, "c": "TBW102", "d": "4", "e": str(queue), "f": "0",
            "g": "1700000000123", "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
        }  # fmt: skip

    @staticmethod
    def pull_fields(topic, queue):
        return {
            "consumerGroup": stores.GROUP, "topic": topic, "queueId": str(queue),
            "queueOffset": "0", "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0",
            "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "1",
            "expressionType": "TAG",
        }  # fmt: skip


def run(folder):
    """Both; returns (name, faults) of each."""
    both = []
    for sig in (signal.SIGTERM, signal.SIGKILL):
        path = os.path.join(folder, sig.name)
        os.makedirs(path)
        both.append(ManyQueues("ferrocket", sig, path))
    stores.together(both)
    return [(store.name, store.faults) for store in both]
