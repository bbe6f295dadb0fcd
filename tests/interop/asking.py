"""Asks a broker: requests as clients make them, and what comes of them."""

import json
import time

import wire
from servers import SETTLED_SECONDS
from wire import pairs

BORN = "1700000000123"
TOPIC = "dt"
SHORT = {
    "producerGroup": "a",
    "topic": "b",
    "defaultTopic": "c",
    "defaultTopicQueueNums": "d",
    "queueId": "e",
    "sysFlag": "f",
    "bornTimestamp": "g",
    "flag": "h",
    "properties": "i",
    "reconsumeTimes": "j",
    "unitMode": "k",
    "maxReconsumeTimes": "l",
    "batch": "m",
}


def send_fields(topic=TOPIC, **more):
    return {
        "producerGroup": "dp",
        "topic": topic,
        "defaultTopic": "TBW102",
        "defaultTopicQueueNums": "4",
        "queueId": "0",
        "sysFlag": "0",
        "bornTimestamp": BORN,
        "flag": "0",
        "properties": pairs(UNIQ_KEY="u1", TAGS="A"),
        "reconsumeTimes": "0",
        "unitMode": "false",
        "batch": "false",
        **more,
    }


def short(fields):
    return {SHORT.get(name, name): value for name, value in fields.items()}


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


class Asking:
    """One side's broker; the requests are in classes built on this."""

    def __init__(self, side):
        self.side = side
        self.later = []

    def ask(self, label, code, fields=None, body=b"", **how):
        return self.side.ask(f"broker/{label}", code, fields, body, **how)

    def send(self, label, fields=None, body=b"hello", code=310, **how):
        """Sends a message and looks at what was stored."""
        if code != 10 and fields is not None:
            fields = short(fields)
        answer = self.ask(f"send {label}", code, fields, body, **how)
        ids = [] if isinstance(answer, str) else (answer.fields or {}).get("msgId", "").split(",")
        mask = {"queueId", "queueOffset"} & set(how.get("mask", ()))
        for i, one in enumerate(ids):
            if one:
                offset = str(int(one[-16:], 16))
                self.ask(f"send {label}, stored {i}", 33, {"offset": offset}, mask=mask)
        return answer

    def each_field(self, label, code, fields, body=b"", values=("", "abc", "-1"), **how):
        """The request with each of its fields left out and with odd values."""
        self.ask(f"{label}", code, fields, body, **how)
        self.ask(f"{label}, binary", code, fields, body, codec="binary", **how)
        self.ask(f"{label}, fast port", code, fields, body, port="fast", **how)
        self.ask(f"{label} without fields", code, None, body, **how)
        self.ask(f"{label} with no fields", code, {}, body, **how)
        later = how.pop("later", ())
        for name in fields:
            odd = {f"{label}, {name} '{value}'": dict(fields, **{name: value}) for value in values}
            odd[f"{label} without {name}"] = without(fields, name)
            for one, these in odd.items():
                if one in later:
                    self.later.append((one, code, these))
                else:
                    self.ask(one, code, these, body, **how)

    def settle(self, topic, queue, count):
        """Waits until a queue has so many messages."""
        fields = {"topic": topic, "queueId": str(queue)}

        def there():
            return int(self.side.quiet(30, fields).fields["offset"]) >= count

        self.side.until(f"{count} messages in {topic} {queue}", there)

    def create(self, topic, queues=4, perm=6, **more):
        fields = {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": str(queues),
            "writeQueueNums": str(queues),
            "perm": str(perm),
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
            **more,
        }
        return self.side.quiet(17, fields)

    def beat(self, label, client, consumers=(), producers=(), note=True, **how):
        body = {
            "clientID": client,
            "producerDataSet": [{"groupName": name} for name in producers],
            "consumerDataSet": list(consumers),
        }
        body = json.dumps(body).encode()
        if note:
            return self.ask(f"heartbeat {label}", 34, how.pop("fields", None), body, **how)
        return self.side.quiet(34, None, body, **how)

    @staticmethod
    def consumer(group, topics, version=1, kind="TAG", **more):
        subscriptions = [
            {
                "topic": topic,
                "subString": expression,
                "subVersion": version,
                "classFilterMode": False,
                "expressionType": kind,
                "tagsSet": [],
                "codeSet": [],
            }
            for topic, expression in topics.items()
        ]
        return {
            "groupName": group,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "subscriptionDataSet": subscriptions,
            "unitMode": False,
            **more,
        }

    def notices(self, label, *names):
        """What connections were told without asking."""
        time.sleep(SETTLED_SECONDS)
        for name in names:
            conn = self.side.conn(name)
            found = []
            while not isinstance(notice := conn.receive(None, 0.05), str):
                found.append(notice)
            for number, notice in enumerate(found):
                self.side.note(f"broker/notice {label} {name} {number}", notice.code, notice)
            count = wire.Answer("json", {"code": len(found)}, b"")
            self.side.note(f"broker/notices {label} {name}", 0, count)

    def group_state(self, label, group):
        self.ask(f"{label}: ids", 38, {"consumerGroup": group})
        self.ask(f"{label}: connections", 203, {"consumerGroup": group})

    def pull_fields(self, topic="dl", **more):
        return {
            "consumerGroup": "dpull",
            "topic": topic,
            "queueId": "0",
            "queueOffset": "0",
            "maxMsgNums": "32",
            "sysFlag": "4",
            "commitOffset": "0",
            "suspendTimeoutMillis": "1000",
            "subscription": "*",
            "subVersion": "1",
            "expressionType": "TAG",
            **more,
        }
