"""Clients that misbehave or only wait, with sockets that are never read."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

from servers import frame

SEND_MESSAGE = 10
PULL_MESSAGE = 11
HEART_BEAT = 34


@contextlib.contextmanager
def unread(server, connections, requests):
    """Connections that write `requests` as far as they are taken, and read nothing."""
    opened, requests = [], memoryview(requests)
    try:
        for _ in range(connections):
            conn = socket.create_connection(("127.0.0.1", server.port), 10)
            opened.append(conn)
            conn.settimeout(0.2)
            sent = 0
            # The broker may stop reading: that is the point.
            with contextlib.suppress(TimeoutError):
                while sent < len(requests):
                    sent += conn.send(requests[sent:])
        yield
    finally:
        for conn in opened:
            conn.close()


def stalled_consumers(server):
    """Consumers that ask for 8 MB each and do not read it. The topic has a backlog."""
    fields = {
        "consumerGroup": "Stalled",
        "topic": "TopicBench",
        "queueOffset": "0",
        "maxMsgNums": "32",
        "sysFlag": "4",
        "commitOffset": "0",
        "suspendTimeoutMillis": "0",
        "subscription": "*",
        "subVersion": "0",
        "expressionType": "TAG",
    }
    pulls = [
        frame(PULL_MESSAGE, {**fields, "queueId": str(n % 4)}, opaque=n) for n in range(200)
    ]
    return unread(server, 16, b"".join(pulls))


def full_windows(server):
    """Producers that send 40 MB each and do not read the answers."""
    fields = {
        "producerGroup": "Full",
        "topic": "TopicBench",
        "defaultTopic": "TBW102",
        "defaultTopicQueueNums": "4",
        "queueId": "0",
        "sysFlag": "0",
        "bornTimestamp": "0",
        "flag": "0",
        "properties": "",
        "reconsumeTimes": "0",
    }
    sends = [frame(SEND_MESSAGE, fields, opaque=n, body=b"x" * 100) for n in range(100_000)]
    return unread(server, 4, b"".join(sends))


@contextlib.contextmanager
def groups(server, count, topic="TopicBench"):
    """A client in so many consumer groups that subscribe to one topic."""
    subscription = {
        "topic": topic,
        "subString": "*",
        "subVersion": 1,
        "expressionType": "TAG",
        "classFilterMode": False,
        "tagsSet": [],
        "codeSet": [],
    }
    consumers = [
        {
            "groupName": f"Group{n}",
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "subscriptionDataSet": [subscription],
            "unitMode": False,
        }
        for n in range(count)
    ]
    body = {"clientID": "bench@1", "consumerDataSet": consumers, "producerDataSet": []}
    with socket.create_connection(("127.0.0.1", server.port), 10) as conn:
        conn.sendall(frame(HEART_BEAT, body=json.dumps(body).encode()))
        if not conn.recv(65536):
            raise OSError("the broker closed the connection of the groups")
        yield


@contextlib.contextmanager
def empty_server():
    """A server in a broker's place that only answers."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "empty.py")
    process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    try:
        yield SimpleNamespace(port=int(process.stdout.readline()), pid=process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
