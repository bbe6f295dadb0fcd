"""What the brokers are asked: sending."""

import wire
from asking import TOPIC, Asking, send_fields, short, without
from requests_namesrv import NUMBERS
from wire import pairs


class Sending(Asking):
    """Codes 10, 310 and 320, and those that are not served."""

    def unknown_codes(self):
        for code in (0, -1, 1, 13, 22, 27, 100, 105, 209, 301, 999, 32767, 100000):
            self.ask(f"unknown code {code}", code, {})
        self.ask("unknown code, binary", 999, {}, codec="binary")
        self.ask("unknown code, one way", 999, {}, flag=2, wait=0.4)
        self.ask("pull on the fast port", 11, {"topic": TOPIC}, port="fast")

    def sends(self):
        base = send_fields()
        self.create("dodd")
        odd, loose = send_fields("dodd"), {"queueOffset", "queueId"}
        for code, name in ((10, "10"), (310, "310")):
            for codec in ("json", "binary"):
                self.send(f"{name} {codec}", base, code=code, codec=codec)
            self.send(f"{name} fast port", base, code=code, port="fast")
            self.send(f"{name} without fields", None, code=code)
            self.send(f"{name} no fields", {}, code=code)
        self.send("310 with long names", base, code=10)
        self.ask("send 10 with short names", 10, short(odd), b"x")
        for name in base:
            for code in (10, 310):
                self.send(f"{code} without {name}", without(odd, name), code=code, mask=loose)
        numbers = ("defaultTopicQueueNums", "sysFlag", "bornTimestamp", "flag", "reconsumeTimes")
        for name in (*numbers, "maxReconsumeTimes"):
            for value in NUMBERS:
                self.send(f"{name} '{value}'", dict(odd, **{name: value}), mask=loose)
        for value in NUMBERS:
            self.send(f"queueId '{value}'", dict(odd, queueId=value), mask=loose)
        for value in ("3", "4", "5", "2147483647", "-2147483648", "2147483648"):
            self.send(f"queueId {value}", dict(odd, queueId=value), mask=loose)
        for value in ("True", "yes", "1", ""):
            for name in ("unitMode", "batch"):
                self.send(f"{name} '{value}'", dict(base, **{name: value}))
        for flag in (1, 2, 3, 4, 8, 12, 16, 32, 48, 64, 128, 255, 256, 0x300, 1 << 20, -1):
            self.send(f"sys flag {flag}", dict(base, sysFlag=str(flag)))
        for flag in (1, -1, 2147483647, -2147483648, 2147483648):
            self.send(f"flag {flag}", dict(base, flag=str(flag)))
        for count in ("0", "1", "16", "17", "2147483647", "-7"):
            self.send(f"reconsume times {count}", dict(base, reconsumeTimes=count))
        for label, body in {
            "empty": b"",
            "one byte": b"x",
            "zeros": bytes(1000),
            "1 MiB": b"m" * (1 << 20),
            "limit": b"l" * (4 << 20),
            "over the limit": b"l" * ((4 << 20) + 1),
            "all bytes": bytes(range(256)),
        }.items():
            self.send(f"body {label}", base, body)
        self.send("one way", base, flag=2, wait=0.3)
        for version in (0, 100, 121, 317, 409, 479, -1, 9999):
            self.send(f"version {version}", base, version=version)
        self.send("unknown fields", dict(base, zzz="y", bname="b", ns="n"))
        self.send("null fields", dict(base, maxReconsumeTimes=None))
        self.send("number fields", dict(base, queueId=1, flag=7, batch=False, unitMode=False))
        self.send("group empty", dict(base, producerGroup=""))

    def properties(self):
        base = send_fields()
        for label, text in {
            "null": None,
            "empty": "",
            "one": pairs(KEYS="k1"),
            "no end": "KEYS\x01k2",
            "no value": "KEYS\x01\x02",
            "no name": "\x01v\x02",
            "only separators": "\x02\x02\x01\x02",
            "no separator": "hello",
            "two values": "A\x01b\x01c\x02",
            "twice": "A\x011\x02A\x012\x02",
            "blanks": pairs(**{" A ": " b "}),
            "utf-8": pairs(KEYS="ключ", A="é😀\u2028"),
            "controls": "A\x01\n\t\x00\x03\x02",
            "keys": pairs(KEYS="a b  c", UNIQ_KEY="u2"),
            "wait true": pairs(WAIT="true", A="b"),
            "wait false": pairs(WAIT="false", A="b"),
            "wait first": "WAIT\x01true\x02TAGS\x01T\x02",
            "wait last, no end": "TAGS\x01T\x02WAIT\x01true",
            "wait only": pairs(WAIT="true"),
            "cluster": pairs(CLUSTER="mine", A="b"),
            "cluster empty": pairs(CLUSTER="", A="b"),
            "region": pairs(MSG_REGION="x", TRACE_ON="false"),
            "delay 0": pairs(DELAY="0"),
            "delay -1": pairs(DELAY="-1"),
            "delay abc": pairs(DELAY="abc"),
            "delay empty": "DELAY\x01\x02",
            "real topic": pairs(REAL_TOPIC="x", REAL_QID="9"),
            "transaction false": pairs(TRAN_MSG="false", PGROUP="p"),
            "transaction odd": pairs(TRAN_MSG="yes"),
            "retry topic": pairs(RETRY_TOPIC="r", ORIGIN_MESSAGE_ID="o"),
            "inner": pairs(INNER_NUM="3", INNER_BASE="5", DISPATCH="x"),
            "tags empty": "TAGS\x01\x02",
            "tags": pairs(TAGS="a||b"),
            "32000": pairs(A="x" * 32000),
            "32739": pairs(A="x" * 32739),
            "32740": pairs(A="x" * 32740),
            "32767": pairs(A="x" * 32764),
            "33000": pairs(A="x" * 33000),
            "40000 bytes of utf-8": pairs(A="é" * 20000),
            "many": "".join(f"N{i}\x01{i}\x02" for i in range(500)),
        }.items():
            self.send(f"properties {label}", dict(base, properties=text))
        self.send("properties binary", base, codec="binary")
        self.send("properties odd, binary", dict(base, properties="KEYS\x01k"), codec="binary")

    def topics_by_sending(self):
        names = {
            "blank": " ",
            "empty": "",
            "illegal": "a.b",
            "slash": "a/b",
            "at": "a@b",
            "dot dot": "..",
            "utf-8": "тема",
            "percent": "%a%",
            "pipe": "a|b",
            "127": "x" * 127,
            "128": "x" * 128,
            "255": "y" * 255,
            "256": "y" * 256,
            "new": "dnew1",
            "trailing newline": "dnl\n",
            "trailing blank": "dbl ",
            "retry, illegal": "%RETRY%a.b",
        }
        for label, name in names.items():
            for code in (10, 310, 320):
                fields = send_fields(name)
                body = wire.batch_item(b"in") if code == 320 else b"x"
                self.send(f"topic {label}, {code}", fields, body, code=code)
        system = (
            "TBW102 SCHEDULE_TOPIC_XXXX BenchmarkTest RMQ_SYS_TRANS_HALF_TOPIC "
            "RMQ_SYS_TRACE_TOPIC RMQ_SYS_TRANS_OP_HALF_TOPIC TRANS_CHECK_MAX_TIME_TOPIC "
            "SELF_TEST_TOPIC OFFSET_MOVED_EVENT DefaultCluster broker-a rmq_sys_x "
            "DefaultCluster_REPLY_TOPIC %DLQ%none %LMQ%a"
        )
        for name in system.split():
            self.send(f"topic {name}", send_fields(name))
        creations = {
            "defaults": {},
            "0 queues": {"defaultTopicQueueNums": "0"},
            "-3 queues": {"defaultTopicQueueNums": "-3"},
            "100 queues": {"defaultTopicQueueNums": "100"},
            "queue 7 of 4": {"queueId": "7"},
            "queue 4 of 4": {"queueId": "4"},
            "no such default": {"defaultTopic": "nothing"},
            "empty default": {"defaultTopic": ""},
            "default is cluster": {"defaultTopic": "DefaultCluster"},
            "default is broker": {"defaultTopic": "broker-a"},
            "default does not inherit": {"defaultTopic": "BenchmarkTest"},
            "default is ordinary": {"defaultTopic": TOPIC},
            "unit": {"unitMode": "true"},
            "default is schedule": {"defaultTopic": "SCHEDULE_TOPIC_XXXX"},
        }
        for number, (label, fields) in enumerate(creations.items()):
            mask = {"queueId"} if "100" in label else ()
            fields = send_fields(f"dc{number}", **fields)
            self.send(f"creates, {label}", fields, mask=mask)
        self.create("dwo", perm=2)
        self.create("dro", perm=4)
        self.create("dno", perm=0)
        self.create("dinh", perm=7)
        self.create("dw2r4", readQueueNums="4", writeQueueNums="2")
        self.create("dmulti", topicFilterType="MULTI_TAG")
        self.create("dorder", order="true")
        for name in ("dwo", "dro", "dno", "dinh", "dmulti", "dorder"):
            self.send(f"topic {name}", send_fields(name))
        self.send("write 2 read 4, queue 3", send_fields("dw2r4", queueId="3"))
        for name in ("dwo", "dinh"):
            fields = send_fields(f"from{name}", defaultTopic=name)
            self.send(f"creates from {name}", fields)
        self.ask("topics by sending", 21)

    def batches(self):
        base = send_fields(batch="true")
        one, two = wire.batch_item(b"one"), wire.batch_item(b"two", pairs(UNIQ_KEY="b2", TAGS="B"))
        bodies = {
            "one": one,
            "two": one + two,
            "three": one + two + wire.batch_item(b"", "A\x01b", 7),
            "empty": b"",
            "cut": (one + two)[:-1],
            "cut in head": one + two[:7],
            "short": b"abc",
            "text": b"hello, this is no batch at all",
            "size 0": wire.batch_item(b"x", size=0),
            "size -1": wire.batch_item(b"x", size=-1),
            "size small": wire.batch_item(b"x", size=10),
            "size great": wire.batch_item(b"x", size=1000),
            "magic": wire.batch_item(b"x", magic=-1),
            "crc": wire.batch_item(b"x", crc=12345),
            "40": b"".join(wire.batch_item(b"%d" % i) for i in range(40)),
            "properties with end": wire.batch_item(b"x", "A\x01b\x02"),
            "properties odd": wire.batch_item(b"x", "\x02\x02"),
            "wait inside": wire.batch_item(b"x", pairs(WAIT="false")),
            "delay inside": wire.batch_item(b"x", pairs(DELAY="2")),
        }
        for label, body in bodies.items():
            self.send(f"batch {label}", base, body, code=320)
            if label in ("one", "two", "text"):
                self.send(f"batch {label}, 310", base, body)
                self.send(f"batch {label}, 10", base, body, code=10)
                self.send(f"batch {label}, binary", base, body, code=320, codec="binary")
        self.send("batch one, no flag", send_fields(), one, code=320)
        for label, text in {
            "none": None,
            "empty": "",
            "no end": "A\x01b",
            "delay": pairs(DELAY="1"),
            "transaction": pairs(TRAN_MSG="true"),
            "wait": pairs(WAIT="true", A="b"),
            "cluster": pairs(CLUSTER="x"),
            "long": pairs(A="x" * 32000),
            "longer": pairs(A="x" * 32760),
        }.items():
            fields = dict(base, properties=text)
            self.send(f"batch with properties {label}", fields, one + two, code=320)
        for name, value in (("queueId", "9"), ("queueId", "-1"), ("sysFlag", "4"), ("flag", "3")):
            mask = {"queueId", "queueOffset"} if value == "-1" else ()
            fields = dict(base, topic="dodd" if mask else TOPIC, **{name: value})
            self.send(f"batch {name} {value}", fields, one + two, code=320, mask=mask)
        self.send("batch to retry topic", dict(base, topic="%RETRY%dg9"), one, code=320)
        self.send("batch 1 MiB", base, wire.batch_item(b"x" * (1 << 20)) + one, code=320)
        great = wire.batch_item(b"x" * (4 << 20))
        self.send("batch over the limit", base, great, code=320)

    def retries(self):
        mask = {"queueId"}
        three = {"topic": "%RETRY%dg1", "maxReconsumeTimes": "3"}
        for label, fields in {
            "new group": {"topic": "%RETRY%dg1"},
            "times 15": {"topic": "%RETRY%dg1", "reconsumeTimes": "15"},
            "times 16": {"topic": "%RETRY%dg1", "reconsumeTimes": "16"},
            "times 3 of 3": dict(three, reconsumeTimes="3"),
            "times 2 of 3": dict(three, reconsumeTimes="2"),
            "times -1": {"topic": "%RETRY%dg1", "maxReconsumeTimes": "-1"},
            "unit": {"topic": "%RETRY%dg2", "unitMode": "true"},
            "dead letter topic": {"topic": "%DLQ%dg1"},
        }.items():
            self.send(f"retry, {label}", send_fields(**fields), mask=mask)
            again = f"retry, {label}, old version"
            self.send(again, send_fields(**fields), mask=mask, version=100)
        self.ask("topics after retries", 21)
        self.ask("groups after retries", 201)
