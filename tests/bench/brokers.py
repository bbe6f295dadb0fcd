"""The brokers that are measured: ours, an older build of ours, Java's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "interop"))
from build import java_home_conf, maven  # noqa: E402
from servers import GET_BROKER_RUNTIME_INFO, JAVA_SERVERS, OPENS, ask, call, frame, free_port  # noqa: E402

GET_MAX_OFFSET = 30
GET_BROKER_CLUSTER_INFO = 106
# What Java runs best with on a machine of this size; see RESULTS.md.
JAVA_FLAGS = ["-XX:+UseG1GC", "-XX:G1HeapRegionSize=16m", "-XX:+AlwaysPreTouch"]
# Java's broker answers only when it has dispatched all that its consume queues lack.
START_SECONDS = 300
STOP_SECONDS = 60


def answers(port, code):
    """Whether a server answers, with whatever code."""
    try:
        call(port, code, {"topic": "TBW102", "queueId": "0"})
        return True
    except (OSError, ValueError):
        return False


def max_offset(port, topic, queue):
    """The offset that the next message of a queue will have."""
    head, _ = ask(port, frame(GET_MAX_OFFSET, {"topic": topic, "queueId": str(queue)}))
    return int(head["extFields"]["offset"])


def runtime_info(port):
    """What a broker says of itself."""
    _, _, body = call(port, GET_BROKER_RUNTIME_INFO)
    return json.loads(body)["table"]


def behind(port):
    """Bytes of the log that are not in the consume queues yet."""
    return int(runtime_info(port)["dispatchBehindBytes"])


def memory(pid):
    """Resident bytes of a process: all, and those that are no mapped files."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            label, _, rest = line.partition(":")
            if label in ("VmRSS", "RssAnon"):
                found[label] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["RssAnon"]


class Server:
    """One process with a folder of its own."""

    def __init__(self, name, folder, port, command, ready_code):
        self.name, self.folder, self.port = name, os.path.join(folder, name), port
        self.command, self.ready_code = command, ready_code
        self.process = self.began = self.ready = None
        self.store = os.path.join(self.folder, "store")
        os.makedirs(self.folder, exist_ok=True)

    @property
    def pid(self):
        return self.process.pid

    @property
    def target(self):
        """As mqbench compare wants it."""
        return f"{self.name}=127.0.0.1:{self.port}@{self.pid}"

    def conf(self, values):
        path = os.path.join(self.folder, "server.conf")
        with open(path, "w", encoding="latin-1") as file:
            file.writelines(f"{key}={value}\n" for key, value in values.items())
        return path

    def has_topics(self, count, queues=4):
        """Before the start of a broker: as if they had been created, the names as mqbench has them.
        Creating each of thousands takes longer than what is measured."""
        names = [f"TopicBench-{number:05}" for number in range(count)]
        table = {
            name: {
                "order": False,
                "perm": 6,
                "readQueueNums": queues,
                "topicFilterType": "SINGLE_TAG",
                "topicName": name,
                "topicSysFlag": 0,
                "writeQueueNums": queues,
            }
            for name in names
        }
        config = os.path.join(self.store, "config")
        os.makedirs(config)
        version = {"counter": 1, "timestamp": 1}
        with open(os.path.join(config, "topics.json"), "w", encoding="ascii") as file:
            json.dump({"dataVersion": version, "topicConfigTable": table}, file)

    def start(self):
        """Returns the seconds until it answered."""
        env = dict(os.environ, HOME=self.folder, ROCKETMQ_HOME=java_home_conf(self.folder))
        env.pop("NAMESRV_ADDR", None)
        with open(os.path.join(self.folder, "out"), "ab") as log:
            self.began = began = time.monotonic()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=env,
            )
        while not answers(self.port, self.ready_code):
            if self.process.poll() is not None or time.monotonic() - began > START_SECONDS:
                with open(os.path.join(self.folder, "out"), "rb") as log:
                    tail = log.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{self.name} does not start: {tail}")
            time.sleep(0.001 if time.monotonic() - began < 2 else 0.02)
        self.ready = time.monotonic()
        return self.ready - began

    def stop(self):
        """Returns the seconds until it had ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - began

    def kill(self):
        """As a power cut ends it, but for what the kernel holds."""
        self.process.kill()
        self.process.wait()

    def remove(self):
        if self.process and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def java(main, memory_flags, folder, conf):
    return [
        "java",
        *memory_flags,
        *JAVA_FLAGS,
        *OPENS,
        f"-Duser.home={folder}",
        "-cp",
        os.path.join(maven("servers", JAVA_SERVERS), "*"),
        f"org.apache.rocketmq.{main}",
        "-c",
        conf,
    ]


def broker(name, folder, extra, programs=None, heap="4g"):
    """A broker, Java's without `programs`, our folder of programs."""
    port = free_port((-2, 0, 1))
    server = Server(name, folder, port, None, GET_MAX_OFFSET)
    conf = server.conf(
        {
            "brokerName": name,
            "brokerIP1": "127.0.0.1",
            "listenPort": port,
            "storePathRootDir": server.store,
            "storePathCommitLog": os.path.join(server.store, "commitlog"),
            **extra,
        }
    )
    if programs:
        server.command = [os.path.join(programs, "mqbroker"), "-c", conf]
    else:
        flags = [f"-Xms{heap}", f"-Xmx{heap}", "-XX:MaxDirectMemorySize=8g"]
        server.command = java("broker.BrokerStartup", flags, server.folder, conf)
    return server


def namesrv(name, folder, programs=None):
    port = free_port()
    server = Server(f"{name}-namesrv", folder, port, None, GET_BROKER_CLUSTER_INFO)
    conf = server.conf(
        {"listenPort": port, "kvConfigPath": os.path.join(server.folder, "kvConfig.json")}
    )
    if programs:
        server.command = [os.path.join(programs, "mqnamesrv"), "-c", conf]
    else:
        flags = ["-Xms256m", "-Xmx512m"]
        server.command = java("namesrv.NamesrvStartup", flags, server.folder, conf)
    return server
