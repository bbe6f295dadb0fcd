"""What the brokers are asked: everything, in this order; operating is here."""

import json

from asking import TOPIC, send_fields
from requests_clients import Clients
from requests_consuming import Consuming
from requests_namesrv import frames
from requests_sending import Sending
from wire import pairs


def run(side):
    Broker(side).run()


class Broker(Sending, Consuming, Clients):
    """And codes 17, 21, 25, 26, 28, 200, 201, 207, 215 and 305."""

    def run(self):
        self.create(TOPIC)
        self.unknown_codes()
        self.sends()
        self.properties()
        self.topics_by_sending()
        self.batches()
        self.retries()
        self.queries()
        self.offsets()
        self.transactions()
        self.replies()
        self.relays()
        self.resets()
        self.tools()
        self.group_offsets()
        self.clients()
        self.pulls()
        self.pull_subscriptions()
        self.holds()
        self.locks()
        self.send_backs()
        self.topics()
        self.groups()
        self.config()
        self.delays()
        self.odd_groups()
        frames(self.side, "broker", 30)

    def topics(self):
        base = {
            "topic": "dtopic",
            "defaultTopic": "TBW102",
            "readQueueNums": "3",
            "writeQueueNums": "5",
            "perm": "6",
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
        }
        # Java makes topics of these.
        later = ["topic update without defaultTopic"]
        later += [f"topic update, {name} '-1'" for name in ("readQueueNums", "writeQueueNums")]
        self.each_field("topic update", 17, base, later=later)
        for label, more in {
            "multi": {"topicFilterType": "MULTI_TAG"},
            "odd filter": {"topicFilterType": "X"},
            "flags": {"topicSysFlag": "3"},
            "order": {"order": "true"},
            "perm 99": {"perm": "99"},
            "queues 0": {"readQueueNums": "0", "writeQueueNums": "0"},
            "odd name": {"topic": "a.b"},
            "blank name": {"topic": " "},
            "128": {"topic": "z" * 128},
            "127": {"topic": "z" * 127},
            "TBW102": {"topic": "TBW102"},
            "SCHEDULE": {"topic": "SCHEDULE_TOPIC_XXXX"},
            "cluster": {"topic": "DefaultCluster"},
            "broker": {"topic": "broker-a"},
            "rmq_sys": {"topic": "rmq_sys_a"},
            "retry": {"topic": "%RETRY%x"},
            "reply": {"topic": "DefaultCluster_REPLY_TOPIC"},
            "trace": {"topic": "RMQ_SYS_TRACE_TOPIC"},
        }.items():
            self.ask(f"topic update, {label}", 17, dict(base, **more))
            self.ask(f"topics after {label}", 21)
        self.ask("topics, binary", 21, codec="binary")
        self.ask("system topics", 305)
        self.each_field("topic delete", 215, {"topic": "dtopic"}, values=("", "a.b", "nothing"))
        for name in ("TBW102", "rmq_sys_a", "%RETRY%x", "dq"):
            self.ask(f"topic delete {name}", 215, {"topic": name})
        self.ask("topics after deletion", 21)
        self.ask("offset in deleted topic", 30, {"topic": "dq", "queueId": "0"})
        self.ask("pull of deleted topic", 11, self.pull_fields("dq"))
        self.send("to deleted topic", send_fields("dq"))
        self.settle("dq", 0, 1)
        self.ask("pull of recreated topic", 11, self.pull_fields("dq"))

    def groups(self):
        for label, data in {
            "one": {"groupName": "dgroup", "retryMaxTimes": 3, "retryQueueNums": 2},
            "changed": {"groupName": "dgroup", "consumeEnable": False, "brokerId": 5},
            "5.x": {"groupName": "dgroup5", "attributes": {}, "groupSysFlag": 1, "x": [1]},
            "odd numbers": {"groupName": "dgroup6", "retryQueueNums": -4, "retryMaxTimes": -1},
            "text": {"groupName": "dgroup7", "retryMaxTimes": "9", "consumeEnable": "false"},
        }.items():
            self.ask(f"group update, {label}", 200, None, json.dumps(data).encode())
        for label, data in {"none": b"", "broken": b"{", "null": b"null", "list": b"[]"}.items():
            self.ask(f"group update, body {label}", 200, None, data)
        self.ask("groups", 201)
        self.ask("groups, binary", 201, codec="binary")
        fields = {"groupName": "dgroup", "removeOffset": "false"}
        self.each_field("group delete", 207, fields, values=("", "nothing"))
        group = {"consumerGroup": "do1", "topic": "dl", "queueId": "0"}
        self.ask("commit before deletion", 15, dict(group, commitOffset="3"))
        self.ask("group delete, offsets stay", 207, {"groupName": "do1"})
        self.ask("offset after deletion", 14, group)
        self.ask("group delete, offsets too", 207, {"groupName": "do1", "removeOffset": "true"})
        self.ask("offset after deletion of offsets", 14, group)
        self.ask("groups after deletion", 201)

    def config(self):
        mask = {
            "listenPort",
            "haListenPort",
            "rocketmqHome",
            "namesrvAddr",
            "brokerConfigPath",
            "version",
            "configBlackList",  # not in 4.9.7
            "bitMapLengthConsumeQueueExt",  # Java calculates it
        }
        self.ask("config", 26, mask=mask)
        self.ask("config, binary", 26, codec="binary", mask=mask)
        for label, data in {
            "none": b"",
            "comment": b"#x",
            "unknown": b"zzz=1",
            "known": b"traceOn=false\nregionId=R9",
            "back": b"traceOn=true\nregionId=DefaultRegion",
        }.items():
            self.ask(f"config update, {label}", 25, None, data)
            self.send(f"after config {label}", send_fields())
        self.ask("runtime info", 28)
        off = b"autoCreateTopicEnable=false\nautoCreateSubscriptionGroup=false"
        self.ask("no creation", 25, None, off)
        self.send("no creation", send_fields("dz1"))
        self.send("no creation, by cluster", send_fields("dz2", defaultTopic="DefaultCluster"))
        self.send("no creation, retry", send_fields("%RETRY%dz3"))
        self.send("no creation, retry of system", send_fields("%RETRY%CID_RMQ_SYS_z"))
        self.ask("pull, no group", 11, self.pull_fields(consumerGroup="dz4"))
        self.beat("no creation", "idz", [self.consumer("dz5", {"dl": "*"})], conn="z")
        self.notices("no group", "z")
        self.group_state("no group", "dz5")
        back = {"offset": "0", "group": "dz6", "delayLevel": "0"}
        self.ask("send back, no such group", 36, back)
        self.ask("topics without creation", 21)
        self.ask("creation", 25, None, off.replace(b"false", b"true"))
        for perm in (0, 2, 4):
            self.ask(f"permission {perm}", 25, None, f"brokerPermission={perm}".encode())
            self.send(f"permission {perm}", send_fields())
            self.send(f"permission {perm}, order", send_fields("dorder"))
            self.ask(f"pull, permission {perm}", 11, self.pull_fields())
            self.ask(f"send back, permission {perm}", 36, dict(back, group="dback"))
        self.ask("permission back", 25, None, b"brokerPermission=6")
        self.ask("no long polling", 25, None, b"longPollingEnable=false\nshortPollingTimeMills=200")
        fields = self.pull_fields("dhold", sysFlag="6", queueOffset="2", suspendTimeoutMillis="0")
        self.ask("pull with short polling", 11, fields)
        self.ask("long polling", 25, None, b"longPollingEnable=true\nshortPollingTimeMills=1000")
        self.ask("size limit", 25, None, b"maxMessageSize=100")
        self.send("size limit 100", send_fields(), b"x" * 100)
        self.send("size limit 101", send_fields(), b"x" * 101)
        self.ask("size limit back", 25, None, b"maxMessageSize=4194304")

    def delays(self):
        self.create("ddelay", 2)
        for number, level in enumerate(("1", "1", "99", "18")):
            text = pairs(DELAY=level, KEYS=f"kdelay{number}", TAGS="D")
            self.send(f"delayed {number}", send_fields("ddelay", properties=text, queueId="1"))
        self.settle("ddelay", 1, 2)
        fields = self.pull_fields("ddelay", queueId="1")
        self.ask("pull of delayed", 11, fields)
        parked = self.pull_fields("SCHEDULE_TOPIC_XXXX", queueId="17")
        self.ask("pull of parked", 11, parked)
        conns, woken = self.ended
        for label in list(conns):
            woken(label, 12)

    def odd_groups(self):
        """Last, as Java enters groups of every name into its tables."""
        for label, code, fields in self.later:
            self.ask(label, code, fields)
        names = {"empty": "", "odd": "a.b c/d", "long": "g" * 300}
        for label, name in names.items():
            mask = {"queueId", "queueOffset"}
            self.send(f"to retry topic of {label} group", send_fields(f"%RETRY%{name}"), mask=mask)
            fields = self.pull_fields(consumerGroup=name)
            self.ask(f"pull of {label} group", 11, fields)
            fields = {"offset": "0", "group": name, "delayLevel": "0"}
            self.ask(f"send back of {label} group", 36, fields)
            data = json.dumps({"groupName": name}).encode()
            self.ask(f"group update of {label} group", 200, None, data)
            consumer = self.consumer(name, {"dl": "*"})
            self.beat(f"of {label} group", "i", [consumer], conn=f"group {label}")
        self.ask("group update of no group", 200, None, b"{}")
