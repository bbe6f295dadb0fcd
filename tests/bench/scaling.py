"""What a message costs when there is more of something."""

import os
import resource
import shutil
import signal
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
    forget,
    median,
    memory_backed,
    mqbench,
    words,
)

WITHIN = 0.1
GIB = 2**30
# Java's broker reads ahead up to 6 MB of zeros for the first unit of a queue with files of its own
# length.
SHORT_QUEUE_FILES = {"mappedFileSizeConsumeQueue": 20_000}
# What is left free on the disk: stores of sizes for which there is no room are not measured.
SPARE_DISK_BYTES = 15 * GIB
# Of a body of 128 B: record, queue unit, index entry.
SMALL_MESSAGE_BYTES = 380


def load(bench, more=""):
    return words(f"send --seconds {bench.seconds(2)} --warmup 0.5 --limit-seconds 0 {more}")


class Within:
    """The time of a curve: what is not begun in it is left out, and named."""

    def __init__(self, bench, seconds):
        self.began, self.seconds = time.monotonic(), seconds * max(1, bench.options.scale)
        self.left_out = []

    def has(self, what):
        if time.monotonic() - self.began < self.seconds:
            return True
        self.left_out.append(f"{what}: the time was over")
        return False

    def check(self, rows):
        """One point is no curve."""
        if len(rows) < 2:
            raise RuntimeError(f"too few points.{self.said()}")

    def said(self):
        """For the reader, behind other text."""
        return "".join(f" Left out: {what}." for what in self.left_out)


def room(bench, size, within, what):
    """Whether the disk has so many bytes to spare."""
    if shutil.disk_usage(bench.folder).free - SPARE_DISK_BYTES >= size:
        return True
    within.left_out.append(f"{what}: no room on the disk")
    return False


def limited(seconds, run):
    """An experiment that has failed when it takes so long, whatever holds it: those after it have
    their time. `run.py` handles the alarm."""

    def measure(bench):
        signal.alarm(int(seconds * max(1, bench.options.scale)))
        return run(bench)

    return measure


def flat(what, rows):
    """Checks that the last row costs as much as the first."""
    last = rows[-1]
    label = f"at {last[what]:,} {what}"
    checks = [
        check(f"throughput {label}, to that at {rows[0][what]:,}", last["rate ratio"], "≥", 1 - WITHIN),
        check(f"CPU {label}", last["CPU ratio"], "≤", 1 + WITHIN),
    ]
    # A run that was held up too much has no CPU time.
    return [each for each in checks if each["reached"] is not None]


def row(what, value, pairs):
    """One point of a curve beside the first point."""
    return {
        what: value,
        RATE: pairs.medians(RATE)[0],
        CPU: pairs.medians(CPU)[0],
        "rate ratio": pairs.ratio(RATE),
        "CPU ratio": pairs.ratio(CPU),
    }


def use_all(server, topics, seconds=60):
    """Sends to every queue, and waits until all of them have their files: those are made once."""
    mqbench(
        *words(f"send --topics {topics} --existing --messages {max(topics * 16, 1000)}"),
        *words("--limit-seconds 0"),
        server=server,
    )
    end = time.monotonic() + seconds
    while brokers.behind(server.port):
        if time.monotonic() > end:
            raise RuntimeError(f"{server.name}: the queues are not dispatched after {seconds} s")
        time.sleep(0.1)


def topics_of_java(bench, count):
    """Java's broker with one topic and with many, on a store that ours has made: it takes minutes
    to make the files of so many queues."""
    began = time.monotonic()
    try:
        with bench.broker(label="made", conf=SHORT_QUEUE_FILES, topics=count) as made:
            use_all(made, 1)
            use_all(made, count)
            made.stop()
            paths = {
                "storePathRootDir": made.store,
                "storePathCommitLog": os.path.join(made.store, "commitlog"),
            }
            with bench.broker("java", {**SHORT_QUEUE_FILES, **paths}) as server:
                ready = time.monotonic() - began
                # Java compiles what is run often.
                mqbench(*load(bench), server=server)
                pairs = Pairs(
                    lambda: mqbench(*load(bench, f"--topics {count} --existing"), server=server),
                    lambda: mqbench(*load(bench), server=server),
                    bench.pairs,
                )
    except (RuntimeError, OSError) as error:
        return {"remark": f"failed: {error}"}
    rate, cpu = pairs.medians(RATE)[1], pairs.medians(CPU)[1]
    found = row("topics", f"Java, {count:,}", pairs)
    one = f"{rate:,.0f}/s" + (f", {cpu:.1f} CPU s/M" if cpu else "")
    found["remark"] = (
        f"with one topic {one}; ours made the files of its queues, each of which it keeps open; "
        f"{ready:.0f} s until it answered"
    )
    return found


def topics(bench):
    """Topics of 4 queues each, one message after the other to another topic."""
    counts = [max(1, int(bench.size(count))) for count in (100, 5000)]
    rows, within = [], Within(bench, 110)
    with bench.broker() as base:
        use_all(base, 1)
        for count in counts:
            if not within.has(f"{count:,} topics"):
                break
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
    # It keeps the file of each queue open, and may open no more than this.
    count = min(counts[-1], (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 2000) // 4)
    java = {"topics": f"Java, {count:,}"}
    # Ours is what is measured: without Java's row the page is still of use.
    if within.has("Java"):
        java |= topics_of_java(bench, count)
    return {
        "title": "Topics of 4 queues",
        "how": "Sends 4×16 of 1 KiB, each message to the next topic; beside a broker with one "
        "topic, alternated. Before, every queue had messages, so that its file is there and "
        "dispatched: what is measured is not the making of files." + within.said(),
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


def fitted(rows, figure):
    """A line through the figure over KiB, by least squares: at 0 bytes, and for each KiB."""
    xs, ys = [row["bytes"] / 1024 for row in rows], [row[figure] for row in rows]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
    return y - slope * x, slope


def memory_of(bench):
    """What this machine needs for a KiB at this moment, in µs: to copy it into a map, and to make
    the pages for it ready."""
    found = mqbench("limits", "--dir", bench.folder, *words("--limit-seconds 0.1"))
    return [1024e6 / found[key] for key in ("appendBytesPerSecond", "firstTouchBytesPerSecond")]


def sizes(bench):
    """Message sizes, beside a server that only reads the same frames. What the host of a virtual
    machine has yet to back costs many times as much: all memory is touched before."""
    with memory_backed():
        return sizes_alone(bench)


def sizes_alone(bench):
    rows, within, machine = [], Within(bench, 110), []
    for size in (128, 512, 1024, 4096, 16_384, 65_536):
        if not within.has(f"{size:,} bytes"):
            break
        machine.append(memory_of(bench))
        # A broker of its own for each, so that none begins with the dirty pages of the one before.
        with bench.broker() as server:
            load_of = words(f"send --size {size} --seconds {bench.seconds(1.5)} --warmup 0.5")
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
    within.check(rows)
    for one in rows:
        one["CPU ratio"] = one[CPU] / rows[0][CPU]
    # CPU seconds per million messages are microseconds each.
    (ours, each), (empty, empty_each) = (fitted(rows, key) for key in (CPU, "empty server's"))
    copied, touched = (median(column) for column in zip(*machine))
    return {
        "title": "Message sizes",
        "how": "Sends 4×16. What grows beyond the CPU of a server that only reads the frames is "
        "put beside one append to memory and one first touch of a page, medians of `limits` before "
        "each size; all free memory touched before. Lines by "
        f"least squares, in µs: ours {ours:.2f} a message and {each:.3f} a KiB, the empty server's "
        f"{empty:.2f} and {empty_each:.3f}; this machine copies a KiB into a warm map in "
        f"{copied:.3f} and makes the pages for one ready in {touched:.3f}." + within.said(),
        "rows": rows,
        "checks": [
            check(
                "CPU for each KiB beyond reading it",
                each - empty_each,
                "≤",
                (copied + touched) * 1.1,
                "µs",
            )
        ],
        "curve": {"x": "bytes", "y": [CPU, "empty server's"], "log": True, "rows": rows},
    }


def store(bench):
    """Sends and pulls with ever more in the store, beside a new one with 1 GiB."""
    rows, within = [], Within(bench, 130)
    with bench.broker(label="large") as large:
        have = 0
        for gib in (1, 5, 20) + ((50,) if bench.options.full else ()):
            size, what = int(bench.size(gib * GIB)), f"{gib} GiB"
            if not (within.has(what) and room(bench, size - have + 4 * GIB, within, what)):
                break
            part = int(bench.size(GIB))
            if size - have > part:
                fill(large, size - have - part, topic="Filler")
                # Only the last part is to be in memory: there is none for all of it.
                large.stop()
                forget(large.store)
                large.start()
            have = size
            rows.append({"GiB": gib, **grown(bench, large, part, f"Recent{gib}")})
    within.check(rows)
    last = rows[-1]
    return {
        "title": "Store size",
        "how": "Sends 4×1 of 1 KiB, then pulls of the last GiB, that of a topic of its own, beside "
        "a new broker with nothing else, alternated. What is older was written before a restart, and "
        "is not in memory." + within.said(),
        "rows": rows,
        "checks": [
            check(f"{what} of {kind} with {last['GiB']} GiB, to 1 GiB", last[f"{kind} {what} ratio"], *to)
            for kind in ("send", "pull")
            for what, *to in (("rate", "≥", 1 - WITHIN), ("CPU", "≤", 1 + WITHIN))
        ],
        "curve": {"x": "GiB", "y": ["send CPU ratio", "pull CPU ratio"], "log": True, "rows": rows},
    }


def grown(bench, large, part, topic):
    """What a message costs there, beside a store that has nothing but that topic."""
    found = {}
    with bench.broker(label="new") as new:
        for server in (large, new):
            fill(server, part, topic=topic)
        for kind, form in (("send", "send --inflight 1"), ("pull", "pull --inflight 1")):
            args = words(f"{form} -t {topic} --seconds {bench.seconds(1.5)} --warmup 0.5")
            args += words("--limit-seconds 0")
            pairs = Pairs(
                lambda: mqbench(*args, server=large),  # noqa: B023
                lambda: mqbench(*args, server=new),  # noqa: B023
                bench.pairs,
            )
            found[f"{kind}/s"] = pairs.medians(RATE)[0]
            found[f"{kind} rate ratio"] = pairs.ratio(RATE)
            found[f"{kind} CPU ratio"] = pairs.ratio(CPU)
    return found


def backlog(bench):
    """Pulls from the beginning of ever longer queues, beside a broker with the shortest."""
    counts = [int(bench.size(count)) for count in (1_000_000, 5_000_000, 10_000_000)]
    rows, within = [], Within(bench, 70)
    pull = words(f"pull --inflight 1 --seconds {bench.seconds(1.5)} --warmup 0.5 --limit-seconds 0")
    with bench.broker(label="short") as short, bench.broker(label="long") as long:
        fill(short, counts[0] * (128 + 200), body=128)
        have = 0
        for count in counts:
            what = f"{count:,} messages"
            more = (count - have) * SMALL_MESSAGE_BYTES
            if not (within.has(what) and room(bench, more, within, what)):
                break
            fill(long, (count - have) * (128 + 200), body=128)
            have = count
            pairs = Pairs(
                lambda: mqbench(*pull, server=long),
                lambda: mqbench(*pull, server=short),
                bench.pairs,
            )
            rows.append(row("messages", count, pairs))
    within.check(rows)
    return {
        "title": "Backlog",
        "how": "Pulls 4×1 of 128 B in memory from the beginning to the end, beside a broker with "
        f"{counts[0]:,} messages, alternated." + within.said(),
        "rows": rows,
        "checks": flat("messages", rows),
        "curve": {"x": "messages", "y": ["rate ratio", "CPU ratio"], "log": True, "rows": rows},
    }


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


# With the seconds after which each has failed; undisturbed, all together take some 7 minutes.
EXPERIMENTS = {
    "threads": limited(30, threads),
    "scaling-topics": limited(270, topics),
    "scaling-connections": limited(90, connections),
    "scaling-sizes": limited(170, sizes),
    "scaling-store": limited(400, store),
    "scaling-backlog": limited(120, backlog),
}
