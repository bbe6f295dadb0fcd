"""Many groups, many waiting pulls, many topics, many queues: what each of them costs."""

import os
import time

import brokers
import peers
from brokers import behind, call, memory
from harness import (
    CPU,
    RATE,
    Pairs,
    await_connections,
    check,
    connections_of,
    figures,
    mqbench,
    words,
)

TOPICS = 10_000
# Their queues are 4 times as many. Odd, so that each sender of mqbench comes to all queues.
TOPICS_OF_QUEUES = 25_001
# Of so many the costs are measured too, each in turn with one.
CURVE = (101, 1_001, 5_001, 12_501, TOPICS_OF_QUEUES)
DELETE_TOPIC_IN_BROKER = 215
DELETED = 1000
TO_FEW = "CPU to 4 queues"


def groups(bench):
    """100 consumer groups on the topic and 1,000 pulls that wait on other queues."""
    seconds = bench.seconds(4)
    load = words(f"send --seconds {seconds} --warmup 1 --limit-seconds 0")
    held = words("hold -t Other --topics 250 --connections 50 --warmup 0 --seconds 600")
    with bench.broker() as server:
        none = connections_of(server)

        def alone():
            return mqbench(*load, server=server)

        def beside():
            with peers.groups(server, 100), bench.beside(held, server):
                await_connections(server, lambda count: count >= none + 45)
                # For the last of them to ask.
                time.sleep(0.5)
                return alone()

        pairs = Pairs(beside, alone, bench.pairs)
        rates, cpus = pairs.medians(RATE), pairs.medians(CPU)
    return {
        "title": "100 consumer groups and 1,000 waiting pulls",
        "how": "Sends 4×16 of 1 KiB to a topic that 100 groups subscribe to, while 1,000 pulls wait "
        "on the queues of other topics; with and without them, alternated.",
        "rows": [
            {"with": name, RATE: rates[side], CPU: cpus[side]}
            for side, name in enumerate(("groups and pulls", "neither"))
        ],
        "checks": [check("send throughput, to that with none", pairs.ratio(RATE), "≥", 0.9)],
    }


def topics(bench):
    """10,000 topics of 4 queues with one consumer each that waits."""
    count = max(100, int(bench.size(TOPICS)))
    with bench.broker() as server:
        empty = brokers.memory(server.pid)[0]
    with bench.broker(topics=count) as server:
        # Two rounds of pulls, which are asked again every 15 seconds.
        found = mqbench(
            *words(f"hold --existing --topics {count} --connections 100 --warmup 5 --seconds 30"),
            server=server,
        )
        each = (brokers.memory(server.pid)[0] - empty) / (count * 4)
    return {
        "title": f"{count:,} topics × 4 queues, idle, with a consumer each",
        "how": "A pull waits on every queue and is asked again every 15 s. Memory: the broker's "
        "with all topics, queues and pulls, less that of the empty one, for each queue.",
        "rows": [
            {
                "queues": count * 4,
                **figures(found, "serverCorePercent", "serverResidentMiB"),
                "B/queue": each,
            }
        ],
        "checks": [check("broker CPU", found["serverCorePercent"], "≤", 2, "% of a core")],
    }


def dispatched(server):
    """Waits until all messages are in their queues; returns the broker's CPU seconds so far."""
    while behind(server.port) > 0:
        time.sleep(0.05)
    with open(f"/proc/{server.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def held(server):
    """What the broker has open and in memory."""
    with open(f"/proc/{server.pid}/maps", encoding="utf-8") as file:
        mapped = sum("/consumequeue/" in line for line in file)
    resident, anonymous = memory(server.pid)
    return {
        "files mapped": mapped,
        "descriptors": len(os.listdir(f"/proc/{server.pid}/fd")),
        "RSS MiB": resident / 2**20,
        "anonymous MiB": anonymous / 2**20,
    }


def delete_some(server, count):
    """Deletes topics; milliseconds each, and how many of their folders are left."""
    names = [f"TopicBench-{number:05}" for number in range(count)]
    began = time.monotonic()
    for name in names:
        code, remark, _ = call(server.port, DELETE_TOPIC_IN_BROKER, {"topic": name}, timeout=60)
        if code:
            raise RuntimeError(f"{name} not deleted: {remark}")
    each = (time.monotonic() - began) / count * 1000
    folders = (os.path.join(server.store, "consumequeue", name) for name in names)
    return each, sum(os.path.exists(folder) for folder in folders)


def curve(kind, load, counts):
    """A row for each number of topics: what a request costs, and that to the runs with 4 queues
    before and after it."""
    rows, before = [], load(1)
    for count in counts:
        found, after = load(count), load(1)
        to_few = 2 * found[CPU] / (before[CPU] + after[CPU])
        when = f"{kind}, {count * 4:,} queues"
        rows.append({"when": when, **figures(found, RATE, CPU), TO_FEW: to_few})
        before = after
    return rows


def queues(bench):
    """100,000 consume queues with messages: starts, memory, and what sends and pulls cost."""
    count = max(251, int(bench.size(TOPICS_OF_QUEUES)) | 1)
    queues = count * 4
    size = words("--size 100 --limit-seconds 0 --warmup 1")
    seconds = ("--seconds", bench.seconds(4))
    many = ("--topics", count, "--existing")
    pull = words("pull --in-turn --batch 1")
    short = words("--size 100 --limit-seconds 0 --warmup 0.3 --seconds") + [bench.seconds(1)]
    counts = sorted({min(count, topics) for topics in CURVE})
    rows, starts = [], {}
    with bench.broker(topics=count) as server:

        def show(when, **more):
            rows.append({"when": when, **held(server), **more})

        def loads(*where):
            """A send, and a pull of one message at a time: each asks the next queue."""
            sent = mqbench("send", *size, *seconds, *where, server=server)
            dispatched(server)
            return sent, mqbench(*pull, *size, *seconds, *where, server=server)

        def beside(*what):
            def load(topics):
                where = ("--topics", topics, "--existing")
                found = mqbench(*what, *short, *where, server=server)
                dispatched(server)
                return found

            return curve(what[0], load, counts)

        few = loads()
        before = dispatched(server)
        show("4 queues")
        one_each = words("send --size 100 --connections 1 --inflight 1 --limit-seconds 0")
        began = time.monotonic()
        mqbench(*one_each, *many, "--messages", queues, server=server)
        spent = dispatched(server) - before
        show("a message in each queue", s=time.monotonic() - began, CPUms=spent / queues * 1e3)
        # Of queues as short as these all records are among the newest.
        costs = beside(*pull)
        full = loads(*many)
        costs += beside("send")
        show("sent to all, pulled from all")
        server.stop()
        starts["clean"] = server.start()
        show("started after a stop", s=starts["clean"])
        mqbench("send", *size, *seconds, *many, server=server)
        server.kill()
        starts["killed"] = server.start()
        show("started after kill -9", s=starts["killed"])
        each, left = delete_some(server, min(DELETED, count // 2))
        show("topics deleted", ms=each, folders=left)
    checks = [
        check("start, clean", starts["clean"], "≤", 5, "s"),
        check("start after kill -9", starts["killed"], "≤", 10, "s"),
        check("descriptors", max(row["descriptors"] for row in rows), "≤", 200),
    ]
    for kind, one, all_of_them in zip(("send", "pull"), few, full):
        rows.append({"when": f"{kind}, 4 queues", **figures(one, RATE, CPU)})
        rows.append({"when": f"{kind}, all queues", **figures(all_of_them, RATE, CPU)})
        checks.append(check(f"CPU of a {kind}, to 4 queues", all_of_them[CPU] / one[CPU], "≤", 2))
    rows += costs
    return {
        "title": f"{queues:,} consume queues",
        "how": f"{count:,} topics × 4 queues, of which each has messages of 100 B. To 4 queues: "
        "a run of 1 s to those before and after it.",
        "rows": rows,
        "checks": checks,
    }


EXPERIMENTS = {"groups": groups, "topics": topics, "queues": queues}
