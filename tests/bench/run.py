#!/usr/bin/env python3
"""Measures our broker against Java's, side by side, and writes RESULTS.md with pictures.

    tests/bench/run.py [--group GROUP,...] [--only PATTERN] [--missing] [--minutes N] ...

scripts/bench builds first and calls this. Groups: standard (each case starts a fresh broker of
either side and has mqbench alternate them; runs that other load disturbed are left out of the
ratios), backed (some of these once more, with all free memory touched before), limits, start-stop,
overload, many, scaling, storage. --old compares with the programs of an older build of ours in DIR
as well. Every result is kept in target/bench as soon as it is there: --only, --group and --missing
renew or complete a part of RESULTS.md. A case that fails is named in the end, and on the page, and
the others go on; so are those that take far too long, and those for which --minutes are too few.
"""

import argparse
import contextlib
import fnmatch
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback

import brokers
import many
import overload
import results
import scaling
import storage
from cases import CASES
from harness import (
    KEPT,
    Bench,
    Pairs,
    fill,
    forget,
    keep,
    kept,
    limits_of,
    memory_backed,
    mqbench,
    words,
)

# A case that takes so long has failed.
CASE_SECONDS = 600


def restarted(case, sides, args, pairs):
    """Like mqbench compare, with a restart before each run."""

    def run(server):
        server.stop()
        if case.cold:
            forget(server.store)
        server.start()
        return mqbench(*args, server=server)

    done = Pairs(lambda: run(sides[0]), lambda: run(sides[1]), pairs)
    rows = []
    for figure, title in results.FIGURES.items():
        ratios = done.ratios(figure)
        if len(ratios) < len(done.counted):
            continue
        a, b = done.medians(figure)
        rows.append(
            {
                "figure": figure,
                "title": title,
                "a": a,
                "b": b,
                "ratio": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
            }
        )
    return {
        "pairs": pairs,
        "disturbedPairs": done.disturbed,
        "rows": rows,
        "sides": [{"name": s.name, "runs": r} for s, r in zip(sides, done.runs)],
    }


def compared(case, sides, args, picture, pairs):
    """mqbench alternates the two itself."""
    os.makedirs(os.path.dirname(picture), exist_ok=True)
    targets = [side.target for side in sides]
    return mqbench("compare", *targets, *args, "--pairs", pairs, "--plot", picture)


def standard(case, other, bench):
    """One case, ours beside `other`."""
    seconds = bench.seconds(case.seconds)
    args = [*words(case.args), "--seconds", str(seconds), "--limit-seconds", "0.5"]
    if "--once" not in args:
        args += ["--warmup", "1"]
    else:
        args[args.index("--seconds") + 1] = "3600"
    name = named(case.name, other)
    memory = memory_backed() if case.backed else contextlib.nullcontext()
    with (
        memory,
        bench.broker("ours", case.conf) as ours,
        bench.broker(other, case.conf) as theirs,
    ):
        sides = [ours, theirs]
        if case.backlog:
            queues = case.args.partition("--queues ")[2].split(" ")[0] or "4"
            for server in sides:
                fill(server, bench.size(case.backlog) * (1024 + 200), queues=queues)
        if case.cold or case.restart:
            found = restarted(case, sides, args, bench.pairs)
        else:
            pictures = KEPT if bench.options.no_write else results.PICTURES
            picture = os.path.join(pictures, f"{name}.svg")
            found = compared(case, sides, args, picture, bench.pairs)
    return {**found, "args": " ".join(args), "conf": case.conf}


def start_and_stop(other, bench):
    """Time from start to an answer with an empty store, to the end after SIGTERM, and memory."""
    found = {}
    for side in ("ours", other):
        where = bench.programs(side)
        servers = {
            "broker": lambda: brokers.broker(side, bench.folder, {}, where, bench.options.heap),  # noqa: B023
            "namesrv": lambda: brokers.namesrv(side, bench.folder, where),  # noqa: B023
        }
        for what, make in servers.items():
            times = []
            for _ in range(bench.pairs):
                server = make()
                try:
                    start = server.start()
                    resident, anonymous = brokers.memory(server.pid)
                    times.append((start, server.stop(), resident, anonymous))
                finally:
                    server.remove()
            found[f"{what} {side}"] = [statistics.median(column) for column in zip(*times)]
    return found


def named(name, other):
    """Under which name the result beside `other` is kept."""
    return name if other == "java" else f"{name}-{other}"


def steps(options):
    """All that can be measured, in order: group, name, what measures it. What the machine can do
    comes first, then what the page is for."""
    found = [("limits", "limits", lambda bench: limits_of(bench, renew=True))]
    others = ["java"] + (["old"] if options.old else [])
    for other in others:
        for case in CASES:
            run = lambda bench, case=case, other=other: standard(case, other, bench)  # noqa: E731
            group = "backed" if case.backed else "standard"
            found.append((group, named(case.name, other), run))
        start_stop = lambda bench, other=other: start_and_stop(other, bench)  # noqa: E731
        found.append(("start-stop", named("start-stop", other), start_stop))
    for group in (overload, many, scaling, storage):
        for name, run in group.EXPERIMENTS.items():
            found.append((group.__name__, name, run))
    return found


def chosen(options):
    groups = options.group.split(",") if options.group else None
    unknown = set(groups or []) - {group for group, _, _ in steps(options)}
    if unknown:
        raise SystemExit(f"bench: no such group: {', '.join(sorted(unknown))}")
    for group, name, run in steps(options):
        if groups and group not in groups:
            continue
        if not any(fnmatch.fnmatch(name, pattern) for pattern in options.only.split(",")):
            continue
        if options.missing and "failed" not in (kept(name) or {"failed": ""}):
            continue
        yield group, name, run


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0],
        epilog=__doc__.split("\n\n", maxsplit=2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--old", metavar="DIR", help="folder with an older mqbroker, mqnamesrv")
    parser.add_argument("--group", metavar="GROUP,...", help="groups to measure (all)")
    parser.add_argument("--only", default="*", metavar="PATTERN,...", help="cases, such as 'sync-*'")
    parser.add_argument("--missing", action="store_true", help="only what has no result yet")
    parser.add_argument("--minutes", type=float, help="begin no further case after so long")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of runs of each case (3)")
    parser.add_argument("--scale", type=float, default=1, help="stretches or shortens every run (1)")
    parser.add_argument("--full", action="store_true", help="stores of 50 GiB instead of 12.5 and 20")
    parser.add_argument("--heap", default="4g", help="heap of the Java broker (4g)")
    parser.add_argument("--dir", help="folder on the disk for the stores (that of temporary files)")
    parser.add_argument("--list", action="store_true", help="name groups and cases, and end")
    parser.add_argument("--page", action="store_true", help="write RESULTS.md from what is kept, and end")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md and its pictures as they are")
    options = parser.parse_args()
    options.old = options.old and os.path.abspath(options.old)
    return options


def too_long(*_):
    raise TimeoutError(f"not done after {CASE_SECONDS} s")


def measure(options):
    """Runs what was chosen and returns what failed."""
    failed = []
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="ferrocket-bench-", dir=options.dir)
    bench = Bench(options, folder)
    try:
        for group, name, run in list(chosen(options)):
            minutes = (time.monotonic() - began) / 60
            if options.minutes and minutes > options.minutes:
                failed.append(f"{name}: not begun, the time was over")
                continue
            print(f"bench: {minutes:.1f} min: {group} {name}", file=sys.stderr)
            signal.alarm(int(CASE_SECONDS * max(1, options.scale)))
            try:
                keep(name, run(bench))
            except Exception as error:  # pylint: disable=broad-except
                traceback.print_exc()
                failed.append(f"{name}: {error}")
                keep(name, {"failed": str(error)})
            finally:
                signal.alarm(0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return failed


def main():
    options = parse()
    # So that servers are stopped and stores removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGALRM, too_long)
    if options.list:
        for group, name, _ in chosen(options):
            print(f"{group:11} {name}")
        return
    failed = [] if options.page else measure(options)
    if not options.no_write:
        results.write(options)
    if failed:
        raise SystemExit("bench: failed:\n  " + "\n  ".join(failed))


if __name__ == "__main__":
    main()
