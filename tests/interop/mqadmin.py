"""mqadmin cases: the same commands and checks for Apache's tool and for ours."""

import os
import re
import subprocess

from build import binaries, java, java_home_conf
from servers import OPENS

TOOLS = "4.9.8"
CASES = [
    "updateTopic",
    "topicRoute",
    "clusterList",
    "sendMessage",
    "topicStatus",
    "queryMsgByKey",
    "consumeMessage",
    "queryMsgById",
]


class Java:
    """Apache's mqadmin in one JVM."""

    def __init__(self, servers, log):
        home = java_home_conf(servers.folder)
        self.process = subprocess.Popen(
            [
                "java",
                "-Xmx256m",
                *OPENS,
                f"-Duser.home={servers.folder}",
                f"-Drocketmq.home.dir={home}",
                "-cp",
                java("tools", TOOLS),
                "MqAdmin",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env=dict(os.environ, ROCKETMQ_HOME=home),
        )

    def __call__(self, *args):
        self.process.stdin.write("\t".join(args) + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == ".\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"mqadmin ended: {''.join(lines)}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


class Ours:
    """Our mqadmin, one process a command."""

    def __init__(self, _servers, log):
        self.log = log

    def __call__(self, *args):
        done = subprocess.run(
            [os.path.join(binaries(), "mqadmin"), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout.decode()}"
        return done.stdout.decode()

    def close(self):
        pass


def matches(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"no {pattern!r} in {text!r}"
    return found


def run(tool, servers, prefix, wanted):
    """Yields (case, None or what was wrong)."""
    topic, namesrv, address = f"{prefix}-admin", ["-n", servers.namesrv], re.escape(servers.address)
    sent = {}

    def update_topic():
        out = tool(
            "updateTopic",
            *namesrv,
            "-b",
            servers.address,
            "-t",
            topic,
            "-r",
            "6",
            "-w",
            "5",
            "-p",
            "6",
        )
        matches(f"^create topic to {address} success\\.$", out)
        matches(
            rf"TopicConfig \[topicName={topic}, readQueueNums=6, writeQueueNums=5, perm=RW-, "
            r"topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false",
            out,
        )
        out = tool("updateTopic", *namesrv, "-c", "DefaultCluster", "-t", topic)
        matches(f"^create topic to {address} success\\.$", out)
        matches(r"readQueueNums=8, writeQueueNums=8", out)

    def topic_route():
        out = tool("topicRoute", *namesrv, "-t", topic)
        matches(r'"brokerName":"broker-a"', out)
        matches(f'"brokerAddrs":{{0:"{address}"', out)
        matches(r'"readQueueNums":8', out)
        out = tool("topicRoute", *namesrv, "-l", "-t", topic)
        matches(f"^DefaultCluster +broker-a +{{0={address}}} +8 +8 +6", out)

    def cluster_list():
        out = tool("clusterList", *namesrv)
        matches(
            r"^#Cluster Name +#Broker Name +#BID +#Addr +#Version "
            r"+#InTPS\(LOAD\) +#OutTPS\(LOAD\) +#PCWait\(ms\) "
            r"+#Hour +#SPACE",
            out,
        )
        matches(
            f"^DefaultCluster +broker-a +0 +{address} +V4_9_[0-9] "
            "+[0-9.]+\\(0,[0-9]+ms\\) +[0-9.]+\\(0,[0-9]+ms\\) "
            r"+[0-9]+ +-?[0-9.]+ +0\.[0-9]{4}",
            out,
        )

    def send_message():
        out = tool(
            "sendMessage",
            *namesrv,
            "-t",
            topic,
            "-p",
            "hello from mqadmin",
            "-k",
            "the-key",
            "-c",
            "TagX",
            "-b",
            "broker-a",
            "-i",
            "3",
        )
        matches(r"^#Broker Name +#QID +#Send Result +#MsgId", out)
        sent["id"] = matches(r"^broker-a +3 +SEND_OK +([0-9A-F]+)", out)[1]

    def topic_status():
        out = tool("topicStatus", *namesrv, "-t", topic)
        matches(r"^#Broker Name +#QID +#Min Offset +#Max Offset +#Last Updated", out)
        matches(r"^broker-a +3 +0 +1 +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}$", out)
        matches(r"^broker-a +7 +0 +0 *$", out)
        assert len(re.findall("^broker-a", out, re.MULTILINE)) == 8, out

    def query_msg_by_key():
        out = tool("queryMsgByKey", *namesrv, "-t", topic, "-k", "the-key")
        matches(r"^#Message ID +#QID +#Offset", out)
        matches(f"^{sent['id']} +3 +0", out)

    def consume_message():
        out = tool("consumeMessage", *namesrv, "-t", topic, "-b", "broker-a", "-i", "3", "-o", "0")
        matches("^Consume ok$", out)
        matches(f"^MSGID: {sent['id']} MessageExt ", out)
        matches("BODY: hello from mqadmin", out)
        offset = int(matches(r"commitLogOffset=(\d+)", out)[1])
        sent["offset id"] = f"7F000001{servers.port:08X}{offset:016X}"
        matches(f"msgId={sent['offset id']}|msgId={sent['id']}", out)

    def query_msg_by_id():
        out = tool("queryMsgById", *namesrv, "-i", sent["offset id"])
        for name, value in [
            ("OffsetID:", sent["offset id"]),
            ("Topic:", topic),
            ("Tags:", r"\[TagX\]"),
            ("Keys:", r"\[the-key\]"),
            ("Queue ID:", "3"),
            ("Queue Offset:", "0"),
            ("Reconsume Times:", "0"),
            ("Store Host:", address),
        ]:
            matches(f"^{name} +{value}", out)
        path = matches("^Message Body Path: +(.+)$", out)[1].strip()
        with open(path, encoding="utf-8") as file:
            assert file.read() == "hello from mqadmin", f"other body in {path}"

    steps = dict(
        zip(
            CASES,
            [
                update_topic,
                topic_route,
                cluster_list,
                send_message,
                topic_status,
                query_msg_by_key,
                consume_message,
                query_msg_by_id,
            ],
        )
    )
    for name in CASES:
        try:
            steps[name]()
            error = None
        except (AssertionError, KeyError, OSError, subprocess.SubprocessError) as wrong:
            error = f"{type(wrong).__name__}: {wrong}"
        if name in wanted:
            yield name, error
