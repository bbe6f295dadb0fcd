"""Cases driven by the unmodified C++ client through its Python wheel, see ../run.py:
main.py NAMESRV PREFIX CASE...

"main.py consume NAMESRV TOPIC GROUP TAGS INSTANCE MODE" is one consumer in a process of its own: it
prints a line for each message and ends when its input does.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import servers  # noqa: E402
from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, SendStatus
from rocketmq.ffi import MessageModel

GET_ROUTEINFO_BY_TOPIC, INVOKE_BROKER_TO_RESET_OFFSET = 105, 222
namesrv, prefix = sys.argv[1], sys.argv[2]


def body(key):
    return f"body of {key} ä€𝄞".encode()


class Sent:
    def __init__(self, topic, name, number):
        self.topic, self.key, self.tag, self.number = (
            topic,
            f"{name}-{number}",
            f"Tag{number % 3}",
            str(number),
        )

    def message(self):
        message = Message(self.topic)
        message.set_keys(self.key)
        message.set_tags(self.tag)
        message.set_property("number", self.number)
        message.set_body(body(self.key))
        return message


def messages(topic, name, count):
    return [Sent(topic, name, i) for i in range(count)]


def consume(addr, topic, group, tags, instance, mode):
    """MODE is "ordered", "broadcast", "retry" (each message fails once) or empty."""
    lock = threading.Lock()

    def receive(one):
        with lock:
            print(
                json.dumps(
                    {
                        "key": one.keys.decode(),
                        "tag": one.tags.decode(),
                        "number": one["number"].decode(),
                        "body": one.body.decode(),
                        "queue": one.queue_id,
                        "reconsumed": one.reconsume_times,
                    }
                ),
                flush=True,
            )
        if mode == "retry" and one.reconsume_times == 0:
            raise RuntimeError("once more, please")

    model = MessageModel.BROADCASTING if mode == "broadcast" else MessageModel.CLUSTERING
    consumer = PushConsumer(group, orderly=mode == "ordered", message_model=model)
    consumer.set_namesrv_addr(addr)
    consumer.set_instance_name(instance)
    consumer.subscribe(topic, receive, tags)
    consumer.start()
    # Messages may be coming already: a line of theirs must not stand within this one.
    with lock:
        print("started", flush=True)
    sys.stdin.read()
    consumer.shutdown()
    with lock:
        print("ended", flush=True)
    os._exit(0)  # the library's threads may outlive its shutdown


class Inbox:
    """A consumer in a process of its own."""

    def __init__(self, topic, group, tags, instance, mode=""):
        self.got, self.order, self.ended = {}, [], threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "consume", namesrv, topic, group, tags, instance, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        started = threading.Event()
        threading.Thread(target=self.listen, args=[started], daemon=True).start()
        assert started.wait(60), "the consumer did not start"

    def listen(self, started):
        for line in self.process.stdout:
            if line == "started\n":
                started.set()
            elif line.startswith("{"):
                one = json.loads(line)
                self.order.append(one["key"])
                self.got.setdefault(one["key"], []).append(one)

    def queues(self, sent):
        return {got["queue"] for one in sent for got in self.got.get(one.key, [])}

    def arrive(self, sent, seconds):
        """Every message came once, as it was sent."""
        eventually(
            seconds, f"{len(sent)} messages", lambda: all(one.key in self.got for one in sent)
        )
        for one in sent:
            got = self.got[one.key]
            want = {
                "key": one.key,
                "tag": one.tag,
                "number": one.number,
                "body": body(one.key).decode(),
                "queue": got[0]["queue"],
                "reconsumed": 0,
            }
            assert got == [want], f"wanted {want} once, got {got}"

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def eventually(seconds, what, condition):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def producer(name):
    made = Producer(f"{prefix}-{name}-p", timeout=3000)
    made.set_namesrv_addr(namesrv)
    made.start()
    return made


def send(by, sent):
    for one in sent:
        result = by.send_sync(one.message())
        assert result.status == SendStatus.OK and result.msg_id, f"answer to a send: {result}"


def sending(name, count, way):
    """One way of sending against a consumer that compares what arrives."""
    topic = f"{prefix}-send"
    inbox = Inbox(topic, f"{prefix}-{name}-c", "*", f"{name}-c")
    by = producer(name)
    sent = messages(topic, name, count)
    way(by, sent, inbox)
    by.shutdown()
    inbox.close()


def send_sync():
    def way(by, sent, inbox):
        send(by, sent)
        inbox.arrive(sent, 30)

    sending("sync", 40, way)


def send_async():
    def way(by, sent, inbox):
        answers, kept = [], []
        # While another of the library's threads connects, an asynchronous send fails in it.
        send(by, sent[:1])
        for one in sent[1:]:
            kept.append(one.message())  # the library reads it later
            by.send_async(kept[-1], answers.append, answers.append)
        eventually(10, "answers to all sends", lambda: len(answers) == len(sent) - 1)
        assert all(one.status == SendStatus.OK for one in answers), answers
        inbox.arrive(sent, 30)

    sending("async", 40, way)


def send_oneway():
    def way(by, sent, inbox):
        for one in sent:
            by.send_oneway(one.message())
        inbox.arrive(sent, 30)

    sending("oneway", 20, way)


def send_batch():
    # This client sends "batch=1", which is not true for Java: its broker keeps the batch as the
    # body of one message without properties. The client shows a body up to its first zero.
    def way(by, sent, inbox):
        result = by.send_batch([one.message() for one in sent])
        assert result.status == SendStatus.OK, f"answer to a batch: {result}"
        eventually(20, "the batch", lambda: "" in inbox.got)
        assert len(inbox.got[""]) == 1 and not any(one.key in inbox.got for one in sent), inbox.got

    sending("batch", 10, way)


def tags():
    topic = f"{prefix}-tags"
    inbox = Inbox(topic, f"{prefix}-tags-c", "Tag0 || Tag2", "tags-c")
    by = producer("tags")
    sent = messages(topic, "tags", 30)
    send(by, sent)
    wanted = [one for one in sent if one.tag != "Tag1"]
    inbox.arrive(wanted, 30)
    assert len(inbox.got) == len(
        wanted
    ), f"{len(inbox.got)} messages received instead of {len(wanted)}"
    by.shutdown()
    inbox.close()


def pull():
    topic = f"{prefix}-pull"
    by = producer("pull")
    sent = messages(topic, "pull", 40)
    send(by, sent)
    consumer = PullConsumer(f"{prefix}-pull-c")
    consumer.set_namesrv_addr(namesrv)
    consumer.start()
    found = {}
    end = time.monotonic() + 20
    while len(found) < len(sent) and time.monotonic() < end:
        for one in consumer.pull(topic):
            key = one.keys.decode()
            assert key not in found, f"{key} twice"
            assert one.body == body(key), f"body {one.body} of {key}"
            found[key] = one.queue_offset
    assert found.keys() == {
        one.key for one in sent
    }, f"{len(found)} messages pulled instead of {len(sent)}"
    assert (
        sorted(found.values())[-1] == 9 or len(set(found.values())) >= 10
    ), f"offsets {sorted(found.values())}"
    consumer.shutdown()
    by.shutdown()


def rebalance():
    topic, group = f"{prefix}-rebalance", f"{prefix}-rebalance-c"
    by = producer("rebalance")
    first = Inbox(topic, group, "*", "rebalance-1")
    alone = messages(topic, "alone", 40)
    send(by, alone)
    first.arrive(alone, 30)
    second = Inbox(topic, group, "*", "rebalance-2")
    split(by, topic, first, second, 2, 2)

    both = messages(topic, "both", 100)
    send(by, both)
    eventually(
        30,
        "100 messages by two",
        lambda: all(one.key in first.got or one.key in second.got for one in both),
    )
    for one in both:
        count = len(first.got.get(one.key, [])) + len(second.got.get(one.key, []))
        assert count == 1, f"{one.key} received {count} times"
    assert not first.queues(both) & second.queues(both), "a queue with two consumers"

    first.close()
    split(by, topic, first, second, 0, 4)
    left = messages(topic, "left", 40)
    send(by, left)
    second.arrive(left, 30)
    second.close()
    by.shutdown()


def split(by, topic, first, second, one, two):
    """Sends until the queues are shared in this way."""
    for turn in range(60):
        probe = messages(topic, f"probe{one}{two}-{turn}", 8)
        send(by, probe)
        time.sleep(1)
        if len(first.queues(probe)) == one and len(second.queues(probe)) == two:
            return
    raise AssertionError(f"queues never split {one} to {two}")


def restart():
    topic = f"{prefix}-restart"
    by = producer("restart")
    stays = Inbox(topic, f"{prefix}-restart-stays", "*", "stays")
    stored = messages(topic, "stored", 40)
    send(by, stored)
    stays.arrive(stored, 30)
    print("restart", flush=True)
    assert sys.stdin.readline(), "the runner went away"
    later = messages(topic, "later", 40)
    send(by, later)
    stays.arrive(later, 70)
    fresh = Inbox(topic, f"{prefix}-restart-new", "*", "new")
    fresh.arrive(stored + later, 30)
    fresh.close()
    stays.close()
    by.shutdown()


def ordered():
    """Messages of one stream stay in order, also when another consumer goes on."""
    topic, group = f"{prefix}-ordered", f"{prefix}-ordered-c"
    by = producer("ordered")
    for instance in ("ordered-1", "ordered-2"):
        sent = messages(topic, instance, 80)
        for number, one in enumerate(sent):
            result = by.send_orderly(one.message(), number % 8)
            assert result.status == SendStatus.OK, f"answer to a send: {result}"
        inbox = Inbox(topic, group, "*", instance, "ordered")
        inbox.arrive(sent, 100)
        assert len(inbox.queues(sent)) == 4, f"queues {inbox.queues(sent)}"
        # What the first one had not committed at its end comes again.
        own = [key for key in inbox.order if key.startswith(instance)]
        numbers = [int(key.rsplit("-", 1)[1]) for key in own]
        for stream in range(8):
            of_stream = [number for number in numbers if number % 8 == stream]
            assert of_stream == list(range(stream, 80, 8)), f"stream {stream}: {of_stream}"
        inbox.close()
    by.shutdown()


def broadcast():
    topic, group = f"{prefix}-broadcast", f"{prefix}-broadcast-c"
    by = producer("broadcast")
    boxes = [Inbox(topic, group, "*", f"broadcast-{n}", "broadcast") for n in (1, 2)]
    # This client begins a broadcasting group at the end, when it first looks at its queues.
    time.sleep(3)
    sent = messages(topic, "broadcast", 40)
    send(by, sent)
    for inbox in boxes:
        inbox.arrive(sent, 40)
        inbox.close()
    by.shutdown()


def retry():
    """What fails once comes once more: after 10 s, this client names no level."""
    topic = f"{prefix}-retry"
    inbox = Inbox(topic, f"{prefix}-retry-c", "*", "retry-c", "retry")
    by = producer("retry")
    sent = messages(topic, "retry", 5)
    send(by, sent)
    eventually(
        100,
        "all messages again",
        lambda: all(len(inbox.got.get(one.key, [])) > 1 for one in sent),
    )
    for one in sent:
        first, again = inbox.got[one.key]
        assert (first["reconsumed"], again["reconsumed"]) == (0, 1), f"{first}, {again}"
        for name in ("key", "tag", "number", "body"):
            assert first[name] == again[name], f"other {name}: {first}, {again}"
        assert again["body"] == body(one.key).decode(), f"other body: {again}"
    by.shutdown()
    inbox.close()


def delay():
    topic = f"{prefix}-delayed"
    inbox = Inbox(topic, f"{prefix}-delayed-c", "*", "delayed-c")
    by = producer("delayed")
    sent = messages(topic, "delayed", 10)
    began = time.monotonic()
    for one in sent:
        message = one.message()
        message.set_delay_time_level(2)
        assert by.send_sync(message).status == SendStatus.OK
    inbox.arrive(sent, 40)
    waited = time.monotonic() - began
    assert waited >= 5, f"delivered after {waited} s"
    by.shutdown()
    inbox.close()


def reset_offset():
    """An operator's reset (222) reaches the running consumer: it has everything once more."""
    topic, group = f"{prefix}-reset", f"{prefix}-reset-c"
    by = producer("reset")
    sent = messages(topic, "reset", 40)
    send(by, sent)
    inbox = Inbox(topic, group, "*", "reset-c")
    inbox.arrive(sent, 30)
    name_server = int(namesrv.rsplit(":", 1)[1])
    _, _, route = servers.call(name_server, GET_ROUTEINFO_BY_TOPIC, {"topic": topic})
    port = int(re.search(rb'"127\.0\.0\.1:(\d+)"', route)[1])
    fields = {"topic": topic, "group": group, "timestamp": "0", "isForce": "true"}
    # Refused until the client has committed its offsets, which it does every few seconds. As
    # mqadmin does for clients in C++, the request calls itself one: they read a form of their own.
    answers = []

    def accepted():
        answers.append(servers.call(port, INVOKE_BROKER_TO_RESET_OFFSET, fields, language="CPP"))
        return answers[-1][0] == 0

    try:
        eventually(40, "reset accepted", accepted)
    except AssertionError as late:
        raise AssertionError(f"{late}: {answers[-1]}") from None
    eventually(60, "all again", lambda: all(len(inbox.got[one.key]) > 1 for one in sent))
    inbox.close()
    by.shutdown()


CASES = {
    "send-sync": send_sync,
    "send-async": send_async,
    "send-oneway": send_oneway,
    "send-batch": send_batch,
    "tags": tags,
    "pull": pull,
    "rebalance": rebalance,
    "restart": restart,
    "ordered": ordered,
    "broadcast": broadcast,
    "retry": retry,
    "delay": delay,
    "reset-offset": reset_offset,
}


def main():
    for name, case in CASES.items():
        if name in sys.argv[3:]:
            try:
                case()
                print(f"ok {name}", flush=True)
            except Exception as error:  # whatever the client raises is the case's result
                print(
                    f"fail {name}: {type(error).__name__}: {error}".replace("\n", " "), flush=True
                )
    os._exit(0)


if namesrv == "consume":
    consume(*sys.argv[2:])
else:
    main()
