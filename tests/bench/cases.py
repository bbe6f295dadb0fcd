"""The standard set: what is run, and what it must reach beside Java 4.9.7 in the same run."""

from dataclasses import dataclass, field, replace

from harness import CPU, P50, P99, P999, RATE


@dataclass
class Case:
    name: str
    args: str
    # Figure -> ratio to Java: at least so much for a rate, at most for all others.
    targets: dict = field(default_factory=dict)
    # Figure -> at most so much of ours, whatever Java does.
    bounds: dict = field(default_factory=dict)
    # Settings of both brokers beside the defaults.
    conf: dict = field(default_factory=dict)
    # Messages that are sent before, for a pull.
    backlog: int = 0
    # The brokers are restarted before each run; cold: and the page cache forgets their files.
    restart: bool = False
    cold: bool = False
    # All free memory of the machine is touched before, and kept from going back to a host.
    backed: bool = False
    # Of one run: three pairs are three times as much.
    seconds: int = 5


def send(name, args, rate, cpu, tail=None, **more):
    """A closed loop of sends."""
    targets = {RATE: rate, CPU: cpu}
    if tail:
        targets[P999] = tail
    return Case(name, f"send {args}", targets, **more)


SYNC = {"flushDiskType": "SYNC_FLUSH"}
GB = 2_000_000  # messages of 1 KiB in 2 GB

FRESH = [
    send("async-1x1", "--connections 1 --inflight 1", 2, 1 / 4),
    send("async-4x1", "--connections 4 --inflight 1", 1.7, 1 / 4),
    send("async-4x16", "--connections 4 --inflight 16", 2.5, 1 / 4, 1 / 10),
    send("async-16x64", "--connections 16 --inflight 64", 2.5, 1 / 4, 1 / 5),
    send("async-64x1", "--connections 64 --inflight 1", 2.5, 1 / 4, 1 / 10),
    send("sync-1x1", "--connections 1 --inflight 1", 4, 1 / 6, conf=SYNC),
    send("sync-4x16", "--connections 4 --inflight 16", 2.5, 1 / 4, 1 / 5, conf=SYNC),
    send("sync-16x64", "--connections 16 --inflight 64", 2, 1 / 4, conf=SYNC),
    Case("open-5000", "send --rate 5000", {P999: 1 / 20, CPU: 1 / 5}, seconds=15),
    Case("open-20000", "send --rate 20000", {P999: 1 / 10, CPU: 1 / 5}, seconds=15),
    Case(
        "e2e-1000",
        "e2e --rate 1000",
        {P50: 1 / 3, P99: 1 / 5, CPU: 1 / 5},
        {P99: 1000},
        seconds=10,
    ),
    Case("e2e-10000", "e2e --rate 10000", {P50: 1 / 3, P999: 1 / 10, CPU: 1 / 4}, seconds=10),
    Case("pull-warm", "pull --once --inflight 1", {RATE: 1.5, CPU: 1 / 3}, backlog=GB),
    Case("pull-cold", "pull --once --inflight 1", {CPU: 1 / 3}, backlog=GB, cold=True),
    Case(
        "pull-one",
        "pull --once --inflight 1 --connections 1 --queues 1",
        {RATE: 2, CPU: 1 / 3},
        backlog=GB // 2,
    ),
    Case("batch-128", "batch --inflight 4 --size 128", {RATE: 1.5, CPU: 1 / 3}),
    Case("batch-1024", "batch --inflight 4", {CPU: 1 / 3}),
    send("128B-4x16", "--size 128", 3, 1 / 4, 1 / 10),
    send("128B-16x64", "--size 128 --connections 16 --inflight 64", 3, 1 / 4),
    send("4KiB-4x16", "--size 4096", 2, 1 / 3),
    send("binary-4x16", "--codec binary", 2.5, 1 / 4),
    # A broker may keep the memory of connections that were closed for the next ones.
    Case(
        "idle-2000",
        "idle --connections 2000",
        bounds={"idleBytesEach": 4096},
        seconds=3,
        restart=True,
    ),
]

# What writes much, once more on a machine whose memory needs no host to back it first.
CASES = FRESH + [
    replace(case, name=f"{case.name}-backed", backed=True)
    for case in FRESH
    if case.name.startswith(("async-4x16", "async-16x64", "async-64x1", "open-", "batch-"))
    or case.name in ("e2e-10000", "binary-4x16", "sync-16x64")
]
