#!/usr/bin/env python3
"""Official clients against our servers, or against the Java ones, which proves the cases.

    tests/interop/run.py [--servers ferrocket|java] [--only PATTERN] [--list] [--keep]

Prints one line a case; exit code 1 when one failed, at a second try too if they are few. PATTERN is
a shell pattern on client/case, such as 'go-*/tags'. The cases differential/* are no client's: see
differential.py.

A client program is started as PROGRAM NAMESRV PREFIX CASE... and prints "ok CASE" or
"fail CASE: why" for each of them. It uses topics PREFIX-name, which are made before with 4 queues.
"restart", "kill" or "swap" on its output asks for an orderly restart, kill -9 and restart, or the
other kind of broker on the same store; the program waits for a line on its input. The programs of
a wave run side by side; the broker is restarted once, when all of them have asked or ended.
"""

import argparse
import fnmatch
import queue
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import build
import differential
import lightqueues
import mqadmin
from servers import OPENS, Servers

HERE = os.path.dirname(os.path.abspath(__file__))
TIME_LIMIT = 180
# Clients and Java's broker have races of their own: so many cases that failed are tried once more.
SECOND_TRIES_MAX = 3
JAVA_CASES = [
    "send-sync",
    "send-async",
    "send-oneway",
    "send-batch",
    "values",
    "vip-channel",
    "auto-topic",
    "query",
    "delay",
    "tags",
    "sql",
    "pull",
    "flow",
    "lite-pull",
    "retry",
    "request-reply",
    "request-callback",
    "rebalance",
    "transactions",
    "restart",
    "offsets",
]
# Those of the second wave.
JAVA_MORE = [
    "ordered",
    "ordered-global",
    "broadcast",
    "dead-letters",
    "delayed-in-order",
    "namespace",
    "seek",
]
TOPICS = [
    "send",
    "tags",
    "sql",
    "pull",
    "flow",
    "light",
    "lite",
    "retry",
    "request",
    "relay",
    "rebalance",
    "txn",
    "restart",
    "offsets",
    "crash",
    "other",
    "ordered",
    "broadcast",
    "dead",
    "delayed",
    "spaces",
    "seek",
    "pop",
    "timer",
    "order",
    "reset",
    "trace",
    "traces",
]
# Name and queues of those that have not 4.
OTHER_TOPICS = {"global": 1}


def java(version, *flags):
    return lambda folder: [
        "java",
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        *OPENS,
        f"-Duser.home={folder}",
        *flags,
        "-cp",
        build.java("client", version),
        "Interop",
    ]


# Client name, command line, cases. What a client cannot do is not listed: ali-ons has no one-way,
# no batch and no pull; the request() of 5.3.3 that waits has a fault, see RequestReply.java.
GO = ("go-2.1.2", lambda _: [build.go()])
CPP = ("cpp-python-0.4.4", lambda _: ["python3", os.path.join(HERE, "python", "main.py")])
CLIENTS = [
    ("java-4.9.8", java("4.9.8"), JAVA_CASES),
    (
        "java-5.3.3",
        java(
            "5.3.3",
            "-Drocketmq.serialize.type=ROCKETMQ",
            "-Drocketmq.client.rebalance.waitInterval=2000",
        ),
        [case for case in JAVA_CASES if case != "request-reply"],
    ),
    (
        *GO,
        [
            "send-sync",
            "send-async",
            "send-oneway",
            "send-batch",
            "tags",
            "sql",
            "pull",
            "request-reply",
            "rebalance",
            "transactions",
            "restart",
        ],
    ),
    (
        *CPP,
        [
            "send-sync",
            "send-async",
            "send-oneway",
            "send-batch",
            "tags",
            "pull",
            "rebalance",
            "restart",
        ],
    ),
    (
        "ali-ons-3.12.0",
        lambda _: ["node", build.node()],
        ["send-sync", "send-async", "tags", "retry", "broadcast", "delay", "rebalance", "restart"],
    ),
]
FAST = ["-Drocketmq.client.rebalance.waitInterval=2000"]
# Java's 4.9 servers do not know 361, the lite pull of 5.x, and deliver a timer message at once.
ONLY_OURS = ["java-5.3.3/lite-pull", "java-5.3.3/seek", "java-5.3.3/timer"]
# A consumer of 5.3.3 made with a trace topic of its own writes no trace with Java's brokers either.
MORE = [
    ("java-4.9.8", java("4.9.8", *FAST), [*JAVA_MORE, "trace"]),
    ("java-5.3.3", java("5.3.3", *FAST), [*JAVA_MORE, "pop", "timer"]),
    (*GO, ["ordered", "broadcast", "retry", "delay"]),
    (*CPP, ["ordered", "broadcast", "retry", "delay", "reset-offset"]),
]
# Apache's admin client asks for what the broker has to ask a consumer.
RELAYS = [
    (
        "java-admin-4.9.8",
        lambda folder: [
            "java",
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            *OPENS,
            f"-Duser.home={folder}",
            f"-Drocketmq.home.dir={build.java_home_conf(folder)}",
            "-cp",
            build.java("tools", "4.9.8"),
            "Relays",
        ],
        ["running-info", "consume-directly", "consumer-status", "reset-offset", "order-conf"],
    ),
]
# These stop the broker in ways of their own, so they run alone.
ALONE = [("java-4.9.8", java("4.9.8"), [case]) for case in ("crash", "other-broker")]
# These change what the broker does with everybody's transactions and new groups.
ALONE.insert(1, (RELAYS[0][0], RELAYS[0][1], ["given-up", "from-time"]))
# With servers of their own, whose broker has the settings of lightqueues.py.
LIGHT = [("java-4.9.8", java("4.9.8"), ["light"])]


class Program:
    """A running client program; `events` gets (program, line), and (program, None) at its end."""

    def __init__(self, client, argv, cases, servers, events):
        self.client, self.left, self.waits = client, list(cases), None
        prefix = client.replace(".", "_")
        topics = dict.fromkeys(TOPICS, 4) | OTHER_TOPICS
        for topic, queues in topics.items():
            servers.create_topic(f"{prefix}-{topic}", queues)
        for topic in topics:
            servers.wait_routed(f"{prefix}-{topic}")
        folder = os.path.join(servers.folder, client)
        os.makedirs(folder, exist_ok=True)
        self.log = os.path.join(folder, "output")
        env = dict(os.environ, HOME=folder, PYTHONUNBUFFERED="1")
        env.pop("NAMESRV_ADDR", None)
        if client.startswith("cpp"):
            env["PYTHONPATH"] = build.python()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*argv(folder), servers.namesrv, prefix, *cases],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=env,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        threading.Thread(target=self.listen, args=[events], daemon=True).start()

    def listen(self, events):
        for line in self.process.stdout:
            events.put((self, line.rstrip("\n")))
        self.process.wait()
        events.put((self, None))

    def go_on(self):
        self.waits = None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Report:
    def __init__(self):
        self.passed, self.failed, self.began = 0, [], time.monotonic()

    def case(self, name, error=None):
        took = time.monotonic() - self.began
        if error is None:
            self.passed += 1
            print(f"{took:6.1f} s  ok    {name}", flush=True)
        else:
            self.failed.append(name)
            print(f"{took:6.1f} s  FAIL  {name}: {error}", flush=True)


def wave(clients, servers, report):
    """Runs programs side by side to their end."""
    events, running = queue.Queue(), []
    end = time.monotonic() + TIME_LIMIT
    try:
        for client, argv, cases in clients:
            running.append(Program(client, argv, cases, servers, events))
        while running:
            program, line = events.get(timeout=max(0.1, end - time.monotonic()))
            heard(program, line, running, report)
            if running and all(program.waits for program in running):
                asked = running[0].waits
                if asked == "swap":
                    servers.swap_broker()
                else:
                    servers.restart_broker(signal.SIGKILL if asked == "kill" else signal.SIGTERM)
                for program in running:
                    program.go_on()
    except queue.Empty:
        for program in running:
            for case in program.left:
                report.case(
                    f"{program.client}/{case}",
                    f"no result within {TIME_LIMIT} s, see {program.log}",
                )
    finally:
        for program in running:
            program.kill()


def heard(program, line, running, report):
    if line is None:
        program.kill()  # what it may have started itself
        running.remove(program)
        for case in program.left:
            report.case(
                f"{program.client}/{case}",
                f"no result, exit code {program.process.returncode}, " f"see {program.log}",
            )
    elif line in ("restart", "kill", "swap"):
        program.waits = line
    else:
        word, _, rest = line.partition(" ")
        case, _, error = rest.partition(": ")
        if word in ("ok", "fail") and case in program.left:
            program.left.remove(case)
            report.case(f"{program.client}/{case}", None if word == "ok" else error)
        else:
            with open(program.log, "a", encoding="utf-8") as log:
                log.write(line + "\n")


def admin(name, make, cases, servers, report):
    servers.wait_measured()
    with open(os.path.join(servers.folder, f"{name}.err"), "ab") as log:
        tool = make(servers, log)
        for case, error in mqadmin.run(tool, servers, name.replace(".", "_"), cases):
            report.case(f"{name}/{case}", error)
        tool.close()


def compared(cases, folder, report):
    """Our servers beside those of Java."""
    for case in cases:
        place = os.path.join(folder, case)
        os.makedirs(place)
        report.case(f"differential/{case}", differential.CASES[case](place))


def named(options, names):
    """The cases that match one of `names`, in the order in which they are run."""
    admins = [(f"mqadmin-{mqadmin.TOOLS}", mqadmin.Java), ("mqadmin", mqadmin.Ours)]
    alone = ALONE
    if options.servers == "java" and not build.built():
        admins.pop()
        alone = ALONE[:2]

    def chosen(client, cases):
        ours = options.servers == "ferrocket"
        full = [(case, f"{client}/{case}") for case in cases]
        full = [(case, name) for case, name in full if ours or name not in ONLY_OURS]
        return [case for case, name in full if any(fnmatch.fnmatch(name, one) for one in names)]

    def picked(some):
        some = [(client, how, chosen(client, cases)) for client, how, cases in some]
        return [one for one in some if one[2]]

    both = [("differential", None, differential.CASES)] if options.servers == "ferrocket" else []
    admins = [(name, make, mqadmin.CASES) for name, make in admins]
    return [picked(some) for some in (CLIENTS + RELAYS, MORE, admins, alone, LIGHT, both)]


def driven(cases, options):
    """Runs cases with servers of their own; returns the report."""
    clients, more, admins, alone, light, both = cases
    folder = tempfile.mkdtemp(prefix="ferrocket-interop-")
    report = Report()
    for _, argv, _ in clients + more + light:
        argv(folder)  # fetches and builds
    settings = {"enablePropertyFilter": "true", "traceTopicEnable": "true"}
    servers = Servers(options.servers, folder, settings)
    try:
        if clients or more or admins or alone:
            servers.start_all()
        report.began = time.monotonic()
        for some in (clients, more):
            wave(some, servers, report)
        for name, make, some in admins:
            admin(name, make, some, servers, report)
        for one in alone:
            wave([one], servers, report)
        servers.stop_all()
        if light:
            place = os.path.join(folder, "light")
            os.makedirs(place)
            servers = Servers(options.servers, place, lightqueues.SETTINGS)
            servers.start_all()
            wave(light, servers, report)
            servers.stop_all()
        for _, _, some in both:
            compared(some, folder, report)
    finally:
        servers.stop_all()
        print(
            f"interop with {options.servers} servers: {report.passed} passed, "
            f"{len(report.failed)} failed {' '.join(report.failed)}"
        )
        if options.keep or report.failed:
            print(f"data and logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return report


def main():
    options = argparse.ArgumentParser(
        description="Official clients against our servers or the Java ones."
    )
    options.add_argument("--servers", choices=["ferrocket", "java"], default="ferrocket")
    options.add_argument("--only", metavar="PATTERN", default="*")
    options.add_argument(
        "--differential",
        action="store_const",
        dest="only",
        const="differential/*",
        help="only our servers' answers and stores beside Java's",
    )
    options.add_argument("--list", action="store_true", help="print the names of the cases")
    options.add_argument("--keep", action="store_true", help="keep the folder with data and logs")
    options = options.parse_args()

    cases = named(options, [options.only])
    if options.list:
        for name, _, some in sum(cases, []):
            print("\n".join(f"{name}/{case}" for case in some))
        return 0
    if not any(cases):
        print(f"interop: no case matches {options.only}")
        return 2

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = driven(cases, options)
    if 0 < len(report.failed) <= SECOND_TRIES_MAX:
        failed = report.failed
        print(f"once more, alone: {' '.join(failed)}")
        report = driven(named(options, failed), options)
        if not report.failed:
            print(f"passed at the second try only: {' '.join(failed)}")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
