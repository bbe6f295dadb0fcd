"""What the brokers are asked: queries, offsets, clients, pulls, locks, messages sent back."""

import json
import time

import wire
from asking import TOPIC, Asking, send_fields, short, without
from requests_namesrv import NUMBERS
from servers import SETTLED_SECONDS
from wire import pairs


class Consuming(Asking):
    """Codes 11, 12, 14, 15, 29 to 36, 38, 40 to 42, 46, 202 to 204 and 208."""

    def queries(self):
        def key(text):
            fields = {
                "topic": "dq",
                "key": text,
                "maxNum": "32",
                "beginTimestamp": "0",
                "endTimestamp": str(2**63 - 1),
            }
            return fields

        self.create("dq")
        first = self.send("for queries", send_fields("dq", properties=pairs(KEYS="ka kb")))
        both = pairs(UNIQ_KEY="UQ1", KEYS="kb")
        self.send("for queries 2", send_fields("dq", properties=both, queueId="1"))
        items = [wire.batch_item(b"%d" % i, pairs(KEYS=f"kc kd{i}")) for i in range(5)]
        self.send("for queries 3", send_fields("dq", properties="", batch="true"), b"".join(items))
        self.settle("dq", 0, 6)
        time.sleep(SETTLED_SECONDS)
        for text in ("ka", "kb", "kc", "kd3", "UQ1", "none", "", "ka kb", "k" * 1000):
            self.ask(f"query '{text[:9]}'", 12, key(text))
        for text in ("UQ1", "kb", "none"):
            fields = dict(key(text), _UNIQUE_KEY_QUERY="true", maxNum="0")
            self.ask(f"query unique '{text}'", 12, fields)
        for value in ("0", "1", "2", "-1", "64", "65", "100000"):
            self.ask(f"query, {value} at most", 12, dict(key("kc"), maxNum=value))
        now = int(time.time() * 1000)
        for label, begin, end in (
            ("past", 0, 1000),
            ("future", now + 3_600_000, now + 7_200_000),
            ("backwards", now + 60_000, now - 60_000),
            ("around", now - 60_000, now + 60_000),
            ("negative", -5, -1),
        ):
            fields = dict(key("kb"), beginTimestamp=str(begin), endTimestamp=str(end))
            self.ask(f"query, times {label}", 12, fields)
        self.ask("query of other topic", 12, dict(key("ka"), topic=TOPIC))
        self.ask("query of no topic", 12, dict(key("ka"), topic="nothing"))
        self.each_field("query", 12, key("kb"), values=("", "abc"))
        offset = int(first.fields["msgId"][-16:], 16)
        self.each_field("view", 33, {"offset": str(offset)}, values=("", "abc", "-1", "+7"))
        for label, at in (
            ("0", 0),
            ("1", 1),
            ("inside", offset + 1),
            ("inside, later", offset + 50),
            ("far", 1 << 40),
            ("end of file", (64 << 20) - 2),
            ("next file", 64 << 20),
            ("greatest", 2**63 - 1),
        ):
            mask = {"remark"} if "inside" in label else ()
            self.ask(f"view at {label}", 33, {"offset": str(at)}, mask=mask)

    def offsets(self):
        queue = {"topic": "dq", "queueId": "0"}
        for code in (30, 31, 32):
            self.each_field(f"offset {code}", code, queue)
            for label, fields in {
                "other topic": {"topic": "nothing", "queueId": "0"},
                "no queue": {"topic": "dq", "queueId": "99"},
                "empty queue": {"topic": "dq", "queueId": "3"},
                "committed": dict(queue, committed="false"),
            }.items():
                self.ask(f"offset {code}, {label}", code, fields)
        now = int(time.time() * 1000)
        for label, when in (
            ("0", 0),
            ("-1", -1),
            ("past", 1000),
            ("now", now),
            ("future", now + 3_600_000),
            ("greatest", 2**63 - 1),
        ):
            for name, number in (("dq", "0"), ("dq", "3"), ("nothing", "0"), ("dq", "99")):
                fields = {"topic": name, "queueId": number, "timestamp": str(when)}
                self.ask(f"offset by time {label} of {name} {number}", 29, fields)
        self.each_field("offset by time", 29, dict(queue, timestamp="5"))
        for name in ("dq", "nothing", "TBW102", "SCHEDULE_TOPIC_XXXX"):
            self.ask(f"topic stats {name}", 202, {"topic": name})
        self.each_field("topic stats", 202, {"topic": "dq"}, values=("",))

    def group_offsets(self):
        queue = {"consumerGroup": "do1", "topic": "dq", "queueId": "0"}
        self.ask("offset of young group", 14, queue)
        self.ask("offset of young group, no topic", 14, dict(queue, topic="nothing"))
        self.ask("offset of young group, no queue", 14, dict(queue, queueId="99"))
        self.each_field("commit", 15, dict(queue, commitOffset="3"), values=("", "abc"))
        for value in ("3", "5", "2", "0", "-1", "99999", str(2**63 - 1), "-7"):
            self.ask(f"commit {value}", 15, dict(queue, commitOffset=value))
            self.ask(f"offset after commit {value}", 14, queue)
        self.ask("commit one way", 15, dict(queue, commitOffset="4"), flag=2, wait=0.3)
        self.ask("offset after one way", 14, queue)
        self.ask("commit of nothing", 15, dict(queue, topic="nothing", commitOffset="8"))
        self.ask("offset of nothing", 14, dict(queue, topic="nothing"))
        self.ask("commit of no queue", 15, dict(queue, queueId="-4", commitOffset="8"))
        self.ask("offset of no queue", 14, dict(queue, queueId="-4"))
        self.each_field("offset of group", 14, queue, values=("", "abc"))
        stats = {"consumerGroup": "do1", "topic": "dq"}
        self.each_field("consume stats", 208, stats, values=("", "zz"))
        self.ask("consume stats, no group", 208, {"consumerGroup": "zz"})

    def clients(self):
        consumer = self.consumer
        mask = {"x"}
        self.group_state("nobody", "dh1")
        self.beat("first", "id1", [consumer("dh1", {"dq": "*"})], ["dp1"], conn="c1")
        self.notices("first", "c1")
        self.group_state("first", "dh1")
        self.ask("producers", 204, {"producerGroup": "dp1"})
        self.beat("again", "id1", [consumer("dh1", {"dq": "*"})], ["dp1"], conn="c1")
        self.notices("again", "c1")
        self.beat("second", "id2", [consumer("dh1", {"dq": "*"})], conn="c2", codec="binary")
        self.notices("second", "c1", "c2")
        self.group_state("second", "dh1")
        self.beat("new version", "id2", [consumer("dh1", {"dq": "A||B"}, 2)], conn="c2")
        self.notices("new version", "c1", "c2")
        self.group_state("new version", "dh1")
        self.beat("old version", "id2", [consumer("dh1", {"dq": "C"}, 1)], conn="c2")
        self.group_state("old version", "dh1")
        two = {"dq": "*", TOPIC: "T"}
        self.beat("more topics", "id2", [consumer("dh1", two, 3)], conn="c2")
        self.notices("more topics", "c1", "c2")
        self.group_state("more topics", "dh1")
        other = consumer("dh1", {"dq": "*"}, 3, consumeType="CONSUME_ACTIVELY")
        other.update(messageModel="BROADCASTING", consumeFromWhere="CONSUME_FROM_TIMESTAMP")
        self.beat("other model", "id2", [other], conn="c2")
        self.notices("other model", "c1", "c2")
        self.group_state("other model", "dh1")
        self.beat("other id", "id3", [consumer("dh1", {"dq": "*"}, 3)], conn="c2")
        self.notices("other id", "c1", "c2")
        self.group_state("other id", "dh1")
        self.beat("unit mode", "id4", [consumer("dh2", {"dq": "*"}, unitMode=True)], conn="c3")
        self.beat("SQL", "id4", [consumer("dh3", {"dq": "a > 1"}, kind="SQL92")], conn="c3")
        none = {"groupName": "dhq", "notifyConsumerIdsChangedEnable": False}
        self.side.quiet(200, None, json.dumps(none).encode())
        for name in ("q1", "q2"):
            self.beat(f"of {name}", name, [consumer("dhq", {"dq": "*"})], conn=name)
        self.notices("none", "q1", "q2")
        self.beat("bad SQL", "id4", [consumer("dh4", {"dq": "a >"}, kind="SQL92")], conn="c3")
        self.beat("odd type", "id4", [consumer("dh5", {"dq": "a"}, kind="ODD")], conn="c3")
        self.group_state("SQL", "dh3")
        odd = {
            "empty": {},
            "null sets": {"clientID": "i", "producerDataSet": None, "consumerDataSet": None},
            "no client": {"producerDataSet": [{"groupName": "dp9"}], "consumerDataSet": []},
            "no group": {"clientID": "i", "consumerDataSet": [{}], "producerDataSet": []},
            "producer without name": {"clientID": "i", "producerDataSet": [{}]},
            "nothing subscribed": {
                "clientID": "i",
                "producerDataSet": [],
                "consumerDataSet": [{"groupName": "dh6", "subscriptionDataSet": []}],
            },
            "null subscriptions": {
                "clientID": "i",
                "producerDataSet": [],
                "consumerDataSet": [{"groupName": "dh7", "subscriptionDataSet": None}],
            },
            "unknown enums": {
                "clientID": "i",
                "producerDataSet": [],
                "consumerDataSet": [consumer("dh8", {"dq": "*"}, consumeType="X")],
            },
        }
        for number, (label, body) in enumerate(odd.items()):
            text = json.dumps(body).encode()
            self.ask(f"heartbeat {label}", 34, None, text, conn=f"odd{number}")
        for label, body in {
            "none": b"",
            "broken": b"{",
            "text": b"hello",
            "list": b"[]",
            "null": b"null",
        }.items():
            self.ask(f"heartbeat body {label}", 34, None, body, conn="oddbody")
        for group in ("dh2", "dh5", "dh6", "dh7", "dh8", "none", ""):
            self.group_state(f"group '{group}'", group)
        for code, name in ((38, "consumerGroup"), (203, "consumerGroup"), (204, "producerGroup")):
            self.each_field(f"members {code}", code, {name: "zz"}, values=("",), mask=mask)
        self.ask("topics after heartbeats", 21)
        self.ask("groups after heartbeats", 201)
        self.unregistering()
        self.client_configs()

    def unregistering(self):
        base = {"clientID": "id3", "producerGroup": "dp1", "consumerGroup": "dh1"}
        self.ask("unregister elsewhere", 35, base, conn="c9")
        self.notices("unregistered elsewhere", "c1", "c2")
        self.group_state("unregistered elsewhere", "dh1")
        self.ask("unregister", 35, base, conn="c2")
        self.notices("unregister", "c1", "c2")
        self.group_state("unregistered", "dh1")
        self.ask("unregister producer", 35, without(base, "consumerGroup"), conn="c1")
        self.ask("producers after unregister", 204, {"producerGroup": "dp1"})
        self.beat("back", "id2", [self.consumer("dh1", {"dq": "*"}, 3)], conn="c2")
        self.notices("back", "c1", "c2")
        self.side.drop("c2")
        self.notices("closed", "c1")
        self.group_state("closed", "dh1")
        self.side.drop("c1")
        time.sleep(SETTLED_SECONDS)
        self.group_state("all closed", "dh1")
        for name in base:
            self.ask(f"unregister without {name}", 35, without(base, name), conn="c9")
        self.ask("unregister without fields", 35, None, conn="c9")

    def client_configs(self):
        def body(**data):
            data = dict({"topic": "dq", "subString": "*", "expressionType": "TAG"}, **data)
            return json.dumps({"clientId": "i", "group": "g", "subscriptionData": data}).encode()

        for label, data in {
            "tags": body(subString="a||b"),
            "no type": body(expressionType=None),
            "empty type": body(expressionType=""),
            "SQL": body(subString="a > 1", expressionType="SQL92"),
            "bad SQL": body(subString="a >", expressionType="SQL92"),
            "odd type": body(expressionType="ODD"),
            "no data": b'{"clientId":"i","group":"g"}',
            "empty": b"{}",
            "none": b"",
            "broken": b"{",
            "null": b"null",
        }.items():
            self.ask(f"check config {label}", 46, None, data)
        self.ask("check config, fast port", 46, None, body(), port="fast")

    def pulls(self):
        self.create("dl")
        for number, tag in enumerate(["A", "B", "A", None, "C", "BBBB", "AaAa"]):
            text = pairs(TAGS=tag, N=number) if tag else pairs(N=number)
            self.send(f"for pull {number}", send_fields("dl", properties=text))
        self.settle("dl", 0, 7)
        fields = self.pull_fields

        def pull(label, **more):
            how = {name: more.pop(name) for name in ("codec", "version", "conn") if name in more}
            self.ask(f"pull {label}", 11, fields(**more), **how)

        for codec in ("json", "binary"):
            pull(f"all, {codec}", codec=codec)
            for offset in ("0", "3", "6", "7", "8", "100", "-1", "-100", str(2**63 - 1)):
                pull(f"at {offset}, {codec}", queueOffset=offset, codec=codec)
        for offset in ("0", "1", "-1"):
            pull(f"empty queue at {offset}", queueId="2", queueOffset=offset)
        for number in ("0", "1", "3", "-1", "1000", "2147483647", "-2147483648"):
            pull(f"{number} at most", maxMsgNums=number)
        for expression in (
            "*", "", "A", "B", "A || B", "A||C", "||", " | ", "nothing", " A ", "a", "AaBB", "A||A",
        ):  # fmt: skip
            pull(f"tags '{expression}'", subscription=expression)
        pull("tags null", subscription=None)
        for kind in ("TAG", "", None, "tag", "SQL92", "ODD"):
            pull(f"type {kind}", expressionType=kind, subscription="A")
        for expression in ("N = 2", "N >", ""):
            pull(f"SQL '{expression}'", expressionType="SQL92", subscription=expression)
        for flag in range(0, 32):
            if not flag & 2:
                pull(f"flag {flag}", sysFlag=str(flag))
        pull("flag -1", sysFlag="-1", consumerGroup="dpullx")
        for queue in ("-1", "3", "4", "2147483647"):
            pull(f"queue {queue}", queueId=queue)
        pull("no topic", topic="nothing")
        pull("odd topic", topic="a.b")
        for name in ("dwo", "dno", "dro", "dw2r4", "TBW102", "OFFSET_MOVED_EVENT"):
            pull(f"topic {name}", topic=name)
        pull("write 2 read 4, queue 3", topic="dw2r4", queueId="3")
        pull("new group", consumerGroup="dpullnew")
        off = {"groupName": "doff", "consumeEnable": False}
        self.ask("group off", 200, None, json.dumps(off).encode())
        pull("group off", consumerGroup="doff")
        slow = {"groupName": "dslow", "brokerId": 3, "whichBrokerWhenConsumeSlowly": 7}
        self.ask("group with brokers", 200, None, json.dumps(slow).encode())
        pull("group with brokers", consumerGroup="dslow")
        some = fields()
        for name in some:
            self.ask(f"pull without {name}", 11, without(some, name))
            for value in ("", "abc"):
                if name != "consumerGroup":
                    self.ask(f"pull, {name} '{value}'", 11, dict(some, **{name: value}))
        self.ask("pull without fields", 11)
        pull("commits", sysFlag="5", commitOffset="4", consumerGroup="dcommit")
        group = {"consumerGroup": "dcommit", "topic": "dl", "queueId": "0"}
        self.ask("committed by pull", 14, group)
        more = {"sysFlag": "5", "consumerGroup": "dcommit"}
        pull("commits, moved", commitOffset="6", queueOffset="77", **more)
        self.ask("committed by moved pull", 14, group)
        pull("commits, refused", commitOffset="1", topic="nothing", **more)
        self.ask("committed by refused pull", 14, dict(group, topic="nothing"))
        self.ask("pull one way", 11, fields(), flag=2, wait=0.3)
        self.many()
        moved = {"topic": "OFFSET_MOVED_EVENT", "queueId": "0", "queueOffset": "0"}
        self.settle("OFFSET_MOVED_EVENT", 0, 3)
        self.ask("pull of moved events", 11, fields(**moved))

    def many(self):
        """Limits of count and size."""
        self.create("dmany", 1)
        items = b"".join(wire.batch_item(b"%d" % i, pairs(TAGS="X")) for i in range(500))
        batch = send_fields("dmany", batch="true", properties="")
        for _ in range(2):
            self.side.quiet(320, short(batch), items)
        self.side.quiet(310, short(send_fields("dmany")), b"last")
        for _ in range(4):
            self.side.quiet(310, short(send_fields("dmany")), b"b" * 100_000)
        self.side.quiet(310, short(send_fields("dmany")), b"c" * 1_000_000)
        self.settle("dmany", 0, 1006)
        for label, more in {
            "32": {},
            "1000": {"maxMsgNums": "1000"},
            "scan": {"subscription": "A"},
            "scan 900": {"subscription": "A", "maxMsgNums": "900"},
            "scan none": {"subscription": "Z"},
            "scan from 700": {"subscription": "A", "queueOffset": "700"},
            "big": {"queueOffset": "1000"},
            "great": {"queueOffset": "1005"},
            "four": {"queueOffset": "1001", "maxMsgNums": "3"},
        }.items():
            self.ask(f"pull many {label}", 11, self.pull_fields("dmany", **more))

    def pull_subscriptions(self):
        """Pulls that go by what the group subscribed."""

        def pull(label, group, **more):
            fields = self.pull_fields(sysFlag="0", consumerGroup=group, **more)
            self.ask(f"pull subscribed {label}", 11, fields)

        pull("by nobody", "dnobody")
        tags = self.consumer("dsub", {"dl": "A||C"}, 5)
        self.beat("to pull", "idp", [tags], conn="sub", note=False)
        pull("tags", "dsub")
        pull("tags, subscription ignored", "dsub", subscription="B")
        pull("older version", "dsub", subVersion="4")
        pull("same version", "dsub", subVersion="5")
        pull("newer version", "dsub", subVersion="6")
        pull("other topic", "dsub", topic="dq")
        real = self.consumer("dsub2", {"dl": "A||C"}, 5)
        real["subscriptionDataSet"][0].update(tagsSet=["A", "C"], codeSet=[65, 67])
        self.beat("to pull 2", "idp", [real], conn="sub", note=False)
        pull("tags with codes", "dsub2")
        everything = self.consumer("dsub3", {"dl": "*"}, 5)
        self.beat("to pull 3", "idp", [everything], conn="sub", note=False)
        pull("everything", "dsub3")
        broad = self.consumer("dsub4", {"dl": "*"}, 5, messageModel="BROADCASTING")
        group = {"groupName": "dsub4", "consumeBroadcastEnable": False}
        self.ask("group without broadcast", 200, None, json.dumps(group).encode())
        self.beat("to pull 4", "idp", [broad], conn="sub", note=False)
        pull("broadcast", "dsub4")
        fields = self.pull_fields(consumerGroup="dsub4")
        self.ask("pull broadcast, own subscription", 11, fields)
        sql = self.consumer("dsub5", {"dl": "N = 1"}, 5, kind="SQL92")
        self.beat("to pull 5", "idp", [sql], conn="sub", note=False)
        pull("SQL", "dsub5", expressionType="SQL92")

    def holds(self):
        """Pulls that wait: woken by a message, ended by their time."""
        side = self.side
        self.create("dhold")
        conns = {}

        def hold(label, codec="json", **more):
            more = {"suspendTimeoutMillis": "20000", **more}
            fields = self.pull_fields("dhold", sysFlag="6", **more)
            conn = side.conn(f"hold {label}")
            conns[label] = (conn, conn.send(11, fields, codec=codec))

        def answer(label, seconds):
            """The answer to a pull that waits. One whose tag the new messages do not have is sent
            again, as clients do: Java's broker ends it when it looks, each 5 s."""
            conn, opaque = conns[label]
            answer = conn.receive(opaque, seconds)
            silent = isinstance(answer, str)
            if side.kind == "java" and label == "tag B" and not silent and answer.code == 20:
                hold(label, subscription="B", queueOffset=answer.fields["nextBeginOffset"])
                return conn.receive(conns[label][1], seconds)
            return answer

        def woken(label, seconds=5):
            side.note(f"broker/hold {label}", 11, answer(label, seconds))
            del conns[label]

        hold("ends", queueId="3", suspendTimeoutMillis="300")
        hold("ends, other offset", queueId="3", queueOffset="0", suspendTimeoutMillis="0")
        self.ask("hold, moved", 11, self.pull_fields("dhold", sysFlag="6", queueOffset="5"))
        hold("json")
        hold("binary", codec="binary")
        hold("tag A", subscription="A")
        hold("tag B", subscription="B")
        hold("other queue", queueId="1")
        time.sleep(SETTLED_SECONDS)
        tagged = send_fields("dhold", properties=pairs(TAGS="A"))
        self.send("to held", tagged)
        for label in ("json", "binary", "tag A"):
            woken(label)
        for label in ("tag B", "other queue"):
            side.note(f"broker/hold {label}, still", 11, answer(label, 0.3))
        self.send("to held B", send_fields("dhold", properties=pairs(TAGS="B")))
        woken("tag B")
        self.send("to other queue", send_fields("dhold", queueId="1"))
        woken("other queue")
        hold("group off", queueOffset="2", consumerGroup="dholdoff")
        time.sleep(SETTLED_SECONDS)
        off = {"groupName": "dholdoff", "consumeEnable": False}
        self.side.quiet(200, None, json.dumps(off).encode())
        self.send("to held of a group that is off", send_fields("dhold"))
        woken("group off")
        self.ended = conns, woken

    def locks(self):
        def queue(number, topic="dl"):
            return {"topic": topic, "brokerName": "broker-a", "queueId": number}

        def body(client, *queues, group="dlock"):
            data = {"consumerGroup": group, "clientId": client, "mqSet": list(queues)}
            return json.dumps(data).encode()

        steps = [
            ("lock", 41, body("i1", queue(0), queue(1))),
            ("lock by other", 41, body("i2", queue(1), queue(2))),
            ("lock again", 41, body("i1", queue(0))),
            ("unlock by other", 42, body("i2", queue(0))),
            ("lock after that", 41, body("i2", queue(0))),
            ("unlock", 42, body("i1", queue(0), queue(3))),
            ("lock after unlock", 41, body("i2", queue(0), queue(1))),
            ("lock in other group", 41, body("i3", queue(0), group="dlock2")),
            ("lock nothing", 41, body("i3")),
            ("lock unknown topic", 41, body("i3", queue(9, "nothing"))),
            ("lock twice", 41, body("i4", queue(7), queue(7))),
            ("lock no client", 41, b'{"consumerGroup":"dlock3","mqSet":[]}'),
            ("lock no group", 41, b'{"clientId":"x","mqSet":[]}'),
            ("lock no set", 41, b'{"clientId":"x","consumerGroup":"dlock4"}'),
            ("lock null set", 41, b'{"clientId":"x","consumerGroup":"dlock4","mqSet":null}'),
            ("lock empty", 41, b"{}"),
            ("lock none", 41, b""),
            ("lock broken", 41, b"{"),
            ("lock null", 41, b"null"),
            ("unlock empty", 42, b"{}"),
            ("unlock none", 42, b""),
            ("unlock unknown group", 42, body("i9", queue(0), group="zz")),
        ]
        for label, code, data in steps:
            self.ask(label, code, None, data)
            if label == "lock":
                self.ask("lock, fast port", code, None, data, port="fast")
                self.ask("lock, binary", code, None, data, codec="binary")

    def send_backs(self):
        first = self.side.quiet(310, short(send_fields("dl")), b"again")
        offset = str(int(first.fields["msgId"][-16:], 16))
        base = {
            "offset": offset,
            "group": "dback",
            "delayLevel": "-1",
            "originMsgId": "x",
            "originTopic": "dl",
            "unitMode": "false",
            "maxReconsumeTimes": "16",
        }
        self.ask("send back to dead letters", 36, base)
        self.settle("%DLQ%dback", 0, 1)
        self.ask("dead letter", 11, self.pull_fields("%DLQ%dback"))
        self.ask("send back, 0 times", 36, dict(base, delayLevel="0", maxReconsumeTimes="0"))
        self.ask("send back, old version", 36, dict(base, maxReconsumeTimes="0"), version=100)
        self.settle("%DLQ%dback", 0, 3)
        self.ask("dead letters", 11, self.pull_fields("%DLQ%dback"))
        for label, more in {
            "no message": {"offset": "999999999"},
            "negative offset": {"offset": "-1"},
            "inside a record": {"offset": str(int(offset) + 1)},
        }.items():
            mask = {"remark"} if "inside" in label else ()
            self.ask(f"send back, {label}", 36, dict(base, **more), mask=mask)
        for name in base:
            self.ask(f"send back without {name}", 36, without(base, name))
        self.ask("send back without fields", 36)
        for value in NUMBERS:
            self.ask(f"send back, offset '{value}'", 36, dict(base, offset=value))
        none = {"groupName": "dback0", "retryQueueNums": 0}
        self.ask("group without retry", 200, None, json.dumps(none).encode())
        self.ask("send back, no retry", 36, dict(base, group="dback0"))
        three = {"groupName": "dback3", "retryQueueNums": 3, "retryMaxTimes": 1}
        self.side.quiet(200, None, json.dumps(three).encode())
        fields = without(dict(base, group="dback3", delayLevel="0"), "maxReconsumeTimes")
        self.ask("send back, three retry queues", 36, fields)
        self.create("%RETRY%dback1", 1, 4)
        self.ask("send back, no permission", 36, dict(base, group="dback1"))
        self.ask("topics after send back", 21)
