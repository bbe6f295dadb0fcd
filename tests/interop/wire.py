"""Remoting frames, both header codecs, fastjson's JSON and stored records, as raw as they come."""

import itertools
import json
import re
import socket
import struct
import time

LANGUAGES = "JAVA CPP DOTNET PYTHON DELPHI ERLANG RUBY OTHER HTTP GO PHP OMS RUST".split()
PYTHON = LANGUAGES.index("PYTHON")
ONE_WAY = 2
MAGIC = 0xDAA320A7
SILENT, CLOSED = "no answer", "connection closed"


class Answer:
    """What came back: header, body, and the codec it came in."""

    def __init__(self, codec, header, body):
        self.codec, self.body = codec, body
        self.code, self.remark = header["code"], header.get("remark")
        self.fields, self.opaque = header.get("extFields"), header.get("opaque")
        self.flag = header.get("flag", 0)


def json_header(code, opaque, fields, version, flag):
    header = {
        "code": code,
        "language": "PYTHON",
        "version": version,
        "opaque": opaque,
        "flag": flag,
        "serializeTypeCurrentRPC": "JSON",
    }
    if fields is not None:
        header["extFields"] = fields
    return json.dumps(header).encode()


def binary_header(code, opaque, fields, version, flag):
    ext = b""
    for name, value in (fields or {}).items():
        name, value = name.encode(), value.encode()
        ext += struct.pack(">H", len(name)) + name + struct.pack(">I", len(value)) + value
    head = struct.pack(">hBhiii", code, PYTHON, version, opaque, flag, 0)
    return head + struct.pack(">I", len(ext)) + ext


def frame(header, body=b"", kind=0):
    return struct.pack(">II", 4 + len(header) + len(body), kind << 24 | len(header)) + header + body


def read_binary_header(data):
    code, _, version, opaque, flag, size = struct.unpack_from(">hBhiii", data)
    header = {"code": code, "version": version, "opaque": opaque, "flag": flag}
    at = 17
    if size:
        header["remark"] = data[at : at + size].decode()
    at += size
    (size,) = struct.unpack_from(">I", data, at)
    at, end, fields = at + 4, at + 4 + size, {}
    while at < end:
        (size,) = struct.unpack_from(">H", data, at)
        name = data[at + 2 : at + 2 + size].decode()
        at += 2 + size
        (size,) = struct.unpack_from(">I", data, at)
        fields[name] = data[at + 4 : at + 4 + size].decode()
        at += 4 + size
    if fields:
        header["extFields"] = fields
    return header


class Connection:
    """One connection; frames that nobody waited for are kept in `strays`."""

    opaques = itertools.count(1000)

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.buffer, self.strays, self.closed = b"", [], False

    def send(self, code, fields=None, body=b"", codec="json", version=401, flag=0):
        opaque = next(self.opaques)
        make = json_header if codec == "json" else binary_header
        header = make(code, opaque, fields, version, flag)
        self.send_raw(frame(header, body, 0 if codec == "json" else 1))
        return opaque

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def receive(self, opaque, seconds=8):
        """The answer with this opaque (None: the next one), or SILENT, or CLOSED."""
        end = time.monotonic() + seconds
        while True:
            for answer in self.strays:
                if opaque is None or answer.opaque == opaque and answer.flag & 1:
                    self.strays.remove(answer)
                    return answer
            if self.closed:
                return CLOSED
            self.read(end)
            if time.monotonic() > end and not self.strays:
                return SILENT
            if time.monotonic() > end + 0.1:
                return SILENT

    def read(self, end):
        while (size := self.complete()) is None:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                part = self.socket.recv(1 << 16)
            except TimeoutError:
                return
            except OSError:
                part = b""
            if not part:
                self.closed = True
                return
            self.buffer += part
        data, self.buffer = self.buffer[4:size], self.buffer[size:]
        kind, length = data[0], int.from_bytes(data[1:4], "big")
        header = data[4 : 4 + length]
        header = json.loads(header) if kind == 0 else read_binary_header(header)
        codec = "json" if kind == 0 else "binary"
        self.strays.append(Answer(codec, header, data[4 + length :]))

    def complete(self):
        if len(self.buffer) < 4:
            return None
        size = 4 + int.from_bytes(self.buffer[:4], "big")
        return size if len(self.buffer) >= size else None

    def close(self):
        self.socket.close()


class Number(int):
    """A key of an object that was written without quotes."""

    def __repr__(self):
        return f"unquoted {int(self)}"


class Lenient:
    """Reads fastjson's JSON: keys of objects may be numbers without quotes, or objects."""

    def __init__(self, text):
        self.text, self.at, self.plain = text, 0, json.JSONDecoder()

    def value(self):
        self.blank()
        if self.text[self.at] == "{":
            return self.object()
        if self.text[self.at] == "[":
            return self.list()
        value, self.at = self.plain.raw_decode(self.text, self.at)
        return value

    def blank(self):
        self.at = re.compile(r"\s*").match(self.text, self.at).end()

    def take(self, char):
        self.blank()
        found = self.text[self.at] == char
        self.at += found
        return found

    def object(self):
        self.at += 1
        members = {}
        while not self.take("}"):
            key = self.value()
            if isinstance(key, dict):
                key = json.dumps(key, sort_keys=True)
            elif isinstance(key, int):
                key = Number(key)
            if not self.take(":"):
                raise ValueError(f"no colon at {self.at} of {self.text}")
            members[key] = self.value()
            self.take(",")
        return members

    def list(self):
        self.at += 1
        items = []
        while not self.take("]"):
            items.append(self.value())
            self.take(",")
        return items


def read_json(text):
    return Lenient(text).value()


def pairs(**values):
    """A property string."""
    return "".join(f"{name}\x01{value}\x02" for name, value in values.items())


def properties(text):
    pairs = [one.split("\x01", 1) for one in text.split("\x02") if one]
    return {one[0]: one[1] if len(one) > 1 else None for one in pairs}


def records(data):
    """Stored records, each as a dict of its fields."""
    found = []
    while data:
        size, magic, crc, queue, flag, queue_offset, offset, sys_flag, born = struct.unpack_from(
            ">IIIiiqqiq", data
        )
        if magic != MAGIC or not 91 <= size <= len(data):
            raise ValueError(f"no record: magic {magic:x}, size {size} of {len(data)}")
        at = 48
        hosts = []
        times = []
        for bit in (16, 32):
            length = 16 if sys_flag & bit else 4
            hosts.append(".".join(map(str, data[at : at + length])))
            at += length + 4  # a port follows
            if bit == 16:
                times.append(struct.unpack_from(">q", data, at)[0])
                at += 8
        again, prepared, length = struct.unpack_from(">iqI", data, at)
        at += 16
        body = data[at : at + length]
        at += length
        topic = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + data[at]
        (length,) = struct.unpack_from(">H", data, at)
        text = data[at + 2 : at + 2 + length].decode(errors="replace")
        found.append(
            {
                "size": size,
                "crc": crc,
                "queueId": queue,
                "flag": flag,
                "queueOffset": queue_offset,
                "physicalOffset": offset,
                "sysFlag": sys_flag,
                "born": born,
                "bornHost": hosts[0],
                "storeTimestamp": times[0],
                "storeHost": hosts[1],
                "reconsumeTimes": again,
                "preparedTransactionOffset": prepared,
                "body": body.decode(errors="backslashreplace"),
                "topic": topic,
                "properties": properties(text),
                "rest": size - at - 2 - length,
            }
        )
        data = data[size:]
    return found


def batch_item(body, text="", flag=0, size=None, magic=0, crc=0):
    """One message of a batch body."""
    text = text.encode()
    whole = 4 + 4 + 4 + 4 + 4 + len(body) + 2 + len(text)
    head = struct.pack(">iiiii", whole if size is None else size, magic, crc, flag, len(body))
    return head + body + struct.pack(">h", len(text)) + text
