"""RESULTS.md, from what was kept of the measurements."""

import os
import platform
import re
import subprocess
import time

import curve
import many
import overload
import scaling
import storage
from brokers import JAVA_FLAGS, JAVA_SERVERS
from cases import CASES
from harness import CPU, RATE, kept, median

HERE = os.path.dirname(os.path.abspath(__file__))
NOTES = os.path.join(HERE, "NOTES.md")
PAPER = os.path.join(HERE, "paper.md")
INSTRUCTIONS = os.path.join(HERE, "instructions.txt")
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
    "majorFaultsPerMessage": "major faults/msg",
    "waitsPerMessage": "waits/msg",
    "serverResidentMiB": "RSS MiB",
    "serverCorePercent": "% of a core",
    "idleBytesEach": "B each",
    "refusedPerSecond": "refused/s",
    "refusalP99us": "refusal p99 us",
    "givenUpPerSecond": "given up/s",
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


def number(value):
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def row_of(found, figure):
    return next((row for row in found["rows"] if row["figure"] == figure), None)


def is_met(reached, sign, target):
    return reached >= target if sign == "≥" else reached <= target


def held(name):
    """What NOTES.md says holds a target that is missed."""
    with open(NOTES, encoding="utf-8") as file:
        notes = re.findall(r"^- ((?:`[^`]+`(?:, )?)+): ((?:.|\n  )*)", file.read(), re.MULTILINE)
    return next((" ".join(why.split()) for names, why in notes if f"`{name}`" in names), "")


def targets_of(case, found):
    """What a case must reach, as checks."""
    for figure, target in case.targets.items():
        row = row_of(found, figure)
        if row and row["ratio"] is not None:
            sign = "≥" if figure == RATE else "≤"
            yield f"{FIGURES[figure]} ratio", row["ratio"], sign, target
    for figure, bound in case.bounds.items():
        row = row_of(found, figure)
        if row:
            yield FIGURES[figure], row["a"], "≤", bound


def verdict(case, found):
    """Each target with what was reached."""
    said = []
    for what, reached, sign, target in targets_of(case, found):
        met = "met" if is_met(reached, sign, target) else "**missed**"
        said.append(f"{what} {number(reached)} ({met}: {sign} {number(target)})")
    if any("missed" in each for each in said) and held(case.name):
        said.append(f"held by: {held(case.name)}")
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
        refused = sum(run["refused"] for run in side["runs"])
        if refused:
            said.append(f"{side['name']} refused {refused}")
    return "; ".join(said)


def table(columns, rows):
    """Rows are cells as text."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def with_results(other):
    """Cases that were measured beside `other`, and those that failed."""
    for case in CASES:
        found = kept(case.name if other == "java" else f"{case.name}-{other}")
        if found:
            yield case, found


def overview(other):
    rows = []
    for case, found in with_results(other):
        link = f"[{case.name}](#{case.name})" if other == "java" else case.name
        if "failed" in found:
            rows.append([link, f"failed: {found['failed']}"])
            continue
        cells = [link]
        for figure, scale in ((RATE, 1), ("p999us", 1000), (CPU, 1)):
            row = row_of(found, figure) or {"a": None, "b": None}
            cells += [number(row[side] and row[side] / scale) for side in ("a", "b")]
        rows.append([*cells, verdict(case, found) if other == "java" else "", marks(found)])
    columns = ["case", "ours/s", f"{other}/s", "ours p99.9 ms", f"{other} p99.9 ms"]
    columns += ["ours CPU s/M", f"{other} CPU s/M", "targets", "remarks"]
    return table(columns, rows)


def costs(other):
    """Where the time went, and how close to the machine's limits it came."""
    keys = ["serverUserSecondsPerMillion", "serverSystemSecondsPerMillion"]
    keys += ["minorFaultsPerMessage", "majorFaultsPerMessage", "waitsPerMessage"]
    keys += ["percentOfLoopback", "percentOfAppend", "benchCpuShare"]
    rows = []
    for case, found in with_results(other):
        for side in found.get("sides", []):
            cells = [number(median(run.get(key) for run in side["runs"])) for key in keys]
            bound = sorted({run["boundBy"] for run in side["runs"] if run["boundBy"]})
            rows.append([case.name, side["name"], *cells, " or ".join(bound)])
    columns = ["case", "broker", "user s/M", "system s/M", "minor faults/msg", "major faults/msg"]
    columns += ["waits/msg", "% of loopback", "% of append", "client's CPU/server's", "bound by"]
    return table(columns, rows)


def details(case, found):
    names = [side["name"] for side in found["sides"]]
    conf = "".join(f", {key}={value}" for key, value in found["conf"].items())
    rows = []
    for row in found["rows"]:
        ratio, spread = number(row["ratio"]), ""
        if row["ratio"] is not None:
            spread = f"{number(row['min'])} to {number(row['max'])}"
        rows.append([row["title"], number(row["a"]), number(row["b"]), ratio, spread])
    lines = [
        f"### {case.name}",
        "",
        f"`mqbench {found['args']}`{conf}; {found['pairs']} pairs, {found['disturbedPairs']} "
        "disturbed.",
        "",
        *table(["figure", *names, "ratio", "spread"], rows),
    ]
    if os.path.exists(os.path.join(PICTURES, f"{case.name}.svg")):
        lines += ["", f"![{case.name}](pictures/{case.name}.svg)"]
    return [*lines, ""]


def limits(found):
    one, several = found["loopback"]
    sync = found["fdatasync"]
    rows = []
    for loop in (one, several):
        rows.append(
            [
                "loopback, a server that only answers, "
                f"{loop['connections']}×{loop['inflight']}",
                f"{number(loop['requestsPerSecond'])}/s, p50 {number(loop['p50us'])} us, "
                f"{number(loop['serverCpuSecondsPerMillion'])} CPU s/M",
            ]
        )
    for key, title in (
        ("appendBytesPerSecond", "append to a warm map"),
        ("firstTouchBytesPerSecond", "first touch of new pages"),
        ("writeBytesPerSecond", "write to the disk"),
    ):
        rows.append([title, f"{number(found[key] / 1e6)} MB/s"])
    rows.append(
        [
            "write + fdatasync of one record",
            f"p50 {number(sync['p50us'])} us, p99 {number(sync['p99us'])} us",
        ]
    )
    late = found["lateness"]
    rows.append(
        [
            "lateness of a thread that only sleeps, nothing else running",
            f"p50 {number(late['p50us'])} us, p99.9 {number(late['p999us'])} us, "
            f"longest {number(late['maxus'])} us",
        ]
    )
    evaluations = found["evaluationsPerSecond"]
    met = "met" if evaluations >= 1e6 else "**missed**"
    rows.append(
        ["evaluations of a filter of five terms", f"{number(evaluations)}/s a core ({met}: ≥ 1 M)"]
    )
    return table(["what", "limit of this machine"], rows)


def start_stop(found):
    """Ours must start within 30 ms and stop within 500, in 10 and 4 MiB."""
    bounds = {"broker ours": (0.03, 0.5, 10), "namesrv ours": (0.03, 0.5, 4)}
    rows = []
    for name, (start, stop, resident, anonymous) in found.items():
        row = [name, number(start * 1e3), number(stop * 1e3)]
        row += [number(resident / 2**20), number(anonymous / 2**20)]
        said = ""
        if name in bounds:
            most = bounds[name]
            within = zip(("start", "stop", "memory"), (start, stop, anonymous / 2**20), most)
            said = "; ".join(
                f"{what} {'met' if value <= bound else '**missed**'}" for what, value, bound in within
            )
        rows.append([*row, said])
    columns = ["server", "start ms", "stop ms", "RSS MiB", "without mapped files MiB", "targets"]
    return table(columns, rows)


def experiment(name, found):
    """A section about something that is no case."""
    if "failed" in found:
        return [f"### {name}", "", f"Failed: {found['failed']}", ""]
    columns = list(dict.fromkeys(key for row in found["rows"] for key in row))

    def cell(row, column):
        value = row.get(column, "")
        if isinstance(value, int):
            return f"{value:,}"
        return number(value) if isinstance(value, float) else str("" if value is None else value)

    rows = [[cell(row, column) for column in columns] for row in found["rows"]]
    lines = [f"### {found['title']}", "", found["how"], ""]
    lines += [*table([FIGURES.get(column, column) for column in columns], rows), ""]
    checks = []
    for each in found["checks"]:
        met = is_met(each["reached"], each["sign"], each["target"])
        target = f"{each['sign']} {number(each['target'])} {each['unit']}".strip()
        checks.append([each["what"], number(each["reached"]), target, "met" if met else "**missed**"])
    if checks:
        lines += [*table(["target", "reached", "must be", ""], checks), ""]
    if any("missed" in each[3] for each in checks) and held(name):
        lines += [f"Held by: {held(name)}", ""]
    if os.path.exists(os.path.join(PICTURES, f"{name}.svg")):
        lines += [f"![{found['title']}](pictures/{name}.svg)", ""]
    return lines


def draw_curves(experiments):
    os.makedirs(PICTURES, exist_ok=True)
    for name, found in experiments:
        if line := found.get("curve"):
            svg = curve.draw(found["title"], line["x"], line["rows"], line["y"], line["log"])
            with open(os.path.join(PICTURES, f"{name}.svg"), "w", encoding="utf-8") as file:
                file.write(svg)


def instructions():
    with open(INSTRUCTIONS, encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return table(["path", "instructions/msg"], [[name, f"{int(count):,}"] for name, count in rows])


def paper():
    """The text about a larger machine, when all it needs was measured."""
    many_sends, pull, machine_limits = (kept(name) for name in ("async-16x64", "pull-warm", "limits"))
    by_thread, empty = kept("threads"), "Not all that it needs was measured."
    needed = (many_sends, pull, machine_limits, by_thread)
    if any(found is None or "failed" in found for found in needed):
        return [empty]
    spent = {row["thread"]: row[CPU] for row in by_thread["rows"]}
    send, read = row_of(many_sends, CPU)["a"], row_of(pull, CPU)["a"]
    # One message as it stands on the wire, and in the log.
    wire, log = 1024 + 300, 1024 + 230
    line = 25e9 / 8 / wire
    touch = log / machine_limits["firstTouchBytesPerSecond"] * 1e6
    append = log / machine_limits["appendBytesPerSecond"] * 1e6
    values = {
        "send": send,
        "pull": read,
        "wire": wire,
        "log": log,
        "line": line / 1e6,
        "cores": line * send / 1e6,
        "pull_cores": line * read / 1e6,
        "disk": line * log / 1e9,
        "append": append,
        "append_rate": 1 / append,
        "touch": touch,
        "allocate": spent.get("allocate", 0),
        "allocate_rate": 1 / max(spent.get("allocate", 0), 0.01),
        "reput": spent.get("reput", 0),
        "reput_rate": 1 / max(spent.get("reput", 0), 0.01),
        "memory": line * (3 * wire + 3 * log) / 1e9,
        "threads": ", ".join(f"{name} {number(cpu)}" for name, cpu in spent.items()),
    }
    with open(PAPER, encoding="utf-8") as file:
        return [file.read().rstrip().format(**values)]


def notes():
    """NOTES.md without its title."""
    with open(NOTES, encoding="utf-8") as file:
        text = file.read().partition("\n")[2]
    return text.replace("\n## ", "\n### ").strip().splitlines()


def summary(experiments):
    """How many targets are met, and which are missed."""
    met, missed = 0, []
    for case, found in with_results("java"):
        for what, reached, sign, target in targets_of(case, found) if "rows" in found else ():
            if is_met(reached, sign, target):
                met += 1
            else:
                missed.append(f"{case.name}, {what}: {number(reached)} ({sign} {number(target)})")
    for _, found in experiments:
        for each in found.get("checks", []):
            if is_met(each["reached"], each["sign"], each["target"]):
                met += 1
            else:
                must = f"{each['sign']} {number(each['target'])}"
                missed.append(f"{each['what']}: {number(each['reached'])} ({must})")
    lines = [f"{met} of {met + len(missed)} targets are met; missed are:", ""]
    return [*lines, *(f"- {each}" for each in missed), ""] if missed else lines[:1] + [""]


GROUPS = {
    "Overload": overload,
    "Many groups, queues and topics": many,
    "Scaling": scaling,
    "The store": storage,
}


def write(options):
    experiments = [
        (name, found)
        for group in GROUPS.values()
        for name in group.EXPERIMENTS
        if (found := kept(name))
    ]
    draw_curves(experiments)
    lines = ["# Results", "", "Written by `scripts/bench`; do not edit.", "", *machine(options), ""]
    lines += [
        "Every ratio is the median over pairs of alternated runs of ours to the other's figure in",
        "the same pair, with the smallest and largest. A pair in which other load used more than",
        "10 % of the machine is left out. `% of loopback` is the part of the requests a second that",
        "a server without any work reaches with the same frames, `% of append` that of the records",
        "that can be copied into a mapped file whose pages are all there. CPU s/M: CPU seconds for a",
        "million messages. `-backed`: once more with all free memory of the machine touched before, as",
        "on one that has run for a while; a virtual machine's host backs memory at its first touch.",
        "",
        *summary(experiments),
    ]
    if (found := kept("limits")) and "failed" not in found:
        lines += ["## Limits", "", *limits(found), ""]
    for other in ("java", "old"):
        if any(with_results(other)):
            lines += [f"## Ours and {other}", "", *overview(other), ""]
            if other == "java":
                lines += ["What it cost, and what bound it:", "", *costs(other), ""]
        found = kept("start-stop" if other == "java" else f"start-stop-{other}")
        if found and "failed" not in found:
            lines += [*start_stop(found), ""]
    for title, group in GROUPS.items():
        present = [(name, found) for name, found in experiments if name in group.EXPERIMENTS]
        if present:
            lines += [f"## {title}", ""]
            for name, found in present:
                lines += experiment(name, found)
    lines += [
        "## Instructions per message",
        "",
        "Of the broker, without the kernel's, by `scripts/instructions`, which fails when one grows",
        "by more than 10 %.",
        "",
        *instructions(),
        "",
        "## A 64-core machine with 25 Gb/s, on paper",
        "",
        *paper(),
        "",
        "## Notes",
        "",
        *notes(),
        "",
        "## Each case",
        "",
    ]
    for case, found in with_results("java"):
        if "failed" not in found:
            lines += details(case, found)
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip() + "\n")
