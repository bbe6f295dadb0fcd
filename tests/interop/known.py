"""Differences that are intended: pattern of labels, and the reason.

RocketMQ's servers here are 4.9.7; ours follow 4.9.8.
"""

import os

# Keys of the configuration that RocketMQ 4.9 does not have: RocketMQ 5's and our own.
DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")
with open(os.path.join(DATA, "config", "more.txt"), encoding="ascii") as _file:
    MORE_KEYS = set(_file.read().split())
# Counters of the runtime info that only ours has.
MORE_COUNTERS = {
    "unconsumedDeletedBytes",
    "damagedMessagesMet",
    "queueUnitsRepaired",
    "coldReads",
    "coldReadBytes",
    "putsRefusedPageCacheBusy",
    "putsRefusedFileChange",
    "putsRefusedStorePool",
    "putsRefusedNoNextFile",
    "putsRefusedDiskFull",
    "putsRefusedDiskError",
}
# Runtime info whose form depends on the moment: before or after the first minute, bytes or KiB.
BY_CHANCE = {"putMessageDistributeTime", "remainHowManyDataToFlush"}

REQUIRED = "a required field that is missing is refused by its name; Java goes on without it"
NUMBER = "an optional number that is none counts as absent, as Java does with most headers"
GROUP = "RocketMQ 5's rule: no group is made under a name that is no group's"
BROKEN_BATCH = "a broken batch is illegal (13); Java stumbles over it"
STORED_AS_SENT = "properties are stored as sent; Java drops doubles and pairs without name or value"
LENIENT = "a set that is null is empty; Java stumbles over it"
NO_JSON = "a body that is no JSON object is refused; Java takes it for none"
CODEC = "an answer has its request's codec; Java sends these ones in its own"
MAXIMUM = "Java allocates as many as it is asked for"

NO_NAME = "no offset is kept under a name that is none"
CODES = "the tags of a subscription are in its text; Java goes by their codes alone"
HOSTS = "the flags of IPv6 go by the hosts, not by the client"

KNOWN = {
    # Name server.
    "namesrv/unknown code *": "RocketMQ 4.9's name server is silent; 5 answers 3, as ours does",
    "namesrv/kv * without *": REQUIRED,
    "namesrv/kv * with no fields": REQUIRED,
    "namesrv/kv put null": REQUIRED,
    "namesrv/kv * long": "a key has a limit",
    "namesrv/kv list numbers": "an ext field that is a JSON object keeps its blanks",
    "namesrv/*register without *": REQUIRED,
    "namesrv/list 224 *": REQUIRED,
    "namesrv/delete {}": REQUIRED,
    "namesrv/delete without fields": REQUIRED,
    "namesrv/perm * without *": REQUIRED,
    "namesrv/version without *": REQUIRED,
    "namesrv/version no fields": REQUIRED,
    "namesrv/version null": NO_JSON,
    "namesrv/version 5.x": "the data version of RocketMQ 5 has a third member, which counts",
    "namesrv/body compressed, six parts": "RocketMQ 5 sends six parts and reads five or more",
    "namesrv/bodies, route of p7": "RocketMQ 5 sends six parts and reads five or more",
    "namesrv/list *06 *": "RocketMQ 5 sends six parts and reads five or more",
    "namesrv/list after *": "RocketMQ 5 sends six parts and reads five or more",
    "namesrv/body null topic": "a topic that is null is none; Java stumbles over it",
    "namesrv/odd tables, route of *": "a topic is called by its key, Java's by a member of it",
    "namesrv/two clusters, out, clusters": "Java leaves a broker in its first cluster for ever",
    "namesrv/config update, bad *": "a bad value is refused; Java ignores it without a word",
    "namesrv/config update, listed*": "the remark of 4.9.8; 4.9.7 says 'config path'",
    "namesrv/config update, configBlackList=x": "4.9.7 does not know this list",
    "namesrv/config update, rocketmqHome=/tmp/x": "4.9.8's list has this path, 4.9.7's does not",
    "namesrv/config after latin-1": "what is no UTF-8 is read as properties files are",
    "namesrv/config after bad escape": "what is no UTF-8 is read as properties files are",
    # Broker: sending.
    "broker/unknown code, one way": "nobody reads the answer to a one-way request",
    "broker/send 10 with short names": "both forms of the names are read in all codes of sending",
    "broker/send * without *": REQUIRED,
    "broker/send * no fields": REQUIRED,
    "broker/send reconsumeTimes '*'": NUMBER,
    "broker/send maxReconsumeTimes '*'": NUMBER,
    "broker/send sysFlag '-1', stored 0": HOSTS,
    "broker/send sys flag 16, stored 0": HOSTS,
    "broker/send sys flag 32, stored 0": HOSTS,
    "broker/send sys flag 48, stored 0": HOSTS,
    "broker/send sys flag 255, stored 0": HOSTS,
    "broker/send sys flag -1, stored 0": HOSTS,
    "broker/send batch 'True'": BROKEN_BATCH,
    "broker/send properties * value, stored 0": STORED_AS_SENT,
    "broker/send properties no *, stored 0": STORED_AS_SENT,
    "broker/send properties only *, stored 0": STORED_AS_SENT,
    "broker/send properties twice, stored 0": STORED_AS_SENT,
    "broker/send properties cluster*, stored 0": STORED_AS_SENT,
    "broker/send properties * empty, stored 0": STORED_AS_SENT,
    "broker/send topic *, 320, stored 0": "code 320 is a batch, whatever its flag says",
    "broker/send batch one, no flag, stored 0": "code 320 is a batch, whatever its flag says",
    "broker/send batch empty": BROKEN_BATCH,
    "broker/send batch cut*": BROKEN_BATCH,
    "broker/send batch short": BROKEN_BATCH,
    "broker/send batch text*": BROKEN_BATCH,
    "broker/send batch with properties longer": BROKEN_BATCH,
    "broker/send batch with properties cluster, stored *": STORED_AS_SENT,
    # Queries and offsets.
    "broker/query, -1 at most": MAXIMUM,
    "broker/query, binary": CODEC,
    "broker/query without *": REQUIRED,
    "broker/view, binary": CODEC,
    "broker/view at 1": "what is no message is not answered as one",
    "broker/commit without *": REQUIRED,
    "broker/commit, * ''": NO_NAME,
    "broker/offset of group, * ''": NO_NAME,
    "broker/consume stats, consumerGroup ''": NO_NAME,
    "broker/offset of group without *": REQUIRED,
    # Clients.
    "broker/heartbeat null *": LENIENT,
    "broker/unregister without *": REQUIRED,
    "broker/notices unregistered elsewhere *": "who was no member leaves nobody to be told",
    "broker/check config null": NO_JSON,
    # Pulling.
    "broker/pull -1 at most": MAXIMUM,
    "broker/pull 2147483647 at most": MAXIMUM,
    "broker/pull -2147483648 at most": MAXIMUM,
    "broker/pull type ": "an empty type means tags; Java then matches no tag",
    "broker/pull without *": REQUIRED,
    "broker/pull subscribed tags": CODES,
    "broker/pull subscribed tags, *": CODES,
    "broker/pull subscribed older version": CODES,
    "broker/pull subscribed same version": CODES,
    "broker/hold binary": CODEC,
    "broker/lock null set": LENIENT,
    "broker/unlock empty": LENIENT,
    # Transactions, replies, relays.
    "broker/end without *": REQUIRED,
    "broker/send half to be retried, stored 0": "what is retried is no half message any more",
    "broker/resume, nothing": "the remark says what is wrong",
    "broker/resume, text": "the remark says what is wrong",
    "broker/resume without fields": "the remark says what is wrong",
    "broker/resume, short": "only half messages are resumed",
    "broker/resume of a plain message": "only half messages are resumed",
    "broker/reply without fields": REQUIRED,
    "broker/running info without *": REQUIRED,
    "broker/reset without *": REQUIRED,
    "broker/status without *": REQUIRED,
    "broker/clone without *": REQUIRED,
    "broker/clone, destGroup ''": NO_NAME,
    "broker/time span without *": REQUIRED,
    "broker/correction without *": REQUIRED,
    "broker/units, topic *": "to ask for offsets makes no queue",
    "broker/statistics without fields": REQUIRED,
    # Operators.
    "broker/topics without creation": "Java takes a permission of TBW102 away until its restart",
    "broker/topic update, *QueueNums '-1'": "no topic has a negative number of queues",
    "broker/topic update with*": REQUIRED,
    "broker/topic delete with*": REQUIRED,
    "broker/group update, body none": "as 4.9.8; 4.9.7 stumbles",
    "broker/group update, body *": NO_JSON,
    "broker/* of * group": GROUP,
}
