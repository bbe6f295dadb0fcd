"""What the name servers are asked: all of their codes."""

import json
import struct
import time
import zlib

import wire
from servers import SETTLED_SECONDS

V1, V2 = "10.0.0.1:10911", "10.0.0.2:10911"
NUMBERS = ["", "abc", "-1", " 1", "+1", "1.5", "99999999999999999999"]


def topic(read=4, write=4, perm=6, flag=0, kind="SINGLE_TAG", order=False):
    return {
        "readQueueNums": read,
        "writeQueueNums": write,
        "perm": perm,
        "topicSysFlag": flag,
        "topicFilterType": kind,
        "order": order,
    }


def wrapper(topics, version):
    table = {name: dict(config, topicName=name) for name, config in topics.items()}
    return {
        "dataVersion": {"timestamp": version[0], "counter": version[1]},
        "topicConfigTable": table,
    }


def plain_body(topics, version=(1, 1), filters=()):
    whole = {
        "topicConfigSerializeWrapper": wrapper(topics, version),
        "filterServerList": list(filters),
    }
    return json.dumps(whole).encode()


def sized(data):
    return struct.pack(">i", len(data)) + data


def compressed_body(topics, version=(1, 1), filters=b"[]", tail=""):
    data = sized(json.dumps({"timestamp": version[0], "counter": version[1]}).encode())
    data += struct.pack(">i", len(topics))
    for name, one in topics.items():
        text = f"{name} {one['readQueueNums']} {one['writeQueueNums']} {one['perm']} "
        data += sized((text + one["topicFilterType"] + tail).encode())
    return zlib.compress(data + sized(filters))


def broker(name="b1", addr=V1, cluster="c1", broker_id="0", **more):
    return {
        "brokerName": name,
        "brokerAddr": addr,
        "clusterName": cluster,
        "brokerId": broker_id,
        "haServerAddr": addr.replace("10911", "10912"),
        "compressed": "false",
        "bodyCrc32": "0",
        **more,
    }


def run(side):
    def ask(label, code, fields=None, body=b"", **how):
        return side.ask(f"namesrv/{label}", code, fields, body, port="namesrv", **how)

    def state(label, *topics):
        """Everything that a registration may change."""
        ask(f"{label}, clusters", 106)
        for name in topics:
            ask(f"{label}, route of {name}", 105, {"topic": name})

    unknown_codes(ask)
    kv(ask)
    registration(side, ask, state)
    bodies(ask, state)
    lists(ask)
    routes(ask)
    permissions(ask, state)
    data_versions(ask)
    endings(side, ask, state)
    config(ask)
    frames(side, "namesrv", 106)
    leaks(ask, state)


def unknown_codes(ask):
    for code in (0, -1, 1, 10, 11, 34, 99, 107, 300, 999):
        ask(f"unknown code {code}", code, {}, wait=0.4)


def kv(ask):
    base = {"namespace": "n1", "key": "k1", "value": "v1"}
    ask("kv list of nothing", 219, {"namespace": "n1"})
    ask("kv get of nothing", 101, base)
    ask("kv delete of nothing", 102, base)
    for codec in ("json", "binary"):
        ask(f"kv put {codec}", 100, dict(base, value=codec), codec=codec)
        ask(f"kv get {codec}", 101, base, codec=codec)
        ask(f"kv list {codec}", 219, base, codec=codec)
    for name in base:
        for code in (100, 101, 102, 219):
            left = {key: value for key, value in base.items() if key != name}
            ask(f"kv {code} without {name}", code, left)
            ask(f"kv {code} with empty {name}", code, dict(base, **{name: ""}))
    for code in (100, 101, 102, 219):
        ask(f"kv {code} without fields", code)
        ask(f"kv {code} with no fields", code, {})
    ask("kv put utf-8", 100, {"namespace": "n2", "key": "ключ", "value": 'a"b\\\n\u2028é😀'})
    ask("kv get utf-8", 101, {"namespace": "n2", "key": "ключ"})
    ask("kv list utf-8", 219, {"namespace": "n2"})
    ask("kv put long", 100, {"namespace": "n3", "key": "k" * 5000, "value": "v" * 5000})
    ask("kv list long", 219, {"namespace": "n3"})
    ask("kv put number", 100, {"namespace": "n4", "key": "k", "value": 7})
    ask("kv put object", 100, {"namespace": "n4", "key": "o", "value": {"a": [1, True]}})
    ask("kv put null", 100, {"namespace": "n4", "key": "z", "value": None})
    ask("kv list numbers", 219, {"namespace": "n4"})
    ask("kv delete", 102, base)
    ask("kv list after delete", 219, base)
    ask("kv order", 100, {"namespace": "ORDER_TOPIC_CONFIG", "key": "to", "value": "b1:4"})


def registration(side, ask, state):
    topics = {"t1": topic(), "t2": topic(8, 2, 4, 1)}
    for name in broker():
        left = {key: value for key, value in broker("bad", V2).items() if key != name}
        if name not in ("brokerName", "brokerAddr", "clusterName"):
            ask(f"register without {name}", 103, left, plain_body({}), conn="bad")
            ask(f"unregister without {name}", 104, left)
    side.quiet(104, broker("bad", V2), port="namesrv")
    side.drop("bad", "namesrv")
    time.sleep(SETTLED_SECONDS)
    for number in NUMBERS:
        ask(f"register id '{number}'", 103, broker("n", V2, broker_id=number), conn="n")
        ask(f"unregister id '{number}'", 104, broker("n", V2, broker_id=number))
        ask(f"register crc '{number}'", 103, broker("m", V2, bodyCrc32=number), conn="n")
        ask(f"register compressed '{number}'", 103, broker("m", V2, compressed=number), conn="n")
    side.drop("n", "namesrv")
    time.sleep(SETTLED_SECONDS)
    state("before")
    ask("register", 103, broker(), plain_body(topics), conn="b1")
    state("registered", "t1", "t2", "t3")
    more = dict(topics, t3=topic())
    ask("register same version", 103, broker(), plain_body(more), conn="b1")
    state("same version", "t1", "t3")
    ask("register new version", 103, broker(), plain_body({"t3": topic()}, (1, 2)), conn="b1")
    state("new version", "t1", "t3")
    slave = broker("b1", V2, broker_id="1")
    ask("register slave", 103, slave, plain_body({"t4": topic()}), conn="s1")
    state("slave", "t1", "t4")
    ask("register slave binary", 103, slave, plain_body({}), conn="s1", codec="binary")
    ask("slave as master", 103, broker("b1", V2), plain_body({"t5": topic()}, (9, 9)), conn="s1")
    state("promoted", "t1", "t5")
    ask("register master back", 103, broker(), plain_body(topics, (3, 3)), conn="b1")
    state("master back", "t1", "t5")
    ask("slave again", 103, slave, plain_body({}), conn="s1")
    other = broker("b2", "10.0.0.3:1", "c2")
    ask("other cluster", 103, other, plain_body({"t1": topic(1, 1)}, filters=["f:1"]), conn="b2")
    state("other cluster", "t1")
    ask("other cluster, no filters", 103, other, plain_body({}, filters=[]), conn="b2")
    state("no filters", "t1")
    ask("one way", 103, broker(), plain_body({"t6": topic()}, (6, 6)), conn="b1", flag=2, wait=0.3)
    state("one way", "t6")
    ask("negative id", 103, broker(broker_id="-5"), plain_body({}), conn="b1")
    state("negative id", "t1")
    ask("unregister negative id", 104, broker(broker_id="-5"))
    ask("after negative id", 103, broker(), plain_body(topics, (7, 7)), conn="b1")


def bodies(ask, state):
    name, addr = "b3", "10.0.0.4:1"
    counter = iter(range(100, 1000))

    def register(label, body, fields=None, **how):
        fields = broker(name, addr, "c3", **(fields or {}))
        ask(f"body {label}", 103, fields, body, conn="b3", **how)

    def version():
        return (next(counter), 1)

    register("none", b"")
    state("body none")
    register("plain", plain_body({"p1": topic()}, version()))
    odd = topic(-1, 1 << 31, 99, -7, "MULTI_TAG", True)
    register("odd numbers", plain_body({"p2": odd}, version()))
    odd = topic(0, 0, 0, 1 << 20)
    register("zeros", plain_body({"p3": odd}, version()))
    data = plain_body({"p4": topic()}, version())
    crc = zlib.crc32(data) & 0x7FFFFFFF
    register("crc", data, {"bodyCrc32": str(crc)})
    register("bad crc", data, {"bodyCrc32": str(crc ^ 1)})
    register("crc of none", b"", {"bodyCrc32": "7"})
    yes = {"compressed": "true"}
    data = compressed_body({"p5": topic(), "p6": topic(1, 2, 3, 0, "MULTI_TAG")}, version())
    register("compressed", data, yes)
    register("compressed, TRUE", data, {"compressed": "TRUE"})
    register("compressed, crc", data, dict(yes, bodyCrc32=str(zlib.crc32(data) & 0x7FFFFFFF)))
    register("compressed, bad crc", data, dict(yes, bodyCrc32="3"))
    register("compressed, broken stream", data[:-9], yes)
    register("compressed, no stream", b"abc", yes)
    register("compressed, none", b"", yes)
    raw = zlib.decompress(data)
    for cut in (0, 3, 4, 10, len(raw) - 5, len(raw) - 1):
        register(f"compressed, cut at {cut}", zlib.compress(raw[:cut]), yes)
    register("compressed, trailing", zlib.compress(raw + b"xyz"), yes)
    bad_count = raw.replace(struct.pack(">i", 2), struct.pack(">i", 3), 1)
    register("compressed, wrong count", zlib.compress(bad_count), yes)
    register("compressed, negative size", zlib.compress(struct.pack(">i", -2) + raw[4:]), yes)
    register("compressed, filters", compressed_body({}, version(), b'["f:2"]'), yes)
    register("compressed, bad filters", compressed_body({}, version(), b"{"), yes)
    register("compressed, six parts", compressed_body({"p7": topic()}, version(), tail=" {}"), yes)
    bad = compressed_body({"p8": topic(kind="OTHER")}, version())
    register("compressed, bad type", bad, yes)
    bad = compressed_body({"p8": topic(read="x")}, version())
    register("compressed, bad number", bad, yes)
    old = json.dumps(wrapper({"p9": topic()}, version())).encode()
    register("old version", old, version=36)
    register("old version, new body", plain_body({"q1": topic()}, version()), version=36)
    register("version 37, old body", old, version=37)
    register("version 0", old, version=0)
    register("version 9999", plain_body({"q2": topic()}, version()), version=9999)
    for label, text in {
        "not JSON": "hello",
        "cut": '{"filterServerList":[',
        "empty object": "{}",
        "null": "null",
        "list": "[]",
        "number": "7",
        "null parts": '{"topicConfigSerializeWrapper":null,"filterServerList":null}',
        "null table": '{"topicConfigSerializeWrapper":{"topicConfigTable":null,'
        '"dataVersion":null},"filterServerList":[]}',
        "wrong types": '{"topicConfigSerializeWrapper":[1],"filterServerList":{}}',
        "unknown members": '{"zzz":1,"topicConfigSerializeWrapper":{"yyy":{},'
        '"topicConfigTable":{},"dataVersion":{"counter":1,"timestamp":5000}}}',
        "numbers as text": '{"topicConfigSerializeWrapper":{"topicConfigTable":{"q3":'
        '{"perm":"6","readQueueNums":"3","topicName":"q3","writeQueueNums":"2"}},'
        '"dataVersion":{"counter":"1","timestamp":"5001"}}}',
        "lenient JSON": "{topicConfigSerializeWrapper:{'topicConfigTable':{'q4':"
        "{perm:6,topicName:'q4',}},dataVersion:{counter:1,timestamp:5002},},}",
        "trailing": "{} {}",
    }.items():
        register(label, text.encode())
    names = [f"p{i}" for i in range(1, 10)] + [f"q{i}" for i in range(1, 5)]
    state("bodies", *names)


def lists(ask):
    mask = {"brokerAddr"}
    units = {"u1": topic(flag=1), "u2": topic(flag=2), "u3": topic(flag=3), "u0": topic()}
    ask("register units", 103, broker("b4", "10.0.0.5:1", "c4"), plain_body(units), conn="b4")
    for codec in ("json", "binary"):
        for code in (206, 311, 312, 313):
            ask(f"list {code} {codec}", code, codec=codec)
        ask(f"list 304 {codec}", 304, codec=codec, mask=mask)
        for cluster in ("c1", "c4", "c2", "nothing", ""):
            fields = {"cluster": cluster}
            ask(f"list 224 {codec} of '{cluster}'", 224, fields, codec=codec)
        ask(f"list 224 {codec} without", 224, {}, codec=codec)
        ask(f"list 224 {codec} without fields", 224, codec=codec)
    for fields in ({}, {"topic": ""}, {"topic": "u1", "clusterName": "c9"}, {"topic": "nothing"}):
        ask(f"delete {json.dumps(fields)}", 216, fields)
    ask("delete without fields", 216)
    ask("list after no deletion", 206)
    ask("delete in cluster", 216, {"topic": "u1", "clusterName": "c4"})
    ask("delete in empty cluster", 216, {"topic": "u2", "clusterName": ""})
    ask("delete", 216, {"topic": "u3"})
    ask("list after deletion", 206)
    for name in ("u1", "u2", "u3"):
        ask(f"route of deleted {name}", 105, {"topic": name})


def routes(ask):
    for version in (0, 317, 400, 401, 405, 409, 479, 9999, -1):
        for only in (None, "true", "false", "x"):
            fields = {"topic": "t1"}
            if only is not None:
                fields["acceptStandardJsonOnly"] = only
            ask(f"route, version {version}, standard {only}", 105, fields, version=version)
    for label, fields in {
        "without fields": None,
        "no fields": {},
        "empty topic": {"topic": ""},
        "blank topic": {"topic": " "},
        "null topic": {"topic": None},
        "number": {"topic": 7},
        "odd topic": {"topic": 'a"b\n%é'},
        "long topic": {"topic": "x" * 3000},
        "order topic": {"topic": "to"},
        "unknown fields": {"topic": "t1", "x": "y", "bname": "z"},
    }.items():
        for codec in ("json", "binary"):
            if codec == "json" or not fields or isinstance(fields.get("topic"), str):
                ask(f"route, {label}, {codec}", 105, fields, codec=codec)
    ask("route with a body", 105, {"topic": "t1"}, b"xyz")
    ask("route one way", 105, {"topic": "t1"}, flag=2, wait=0.3)
    ask("clusters, binary", 106, codec="binary")
    ask("clusters with fields", 106, {"a": "b"}, b"zz")


def permissions(ask, state):
    for code in (205, 327):
        ask(f"perm {code} of nothing", code, {"brokerName": "nothing"})
        ask(f"perm {code} without name", code, {})
        ask(f"perm {code} empty name", code, {"brokerName": ""})
        ask(f"perm {code} without fields", code)
    for round_, code in enumerate((205, 205, 327, 327, 205)):
        ask(f"perm {code}, round {round_}", code, {"brokerName": "b1"}, codec="binary")
        state(f"perm {code}, round {round_}", "t1", "t2")
    ask("perm, same version", 103, broker(), plain_body({"t1": topic()}, (7, 7)), conn="b1")
    state("perm, same version", "t1")
    ask("perm, new version", 103, broker(), plain_body({"t1": topic()}, (8, 8)), conn="b1")
    state("perm, new version", "t1", "t2")


def data_versions(ask):
    def query(label, body, fields=None):
        ask(f"version {label}", 322, broker() if fields is None else fields, body)

    query("same", b'{"counter":8,"timestamp":8}')
    query("other counter", b'{"counter":9,"timestamp":8}')
    query("other time", b'{"counter":8,"timestamp":9}')
    query("5.x", b'{"counter":8,"timestamp":8,"stateVersion":3}')
    query("empty", b"{}")
    query("null", b"null")
    query("broken", b"{")
    query("text", b"hello")
    query("none", b"")
    query("of nobody", b'{"counter":8,"timestamp":8}', broker("zz", "1.1.1.1:1"))
    query("other name", b'{"counter":8,"timestamp":8}', broker("zz"))
    query("no fields", b"{}", {})
    for name in broker():
        left = {key: value for key, value in broker().items() if key != name}
        query(f"without {name}", b'{"counter":8,"timestamp":8}', left)


def endings(side, ask, state):
    ask("unregister other address", 104, broker("b2", "9.9.9.9:9", "c2"))
    state("unregister other address", "t1")
    ask("unregister other name", 104, broker("b9", V1))
    ask("unregister other id", 104, broker(broker_id="3"))
    state("unregister other id", "t1")
    ask("unregister other cluster", 104, broker("b2", "10.0.0.3:1", "c7"))
    state("unregister other cluster", "t1")
    ask("other cluster back", 103, broker("b2", "10.0.0.3:1", "c2"), plain_body({"t1": topic()}))
    ask("unregister slave", 104, broker("b1", V2, broker_id="1"))
    state("unregister slave", "t1")
    ask("slave back", 103, broker("b1", V2, broker_id="1"), plain_body({}), conn="s1")
    ask("same broker, other connection", 103, broker(), plain_body({}, (8, 8)), conn="b1x")
    side.drop("b1", "namesrv")
    time.sleep(SETTLED_SECONDS)
    state("first connection closed", "t1")
    side.drop("b1x", "namesrv")
    time.sleep(SETTLED_SECONDS)
    state("master gone", "t1")
    ask("slave without master", 103, broker("b1", V2, broker_id="1"), plain_body({}), conn="s1")
    side.drop("s1", "namesrv")
    for name in ("b3", "b4"):
        side.drop(name, "namesrv")
    time.sleep(SETTLED_SECONDS)
    state("most gone", "t1", "t2")
    ask("unregister", 104, broker("b2", "10.0.0.3:1", "c2"), codec="binary")
    ask("unregister again", 104, broker("b2", "10.0.0.3:1", "c2"))
    state("all gone", "t1")
    ask("list after all", 206)


def config(ask):
    # 4.9.7 has no configBlackList yet.
    ours = {"listenPort", "rocketmqHome", "kvConfigPath", "configStorePath", "configBlackList"}
    ask("config", 319, mask=ours)
    for label, body in {
        "none": b"",
        "blank": b"  \n",
        "comment": b"# x\n! y\n",
        "unknown key": b"zzz=1",
        "no value": b"productEnvName",
        "order": b"orderMessageEnable=true\nunknown=1",
        "bad boolean": b"clusterTest=maybe",
        "bad number": b"serverWorkerThreads=abc",
        "listed path": b"kvConfigPath=/tmp/x",
        "listed, among others": b"productEnvName=p1\nconfigStorePath=/tmp/x",
        "escapes": b"productEnvName = a\\tb\\u0041\\\n  c",
        "colon": b"productEnvName: colon",
        "latin-1": b"productEnvName=\xe9",
        "bad escape": b"productEnvName=\\uZZZZ",
        "twice": b"productEnvName=one\nproductEnvName=two",
    }.items():
        ask(f"config update, {label}", 318, {}, body)
        ask(f"config after {label}", 319, mask=ours)
    for key in ("configBlackList=x", "rocketmqHome=/tmp/x"):
        ask(f"config update, {key}", 318, {}, key.encode())
    fields = broker("b5", "10.0.0.6:1", "c5")
    ask("config order topic", 103, fields, plain_body({"to": topic()}), conn="b5")
    ask("config order route", 105, {"topic": "to"})
    ask("config order route, other", 105, {"topic": "t1"})
    ask("config order off", 318, {}, b"orderMessageEnable=false")
    ask("config order route off", 105, {"topic": "to"})


def leaks(ask, state):
    """Last, as Java keeps a second cluster and what has no name for ever."""
    for label, text in {
        "defaults": '{"topicConfigSerializeWrapper":{"topicConfigTable":{"q5":{}},'
        '"dataVersion":{"counter":1,"timestamp":5003}}}',
        "other name inside": '{"topicConfigSerializeWrapper":{"topicConfigTable":{"q6":'
        '{"topicName":"q7"}},"dataVersion":{"counter":1,"timestamp":5004}}}',
        "null topic": '{"topicConfigSerializeWrapper":{"topicConfigTable":{"q8":null},'
        '"dataVersion":{"counter":1,"timestamp":5005}}}',
    }.items():
        ask(f"body {label}", 103, broker("b7", "10.0.0.7:1", "c7"), text.encode(), conn="b7")
    state("odd tables", "q5", "q6", "q7", "q8")
    ask("before two clusters", 103, broker("b8"), plain_body({"t8": topic()}), conn="b8")
    ask("two clusters", 103, broker("b8", cluster="c9"), plain_body({}, (5, 5)), conn="b8")
    state("two clusters", "t8")
    ask("two clusters, out", 104, broker("b8", cluster="c9"))
    state("two clusters, out", "t8")
    for name in ("brokerName", "brokerAddr", "clusterName"):
        left = {key: value for key, value in broker("bad", V2).items() if key != name}
        ask(f"register without {name}", 103, left, plain_body({}), conn="nameless")
        ask(f"unregister without {name}", 104, left)


def frames(side, port, code):
    """Frames that are not as they should be, each on its own connection."""
    name = "namesrv" if port == "namesrv" else "broker"
    good = wire.json_header(code, 5, {}, 401, 0)

    def header(text):
        return wire.frame(text.encode())

    odd = {
        "length 0": struct.pack(">I", 0),
        "length 3": struct.pack(">I", 3) + b"abc",
        "length 4": struct.pack(">II", 4, 0),
        "negative length": struct.pack(">i", -1) + b"x" * 50,
        "limit": struct.pack(">II", 16777212, len(good))[:4],
        "over limit": struct.pack(">I", 16777213) + b"x" * 8,
        "huge": struct.pack(">I", 0x7FFFFFFF) + b"x" * 8,
        "header too long": struct.pack(">II", 10, 100) + b"x" * 6,
        "header 0": struct.pack(">II", 8, 0) + b"abcd",
        "type 2": wire.frame(good, kind=2),
        "type 255": wire.frame(good, kind=255),
        "no JSON": header("hello"),
        "JSON cut": header('{"code":'),
        "JSON list": header("[]"),
        "JSON null": header("null"),
        "JSON deep": header('{"a":' * 60000 + "1" + "}" * 60000),
        "binary short": wire.frame(b"abc", kind=1),
        "binary bad ext": wire.frame(struct.pack(">hBhiiiI", code, 0, 1, 5, 0, 0, 99), kind=1),
        "binary negative": wire.frame(struct.pack(">hBhiiii", code, 0, 1, 5, 0, -3, 0), kind=1),
        "no opaque": header(f'{{"code":{code}}}'),
        "text numbers": header(f'{{"code":"{code}","opaque":"5","flag":"0","version":"1"}}'),
        "nulls": header(
            f'{{"code":{code},"opaque":5,"language":null,"remark":null,"extFields":null,'
            '"serializeTypeCurrentRPC":null,"version":null,"flag":null}'
        ),
        "unknown members": header(f'{{"code":{code},"opaque":5,"zzz":[1,{{}}],"y":null}}'),
        "unknown language": header(f'{{"code":{code},"opaque":5,"language":"KLINGON"}}'),
        "lower case language": header(f'{{"code":{code},"opaque":5,"language":"java"}}'),
        "language number": header(f'{{"code":{code},"opaque":5,"language":3}}'),
        "language too great": header(f'{{"code":{code},"opaque":5,"language":99}}'),
        "binary language 99": wire.frame(struct.pack(">hBhiiiI", code, 99, 1, 5, 0, 0, 0), kind=1),
        "newline": header(f'{{"code":{code},"opaque":5}}\n'),
        "single quotes": header(f"{{'code':{code},opaque:5,}}"),
        "code too great": header('{"code":99999999999,"opaque":5}'),
        "code text": header('{"code":"x","opaque":5}'),
        "code 1.0": header(f'{{"code":{code}.0,"opaque":5}}'),
        "ext list": header(f'{{"code":{code},"opaque":5,"extFields":[]}}'),
        "ext text": header(f'{{"code":{code},"opaque":5,"extFields":"x"}}'),
        "ext values": header(
            f'{{"code":{code},"opaque":5,"extFields":{{"a":1,"b":true,"c":null,"d":[1],"e":{{}}}}}}'
        ),
        "version 99999": header(f'{{"code":{code},"opaque":5,"version":99999}}'),
        "flag 4": header(f'{{"code":{code},"opaque":5,"flag":4}}'),
        "flag -2": header(f'{{"code":{code},"opaque":5,"flag":-2}}'),
        "unasked answer": header(f'{{"code":{code},"opaque":5,"flag":1}}'),
        "two types": wire.frame(good) + wire.frame(good),
        "comment": header(f'/* x */{{"code":{code},"opaque":5}}'),
        "duplicates": header(f'{{"code":1,"code":{code},"opaque":5}}'),
        "not UTF-8": wire.frame(b'{"code":%d,"opaque":5,"remark":"\xff\xfe"}' % code),
    }
    waiting = []
    for label, data in odd.items():
        conn = wire.Connection(side.port(port))
        conn.send_raw(data)
        waiting.append((label, conn))
    for label, conn in waiting:
        side.note(f"{name}/frame {label}", code, conn.receive(None, 1.0), {"timestamp"})
        conn.close()
