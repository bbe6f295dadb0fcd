"""More load than the broker can take, and clients that harm others."""

import contextlib
import os
import resource
import statistics
import threading
import time

import brokers
import peers
from harness import CPU, P99, RATE, Pairs, check, figures, fill, memory_backed, mqbench, words

# The clients' processor and the broker's, so that neither takes time from the other and what is
# lost under overload is lost by the broker.
BROKER_CPU, CLIENT_CPU = 0, 1
OFFERED = 3
# The broker's limits for what waits: 10,000 requests in the send queue and their answers.
GROWTH_MAX = 64 * 2**20
QUEUE_WAIT_US = 200_000
CONNECTIONS = 16
# The p99 of a few seconds differs by half from one run to the next, with nobody beside it.
NEIGHBOUR_PAIRS = 3
# Requests that the clients have under way: the send queue holds 10,000.
UNDER_WAY = (20_000, 80_000)
# How often the load falls after the long ones, and how long the probe goes on alone each time.
RETURNS, RETURN_SECONDS = 3, 5


class Memory(threading.Thread):
    """Watches the largest memory of a server, mapped files aside."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ended = server, threading.Event()
        self.before = self.largest = brokers.memory(server.pid)[1]

    def run(self):
        while not self.ended.wait(0.05):
            self.largest = max(self.largest, brokers.memory(self.server.pid)[1])


@contextlib.contextmanager
def page_cache_filled(folder):
    """Fills the free memory with pages of a file that has no blocks, as where a broker has run for
    minutes: from then on every new page of the log takes the place of another. Otherwise a minute
    would be compared with seconds that find free memory."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemFree"))
    path = os.path.join(folder, "no-blocks")
    try:
        with open(path, "w+b", buffering=0) as file:
            file.truncate(free)
            piece = bytearray(1 << 20)
            while file.readinto(piece):
                pass
        yield
    finally:
        os.remove(path)


def offered(server, rate, under_way, seconds):
    """The load, at most so many requests of it under way, the rest given up by the client."""
    return mqbench(
        *words(f"send --connections {CONNECTIONS} --rate {rate} --warmup 1 --limit-seconds 0"),
        *words(f"--window {under_way // CONNECTIONS} --seconds {seconds}"),
        server=server,
        cpu=CLIENT_CPU,
    )


def offer_in_turn(bench, server, rate, memory):
    """Offers the load some times, with a probe of 500/s beside it; what came of it by how many
    requests were under way, and the probe's p99 from 1 s after each to that before them all."""
    long, short, calm = bench.seconds(60, 3), bench.seconds(10, 2), bench.seconds(10, 3)
    # The return is seen in few seconds, in which chance has much to say: hence more than once.
    loads = [(UNDER_WAY[0], long), (UNDER_WAY[1], short), *[(UNDER_WAY[0], short)] * RETURNS]
    # A load takes longer than it lasts, by the answers that are awaited.
    total = calm + sum(seconds + 2 + RETURN_SECONDS for _, seconds in loads)
    probe = words("send -t Probe --rate 500 --warmup 0 --limit-seconds 0 --seconds")
    runs, ends, began = {}, [], time.monotonic()
    with bench.beside([*probe, total], server, cpu=CLIENT_CPU) as beside:
        time.sleep(calm)
        memory.start()
        for under_way, seconds in loads:
            run = offered(server, rate, under_way, seconds)
            runs.setdefault(under_way, run)
            ends.append(time.monotonic() - began)
            time.sleep(RETURN_SECONDS)
        memory.ended.set()
        beside["wait"] = True
    # Each from its second until the next one's; the last one's end is not known.
    times = [each["second"] for each in beside["overTime"]]
    windows = [
        (at, until, each["p99us"])
        for each, at, until in zip(beside["overTime"], times, times[1:])
        if each["p99us"]
    ]

    def between(since, to):
        return [p99 for at, until, p99 in windows if since <= at and until <= to]

    after = [p99 for end in ends for p99 in between(end + 1, end + RETURN_SECONDS)]
    return runs, statistics.median(after) / statistics.median(between(1, calm))


def overload(bench):
    """Three times what the broker can take, in an open loop."""
    # A minute of it needs more memory than a virtual machine's host may have backed, or is free.
    with (
        memory_backed(),
        page_cache_filled(bench.folder),
        bench.broker(cpu=BROKER_CPU) as server,
    ):
        closed = words(f"send --connections {CONNECTIONS} --inflight 64 --threads 1")
        closed += words("--limit-seconds 0 --seconds")
        # What the kernel does with so many new pages shows only after seconds: not too short.
        long = bench.seconds(10, 2)
        mqbench(*closed, 2, server=server, cpu=CLIENT_CPU)
        most = mqbench(*closed, long, server=server, cpu=CLIENT_CPU)
        rate = int(most[RATE] * OFFERED)
        memory = Memory(server)
        runs, returned = offer_in_turn(bench, server, rate, memory)
        # What the disk and the memory allow changes within minutes.
        again = mqbench(*closed, long, server=server, cpu=CLIENT_CPU)
        maximum = (most[RATE] + again[RATE]) / 2
    growth = memory.largest - memory.before
    rows = [
        {"load": load, **figures(run, RATE, P99, CPU, "refusedPerSecond")}
        for load, run in (("most", most), ("most, after", again))
    ]
    checks = []
    for under_way, over in runs.items():
        asked = sum(over[key] for key in ("messages", "refused", "givenUp")) / over["seconds"]
        of = f"with {under_way:,} under way"
        keys = (RATE, P99, CPU, "refusedPerSecond", "refusalP99us", "benchCpuSecondsPerMillion")
        rows.append({"load": f"offered, {of}", "offered/s": asked, **figures(over, *keys)})
        checks.append(check(f"throughput kept {of}", over[RATE] / maximum, "≥", 0.9))
        if over["refused"]:
            p99 = over["refusalP99us"]
            checks.append(check(f"refusals p99 {of}", p99, "≤", QUEUE_WAIT_US, "us"))
    return {
        "title": f"Offered {OFFERED} times the maximum in an open loop",
        "how": f"Broker and load on one processor each; most: closed loop 16×64, before and after; "
        f"between them {rate:,} messages/s on {CONNECTIONS} connections for a minute, what would be "
        "more than so many under way given up by the client, the same for 10 s with more of them, "
        f"and {RETURNS} times with as few as at first. A probe of 500/s goes on beside all of it: its "
        "windows of a second from 1 s after each load, to those before the first. The "
        "page cache fills the memory from the start, so that the maximum of seconds and what is "
        "kept in a minute are measured in one state.",
        "rows": rows,
        "checks": [
            *checks,
            check("memory grown", growth / 2**20, "≤", GROWTH_MAX / 2**20, "MiB"),
            check("p99 of a probe 1 s after, to that before", returned, "≤", 2),
        ],
    }


def neighbours(bench):
    """What clients that misbehave do to the p99 of others."""
    probe = words("send -t Probe --rate 5000 --warmup 1 --limit-seconds 0 --seconds")
    short, long = [*probe, bench.seconds(3, 2)], [*probe, bench.seconds(5, 2)]
    rows, checks = [], []
    # The broker shares its files out to the connections of its two ports.
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 300)
    with bench.broker() as server:
        fill(server, 64 * 2**20)

        def beside(peer):
            with peer(server):
                # What they have sent is on the disk, as what was before a run alone.
                os.sync()
                return mqbench(*short, server=server)

        def burst():
            with bench.beside(long, server) as found:
                time.sleep(1.5)
                # So that it is not the client that takes the processors.
                idle = words(f"idle --connections {count} --seconds 0.5")
                mqbench(*idle, server=server, nice=True)
                found["wait"] = True
            return found

        for name, load, run in (
            ("16 consumers that stop reading", short, lambda: beside(peers.stalled_consumers)),
            ("4 producers that do not read answers", short, lambda: beside(peers.full_windows)),
            (f"a burst of {count:,} connections", long, burst),
        ):
            times = bench.pairs * NEIGHBOUR_PAIRS
            pairs = Pairs(run, lambda load=load: mqbench(*load, server=server), times)
            p99, quiet = pairs.medians(P99)
            rows.append({"beside": name, "p99us": p99, "quiet": quiet})
            checks.append(check(f"p99 beside {name}, to that without", p99 / quiet, "≤", 1.1))
    return {
        "title": "Clients that harm others",
        "how": "5,000 sends a second on 4 connections, with and without the others, alternated, "
        f"medians of {times} runs each. The burst's client closes its sockets by two, since in "
        "one go that is 85 ms of the kernel's work on one of the processors, for which the "
        "probe's client would wait.",
        "rows": rows,
        "checks": checks,
    }


EXPERIMENTS = {"overload": overload, "neighbours": neighbours}
