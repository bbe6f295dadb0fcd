"""What a message costs when there is more of something."""

import contextlib
import os
import time

import brokers
from harness import (
    CPU,
    RATE,
    Pairs,
    await_connections,
    check,
    connections_of,
    fill,
    limits_of,
    median,
    mqbench,
    words,
)

WITHIN = 0.1
GIB = 2**30
# For the first message of every queue to be dispatched.
DISPATCH_SECONDS = 120
# Java's row is left out when ours have taken so long: all curves together are to take minutes.
JAVA_WITHIN_SECONDS = 180


def load(bench, more=""):
    return words(f"send --seconds {bench.seconds(2)} --warmup 0.5 --limit-seconds 0 {more}")


def flat(what, rows):
    """Checks that the last row costs as much as the first."""
    last = rows[-1]
    label = f"at {last[what]:,} {what}"
    return [
        check(f"throughput {label}, to that at {rows[0][what]:,}", last["rate ratio"], "≥", 1 - WITHIN),
        check(f"CPU {label}", last["CPU ratio"], "≤", 1 + WITHIN),
    ]


def row(what, value, pairs):
    """One point of a curve beside the first point."""
    return {
        what: value,
        RATE: pairs.medians(RATE)[0],
        CPU: pairs.medians(CPU)[0],
        "rate ratio": pairs.ratio(RATE),
        "CPU ratio": pairs.ratio(CPU),
    }


def use_all(server, topics):
    """Sends to every queue, and waits until all of them have their files: those are made once."""
    mqbench(
        *words(f"send --topics {topics} --existing --messages {max(topics * 16, 1000)}"),
        *words("--limit-seconds 0"),
        server=server,
    )
    end = time.monotonic() + DISPATCH_SECONDS
    while brokers.behind(server.port):
        if time.monotonic() > end:
            raise RuntimeError(f"{server.name}: the queues are not dispatched")
        time.sleep(0.1)


def topics_of_java(bench, count):
    """Java's broker with one topic and with many."""
    with bench.broker("java", topics=count) as server:
        use_all(server, count)
        one = mqbench(*load(bench), server=server)
        many = mqbench(*load(bench, f"--topics {count} --existing"), server=server)
    found = {RATE: many[RATE], CPU: many[CPU]}
    return found | {"rate ratio": many[RATE] / one[RATE], "CPU ratio": many[CPU] / one[CPU]}


def topics(bench):
    """Topics of 4 queues each, one message after the other to another topic."""
    counts = [max(1, int(bench.size(count))) for count in (100, 1000, 5000)]
    rows, began = [], time.monotonic()
    with bench.broker() as base:
        for count in counts:
            with bench.broker("ours", label="many", topics=count) as many:
                use_all(many, count)
                spread = load(bench, f"--topics {count} --existing")
                pairs = Pairs(
                    lambda: mqbench(*spread, server=many),  # noqa: B023
                    lambda: mqbench(*load(bench), server=base),
                    bench.pairs,
                )
            if not rows:
                rate, cpu = pairs.medians(RATE)[1], pairs.medians(CPU)[1]
                rows.append({"topics": 1, RATE: rate, CPU: cpu, "rate ratio": 1, "CPU ratio": 1})
            rows.append(row("topics", count, pairs))
    java = {"topics": f"Java, {counts[-1]:,}"}
    # Ours is what is measured: without Java's row the page is still of use.
    if time.monotonic() - began < JAVA_WITHIN_SECONDS:
        with contextlib.suppress(RuntimeError, OSError):
            java |= topics_of_java(bench, counts[-1])
    return {
        "title": "Topics of 4 queues",
        "how": "Sends 4×16 of 1 KiB, each message to the next topic; beside a broker with one "
        "topic, alternated.",
        "rows": [*rows, java],
        "checks": flat("topics", rows),
        "curve": {"x": "topics", "y": ["rate ratio", "CPU ratio"], "log": True, "rows": rows},
    }


def connections(bench):
    """Idle connections beside 16 that are busy."""
    rows = []
    with bench.broker() as server:
        none = connections_of(server)
        first = mqbench(*words("idle --connections 5000 --seconds 1"), server=server)
        busy = load(bench, "--connections 16 --inflight 4")

        def alone():
            # Closing those of the run before is not counted.
            await_connections(server, lambda open_now: open_now <= none + 10)
            return mqbench(*busy, server=server)

        def beside(count):
            await_connections(server, lambda open_now: open_now <= none + 10)
            with bench.beside(words(f"idle --connections {count} --seconds 600"), server):
                await_connections(server, lambda open_now: open_now >= none + count * 0.99)
                return mqbench(*busy, server=server)

        for count in (1000, 5000):
            pairs = Pairs(lambda: beside(count), alone, bench.pairs)  # noqa: B023
            if not rows:
                rate, cpu = pairs.medians(RATE)[1], pairs.medians(CPU)[1]
                rows.append({"connections": 0, RATE: rate, CPU: cpu, "rate ratio": 1, "CPU ratio": 1})
            rows.append(row("connections", count, pairs))
    return {
        "title": "Idle connections",
        "how": "Sends 16×4 of 1 KiB, with and without idle connections beside, alternated.",
        "rows": rows,
        "checks": [
            *flat("connections", rows),
            check("memory of an idle connection", first["idleBytesEach"], "≤", 4096, "B"),
        ],
        "curve": {"x": "connections", "y": ["rate ratio", "CPU ratio"], "log": False, "rows": rows},
    }


def sizes(bench):
    """Message sizes, beside a server that only reads the same frames."""
    rows = []
    for size in (128, 512, 1024, 4096, 16_384, 65_536):
        # A broker of its own for each, so that none begins with the dirty pages of the one before.
        with bench.broker() as server:
            load_of = words(f"send --size {size} --seconds {bench.seconds(2)} --warmup 1")
            runs = [
                mqbench(*load_of, *words("--limit-seconds 0.5"), server=server)
                for _ in range(bench.pairs)
            ]
        cpu, empty = (
            median([run[key] for run in runs]) for key in (CPU, "loopbackCpuSecondsPerMillion")
        )
        rows.append(
            {
                "bytes": size,
                RATE: median([run[RATE] for run in runs]),
                "MB/s": median([run["bytesPerSecond"] / 1e6 for run in runs]),
                CPU: cpu,
                "empty server's": empty,
            }
        )
    small, large = rows[0], rows[-1]
    # CPU seconds per million messages and byte are microseconds; as nanoseconds a byte.
    grown = [(large[key] - small[key]) * 1e3 for key in (CPU, "empty server's")]
    each = (grown[0] - grown[1]) / (large["bytes"] - small["bytes"])
    limits = limits_of(bench)
    copied = 1e9 / limits["firstTouchBytesPerSecond"] + 1e9 / limits["appendBytesPerSecond"]
    for one in rows:
        one["CPU ratio"] = one[CPU] / small[CPU]
    return {
        "title": "Message sizes",
        "how": "Sends 4×16. What grows beyond the CPU of a server that only reads the frames is "
        "put beside one append to memory and one first touch of a page, of `limits`.",
        "rows": rows,
        "checks": [check("CPU for each byte beyond reading it", each, "≤", copied * 1.1, "ns")],
        "curve": {"x": "bytes", "y": [CPU, "empty server's"], "log": True, "rows": rows},
    }


def store(bench):
    """Sends and pulls with ever more in the store, beside a new one with a tenth of it. The pulls
    read all of it, so that it is also the backlog."""
    rows = []
    with bench.broker(label="large") as large:
        have = 0
        for gib in (1, 4, 10) + ((50,) if bench.options.full else ()):
            size = int(bench.size(gib * GIB))
            fill(large, size - have)
            have = size
            rows.append({"GiB": gib, **grown(bench, large)})
    last = rows[-1]
    return {
        "title": "Store size and backlog",
        "how": "Sends 4×1 of 1 KiB, then pulls from the beginning to the end, beside a new broker "
        "with 1 GiB, alternated.",
        "rows": rows,
        "checks": [
            check(f"{what} of {kind} with {last['GiB']} GiB, to 1 GiB", last[f"{kind} {what} ratio"], *to)
            for kind in ("send", "pull")
            for what, *to in (("rate", "≥", 1 - WITHIN), ("CPU", "≤", 1 + WITHIN))
        ],
        "curve": {"x": "GiB", "y": ["send CPU ratio", "pull CPU ratio"], "log": True, "rows": rows},
    }


def grown(bench, large):
    """What a message costs there, beside a store of 1 GiB that is as new."""
    found = {}
    with bench.broker(label="new") as new:
        fill(new, bench.size(GIB))
        for kind, form in (("send", "send --inflight 1"), ("pull", "pull --inflight 1")):
            args = words(f"{form} --seconds {bench.seconds(2)} --warmup 0.5 --limit-seconds 0")
            pairs = Pairs(
                lambda: mqbench(*args, server=large),  # noqa: B023
                lambda: mqbench(*args, server=new),  # noqa: B023
                bench.pairs,
            )
            found[f"{kind}/s"] = pairs.medians(RATE)[0]
            found[f"{kind} rate ratio"] = pairs.ratio(RATE)
            found[f"{kind} CPU ratio"] = pairs.ratio(CPU)
    return found


def threads(bench):
    """Where the CPU time of a message goes, by thread: what one thread does for all is a limit."""
    with bench.broker() as server:
        many = words("send --connections 16 --inflight 64 --warmup 0 --limit-seconds 0 --seconds")
        mqbench(*many, 1, server=server)
        before = cpu_of_threads(server)
        found = mqbench(*many, bench.seconds(4), server=server)
        after = cpu_of_threads(server)
    millions = found["messages"] / 1e6
    rows = []
    for name in sorted(after, key=lambda name: before.get(name, 0) - after[name]):
        spent = (after[name] - before.get(name, 0)) / millions
        if spent >= 0.01:
            rows.append({"thread": name, CPU: spent})
    return {
        "title": "CPU time by thread",
        "how": "Sends 16×64 of 1 KiB; threads of one pool together.",
        "rows": rows,
        "checks": [],
    }


def cpu_of_threads(server):
    """CPU seconds by name; the numbers of a pool's threads are left out."""
    found = {}
    folder = f"/proc/{server.pid}/task"
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/comm", encoding="utf-8") as file:
            name = file.read().strip().rstrip("0123456789").rstrip("-")
        with open(f"{folder}/{thread}/schedstat", encoding="ascii") as file:
            found[name] = found.get(name, 0) + int(file.read().split()[0]) / 1e9
    return found


EXPERIMENTS = {
    "threads": threads,
    "scaling-topics": topics,
    "scaling-connections": connections,
    "scaling-sizes": sizes,
    "scaling-store": store,
}
