"""More load than the broker can take, and clients that harm others."""

import resource
import statistics
import threading
import time

import brokers
import peers
from harness import CPU, P99, RATE, Pairs, check, figures, fill, mqbench, words

# The clients' processor and the broker's, so that neither takes time from the other and what is
# lost under overload is lost by the broker.
BROKER_CPU, CLIENT_CPU = 0, 1
OFFERED = 3
# The broker's limits for what waits: 10,000 requests in the send queue and their answers.
GROWTH_MAX = 64 * 2**20
QUEUE_WAIT_US = 200_000
# Of each of 16 connections: together twice what the send queue holds.
WINDOW = 1250


class Memory(threading.Thread):
    """Watches the largest memory of a server, mapped files aside."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ended = server, threading.Event()
        self.before = self.largest = brokers.memory(server.pid)[1]

    def run(self):
        while not self.ended.wait(0.05):
            self.largest = max(self.largest, brokers.memory(self.server.pid)[1])


def overload(bench):
    """Three times what the broker can take, in an open loop; a probe of 500/s beside it."""
    seconds, quiet = bench.seconds(20, 3), 3
    with bench.broker(cpu=BROKER_CPU) as server:
        closed = words("send --connections 16 --inflight 64 --threads 1 --limit-seconds 0")
        most = mqbench(*closed, *words("--seconds 5"), server=server, cpu=CLIENT_CPU)
        rate = int(most[RATE] * OFFERED)
        probe = words("send -t Probe --rate 500 --warmup 0 --limit-seconds 0")
        probe += ["--seconds", quiet + seconds + 6]
        memory = Memory(server)
        began = time.monotonic()
        with bench.beside(probe, server, cpu=CLIENT_CPU) as beside:
            time.sleep(quiet)
            memory.start()
            over = mqbench(
                *words(f"send --connections 16 --rate {rate} --window {WINDOW} --warmup 1"),
                *words(f"--seconds {seconds} --limit-seconds 0"),
                server=server,
                cpu=CLIENT_CPU,
            )
            # Until the last answer was awaited.
            end = time.monotonic() - began
            beside["wait"] = True
        memory.ended.set()
    windows = [(each["second"], each["p99us"]) for each in beside["overTime"] if each["p99us"]]
    before = statistics.median(p99 for at, p99 in windows if 1 < at < quiet - 0.5)
    after = statistics.median(p99 for at, p99 in windows if end + 1 < at < end + 4)
    measured = over["seconds"]
    offered = sum(over[key] for key in ("messages", "refused", "givenUp")) / measured
    growth = memory.largest - memory.before
    return {
        "title": f"Offered {OFFERED} times the maximum in an open loop",
        "how": f"Broker and load on one processor each; most: closed loop 16×64; then {rate:,} "
        f"messages/s on 16 connections for {seconds} s, at most {WINDOW:,} under way on each, the rest "
        "given up by the client.",
        "rows": [
            {"load": "most", **figures(most, RATE, P99, CPU, "refusedPerSecond")},
            {"load": "offered", RATE: offered},
            {
                "load": "taken",
                **figures(over, RATE, P99, CPU, "refusedPerSecond", "refusalP99us"),
                "givenUpPerSecond": over["givenUpPerSecond"],
            },
        ],
        "checks": [
            check("throughput kept", over[RATE] / most[RATE], "≥", 0.9),
            check("refusals p99 below the queue-wait limit", over["refusalP99us"], "≤", QUEUE_WAIT_US, "us"),
            check("memory grown", growth / 2**20, "≤", GROWTH_MAX / 2**20, "MiB"),
            check("p99 of a probe 1 s after, to that before", after / before, "≤", 2),
        ],
    }


def neighbours(bench):
    """What clients that misbehave do to the p99 of others."""
    seconds = bench.seconds(3, 2)
    probe = words(f"send -t Probe --rate 5000 --warmup 1 --seconds {seconds} --limit-seconds 0")
    rows, checks = [], []
    # The broker shares its files out to the connections of its two ports.
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 500)
    with bench.broker() as server:
        fill(server, 64 * 2**20)

        def alone():
            return mqbench(*probe, server=server)

        def beside(peer):
            with peer(server):
                return alone()

        def burst():
            with bench.beside(probe, server) as found:
                time.sleep(1.5)
                mqbench(*words(f"idle --connections {count} --seconds 0.5"), server=server)
                found["wait"] = True
            return found

        for name, run in (
            ("16 consumers that stop reading", lambda: beside(peers.stalled_consumers)),
            ("4 producers that do not read answers", lambda: beside(peers.full_windows)),
            (f"a burst of {count:,} connections", burst),
        ):
            # The p99 of a short run varies more than a throughput does.
            pairs = Pairs(run, alone, bench.pairs * 2 - 1)
            p99, quiet = pairs.medians(P99)
            rows.append({"beside": name, "p99us": p99, "quiet": quiet})
            checks.append(check(f"p99 beside {name}, to that without", pairs.ratio(P99), "≤", 1.1))
    return {
        "title": "Clients that harm others",
        "how": "5,000 sends a second on 4 connections, with and without the others, alternated.",
        "rows": rows,
        "checks": checks,
    }


EXPERIMENTS = {"overload": overload, "neighbours": neighbours}
