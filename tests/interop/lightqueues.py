"""Light queues that one kind of broker wrote, read and gone on with by the other.

The same messages go to both kinds; both must answer alike.
"""

import time

import stores
import wire
from servers import wait_for
from wire import pairs

TOPIC, SENT, MORE = "lx", 30, 10
GROUP = "%LMQ%lg"
NAMES = ("%LMQ%a", "%LMQ%b", "%LMQ%c")
PLAIN = "lplain"  # a further queue that is no light one
SETTINGS = {"enableLmq": "true", "enableMultiDispatch": "true"}


def further(i):
    """The queues besides its own that message i names."""
    names = [name for n, name in enumerate(NAMES) if i % (n + 1) == 0]
    return names + ([PLAIN] if i % 5 == 0 else [])


class LightStore(stores.Store):
    """One broker after another on one folder."""

    def __init__(self, kind, sig, folder):
        super().__init__(kind, sig, folder)
        self.servers.settings = SETTINGS
        self.seen = None

    def steps(self):
        self.servers.create_topic(TOPIC, 2)
        self.servers.create_topic(PLAIN, 2)
        self.fill(0, SENT)
        self.seen = self.light_queues()
        self.expect(SENT)
        offset = {"consumerGroup": GROUP, "topic": NAMES[0], "queueId": "0"}
        self.ask(15, dict(offset, commitOffset="17"))
        time.sleep(16)  # offsets are written every five seconds, from ten on
        self.conn.close()
        self.servers.stop("broker", self.signal)
        self.servers.swap_broker()
        self.connect()
        self.check(self.light_queues() == self.seen, "the other broker sees other messages")
        answer = self.ask(14, offset)
        self.check(answer.fields == {"offset": "17"}, f"offset {answer.code} {answer.fields}")
        self.fill(SENT, SENT + MORE)
        self.expect(SENT + MORE)

    def fill(self, begin, end):
        for i in range(begin, end):
            text = pairs(TAGS=f"T{i % 2}", INNER_MULTI_DISPATCH=",".join(further(i)))
            self.send(text, b"%d" % i, i % 2, TOPIC)
        count = sum(NAMES[0] in further(i) for i in range(end))
        wait_for("all in the light queue", 10, lambda: self.max_offset(NAMES[0], 0) == count)

    def places(self):
        return [(name, 0) for name in NAMES] + [(PLAIN, 0), (PLAIN, 1)]

    def light_queues(self):
        """Body, own offset, names and offsets of each message of each further queue."""
        found = {}
        for name, number in self.places():
            found[f"{name} {number}"] = [
                (
                    one["body"],
                    one["topic"],
                    one["queueOffset"],
                    one["properties"]["INNER_MULTI_DISPATCH"],
                    one["properties"]["INNER_MULTI_QUEUE_OFFSET"],
                )
                for one in wire.records(b"".join(self.queue(name, number)))
            ]
        return found

    def expect(self, sent):
        seen = self.light_queues()
        for name, number in self.places():
            inside = [
                i for i in range(sent) if name in further(i) and number in (i % 2, 0)
                and (name != PLAIN or i % 2 == number)
            ]  # fmt: skip
            bodies = [int(one[0]) for one in seen[f"{name} {number}"]]
            self.check(bodies == inside, f"{name} {number} has {bodies}")
            for at, one in enumerate(seen[f"{name} {number}"]):
                offset = one[4].split(",")[one[3].split(",").index(name)]
                self.check(int(offset) == at, f"{name} {number} has {one} at {at}")


def run(folder):
    """A writer of each kind, one killed and one stopped; returns (name, faults) of each."""
    ours, java = found = stores.of_each_kind(LightStore, folder)
    alike = [] if ours.seen == java.seen else [f"ours {ours.seen}, Java's {java.seen}"]
    results = [(f"light queues of {store.name}", store.faults) for store in found]
    return [*results, ("light queues, ours and Java's", alike)]
