"""What the brokers are asked about clients, and ask them: transactions, replies, relays, resets."""

import json

import wire
from asking import Asking, send_fields, short, without
from wire import pairs

HALF, OPS = "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"
COMMIT, ROLLBACK = "8", "12"
# What differs from run to run, and with what one side alone has stored.
PLACES = {"preparedTransactionOffset", "queueOffset", "physicalOffset"}
SPANS = {"delayTime", "consumeTimeStampStr", "maxTimeStampStr", "minTimeStampStr"}


class Clients(Asking):
    """Codes 37, 43, 45, 220 to 223, 303, 307 to 309, 314, 315, 321, 323 to 326 and 328."""

    def answered(self, label, code, fields, client, answer=(0, None, b""), **how):
        """A request whose handling has the broker ask a client; answer None: it stays silent."""
        side, body = self.side, how.pop("body", b"")
        conn, theirs = side.conn("asker"), side.conn(client)
        opaque = conn.send(code, fields, body, **how)
        asked = theirs.receive(None, 2)
        if not isinstance(asked, str) and "properties" in (asked.fields or {}):
            # In an order of each kind's own.
            pieces = asked.fields["properties"].split("\x02")
            asked.fields["properties"] = "\x02".join(sorted(filter(None, pieces)))
        # The body of 309 is a record.
        side.note(f"broker/{label}, asked", 11 if code == 309 else 0, asked, PLACES)
        if answer is not None and not isinstance(asked, str) and not asked.flag & wire.ONE_WAY:
            code, remark, body = answer
            header = {
                "code": code, "language": "JAVA", "version": 401, "opaque": asked.opaque,
                "flag": 1, "serializeTypeCurrentRPC": "JSON", "remark": remark,
            }  # fmt: skip
            theirs.send_raw(wire.frame(json.dumps(header).encode(), body))
        side.note(f"broker/{label}", 0, conn.receive(opaque, 12))

    # Transactions

    def half(self, label, **more):
        """Stores a half message; returns what an end of it says."""
        properties = pairs(TRAN_MSG="true", PGROUP="dtp", UNIQ_KEY="tx", TAGS="A", **more)
        fields = send_fields("dtx", producerGroup="dtp", sysFlag="4", properties=properties)
        answer = self.send(f"half, {label}", fields, b"half", mask={"queueOffset"})
        return {
            "producerGroup": "dtp",
            "tranStateTableOffset": answer.fields["queueOffset"],
            "commitLogOffset": str(int(answer.fields["msgId"][-16:], 16)),
            "commitOrRollback": COMMIT,
            "fromTransactionCheck": "false",
            "msgId": "x",
            "transactionId": "x",
        }

    def transactions(self):
        ask = self.ask
        self.create("dtx", 1)
        self.beat("of a producer", "itx", [], ["dtp"], conn="tx")
        ask("end", 37, self.half("committed"))
        ask("end, rolled back", 37, dict(self.half("rolled back"), commitOrRollback=ROLLBACK))
        ask("end, binary", 37, self.half("binary"), codec="binary")
        ask("end, of a check", 37, dict(self.half("checked"), fromTransactionCheck="true"))
        ask("end one way", 37, self.half("one way"), flag=2, wait=0.3)
        ask("end, retried", 37, self.half("retried", RECONSUME_TIME="3"))
        ask("end, fast port", 37, self.half("fast"), port="fast")
        self.settle("dtx", 0, 4)
        ask("committed messages", 11, self.pull_fields("dtx"), mask=PLACES)
        ask("half messages", 11, self.pull_fields(HALF), mask=PLACES)
        ask("ops", 11, self.pull_fields(OPS), mask=PLACES)
        base = self.half("odd ends")
        for label, more in {
            "unknown": {"commitOrRollback": "0"},
            "unknown, of a check": {"commitOrRollback": "0", "fromTransactionCheck": "true"},
            "odd decision": {"commitOrRollback": "5"},
            "other group": {"producerGroup": "other"},
            "other place": {"tranStateTableOffset": "0"},
            "no message": {"commitLogOffset": "99999999999"},
            "negative": {"commitLogOffset": "-1"},
            "inside": {"commitLogOffset": str(int(base["commitLogOffset"]) + 4)},
        }.items():
            wait = 0.5 if "unknown" in label else 8
            mask = {"remark"} if label == "inside" else ()
            ask(f"end, {label}", 37, dict(base, **more), wait=wait, mask=mask)
        plain = self.side.quiet(310, short(send_fields("dtx")), b"plain")
        at = {"commitLogOffset": str(int(plain.fields["msgId"][-16:], 16))}
        at["tranStateTableOffset"] = plain.fields["queueOffset"]
        ask("end of what is no half message", 37, dict(base, **at))
        for name in base:
            ask(f"end without {name}", 37, without(base, name))
        for name in ("tranStateTableOffset", "commitLogOffset", "commitOrRollback"):
            for value in ("", "abc"):
                ask(f"end, {name} '{value}'", 37, dict(base, **{name: value}))
        ask("end without fields", 37)
        for kind, text in {
            "without group": pairs(TRAN_MSG="true"),
            "TRUE": pairs(TRAN_MSG="TRUE", PGROUP="dtp"),
            "with an origin": pairs(TRAN_MSG="true", PGROUP="dtp", REAL_TOPIC="a", REAL_QID="9"),
            "to be retried": pairs(TRAN_MSG="true", PGROUP="dtp", DELAY="17"),
        }.items():
            again = {"reconsumeTimes": "2"} if "retried" in kind else {}
            fields = send_fields("dtx", properties=text, **again)
            self.send(f"half {kind}", fields, mask={"queueOffset"})
        for label, value in {"nothing": "", "text": "abc", "short": "00" * 16}.items():
            ask(f"resume, {label}", 323, {"msgId": value})
        ask("resume without fields", 323)
        ask("resume of a plain message", 323, {"msgId": plain.fields["msgId"]})
        self.side.quiet(25, None, b"rejectTransactionMessage=true\n")
        self.send("half, refused", send_fields("dtx", properties=pairs(TRAN_MSG="true")))
        self.side.quiet(25, None, b"rejectTransactionMessage=false\n")

    # Replies

    def replies(self):
        self.create("drr", 2)
        self.beat("of a requester", "irr", [], ["drp"], conn="rr")
        to = {"REPLY_TO_CLIENT": "irr", "CORRELATION_ID": "c1", "MSG_TYPE": "reply", "TTL": "3000"}

        def fields(topic="drr", properties=to, **more):
            return send_fields(topic, properties=pairs(**properties), **more)

        def reply(label, fields, answer=(0, None, b""), code=325, **how):
            fields = short(fields) if code == 325 else fields
            self.answered(f"reply {label}", code, fields, "rr", answer, body=b"reply", **how)

        reply("", fields())
        reply("in the long form", fields(), code=324)
        reply("binary", fields(), codec="binary")
        reply("refused", fields(), (1, "not wanted", b""))
        reply("to nobody", fields(properties=dict(to, REPLY_TO_CLIENT="nobody")))
        for name in to:
            reply(f"without {name}", fields(properties=without(to, name)))
        reply("without properties", fields(properties={}))
        reply("of a new topic", fields("drr-new"))
        reply("to another queue", fields(queueId="1"))
        reply("to a queue too many", fields(queueId="16"))
        reply("to an odd topic", fields("a.b"))
        reply("to a system topic", fields("SCHEDULE_TOPIC_XXXX"))
        reply("delayed", fields(properties=dict(to, DELAY="17")))
        self.ask("reply without fields", 325)
        self.side.quiet(25, None, b"storeReplyMessageEnable=false\n")
        reply("not stored", fields())
        reply("not stored, to nobody", fields(properties=dict(to, REPLY_TO_CLIENT="nobody")))
        self.side.quiet(25, None, b"storeReplyMessageEnable=true\n")
        self.ask("replies stored", 11, self.pull_fields("drr"), mask=PLACES)

    # What is asked of consumers

    def relays(self):
        self.create("dre", 2)
        for number in range(6):
            fields = send_fields("dre", queueId=str(number % 2))
            sent = self.send(f"to be relayed {number}", fields, b"x")
        for queue in range(2):
            self.settle("dre", queue, 3)
        member = self.consumer("dreg", {"dre": "*"})
        self.beat_relayed()
        self.notices("of a relayed one", "re")
        info = {"consumerGroup": "dreg", "clientId": "ire", "jstackEnable": "true"}
        for code, name, some in (
            (307, "running info", info),
            (309, "consumed directly", dict(info, msgId=sent.fields["msgId"], brokerName="b")),
        ):
            self.answered(name, code, some, "re", (0, None, b'{"a":1}'))
            self.answered(f"{name}, refused", code, some, "re", (1, "not today", b""))
            for field, value in (("clientId", "nobody"), ("consumerGroup", "nobody")):
                self.ask(f"{name}, other {field}", code, dict(some, **{field: value}))
            for field in some:
                if field not in ("jstackEnable", "brokerName", "msgId"):
                    self.ask(f"{name} without {field}", code, without(some, field))
        odd = dict(info, msgId="abc")
        self.ask("consumed directly, odd id", 309, odd)
        self.beat("of an old one", "iold", [member], conn="old", note=False, version=60)
        self.notices("of an old one", "re", "old")
        self.ask("running info of an old one", 307, dict(info, clientId="iold"))

    def beat_relayed(self):
        """Anew in each part: on a busy machine all of them take longer than the 120 s of a beat."""
        member = self.consumer("dreg", {"dre": "*"})
        self.beat("of a relayed one", "ire", [member], conn="re", note=False)

    def resets(self):
        self.beat_relayed()
        self.side.drop("old")
        self.notices("of the old one's end", "re")
        queue = {"consumerGroup": "dreg", "topic": "dre", "queueId": "0"}
        for number in ("0", "1"):
            self.side.quiet(15, dict(queue, queueId=number, commitOffset="2"))
        reset = {"topic": "dre", "group": "dreg", "timestamp": "0", "isForce": "true"}
        self.answered("reset", 222, reset, "re")
        for label, more in {
            "to the end": {"timestamp": "-1"},
            "to the future": {"timestamp": str(2**62)},
            "not forced": {"isForce": "false"},
            "to the end, not forced": {"timestamp": "-1", "isForce": "false"},
            "other group": {"group": "nobody"},
            "other topic": {"topic": "nothing"},
        }.items():
            self.answered(f"reset {label}", 222, dict(reset, **more), "re")
        for name in reset:
            self.answered(f"reset without {name}", 222, without(reset, name), "re")
        self.ask("offset after the resets", 14, queue)
        status = {"topic": "dre", "group": "dreg", "clientAddr": ""}
        table = b'{"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"dre"}:7}}'
        self.answered("status", 223, status, "re", (0, None, table))
        self.answered("status, refused", 223, status, "re", (1, "not today", b""))
        for label, more in {
            "other client": {"clientAddr": "nobody"},
            "one client": {"clientAddr": "ire"},
            "other group": {"group": "nobody"},
        }.items():
            self.answered(f"status {label}", 223, dict(status, **more), "re", (0, None, table))
        for name in ("topic", "group"):
            self.answered(f"status without {name}", 223, without(status, name), "re")

    # Tables and what tools ask

    def tools(self):
        self.beat_relayed()
        queue = {"consumerGroup": "dcg", "topic": "dre"}
        for number in ("0", "1"):
            self.side.quiet(15, dict(queue, queueId=number, commitOffset="1"))
        # Java forgets the offsets of groups that it is to leave out.
        correct = {"filterGroups": "dnone", "compareGroup": "dreg", "topic": "dre"}
        self.each_field("correction", 308, correct, values=("", "nobody"))
        clone = {"srcGroup": "dcg", "destGroup": "dcg2", "topic": "dre", "offline": "false"}
        self.ask("clone of a group that is off", 314, dict(clone, srcGroup="nobody"))
        self.each_field("clone", 314, clone, values=("", "nothing"))
        self.ask("offset of the clone", 14, dict(queue, consumerGroup="dcg2", queueId="1"))
        span = {"topic": "dre", "group": "dcg"}
        self.each_field("time span", 303, span, values=("", "nothing"), mask=SPANS)
        units = {"topic": "dre", "queueId": "0", "index": "0", "count": "2", "consumerGroup": "dreg"}
        self.each_field("units", 321, units, values=("", "-1", "99"), mask={"physicOffset"})
        for name in ("TOPIC_PUT_NUMS", "nothing"):
            for key in ("dre", "nothing"):
                some = {"statsName": name, "statsKey": key}
                mask = {"tps", "sum", "avgpt"}
                self.ask(f"statistics {name} of {key}", 315, some, mask=mask)
        self.ask("statistics without fields", 315)
        self.ask("all producers", 328)
        self.ask("delay offsets", 45, mask={"offsetTable"})
