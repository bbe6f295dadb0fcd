"""What happens to the store meanwhile: new segments, deletion, cold reads, starts, a rebuild."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time

import peers
from brokers import max_offset, runtime_info
from harness import LONGEST, P999, check, command, files_of, fill, forget, median, memory_backed
from harness import mqbench, words

GIB = 2**30
# Files are deleted at any hour, looked at each second; in both for the first time a minute after
# the start.
CONF = {
    "deleteWhen": ";".join(f"{hour:02}" for hour in range(24)),
    "cleanResourceInterval": "1000",
}
FIRST_CLEAN_SECONDS = 60
DELETED = 10
# So much is in either log before segments are deleted: those, and the last two, which stay.
FULL = int((DELETED + 2.3) * GIB)
# Messages a second of the probe, and about what each takes in the log.
PROBE_RATE, RECORD_BYTES = 20_000, 1250
# Of one look at the probe; files go one by one, ours in 0.8 s each.
SECONDS, DELETION_SECONDS = 4, 5
# Times that a segment ends beside the probe, and that it is looked at beside the reader and beside
# deletion, which has a third of the files each time.
ROLLS, READS, DELETIONS = 5, 4, 3
# What another process reads and removes while the probe is sent to a server that only answers, and
# how fast it reads: as fast as ours does beside sends.
EMPTY_READS, READ_BYTES, READ_SPEED = 2, 2 * 2**20, 256 * 2**20
QUIET, ROLL, COLD, DELETION = "nothing", "a new segment", "a cold reader", "deletion"


class Probed:
    """A server, and what the probe found beside each thing."""

    def __init__(self, bench, server):
        self.bench, self.server, self.found = bench, server, {}

    def probe(self, beside, seconds=None):
        load = words(f"send -t Probe --rate {PROBE_RATE} --warmup 0.5 --limit-seconds 0")
        seconds = seconds or self.bench.seconds(SECONDS, SECONDS / 2)
        run = mqbench(*load, "--seconds", seconds, server=self.server)
        self.found.setdefault(beside, []).append(run)

    def figure(self, beside, figure):
        """The median of all times that the probe was looked at beside something."""
        return median([run[figure] for run in self.found[beside]])


class Empty(Probed):
    """A server that only answers."""

    def rolls(self):
        """It has no segments: the quiet value."""
        self.probe(QUIET)

    def beside(self, what, work, seconds):
        """What `work`, which ends when its argument is set, does to this process's probe."""
        enough = threading.Event()
        thread = threading.Thread(target=work, args=(enough,))
        thread.start()
        self.probe(what, seconds)
        enough.set()
        thread.join()

    def beside_reader(self, paths):
        """These files are read from the disk, not by a broker."""

        def read(enough):
            for path in paths:
                with open(path, "rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                    while not enough.wait(READ_BYTES / READ_SPEED) and file.read(READ_BYTES):
                        pass

        self.beside(COLD, read, SECONDS)

    def beside_deletion(self, paths):
        """These files are removed, not by a broker."""

        def remove(enough):
            for path in paths:
                enough.wait(1)
                os.unlink(path)

        self.beside(DELETION, remove, DELETION_SECONDS)


class Side(Probed):
    """One broker, and what else was found."""

    def __init__(self, bench, server):
        super().__init__(bench, server)
        self.times, self.notes = {}, {}

    def log_end(self):
        return int(runtime_info(self.server.port)["commitLogMaxOffset"])

    def fill_to(self, end):
        """Sends until the log ends there, or a little before."""
        while (left := end - self.log_end()) > 32 * RECORD_BYTES:
            fill(self.server, left - 16 * RECORD_BYTES)

    def segments(self):
        return sorted(files_of(os.path.join(self.server.store, "commitlog")))

    def messages(self):
        return sum(max_offset(self.server.port, "TopicBench", queue) for queue in range(4))

    def rolls(self):
        """A segment ends while the probe runs; then the quiet value, in the next."""
        number = self.log_end() // GIB
        half = int((0.5 + self.bench.seconds(SECONDS, SECONDS / 2) / 2) * PROBE_RATE * RECORD_BYTES)
        self.fill_to((number + 1) * GIB - half)
        os.sync()
        self.probe(ROLL)
        if self.log_end() // GIB != number + 1:
            raise RuntimeError(f"{self.server.name}: no segment ended beside the probe")
        os.sync()
        self.probe(QUIET)

    def starts(self):
        """Of a full store: after a clean stop, after kill -9, and with the consume queues deleted,
        until they are made again from the log. Java's broker takes minutes for the last two."""
        server = self.server
        self.times["bytes"] = self.log_end()
        os.sync()
        server.stop()
        self.times["clean"] = server.start()
        server.kill()
        self.times["killed"] = server.start()
        messages = self.messages()
        server.stop()
        shutil.rmtree(os.path.join(server.store, "consumequeue"))
        server.start()
        while self.messages() < messages:
            if time.monotonic() - server.began > 200:
                raise RuntimeError(f"{self.messages()} of {messages} messages after 200 s")
            time.sleep(0.05)
        self.times["rebuilt"] = time.monotonic() - server.began

    def read_from_disk(self):
        """Bytes that the broker had the disk read."""
        with open(f"/proc/{self.server.pid}/io", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("read_bytes"))

    @contextlib.contextmanager
    def reader(self):
        """Reads the whole log, but not yet: SIGCONT has it go on, SIGSTOP wait."""
        scan = words("pull --once --inflight 1 --seconds 600 --limit-seconds 0")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command(scan, self.server), **quiet) as process:
            process.send_signal(signal.SIGSTOP)
            try:
                yield process
            finally:
                process.kill()

    def beside_reader(self, reader):
        if reader.poll() is not None:
            raise RuntimeError(f"{self.server.name}: the reader is through before the last look")
        reader.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        before, began = self.read_from_disk(), time.monotonic()
        self.probe(COLD)
        read = (self.read_from_disk() - before) / (time.monotonic() - began)
        reader.send_signal(signal.SIGSTOP)
        self.notes.setdefault("read", []).append(read / 1e6)

    def deletion(self):
        """Segments expire, and go, while the probe runs: a third of those that are to."""
        time.sleep(max(0, self.server.ready + FIRST_CLEAN_SECONDS - time.monotonic()))
        looks = len(self.found.get(DELETION, []))
        left = DELETED - self.notes.get("deleted", 0)
        old = self.segments()[:-2][: left // (DELETIONS - looks)]
        for path in old:
            os.utime(path, (0, 0))
        self.probe(DELETION, DELETION_SECONDS)
        gone = len(old) - sum(os.path.exists(path) for path in old)
        self.notes["deleted"] = self.notes.get("deleted", 0) + gone
        if gone < len(old):
            raise RuntimeError(f"{self.server.name}: {gone} of {len(old)} old segments were deleted")


def in_turn(sides, times, work):
    """Alternates the sides."""
    for turn in range(times):
        for side in sides if turn % 2 == 0 else reversed(sides):
            work(side)


def cold_reads(sides, empty):
    """The log is read from the disk while the probe runs, on one side at a time."""
    for side in sides:
        side.server.stop()
    for side in sides:
        forget(side.server.store)
    for side in sides:
        empty.beside_reader(side.segments()[:EMPTY_READS])
        forget(side.server.store)
    for side in sides:
        side.times["cold"] = side.server.start()
    with contextlib.ExitStack() as stack:
        readers = {side: stack.enter_context(side.reader()) for side in sides}
        in_turn(sides, READS, lambda side: side.beside_reader(readers[side]))
    for side in sides:
        if median(side.notes["read"]) == 0:
            raise RuntimeError(f"{side.server.name}: nothing was read from the disk")


def measured(sides, full, empty):
    """Everything, on both brokers, and in between what the machine does to any server."""
    in_turn([*sides, empty], ROLLS, lambda side: side.rolls())
    sides[0].fill_to(full)
    # Before the other log takes its place in memory.
    sides[0].starts()
    sides[1].fill_to(FULL)
    cold_reads(sides, empty)
    in_turn(sides, DELETIONS, Side.deletion)
    for side in sides:
        side.server.stop()
        empty.beside_deletion(side.segments())


def rows_of(ours, java, empty):
    """The table, and the checks."""
    table, checks = [], []
    for name in ours.found:
        p999, longest = ours.figure(name, P999), ours.figure(name, LONGEST)
        others = java.figure(name, LONGEST)
        table.append(
            {
                "beside": name,
                "times": len(ours.found[name]),
                P999: p999,
                LONGEST: longest,
                "Java's p99.9 us": java.figure(name, P999),
                "Java's max us": others,
            }
        )
        if name != QUIET:
            quiet = ours.figure(QUIET, P999)
            checks.append(check(f"p99.9 beside {name}, to quiet", p999 / quiet, "≤", 2))
            checks.append(check(f"longest beside {name}, to Java's", longest / others, "≤", 0.25))
    for name, runs in empty.found.items():
        row = {"beside": f"{name}, an empty server", "times": len(runs)}
        table.append({**row, **{figure: empty.figure(name, figure) for figure in (P999, LONGEST)}})
    for name, side in (("ours", ours), ("Java", java)):
        read = median(side.notes["read"])
        table.append({"beside": f"the cold reader, MB/s from the disk, {name}: {read:.0f}"})
        table.append({"beside": f"segments deleted, {name}: {side.notes['deleted']}"})
    return table, checks


def starts_of(ours, java):
    """The same of starts and the rebuild."""
    table, checks = [], []
    size = f"{ours.times['bytes'] / 1e9:.1f} GB"
    for key, what, bound in (
        ("clean", f"start with {size}, clean", 1),
        ("killed", f"start with {size} after kill -9", 5),
        ("cold", f"start with {size}, clean, nothing of it in memory", None),
        ("rebuilt", "consume queues rebuilt", None),
    ):
        table.append({"beside": what, "s": ours.times[key], "Java's s": java.times.get(key)})
        if bound:
            checks.append(check(what, ours.times[key], "≤", bound, "s"))
    speed = ours.times["bytes"] / ours.times["rebuilt"] / 1e9
    checks.append(check("rebuild of consume queues", speed, "≥", 1, "GB/s"))
    return table, checks


def storage(bench):
    """Both brokers run, and the probe is sent to one at a time."""
    full = 50 * GIB if bench.options.full else FULL
    with memory_backed(), bench.broker("ours", CONF) as one, bench.broker("java", CONF) as other:
        ours, java = Side(bench, one), Side(bench, other)
        with peers.empty_server() as server:
            empty = Empty(bench, server)
            measured([ours, java], full, empty)
    (beside, checks), (starts, more) = rows_of(ours, java, empty), starts_of(ours, java)
    return {
        "title": "A large store",
        "how": f"{PROBE_RATE:,} sends a second of 1 KiB in an open loop, for {SECONDS} s beside "
        f"what a row says, {DELETION_SECONDS} s beside deletion, ours and Java's in turn as often "
        "as it says. All figures are medians over these; so is the longest send, which is a "
        "maximum each time. Segments of 1 GiB, all free memory touched before. Before the cold "
        f"reader the kernel forgot all pages of the stores; {DELETED} files are deleted, a third "
        "at a time. The empty server only answers: what it shows is the machine's and the load "
        "client's; beside it another process reads a store from the disk, 256 MiB/s at most, and "
        "removes what is left of one in the end, a file a second.",
        "rows": beside + starts,
        "checks": checks + more,
    }


EXPERIMENTS = {"storage": storage}
