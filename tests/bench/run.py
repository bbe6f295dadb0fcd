#!/usr/bin/env python3
"""Measures our broker against Java's, side by side, and writes RESULTS.md with pictures.

    tests/bench/run.py [--old DIR] [--only PATTERN] [--pairs N] [--scale X] [--list] ...

scripts/bench builds first and calls this. Each case starts a fresh broker of either side and has
mqbench alternate them; runs that other load disturbed are left out of the ratios. --old compares
with the programs of an older build of ours in DIR as well. What was measured is kept in
target/bench, so that --only renews a part of RESULTS.md.
"""

import argparse
import fnmatch
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import brokers
import results
from cases import CASES

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
PROGRAMS = os.path.join(TARGET, "release")
KEPT = os.path.join(TARGET, "bench")


def mqbench(*args):
    """Runs it and returns its JSON. What it says on standard error passes through."""
    done = subprocess.run(
        [os.path.join(PROGRAMS, "mqbench"), *args, "--json"], stdout=subprocess.PIPE, check=False
    )
    if not done.stdout:
        raise RuntimeError(f"mqbench {' '.join(args)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def keep(name, found):
    os.makedirs(KEPT, exist_ok=True)
    with open(os.path.join(KEPT, f"{name}.json"), "w", encoding="ascii") as file:
        json.dump(found, file)


def fill(server, case, backlog):
    """Sends the backlog of a pull."""
    queues = case.args.partition("--queues ")[2].split(" ")[0] or "4"
    mqbench(
        *["batch", "-b", f"127.0.0.1:{server.port}", "--queues", queues, "--inflight", "2"],
        *["--messages", str(backlog), "--limit-seconds", "0"],
    )


def restart(sides, drop_page_cache):
    """Restarts the brokers; with nothing of their stores in memory if so asked."""
    for server in sides:
        server.stop()
    if drop_page_cache:
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")
    for server in sides:
        server.start()


def restarted(case, sides, args, pairs):
    """Like mqbench compare, with a restart before each run."""
    runs = [[], []]
    for pair in range(pairs):
        for side in [0, 1] if pair % 2 == 0 else [1, 0]:
            restart(sides, case.cold)
            server = sides[side]
            target = ["-b", f"127.0.0.1:{server.port}", "--pid", str(server.pid)]
            runs[side].append(mqbench(*args, *target))
    good = [i for i in range(pairs) if not any(runs[side][i]["disturbed"] for side in (0, 1))]
    counted = good or range(pairs)
    rows = []
    for figure, title in results.FIGURES.items():
        pairs_of = [(runs[0][i].get(figure), runs[1][i].get(figure)) for i in counted]
        if any(None in pair or not pair[1] for pair in pairs_of):
            continue
        ratios = [a / b for a, b in pairs_of]
        rows.append(
            {
                "figure": figure,
                "title": title,
                "a": statistics.median(a for a, _ in pairs_of),
                "b": statistics.median(b for _, b in pairs_of),
                "ratio": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
            }
        )
    return {
        "pairs": pairs,
        "disturbedPairs": pairs - len(good),
        "rows": rows,
        "sides": [{"name": s.name, "runs": r} for s, r in zip(sides, runs)],
    }


def measure(case, other, programs, options, folder):
    """One case, ours beside `other`."""
    sides = [
        brokers.broker("ours", folder, case.conf, PROGRAMS),
        brokers.broker(other, folder, case.conf, programs, options.heap),
    ]
    name = case.name if other == "java" else f"{case.name}-{other}"
    seconds = max(1, case.seconds * options.scale)
    args = [*case.args.split(), "--seconds", str(seconds), "--limit-seconds", "1"]
    if "--once" not in args:
        args += ["--warmup", str(min(2, seconds))]
    else:
        args[args.index("--seconds") + 1] = "3600"
    try:
        for server in sides:
            server.start()
            if case.backlog:
                fill(server, case, int(case.backlog * min(1, options.scale)))
        if case.cold or case.restart:
            found = restarted(case, sides, args, options.pairs)
        else:
            pictures = KEPT if options.no_write else results.PICTURES
            os.makedirs(pictures, exist_ok=True)
            picture = os.path.join(pictures, f"{name}.svg")
            found = mqbench(
                *["compare", sides[0].target, sides[1].target, *args],
                *["--pairs", str(options.pairs), "--plot", picture],
            )
    finally:
        for server in sides:
            server.remove()
    found["args"], found["conf"] = " ".join(args), case.conf
    keep(name, found)


def start_and_stop(other, programs, options, folder):
    """Time from start to an answer with an empty store, to the end after SIGTERM, and memory."""
    found = {}
    for name, where in (("ours", PROGRAMS), (other, programs)):
        servers = {
            "broker": lambda: brokers.broker(name, folder, {}, where, options.heap),
            "namesrv": lambda: brokers.namesrv(name, folder, where),
        }
        for what, make in servers.items():
            times = []
            for _ in range(options.pairs):
                server = make()
                try:
                    start = server.start()
                    resident, anonymous = brokers.memory(server.pid)
                    times.append((start, server.stop(), resident, anonymous))
                finally:
                    server.remove()
            found[f"{what} {name}"] = [statistics.median(column) for column in zip(*times)]
    keep("start-stop" if other == "java" else f"start-stop-{other}", found)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--old", metavar="DIR", help="folder with an older mqbroker, mqnamesrv")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases, such as 'sync-*'")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of runs of each case (3)")
    parser.add_argument("--scale", type=float, default=1, help="stretches or shortens every run (1)")
    parser.add_argument("--heap", default="4g", help="heap of the Java broker (4g)")
    parser.add_argument("--dir", help="folder on the disk for the stores (that of temporary files)")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md and its pictures as they are")
    options = parser.parse_args()
    options.old = options.old and os.path.abspath(options.old)
    return options


def main():
    options = parse()
    # So that servers are stopped and stores removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chosen = [case for case in CASES if fnmatch.fnmatch(case.name, options.only)]
    if options.list:
        print("\n".join(case.name for case in CASES))
        return
    failed = []
    folder = tempfile.mkdtemp(prefix="ferrocket-bench-", dir=options.dir)
    others = [("java", None)] + ([("old", options.old)] if options.old else [])
    try:
        if options.only == "*" or "limits" in options.only:
            limits = mqbench("limits", "--dir", folder, "--limit-seconds", "2")
            keep("limits", limits)
        for other, programs in others:
            for case in chosen:
                print(f"bench: {case.name}, ours and {other}", file=sys.stderr)
                try:
                    measure(case, other, programs, options, folder)
                except (RuntimeError, OSError) as error:
                    failed.append(f"{case.name} with {other}: {error}")
            if fnmatch.fnmatch("start-stop", options.only):
                start_and_stop(other, programs, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.no_write:
        results.write(KEPT, options)
    if failed:
        raise SystemExit("bench: failed:\n  " + "\n  ".join(failed))


if __name__ == "__main__":
    main()
