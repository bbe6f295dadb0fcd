"""Many groups, many waiting pulls, many topics: what each of them costs."""

import time

import brokers
import peers
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


EXPERIMENTS = {"groups": groups, "topics": topics}
