"""What every measurement needs: mqbench, brokers, pairs of runs, and where the results are kept."""

import contextlib
import json
import mmap
import os
import statistics
import subprocess
import time

import brokers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
PROGRAMS = os.path.join(TARGET, "release")
KEPT = os.path.join(TARGET, "bench")
MQBENCH = os.path.join(PROGRAMS, "mqbench")

RATE, CPU = "messagesPerSecond", "serverCpuSecondsPerMillion"
P50, P99, P999, LONGEST = "p50us", "p99us", "p999us", "maxus"


def command(args, server=None, cpu=None, nice=False):
    """A command line of mqbench, against `server`, on one processor or behind all others if so
    asked."""
    if server:
        args = [*args, "-b", f"127.0.0.1:{server.port}", "--pid", str(server.pid)]
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    behind = ["nice", "-n", "19"] if nice else []
    return [*behind, *pinned, MQBENCH, *[str(arg) for arg in args], "--json"]


def mqbench(*args, server=None, cpu=None, nice=False):
    """Runs it and returns its JSON. What it says on standard error passes through."""
    done = subprocess.run(command(args, server, cpu, nice), stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        raise RuntimeError(f"mqbench {' '.join(map(str, args))}: exit code {done.returncode}")
    return json.loads(done.stdout)


def words(text):
    return text.split()


def keep(name, found):
    os.makedirs(KEPT, exist_ok=True)
    path = os.path.join(KEPT, f"{name}.json")
    with open(path + ".new", "w", encoding="ascii") as file:
        json.dump(found, file)
    os.replace(path + ".new", path)


def kept(name):
    path = os.path.join(KEPT, f"{name}.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as file:
        return json.load(file)


def fill(server, size_bytes, body=1024, queues=4, topic="TopicBench"):
    """Sends messages until the log has grown by about so much."""
    messages = max(32, int(size_bytes / (body + 200)))
    return mqbench(
        *words(f"batch -t {topic} --queues {queues} --inflight 2 --size {body}"),
        *words(f"--messages {messages} --limit-seconds 0"),
        server=server,
    )


def limits_of(bench, renew=False):
    """What this machine can do, measured now if it was not before."""
    found = kept("limits")
    if renew or found is None or "failed" in found:
        found = mqbench("limits", "--dir", bench.folder, *words("--limit-seconds 2"))
        keep("limits", found)
    return found


# Of which size free pages are told to the host of a virtual machine, as a power of two of pages.
REPORTED_ORDER = "/sys/module/page_reporting/parameters/page_reporting_order"
# Larger than any run of free pages that the kernel keeps together.
NOT_REPORTED = "11"
# Of the free memory, which is left untouched so that nothing is reclaimed for it.
SPARE_BYTES = 1 << 30
MADV_POPULATE_WRITE = 23


@contextlib.contextmanager
def memory_backed():
    """Touches all free memory once, and has the kernel keep it: as on a machine of one's own, or on
    a virtual one that has run for a while and gives nothing back to its host."""
    before = None
    with contextlib.suppress(OSError):
        with open(REPORTED_ORDER, encoding="ascii") as file:
            before = file.read().strip()
        with open(REPORTED_ORDER, "w", encoding="ascii") as file:
            file.write(NOT_REPORTED)
    try:
        touch_free_memory()
        yield
    finally:
        if before is not None:
            with open(REPORTED_ORDER, "w", encoding="ascii") as file:
                file.write(before)


def touch_free_memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemFree"))
    if free > SPARE_BYTES:
        with mmap.mmap(-1, free - SPARE_BYTES) as memory:
            memory.madvise(mmap.MADV_HUGEPAGE)
            memory.madvise(MADV_POPULATE_WRITE)


def files_of(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]


def forget(folder):
    """Has the kernel forget the pages of all files of a stopped broker, so that the disk is read
    next time. Dropping the whole page cache would need more rights than this."""
    os.sync()
    for path in files_of(folder):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    left, size = resident(folder), sum(os.path.getsize(path) for path in files_of(folder))
    if left > size / 20:
        raise RuntimeError(f"{left} of {size} bytes stay in the page cache: this is not cold")


def resident(folder):
    """Bytes of a folder's files that are in memory."""
    found = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", *files_of(folder)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return sum(int(line) for line in found.stdout.split())


def figures(run, *names):
    return {name: run.get(name) for name in names}


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


class Pairs:
    """Two runs alternated, as often as asked; what other load disturbed does not count."""

    def __init__(self, one, other, pairs):
        self.runs = [[], []]
        for pair in range(pairs):
            for side in [0, 1] if pair % 2 == 0 else [1, 0]:
                # What the run before left to be written is not this one's.
                os.sync()
                self.runs[side].append((one, other)[side]())
        good = [i for i in range(pairs) if not any(side[i].get("disturbed") for side in self.runs)]
        self.disturbed = pairs - len(good)
        self.counted = good or list(range(pairs))

    def medians(self, figure):
        return [median([side[i].get(figure) for i in self.counted]) for side in self.runs]

    def ratios(self, figure):
        """Of the first to the second, in each pair that has both."""
        both = [[side[i].get(figure) for side in self.runs] for i in self.counted]
        return [a / b for a, b in both if a is not None and b]

    def ratio(self, figure):
        return median(self.ratios(figure))


def check(what, reached, sign, target, unit=""):
    """What a figure must be. `sign` is ≤ or ≥."""
    return {"what": what, "reached": reached, "sign": sign, "target": target, "unit": unit}


class Bench:
    """One run of the suite: its options, and the folder for all stores."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.pairs = options.pairs

    def seconds(self, standard, least=1):
        return max(least, round(standard * self.options.scale, 1))

    def size(self, standard):
        return standard * min(1, self.options.scale)

    def programs(self, side):
        """The folder with the programs of a side; Java's has none."""
        return {"ours": PROGRAMS, "old": self.options.old, "java": None}[side]

    @contextlib.contextmanager
    def broker(self, side="ours", conf=None, cpu=None, label=None, topics=0):
        """A running broker of a side, its folder removed in the end. Two of one side at a time
        need a `label`. With so many `topics` from the start."""
        server = brokers.broker(
            label or side, self.folder, conf or {}, self.programs(side), self.options.heap
        )
        if cpu is not None:
            server.command = ["taskset", "-c", str(cpu), *server.command]
        try:
            if topics:
                server.has_topics(topics)
            server.start()
            yield server
        finally:
            server.remove()

    @contextlib.contextmanager
    def beside(self, args, server, cpu=None):
        """mqbench running beside something else. Yields a place: when the block puts `wait` into it,
        the result of mqbench is there in the end; otherwise mqbench is ended."""
        process = subprocess.Popen(
            command(args, server, cpu), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        found = {}
        try:
            yield found
            if found.pop("wait", False):
                text = process.communicate(timeout=300)[0]
                found.update(json.loads(text))
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
            process.stdout.close()


def connections_of(server):
    """Open sockets of a server: one more with each connection."""
    folder = f"/proc/{server.pid}/fd"
    found = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"{folder}/{name}").startswith("socket:")
    return found


def await_connections(server, is_right):
    """Waits until as many connections are open as must be."""
    end = time.monotonic() + 30
    while not is_right(connections_of(server)):
        if time.monotonic() > end:
            raise RuntimeError(f"{server.name}: {connections_of(server)} connections are open")
        time.sleep(0.05)
