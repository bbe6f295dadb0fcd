"""RESULTS.md, from what was kept of the measurements."""

import json
import os
import platform
import subprocess
import time

from brokers import JAVA_FLAGS, JAVA_SERVERS
from cases import CASES, RATE

HERE = os.path.dirname(os.path.abspath(__file__))
PICTURES = os.path.join(HERE, "pictures")
RESULTS = os.path.join(HERE, "RESULTS.md")
# The figures that the tables show.
FIGURES = {
    "messagesPerSecond": "messages/s",
    "p50us": "p50 us",
    "p99us": "p99 us",
    "p999us": "p99.9 us",
    "p9999us": "p99.99 us",
    "maxus": "max us",
    "serverCpuSecondsPerMillion": "CPU s/M",
    "serverUserSecondsPerMillion": "user s/M",
    "serverSystemSecondsPerMillion": "system s/M",
    "minorFaultsPerMessage": "minor faults/msg",
    "waitsPerMessage": "waits/msg",
    "serverResidentMiB": "RSS MiB",
    "idleBytesPerConnection": "B/connection",
    "benchCpuSecondsPerMillion": "mqbench CPU s/M",
    "percentOfLoopback": "% of loopback",
}


def output(*argv):
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, cwd=HERE
        )
        return done.stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def first(path, label):
    """The value of the first line `label: value` of a file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == label:
                return value.strip()
    return "unknown"


def machine(options):
    where = options.dir or "/tmp"
    memory = int(first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    java = output("java", "-version").splitlines()[0]
    return [
        f"- {time.strftime('%Y-%m-%d')}, revision {output('git', 'rev-parse', '--short', 'HEAD')}",
        f"- {first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} processors, "
        f"{memory:.1f} GiB, Linux {platform.release()}",
        f"- stores on {output('findmnt', '-no', 'SOURCE,FSTYPE,OPTIONS', '-T', where)}",
        f"- RocketMQ {JAVA_SERVERS} on {java}, -Xms{options.heap} -Xmx{options.heap} "
        f"-XX:MaxDirectMemorySize=8g {' '.join(JAVA_FLAGS)}",
        "- both brokers with their default settings, and those that a row names; load and brokers "
        "on the same machine",
    ]


def load(kept, name):
    path = os.path.join(kept, f"{name}.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as file:
        return json.load(file)


def number(value):
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def row_of(found, figure):
    return next((row for row in found["rows"] if row["figure"] == figure), None)


def verdict(case, found):
    """Each target with what was reached."""
    said = []
    for figure, target in case.targets.items():
        row = row_of(found, figure)
        if row is None or row["ratio"] is None:
            continue
        reached, sign = row["ratio"], "≥" if figure == RATE else "≤"
        met = reached >= target if figure == RATE else reached <= target
        said.append(
            f"{FIGURES[figure]} {number(reached)} ({'met' if met else '**missed**'}: "
            f"{sign} {number(target)})"
        )
    return "; ".join(said)


def marks(found):
    """What a reader must know before believing a row."""
    said = []
    if found["disturbedPairs"]:
        everything = found["disturbedPairs"] == found["pairs"]
        said.append("all pairs disturbed" if everything else f"{found['disturbedPairs']} left out")
    for side in found["sides"]:
        if any(run["dearClient"] for run in side["runs"]):
            said.append(f"client above a quarter of {side['name']}")
        bound = sorted({run["boundBy"] for run in side["runs"] if run["boundBy"]})
        if bound:
            said.append(f"{side['name']} bound by {' or '.join(bound)}")
        refused = sum(run["refused"] for run in side["runs"])
        if refused:
            said.append(f"{side['name']} refused {refused}")
    return "; ".join(said)


def overview(kept, other):
    lines = [
        f"| case | ours/s | {other}/s | ours p99.9 ms | {other} p99.9 ms | ours CPU s/M "
        f"| {other} CPU s/M | % of loopback | targets | remarks |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found = load(kept, case.name if other == "java" else f"{case.name}-{other}")
        if found is None:
            continue
        cells = [f"[{case.name}](#{case.name})" if other == "java" else case.name]
        for figure, scale in ((RATE, 1), ("p999us", 1000), ("serverCpuSecondsPerMillion", 1)):
            row = row_of(found, figure) or {"a": None, "b": None}
            cells += [number(row[side] and row[side] / scale) for side in ("a", "b")]
        cells.append(number((row_of(found, "percentOfLoopback") or {"a": None})["a"]))
        cells += [verdict(case, found) if other == "java" else "", marks(found)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def details(case, found):
    names = [side["name"] for side in found["sides"]]
    conf = "".join(f", {key}={value}" for key, value in found["conf"].items())
    lines = [
        f"### {case.name}",
        "",
        f"`mqbench {found['args']}`{conf}; {found['pairs']} pairs, {found['disturbedPairs']} "
        "disturbed.",
        "",
        f"| figure | {names[0]} | {names[1]} | ratio | spread |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        ratio, spread = number(row["ratio"]), ""
        if row["ratio"] is not None:
            spread = f"{number(row['min'])} to {number(row['max'])}"
        lines.append(f"| {row['title']} | {number(row['a'])} | {number(row['b'])} | {ratio} | {spread} |")
    if os.path.exists(os.path.join(PICTURES, f"{case.name}.svg")):
        lines += ["", f"![{case.name}](pictures/{case.name}.svg)"]
    return [*lines, ""]


def limits(found):
    one, many = found["loopback"]
    sync = found["fdatasync"]
    lines = ["| what | limit of this machine |", "|---|---|"]
    for loop in (one, many):
        lines.append(
            f"| loopback, a server that only answers, {loop['connections']}×{loop['inflight']} | "
            f"{number(loop['requestsPerSecond'])}/s, p50 {number(loop['p50us'])} us, "
            f"{number(loop['serverCpuSecondsPerMillion'])} CPU s/M |"
        )
    for key, title in (
        ("appendBytesPerSecond", "append to a warm map"),
        ("firstTouchBytesPerSecond", "first touch of new pages"),
        ("writeBytesPerSecond", "write to the disk"),
    ):
        lines.append(f"| {title} | {number(found[key] / 1e6)} MB/s |")
    lines.append(
        f"| write + fdatasync of one record | p50 {number(sync['p50us'])} us, "
        f"p99 {number(sync['p99us'])} us |"
    )
    return lines


def start_stop(found):
    lines = ["| server | start ms | stop ms | RSS MiB | without mapped files MiB |", "|---|---|---|---|---|"]
    for name, (start, stop, resident, anonymous) in found.items():
        cells = [name, number(start * 1e3), number(stop * 1e3)]
        cells += [number(resident / 2**20), number(anonymous / 2**20)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(kept, options):
    lines = ["# Results", "", "Written by `scripts/bench`; do not edit.", "", *machine(options), ""]
    lines += [
        "Every ratio is the median over pairs of alternated runs of ours to the other's figure in",
        "the same pair, with the smallest and largest. A pair in which other load used more than",
        "10 % of the machine is left out. `% of loopback` is the part of the requests a second that",
        "a server without any work reaches with the same frames.",
        "",
    ]
    if found := load(kept, "limits"):
        lines += ["## Limits", "", *limits(found), ""]
    for other in ("java", "old"):
        names = [case.name if other == "java" else f"{case.name}-{other}" for case in CASES]
        if any(load(kept, name) for name in names):
            lines += [f"## Ours and {other}", "", *overview(kept, other), ""]
        if found := load(kept, "start-stop" if other == "java" else f"start-stop-{other}"):
            lines += [*start_stop(found), ""]
    lines += ["## Each case", ""]
    for case in CASES:
        if found := load(kept, case.name):
            lines += details(case, found)
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip() + "\n")
