#!/usr/bin/env python3
"""What waits in our broker under load: delayed messages, and transactions. Prints figures.

    tests/bench/waiting.py delays [--pending 1000000] [--rate 20000]
    tests/bench/waiting.py transactions [--seconds 180] [--folder F]

delays: sends at a steady rate with a delay after which the wanted number is pending, goes on for as
long again, and says how late the deliveries were, by the times at which they were stored before and
after. transactions: half
messages as fast as they go, of which 90 of 100 are committed, 9 rolled back and 1 is left open,
asked about and given up; says how far the checks are behind. For an hour of them give a folder on a
small file system (a tmpfs of 4 GiB, say): the oldest files are removed once 60 % of it are used.
Needs cargo build --release.
"""

import argparse
import collections
import os
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time

import brokers
import wire  # beside servers.py, which brokers finds
from build import binaries

SEND_V2, PULL, MAX_OFFSET, OFFSET, END_TRANSACTION = 310, 11, 30, 14, 37
TOPIC, QUEUES, BODY = "Waiting", 4, b"x" * 256
SCHEDULE = "SCHEDULE_TOPIC_XXXX"
HALF, OPS = "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"
GIVEN_UP, CHECKER = "TRANS_CHECK_MAX_TIME_TOPIC", "CID_RMQ_SYS_TRANS"
COMMIT, ROLLBACK, OPEN = "8", "12", None
# Longer than the processes may be stopped for the sake of another measurement.
ANSWER_SECONDS = 200


def send_fields(text, queue=0):
    return {
        "a": "waiting", "b": TOPIC, "c": "TBW102", "d": str(QUEUES), "e": str(queue), "f": "0",
        "g": str(int(time.time() * 1000)), "h": "0", "i": text, "j": "0", "k": "false",
        "m": "false",
    }  # fmt: skip


def ask(conn, code, fields):
    return conn.receive(conn.send(code, fields), ANSWER_SECONDS)


def end_of(conn, topic, queue=0):
    return int(ask(conn, MAX_OFFSET, {"topic": topic, "queueId": str(queue)}).fields["offset"])


def records(conn, topic, queue, offset):
    answer = ask(conn, PULL, {
        "consumerGroup": "waiting", "topic": topic, "queueId": str(queue),
        "queueOffset": str(offset), "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0",
        "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "1",
        "expressionType": "TAG",
    })  # fmt: skip
    return wire.records(answer.body) if answer.code == 0 else []


class Drain(threading.Thread):
    """Counts the answers on a connection, and those that are no success."""

    def __init__(self, conn):
        super().__init__(daemon=True)
        self.conn, self.count, self.bad = conn, 0, 0

    def run(self):
        left = b""
        while data := self.conn.socket.recv(1 << 20):
            data, at = left + data, 0
            while at + 4 <= len(data):
                end = at + 4 + int.from_bytes(data[at : at + 4], "big")
                if end > len(data):
                    break
                self.count += 1
                self.bad += struct.unpack_from(">h", data, at + 8)[0] != 0
                at = end
            left = data[at:]


def delays(server, options):
    seconds = max(5, options.pending // options.rate)
    rate, pending = options.rate, seconds * options.rate
    print(f"{rate} messages a second, {seconds} s of delay: {pending} pending")
    total = 2 * seconds * options.rate
    conn = wire.Connection(server.port)
    drain = Drain(conn)
    drain.start()
    conn.socket.settimeout(None)
    began, sent, text = time.monotonic(), 0, "DELAY\x011"
    while sent < total:
        due = min(total, int((time.monotonic() - began) * options.rate)) - sent
        if due:
            fields = send_fields(text, sent // 1000 % QUEUES)
            head = wire.binary_header(SEND_V2, 1, fields, 401, 0)
            start = wire.frame(head, BODY, 1)[: -len(BODY)]
            numbers = range(sent, sent + due)
            conn.send_raw(b"".join(start + b"%0256d" % number for number in numbers))
            sent += due
        time.sleep(0.002)
    took = time.monotonic() - began
    control = wire.Connection(server.port)
    while (
        drain.count < sent
        or sum(end_of(control, TOPIC, queue) for queue in range(QUEUES)) < sent - drain.bad
    ):
        if time.monotonic() - began > 4 * seconds + 60:
            raise SystemExit(f"not all were delivered: {drain.count} answers, {drain.bad} refused")
        time.sleep(0.2)
    late = {"before": [], "pending": []}
    for queue in range(QUEUES):
        for offset in range(0, end_of(control, TOPIC, queue), 640):
            found, parked = records(control, TOPIC, queue, offset), {}
            first = int(found[0]["body"])
            for at in (max(0, first - 16), first + 16):
                some = records(control, SCHEDULE, 0, at)
                parked |= {one["body"]: one["storeTimestamp"] for one in some}
            for one in found:
                if one["body"] in parked:
                    due = parked[one["body"]] + seconds * 1000
                    kind = "pending" if int(one["body"]) >= pending else "before"
                    late[kind].append(one["storeTimestamp"] - due)
    print(f"sent {sent} in {took:.1f} s, {drain.bad} refused")
    for kind, what in (("before", "first half"), ("pending", "second half, all pending")):
        some = sorted(late[kind])
        at = [some[min(len(some) - 1, int(len(some) * q))] for q in (0, 0.5, 0.99, 0.999, 1)]
        early = sum(one < 0 for one in some)
        print(
            f"{what}: {len(some)} looked at, late by ms: least {at[0]}, median {at[1]}, "
            f"99 % {at[2]}, 99.9 % {at[3]}, most {at[4]}; {early} early"
        )
    rss, anonymous = brokers.memory(server.pid)
    print(f"memory {rss >> 20} MiB, of it {anonymous >> 20} MiB no mapped files")


def half_messages(port, until, done):
    """Sends and ends until the time, 100 at once."""
    conn = wire.Connection(port)
    turn = 0
    while time.monotonic() < until:
        text = f"TRAN_MSG\x01true\x02PGROUP\x01waiting\x02UNIQ_KEY\x01{id(conn)}{turn}"
        opaques = [conn.send(SEND_V2, send_fields(text), BODY, "binary") for _ in range(100)]
        ends = []
        for number, opaque in enumerate(opaques):
            answer = conn.receive(opaque, ANSWER_SECONDS)
            if isinstance(answer, str) or answer.code != 0:
                done["refused"] += 1
                continue
            done["sent"] += 1
            decision = OPEN if number == 99 else ROLLBACK if number >= 90 else COMMIT
            if decision is not OPEN:
                offset = int(answer.fields["msgId"][16:], 16)
                opaque = conn.send(END_TRANSACTION, {
                    "producerGroup": "waiting", "commitOrRollback": decision,
                    "tranStateTableOffset": answer.fields["queueOffset"],
                    "commitLogOffset": str(offset), "fromTransactionCheck": "false",
                    "msgId": "x", "transactionId": "x",
                }, b"", "binary")  # fmt: skip
                ends.append((opaque, decision))
        for opaque, decision in ends:
            if conn.receive(opaque, ANSWER_SECONDS).code == 0:
                done["committed"] += decision == COMMIT
            else:
                done["not ended"] += 1
        turn += 1


def transactions(server, options):
    control = wire.Connection(server.port)
    ask(control, SEND_V2, send_fields(""))
    first = end_of(control, TOPIC)
    done, until = collections.Counter(), time.monotonic() + options.seconds
    args = (server.port, until, done)
    threads = [threading.Thread(target=half_messages, args=args) for _ in range(4)]
    for thread in threads:
        thread.start()

    def behind(topic):
        fields = {"consumerGroup": CHECKER, "topic": topic, "queueId": "0"}
        answer = ask(control, OFFSET, fields)
        end = end_of(control, topic)
        return end, end - int(answer.fields["offset"]) if answer.code == 0 else end

    def show():
        (half, half_behind), (ops, ops_behind) = behind(HALF), behind(OPS)
        _, anonymous = brokers.memory(server.pid)
        seconds = options.seconds - (until - time.monotonic())
        print(
            f"{seconds:.0f} s: half messages {half}, {half_behind} not yet passed; ops {ops}, {ops_behind} not yet "
            f"passed; given up {end_of(control, GIVEN_UP)}; anonymous {anonymous >> 20} MiB",
            flush=True,
        )
        return half_behind + ops_behind

    behind_of, step = [[] for _ in range(10)], options.seconds / 10
    while (left := until - time.monotonic()) > 0:
        behind_of[max(0, 9 - int(left / step))].append(show())
        time.sleep(min(15, max(0.1, until - time.monotonic())))
    for thread in threads:
        thread.join()
    most = ", ".join(str(max(some, default="none")) for some in behind_of)
    print(f"most not yet passed in each tenth of the time: {most}")
    print(f"{dict(done)} in {options.seconds} s; none any more:")
    while show():
        if time.monotonic() > until + 120:
            raise SystemExit("the checks did not end")
        time.sleep(5)
    print(f"all passed {time.monotonic() - until:.0f} s after the end")
    found, given_up = end_of(control, TOPIC), end_of(control, GIVEN_UP)
    left_open = done["sent"] // 100 + done["not ended"]
    print(f"in the topic {found - first}, given up {given_up}, left open {left_open}")
    if found - first != done["committed"]:
        raise SystemExit("what is in the topic is not what was committed")


def main():
    parser = argparse.ArgumentParser(description="What waits in our broker under load.")
    parser.add_argument("what", choices=["delays", "transactions"])
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--folder", help="holds the store while it runs; the system's for such")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="ferrocket-waiting-", dir=options.folder)
    delay = max(5, options.pending // options.rate)
    settings = {
        "messageDelayLevel": f"{delay}s",
        "mappedFileSizeCommitLog": 256 << 20,
        "transactionCheckInterval": 5000,
        "transactionTimeOut": 3000,
        "transactionCheckMax": 2,
        "autoCreateTopicEnable": "true",
        "diskSpaceCleanForciblyRatio": 60,
        "cleanResourceInterval": 1000,
    }
    server = brokers.broker("waiting", folder, settings, binaries())
    try:
        server.start()
        {"delays": delays, "transactions": transactions}[options.what](server, options)
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
