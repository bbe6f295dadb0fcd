"""The servers under test: ours or the Java ones, on free ports with data in a folder."""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import time

from build import binaries, java_home_conf, maven

JAVA_SERVERS = "4.9.7"
OPENS = [
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
]
UPDATE_AND_CREATE_TOPIC = 17
GET_BROKER_RUNTIME_INFO = 28
# For what a server does by itself after an answer, Java's on a busy machine too.
SETTLED_SECONDS = 1
GET_ROUTEINFO_BY_TOPIC = 105
GET_BROKER_CLUSTER_INFO = 106


def frame(code, fields=None, opaque=1, body=b"", language="PYTHON"):
    """A remoting request in JSON."""
    header = json.dumps(
        {
            "code": code,
            "language": language,
            "version": 401,
            "opaque": opaque,
            "flag": 0,
            "extFields": fields or {},
        }
    ).encode()
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


def ask(port, request, timeout=5):
    """The answer to one frame: its header and its body."""
    with socket.create_connection(("127.0.0.1", port), timeout) as conn:
        conn.settimeout(timeout)
        conn.sendall(request)
        length, header_length = struct.unpack(">II", read(conn, 8))
        header_length &= 0xFFFFFF
        head = json.loads(read(conn, header_length))
        return head, read(conn, length - 4 - header_length)


def call(port, code, fields=None, timeout=5, language="PYTHON"):
    """One remoting request; returns (answer code, remark, body)."""
    head, body = ask(port, frame(code, fields, language=language), timeout)
    return head["code"], head.get("remark"), body


def read(conn, count):
    data = b""
    while len(data) < count:
        part = conn.recv(count - len(data))
        if not part:
            raise OSError("connection closed")
        data += part
    return data


def free_port(around=(0,)):
    """A port that is free together with its neighbours, below the range of outgoing connections."""
    for _ in range(1000):
        port = random.randrange(12000, 32000)
        held = []
        try:
            for offset in around:
                sock = socket.socket()
                held.append(sock)
                sock.bind(("0.0.0.0", port + offset))
            return port
        except OSError:
            continue
        finally:
            for sock in held:
                sock.close()
    raise SystemExit("no free port found")


def wait_for(what, seconds, condition):
    """Fails when this is not true in time, not counting times in which this process is stopped."""
    for _ in range(int(seconds / 0.05)):
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise RuntimeError(f"not within {seconds} s: {what}")


class Servers:
    """One name server and one master of a kind: ferrocket or java."""

    def __init__(self, kind, folder, settings=None):
        self.kinds = {"namesrv": kind, "broker": kind}
        self.folder = folder
        self.settings = settings or {}  # of the broker, besides the common ones
        self.java = JAVA_SERVERS
        self.namesrv_port, self.port = free_port(), free_port((-2, 0, 1))
        self.namesrv = f"127.0.0.1:{self.namesrv_port}"
        self.address = f"127.0.0.1:{self.port}"
        self.processes = {}

    def write(self, name, values):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="latin-1") as file:
            file.writelines(f"{key}={value}\n" for key, value in values.items())
        return path

    def command(self, what, conf):
        if self.kinds[what] == "ferrocket":
            return [os.path.join(binaries(), f"mq{what}"), "-c", conf]
        memory, main = {
            "namesrv": (["-Xms64m", "-Xmx256m"], "namesrv.NamesrvStartup"),
            "broker": (
                ["-Xms256m", "-Xmx768m", "-XX:MaxDirectMemorySize=512m"],
                "broker.BrokerStartup",
            ),
        }[what]
        return [
            "java",
            *memory,
            *OPENS,
            f"-Duser.home={self.folder}",
            "-cp",
            os.path.join(maven("servers", self.java), "*"),
            f"org.apache.rocketmq.{main}",
            "-c",
            conf,
        ]

    def start(self, what, conf):
        log = open(os.path.join(self.folder, f"{what}.out"), "ab")
        env = dict(os.environ, HOME=self.folder, ROCKETMQ_HOME=java_home_conf(self.folder))
        env.pop("NAMESRV_ADDR", None)
        self.processes[what] = subprocess.Popen(
            self.command(what, conf),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            env=env,
        )
        log.close()

    def start_all(self):
        self.start(
            "namesrv",
            self.write(
                "namesrv.conf",
                {
                    "listenPort": self.namesrv_port,
                    "kvConfigPath": os.path.join(self.folder, "kvConfig.json"),
                },
            ),
        )
        self.wait("namesrv", lambda: call(self.namesrv_port, GET_BROKER_CLUSTER_INFO))
        self.start_broker()

    def start_broker(self):
        store = os.path.join(self.folder, "store")
        self.start(
            "broker",
            self.write(
                "broker.conf",
                {
                    "brokerClusterName": "DefaultCluster",
                    "brokerName": "broker-a",
                    "brokerId": 0,
                    "brokerIP1": "127.0.0.1",
                    "listenPort": self.port,
                    "namesrvAddr": self.namesrv,
                    "storePathRootDir": store,
                    "storePathCommitLog": os.path.join(store, "commitlog"),
                    "mappedFileSizeCommitLog": 64 << 20,
                    "mappedFileSizeConsumeQueue": 6_000_000,
                    "maxIndexNum": 400_000,
                    "maxHashSlotNum": 100_000,
                    "transactionTimeOut": 1000,
                    "transactionCheckInterval": 1000,
                    "transactionCheckMax": 100,
                    **self.settings,
                },
            ),
        )
        self.wait(
            "broker",
            lambda: self.address.encode() in call(self.namesrv_port, GET_BROKER_CLUSTER_INFO)[2],
        )

    def wait(self, what, ready):
        def check():
            code = self.processes[what].poll()
            if code is not None:
                raise RuntimeError(f"{what} ended with exit code {code}: {self.tail(what)}")
            return ready()

        wait_for(f"{what} ready: {self.tail(what)}", 120, check)

    def tail(self, what):
        with open(os.path.join(self.folder, f"{what}.out"), "rb") as file:
            return file.read()[-2000:].decode(errors="replace")

    def stop(self, what, sig=signal.SIGTERM):
        process = self.processes.pop(what, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(sig)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{what} did not end within 120 s of signal {sig}") from None

    def restart_broker(self, sig):
        self.stop("broker", sig)
        self.start_broker()

    def swap_broker(self):
        """Has the other kind of broker go on with the same store."""
        self.stop("broker")
        self.kinds["broker"] = "java" if self.kinds["broker"] == "ferrocket" else "ferrocket"
        self.start_broker()

    def stop_all(self):
        for what in ("broker", "namesrv"):
            try:
                self.stop(what)
            except RuntimeError as error:
                print(f"interop: {error}")

    def wait_measured(self):
        """Waits until the broker has statistics: Java's refuses them until it has sampled once."""
        answered = lambda: call(self.port, GET_BROKER_RUNTIME_INFO)[0] == 0
        wait_for("statistics of the broker", 20, answered)

    def create_topic(self, topic, queues=4):
        code, remark, _ = call(
            self.port,
            UPDATE_AND_CREATE_TOPIC,
            {
                "topic": topic,
                "defaultTopic": "TBW102",
                "readQueueNums": str(queues),
                "writeQueueNums": str(queues),
                "perm": "6",
                "topicFilterType": "SINGLE_TAG",
                "topicSysFlag": "0",
                "order": "false",
            },
        )
        if code != 0:
            raise RuntimeError(f"topic {topic} not created: {code} {remark}")

    def wait_routed(self, topic):
        wait_for(
            f"{topic} routed",
            10,
            lambda: call(self.namesrv_port, GET_ROUTEINFO_BY_TOPIC, {"topic": topic})[0] == 0,
        )
