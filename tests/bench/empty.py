"""A server that does nothing but answer: what the machine and the load client do to any server."""

import select
import socket
import struct

# All that a client of the bench looks at, but for the opaque.
FIELDS = b'{"msgId":"","offset":"0","queueId":"0","queueOffset":"0"}'
HEAD = b'{"code":0,"extFields":' + FIELDS + b',"flag":1,"opaque":'
MARK = b'"opaque":'


def opaque(header):
    start = header.index(MARK) + len(MARK)
    end = start
    while end < len(header) and header[end] in b"-0123456789":
        end += 1
    return header[start:end]


def answers(data):
    """The answers to the whole frames at the head of `data`, and how long these are."""
    used, out = 0, []
    while len(data) - used >= 8:
        length, header = struct.unpack_from(">II", data, used)
        if len(data) - used < 4 + length:
            break
        start = used + 8
        reply = HEAD + opaque(data[start : start + (header & 0xFFFFFF)]) + b"}"
        out.append(struct.pack(">II", 4 + len(reply), len(reply)) + reply)
        used += 4 + length
    return b"".join(out), used


def take(listener, poll, peers):
    while True:
        try:
            conn = listener.accept()[0]
        except BlockingIOError:
            return
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.setblocking(False)
        peers[conn.fileno()] = [conn, b""]
        poll.register(conn, select.EPOLLIN)


def serve(listener):
    poll, peers = select.epoll(), {}
    listener.setblocking(False)
    poll.register(listener, select.EPOLLIN)
    while True:
        # Few at a time, so that nobody waits until thousands are closed.
        for number, _ in poll.poll(maxevents=8):
            if number == listener.fileno():
                take(listener, poll, peers)
                continue
            conn, before = peers[number]
            try:
                data = conn.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                del peers[number]
                conn.close()
                continue
            reply, used = answers(before + data)
            peers[number][1] = (before + data)[used:]
            conn.send(reply)


if __name__ == "__main__":
    own = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(own.getsockname()[1], flush=True)
    serve(own)
