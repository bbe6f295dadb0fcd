"""What happens to the store meanwhile: new segments, deletion, cold reads, starts, a rebuild."""

import os
import shutil
import time

from brokers import max_offset
from harness import LONGEST, P999, check, files_of, fill, forget, mqbench, words

GIB = 2**30
# Files are deleted at any hour. Java looks for the first time a minute after its start.
CONF = {"deleteWhen": ";".join(f"{hour:02}" for hour in range(24))}
FIRST_CLEAN_SECONDS, CLEAN_SECONDS = 60, 10
DELETED = 10
# Messages a second of the probe, and about what each takes in the log.
PROBE_RATE, RECORD_BYTES = 20_000, 1250
COLD = "a cold reader"


def probe(server, seconds):
    load = words(f"send -t Probe --rate {PROBE_RATE} --warmup 0.5 --limit-seconds 0")
    return mqbench(*load, "--seconds", seconds, server=server)


def segments(server):
    return sorted(files_of(os.path.join(server.store, "commitlog")))


def messages_of(server):
    return sum(max_offset(server.port, "TopicBench", queue) for queue in range(4))


def read_from_disk(server):
    """Bytes that a process had the disk read."""
    with open(f"/proc/{server.pid}/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes"))


def rolls(bench, server, found):
    """A segment ends while the probe runs; then the quiet value, in the next."""
    seconds = bench.seconds(10, 4)
    fill(server, GIB - seconds / 2 * PROBE_RATE * RECORD_BYTES)
    found["a new segment"] = probe(server, seconds)
    found["nothing"] = probe(server, seconds)


def starts(server, times):
    """Of a full store: after a clean stop, after kill -9, and with the consume queues deleted."""
    server.stop()
    times["clean"] = server.start()
    server.kill()
    times["killed"] = server.start()
    messages = messages_of(server)
    server.stop()
    shutil.rmtree(os.path.join(server.store, "consumequeue"))
    server.start()
    while messages_of(server) < messages:
        if time.monotonic() - server.began > 200:
            raise RuntimeError(f"{messages_of(server)} of {messages} messages after 200 s")
        time.sleep(0.05)
    times["rebuilt"] = time.monotonic() - server.began


def cold_reader(bench, server, found):
    """The whole log is read from the disk while the probe runs."""
    server.stop()
    forget(server.store)
    server.start()
    scan = words("pull --once --inflight 1 --seconds 600 --limit-seconds 0")
    seconds = bench.seconds(8, 3)
    with bench.beside(scan, server):
        time.sleep(0.5)
        before = read_from_disk(server)
        found[COLD] = probe(server, seconds)
        read = read_from_disk(server) - before
    found[COLD]["readMBs"] = read / 1e6 / seconds
    if read == 0:
        raise RuntimeError(f"{server.name}: nothing was read from the disk beside the probe")


def deletion(bench, server, found):
    """Segments expire, and go, while the probe runs. Returns how many went."""
    time.sleep(max(0, server.ready + FIRST_CLEAN_SECONDS - time.monotonic()))
    old = segments(server)[:-2][:DELETED]
    for path in old:
        os.utime(path, (0, 0))
    found["deletion"] = probe(server, CLEAN_SECONDS + bench.seconds(6, 3))
    deleted = len(old) - sum(os.path.exists(path) for path in old)
    if not deleted:
        raise RuntimeError(f"{server.name}: none of {len(old)} old segments was deleted")
    return deleted


def side_of(bench, side):
    """Everything on one side's broker."""
    # Room for ten segments to delete, and for what the probes write.
    full = bench.options.full and side == "ours"
    size = int(bench.size(GIB * (50 if full else 12.5)))
    found, times = {}, {}
    with bench.broker(side, CONF) as server:
        rolls(bench, server, found)
        fill(server, max(GIB, size - 2 * GIB))
        times["bytes"] = sum(os.path.getsize(path) for path in segments(server))
        starts(server, times)
        cold_reader(bench, server, found)
        deleted = deletion(bench, server, found)
    return found, times, deleted


def storage(bench):
    """Both sides, one after the other: the disk need not hold two large stores."""
    ours, times, deleted = side_of(bench, "ours")
    java, java_times, java_deleted = side_of(bench, "java")
    quiet = ours["nothing"][P999]
    table, checks = [], []
    for name, run in ours.items():
        other = java[name]
        table.append(
            {
                "beside": name,
                P999: run[P999],
                LONGEST: run[LONGEST],
                "Java's p99.9 us": other[P999],
                "Java's max us": other[LONGEST],
            }
        )
        if name != "nothing":
            checks.append(check(f"p99.9 beside {name}, to quiet", run[P999] / quiet, "≤", 2))
            checks.append(
                check(f"longest beside {name}, to Java's", run[LONGEST] / other[LONGEST], "≤", 0.25)
            )
    for name, run in (("ours", ours[COLD]), ("Java", java[COLD])):
        table.append({"beside": f"the cold reader, MB/s from the disk, {name}: {run['readMBs']:.0f}"})
    table.append({"beside": f"segments deleted: ours {deleted}, Java {java_deleted}"})
    gib = times["bytes"] / GIB
    for key, what, bound in (
        ("clean", f"start with {gib:.0f} GiB, clean", 1),
        ("killed", f"start with {gib:.0f} GiB after kill -9", 5),
    ):
        table.append({"beside": what, "s": times[key], "Java's s": java_times[key]})
        checks.append(check(what, times[key], "≤", bound, "s"))
    table.append(
        {"beside": "consume queues rebuilt", "s": times["rebuilt"], "Java's s": java_times["rebuilt"]}
    )
    checks.append(
        check("rebuild of consume queues", times["bytes"] / times["rebuilt"] / 1e9, "≥", 1, "GB/s")
    )
    return {
        "title": "A large store",
        "how": f"{PROBE_RATE:,} sends a second of 1 KiB in an open loop beside what a row says; "
        "segments of 1 GiB. Before the cold reader the kernel forgot all pages of the store.",
        "rows": table,
        "checks": checks,
    }


EXPERIMENTS = {"storage": storage}
