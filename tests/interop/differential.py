"""Our servers and RocketMQ's are sent the same requests; their answers must be the same.

    tests/interop/differential.py [--keep] [--show LABEL] [--known]

Cases of run.py: differential/answers, differential/stores and differential/pooled-stores
(stores.py), differential/rounds (rounds.py), differential/filter-data (filterdata.py),
differential/light-queues (lightqueues.py) and differential/many-queues (manyqueues.py); all with
run.py --differential.

The requests are in requests_*.py. Compared are the answer's code,
remark, ext fields, body and codec: JSON as data, stored records field by field. Not compared are
addresses, times, the text of Java's exceptions, and what a request masks because it is random.
A difference that is intended is listed with its reason in known.py; one listed there that
is none any more fails as well.
"""

import argparse
import fnmatch
import functools
import json
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback

import filterdata
import lightqueues
import manyqueues
import requests_broker
import requests_namesrv
import rounds
import stores
import wire
from known import BY_CHANCE, KNOWN, MORE_COUNTERS, MORE_KEYS
from servers import Servers

EXCEPTION = re.compile(r"^[a-z]+(\.[\w$]+)+(Exception|Error)\b")
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
MESSAGE_ID = re.compile(r"\b7F000001[0-9A-F]{8}(?:0{24})?([0-9A-F]{16})\b")
TIME = re.compile(r"(?<!\d)\d{13}(?!\d)")
HOUR_MS = 3_600_000
RECORDS = (11, 12, 33)
DUMPS = (26, 319)
RUNTIME_INFO = 28
NUMBER = re.compile(r"-?\d+(\.\d+)?")
LINES_SHOWN = 12
TOO_LATE = "[TIMEOUT_CLEAN_QUEUE]"  # the machine is too busy: not stored


class Side:
    """One kind of servers, and what they answered."""

    def __init__(self, kind, folder):
        # Nobody is asked about a transaction meanwhile.
        patient = {"transactionTimeOut": 600_000}
        self.kind, self.servers, self.log = kind, Servers(kind, folder, patient), []
        self.conns, self.error = {}, None
        self.stored = {}  # physical offset: which message

    def conn(self, name="main", port="broker"):
        """The connection of this name; one that was closed is opened anew."""
        key = (name, port)
        if key in self.conns and self.conns[key].closed:
            self.conns.pop(key).close()
        if key not in self.conns:
            self.conns[key] = wire.Connection(self.port(port))
        return self.conns[key]

    def port(self, name):
        ports = {"broker": 0, "fast": -2}
        return self.servers.namesrv_port if name == "namesrv" else self.servers.port + ports[name]

    def drop(self, name, port="broker"):
        self.conns.pop((name, port)).close()

    def ask(self, label, code, fields=None, body=b"", **how):
        """Sends a request, notes the answer under the label, and returns it."""
        conn = self.conn(how.get("conn", "main"), how.get("port", "broker"))
        sending = {name: how[name] for name in ("codec", "version", "flag") if name in how}
        opaque = conn.send(code, fields, body, **sending)
        answer = conn.receive(opaque, how.get("wait", 8))
        if not isinstance(answer, str) and TOO_LATE in (answer.remark or ""):
            time.sleep(0.1)
            return self.ask(label, code, fields, body, **how)
        self.remember(label, answer)
        self.note(label, code, answer, how.get("mask", ()))
        return answer

    def quiet(self, code, fields=None, body=b"", **how):
        """A request whose answer is not compared."""
        conn = self.conn(how.get("conn", "main"), how.get("port", "broker"))
        return conn.receive(conn.send(code, fields, body))

    def remember(self, label, answer):
        """Notes where messages were stored: a request that only one side takes moves all later."""
        ids = "" if isinstance(answer, str) else (answer.fields or {}).get("msgId", "")
        for number, one in enumerate(filter(None, ids.split(","))):
            self.stored[int(one[-16:], 16)] = f"{label}, {number}"

    def place(self, offset):
        return self.stored.get(offset, "unknown")

    def note(self, label, code, answer, mask=()):
        if any(label == other for other, _ in self.log):
            raise RuntimeError(f"two requests are labelled {label}")
        self.log.append((label, self.plain(code, answer, mask)))

    def until(self, what, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.kind}: not within {seconds} s: {what}")
            time.sleep(0.02)

    def plain(self, code, answer, mask):
        """An answer as data to compare."""
        if isinstance(answer, str):
            return {"answer": answer}
        fields = answer.fields and {
            name: "MASKED" if name in mask else self.field(name, value)
            for name, value in answer.fields.items()
        }
        return {
            "code": answer.code,
            "remark": "MASKED" if "remark" in mask else answer.remark and self.text(answer.remark),
            "fields": fields or None,
            "codec": answer.codec,
            "flag": answer.flag,
            "body": self.masked(self.body(code, answer), mask),
        }

    def body(self, code, answer):
        if not answer.body:
            return None
        if code in RECORDS:
            try:
                return wire.records(answer.body)
            except (ValueError, IndexError, struct.error) as error:
                return f"no records: {error}"
        text = answer.body.decode(errors="backslashreplace")
        if code == RUNTIME_INFO:
            return self.shapes(self.common(wire.read_json(text)["table"]))
        if code in DUMPS:
            return self.common(dict(line.split("=", 1) for line in text.splitlines()))
        if text[0] in "{[":
            return wire.read_json(text)
        return text

    def common(self, table):
        """Without the keys that only ours has, and has to have."""
        ours = self.kind == "ferrocket" and "storePathRootDir" in table
        missing = MORE_KEYS - table.keys() if ours else set()
        more = MORE_KEYS | MORE_COUNTERS
        table = {key: value for key, value in table.items() if key not in more}
        return table | {key: "missing" for key in missing}

    def shapes(self, table):
        """The keys with the form of their values: every number may be another."""
        table = {key: "any" if key in BY_CHANCE else value for key, value in table.items()}
        form = {self.text(key): NUMBER.sub("N", value) for key, value in table.items()}
        return {key: re.sub(r"N( N)*", "N", value).strip() for key, value in form.items()}

    def masked(self, value, mask):
        if isinstance(value, dict):
            items = [(self.key(name), name, one) for name, one in value.items()]
            return {
                key: "MASKED"
                if name in mask
                else self.place(one)
                if name == "physicalOffset"
                else self.masked(one, mask)
                for key, name, one in items
            }
        if isinstance(value, list):
            return sorted((self.masked(one, mask) for one in value), key=repr)
        if isinstance(value, int) and not isinstance(value, bool):
            return "TIME" if abs(value - time.time() * 1000) < HOUR_MS else value
        return self.text(value) if isinstance(value, str) else value

    def field(self, name, value):
        if name == "indexLastUpdatePhyoffset":
            return self.place(int(value)) if int(value) else value
        return self.text(value)

    def key(self, name):
        return self.text(name) if isinstance(name, str) else repr(name)

    def text(self, value):
        value = ADDRESS.sub("ADDRESS", value).replace(self.servers.folder, "FOLDER")
        value = MESSAGE_ID.sub(lambda m: f"ID of {self.place(int(m[1], 16))}", value)
        return TIME.sub(self.time, value)

    @staticmethod
    def time(match):
        return "TIME" if abs(int(match[0]) - time.time() * 1000) < HOUR_MS else match[0]

    def run(self):
        try:
            self.servers.start_all()
            requests_namesrv.run(self)
            self.servers.wait_measured()
            requests_broker.run(self)
        except Exception as error:  # noqa: shown with the result; the other side goes on
            self.error = "".join(traceback.format_exception(error))


def differences(ours, java, path=""):
    """Lines that say where two answers differ."""
    if isinstance(ours, dict) and isinstance(java, dict):
        found = []
        for name in sorted(ours.keys() | java.keys(), key=str):
            mine, theirs = ours.get(name, "-"), java.get(name, "-")
            if not path and name in uncompared(ours, java):
                continue
            found += differences(mine, theirs, f"{path}.{name}" if path else str(name))
        return found
    if isinstance(ours, list) and isinstance(java, list) and len(ours) == len(java):
        pairs = enumerate(zip(ours, java))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}[{i}]")]
    if "MASKED" in (ours, java):
        return []  # a key that only one of the versions has
    return [] if ours == java else [f"{path}: {short(ours)} / {short(java)}"]


def asked(label):
    """Not asked for are notices, nor where a message was stored: there are none then."""
    return ", stored " not in label and not label.startswith("broker/notice ")


def uncompared(ours, java):
    """Parts of an answer that Java has no say about."""
    code, remark = java.get("code"), java.get("remark") or ""
    if code == 1 and ours.get("code") == 1 and EXCEPTION.match(remark):
        return ("remark", "fields", "codec")  # where in its code it stumbled
    if code == 0 and remark == "not set any response code":
        return ("remark",)  # forgotten
    return ()


def short(value):
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) < 300 else f"{text[:300]}…"


class Result:
    """What the comparison found."""

    def __init__(self):
        self.same, self.known, self.failures, self.used = 0, [], [], set()

    def add(self, label, lines):
        reason = next((one for one in KNOWN if fnmatch.fnmatchcase(label, one)), None)
        if not lines:
            self.same += 1
        elif reason:
            self.used.add(reason)
            self.known.append((label, [*lines, f"intended: {KNOWN[reason]}"]))
        else:
            self.failures.append((label, lines))

    def stale(self):
        for pattern in KNOWN.keys() - self.used:
            self.failures.append((pattern, ["known.py lists this, but there is no difference"]))


def compare(ours, java):
    result = Result()
    mine, theirs = dict(ours.log), dict(java.log)
    for label, _ in ours.log:
        if label in theirs:
            result.add(label, differences(mine[label], theirs[label]))
    for side in (ours, java):
        if side.error:
            result.failures.append((side.kind, [side.error]))
    if not (ours.error or java.error):
        for label in filter(asked, mine.keys() ^ theirs.keys()):
            result.failures.append((label, ["asked of one side only"]))
        result.stale()
    return result


def answers(folder, show=None, known=False):
    """Runs both sides, prints what differs, and returns what is wrong, if anything."""
    sides = []
    for kind in ("ferrocket", "java"):
        os.makedirs(os.path.join(folder, kind))
        sides.append(Side(kind, os.path.join(folder, kind)))
    threads = [threading.Thread(target=side.run, daemon=True) for side in sides]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for side in sides:
            side.servers.stop_all()
    for side in sides:
        for label, answer in side.log:
            if show and fnmatch.fnmatchcase(label, show):
                print(f"{side.kind} {label}: {json.dumps(answer, default=str)}")
    result = compare(*sides)
    for label, lines in result.failures + (result.known if known else []):
        print(f"differs: {label}")
        print("".join(f"    {line}\n" for line in lines[:LINES_SHOWN]), end="")
    print(f"{result.same} answers alike, {len(result.known)} differ as intended")
    return f"{len(result.failures)} answers differ" if result.failures else None


def exchanged(run, folder):
    """Stores of one kind opened by the other; what is wrong, if anything."""
    wrong = []
    for name, faults in run(folder):
        print("".join(f"{name}: {fault}\n" for fault in faults[:LINES_SHOWN]), end="")
        wrong += [name] if faults else []
    return f"{', '.join(wrong)}: see above" if wrong else None


CASES = {
    "answers": answers,
    "stores": functools.partial(exchanged, stores.run),
    "pooled-stores": functools.partial(
        exchanged, functools.partial(stores.run, make=stores.Pooled)
    ),
    "rounds": functools.partial(exchanged, rounds.run),
    "filter-data": functools.partial(exchanged, filterdata.run),
    "light-queues": functools.partial(exchanged, lightqueues.run),
    "many-queues": functools.partial(exchanged, manyqueues.run),
}


def main():
    options = argparse.ArgumentParser(description="Answers of our servers beside those of Java's.")
    options.add_argument("--keep", action="store_true", help="keep the folder with data and logs")
    options.add_argument("--show", metavar="LABEL", help="print the answers to these requests")
    options.add_argument("--known", action="store_true", help="print intended differences too")
    options = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="ferrocket-differential-")
    began = time.monotonic()
    error = answers(folder, options.show, options.known)
    print(f"{error or 'ok'}; {time.monotonic() - began:.0f} s")
    if options.keep:
        print(f"data and logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
