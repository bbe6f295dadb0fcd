"""ConsumeQueueExt files and filter bit maps that one kind of broker wrote, read by the other.

The same groups and messages go to both kinds. Their files must be alike, store times left out, and
the pulls of each group as its expression says: before, and after the other kind of broker went on.
"""

import json
import os
import re
import struct
import time

import stores
import wire
from servers import wait_for
from wire import pairs

TOPIC, QUEUES, SENT, MORE = "fx", 2, 150, 20
SETTINGS = {
    "enablePropertyFilter": "true",
    "enableConsumeQueueExt": "true",
    "enableCalcFilterBitMap": "true",
    "mappedFileSizeConsumeQueueExt": "2048",
}
GROUPS = {
    "fg0": ("a > 50", lambda i: i > 50),
    "fg1": ("a < 20 AND b = 'x'", lambda i: i < 20 and i % 3 == 0),
    "fg2": ("b IS NOT NULL", lambda i: i % 3 == 0),
    "fg3": ("a BETWEEN 10 AND 30 OR a = 140", lambda i: 10 <= i <= 30 or i == 140),
    "fg4": ("c = 'never'", lambda i: False),
}
TIME = re.compile(r"(?<!\d)\d{13}(?!\d)")
UNIT = struct.Struct(">qiq")
EXT = struct.Struct(">hqqh")


class FilterStore(stores.Store):
    """One broker after another on one folder."""

    def __init__(self, kind, sig, folder):
        super().__init__(kind, sig, folder)
        self.servers.settings = SETTINGS
        self.units, self.shown = None, {}

    def steps(self):
        self.servers.create_topic(TOPIC, QUEUES)
        self.beat()
        time.sleep(0.1)
        self.fill(0, SENT)
        self.units = self.beside()
        self.pulls("at first", SENT)
        self.show("at first")
        time.sleep(11)  # the file of filters is written every ten seconds
        self.conn.close()
        self.servers.stop("broker", self.signal)
        self.servers.swap_broker()
        self.connect()
        self.beat()
        self.check(self.beside() == self.units, "the other broker sees other units")
        self.pulls("of the other broker", SENT)
        self.show("of the other broker")
        self.fill(SENT, SENT + MORE)
        self.pulls("of the other broker's own", SENT + MORE)
        longer = self.beside()
        for queue, units in enumerate(self.units):
            self.check(longer[queue][: len(units)] == units, "units changed")
            good = len(longer[queue]) == (SENT + MORE) // QUEUES and all(longer[queue])
            self.check(good, f"queue {queue} has {longer[queue]}")

    def beat(self):
        groups = [
            {
                "groupName": group,
                "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
                "unitMode": False,
                "subscriptionDataSet": [
                    {
                        "topic": TOPIC,
                        "subString": expression,
                        "expressionType": "SQL92",
                        "subVersion": 100,
                        "classFilterMode": False,
                        "tagsSet": [],
                        "codeSet": [],
                    }
                ],
            }
            for group, (expression, _) in GROUPS.items()
        ]
        by_tags = {**groups[0]["subscriptionDataSet"][0], "subString": "*", "expressionType": "TAG"}
        groups.append({**groups[0], "groupName": "tags", "subscriptionDataSet": [by_tags]})
        beat = {"clientID": "filters", "consumerDataSet": groups, "producerDataSet": []}
        self.check(self.ask(34, None, json.dumps(beat).encode()).code == 0, "no heartbeat")

    def fill(self, begin, end):
        for i in range(begin, end):
            more = {"b": "x"} if i % 3 == 0 else {}
            self.send(pairs(TAGS=f"T{i % 2}", a=i, **more), b"%d" % i, i % QUEUES, TOPIC)
        full = lambda: all(self.max_offset(TOPIC, one) == end // QUEUES for one in range(QUEUES))
        wait_for("all messages in their queues", 10, full)

    def pulls(self, when, sent):
        for group, (expression, passes) in GROUPS.items():
            found = sorted(self.pulled(group))
            expected = [i for i in range(sent) if passes(i)]
            self.check(found == expected, f"{when}, {expression}: {found}")

    def pulled(self, group):
        """All that a group gets by the filter of its heartbeats."""
        for queue in range(QUEUES):
            offset, end = 0, self.max_offset(TOPIC, queue)
            while offset < end:
                fields = {
                    "consumerGroup": group, "topic": TOPIC, "queueId": str(queue),
                    "queueOffset": str(offset), "maxMsgNums": "32", "sysFlag": "0",
                    "commitOffset": "0", "suspendTimeoutMillis": "0", "subVersion": "100",
                }  # fmt: skip
                answer = self.ask(11, fields)
                if answer.code not in (0, 20):
                    raise RuntimeError(f"pull of {group}: {answer.code} {answer.remark}")
                for record in wire.records(answer.body):
                    yield int(record["body"])
                offset = int(answer.fields["nextBeginOffset"])

    def show(self, when):
        """What QUERY_CONSUME_QUEUE says of some units, of a group and without one."""
        for group in (*GROUPS, "tags", "nobody", None):
            for queue, index, count in ((0, 0, 3), (1, 60, 20)):
                fields = {"topic": TOPIC, "queueId": str(queue), "index": str(index)}
                fields |= {"count": str(count)} | ({"consumerGroup": group} if group else {})
                answer = self.ask(321, fields)
                text = answer.body.decode()
                self.shown[f"{when}, {group} from {index}"] = answer.code, TIME.sub("[time]", text)

    def beside(self):
        """Of each message of each queue: address, size, tags code and bit map, off the files."""
        return [list(self.units_of(queue)) for queue in range(QUEUES)]

    def units_of(self, queue):
        place = self.path("consumequeue_ext", TOPIC, str(queue))
        files = {}
        for name in os.listdir(place):
            with open(os.path.join(place, name), "rb") as file:
                files[int(name)] = file.read()
        with open(self.path("consumequeue", TOPIC, str(queue), "0" * 20), "rb") as file:
            data = file.read(UNIT.size * self.max_offset(TOPIC, queue))
        for _, _, address in UNIT.iter_unpack(data):
            offset = address + 2**63
            unit = files[offset - offset % 2048][offset % 2048 :]
            size, code, stored, bits = EXT.unpack_from(unit)
            good = abs(stored - time.time() * 1000) < 600_000 and bits == 14 and size == 34
            yield (address, size, code, unit[20:34].hex()) if good else None


def run(folder):
    """A writer of each kind, one stopped and one killed; returns (name, faults) of each."""
    ours, java = found = stores.of_each_kind(FilterStore, folder)
    alike = []
    if ours.units != java.units:
        alike.append(f"units: ours {ours.units}, Java's {java.units}")
    results = [(f"filter data of {store.name}", store.faults) for store in found]
    for label in sorted(ours.shown):
        if ours.shown[label] != java.shown[label]:
            alike.append(f"{label}: ours {ours.shown[label]}, Java's {java.shown[label]}")
    return [*results, ("filter data, ours and Java's", alike)]
