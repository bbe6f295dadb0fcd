'use strict';

// Cases driven by the unmodified ali-ons client: main.js NAMESRV PREFIX CASE..., see ../run.py.

const assert = require('assert');
const readline = require('readline');
const { Consumer, Message, Producer } = require('ali-ons');

const [nameSrv, prefix, ...wanted] = process.argv.slice(2);
const logger = { debug() {}, info() {}, warn: console.error, error: console.error };
const sleep = ms => new Promise(done => setTimeout(done, ms));
const input = readline.createInterface({ input: process.stdin });

function options(name) {
  return {
    nameSrv,
    logger,
    instanceName: `${process.pid}-${name}`,
    pollNameServerInteval: 1000,
    heartbeatBrokerInterval: 1000,
    consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
    maxReconsumeTimes: 3,
    httpclient: {}, // asked for, and only used to look up name servers by a URL
  };
}

async function eventually(seconds, what, condition) {
  const end = Date.now() + seconds * 1000;
  while (!condition()) {
    assert(Date.now() < end, `not within ${seconds} s: ${what}`);
    await sleep(20);
  }
}

function messages(topic, name, count) {
  return Array.from({ length: count }, (_, i) => {
    const body = `body of ${name}-${i} ä€𝄞\0`;
    const one = new Message(`${prefix}-${topic}`, `Tag${i % 3}`, body);
    one.keys = [`${name}-${i}`];
    one.properties.number = String(i);
    return one;
  });
}

async function open(name) {
  const producer = new Producer(
    Object.assign({ producerGroup: `${prefix}-${name}-p` }, options(`${name}-p`)),
  );
  producer.on('error', error => console.error(error));
  await producer.ready();
  return producer;
}

async function send(producer, sent) {
  for (const one of sent) {
    const result = await producer.send(one);
    assert.strictEqual(result.sendStatus, 'SEND_OK');
    assert(result.msgId, 'no message id');
  }
}

// A push consumer, in clustering mode unless told, that keeps what it receives, by key.
class Inbox {
  constructor(topic, group, tags, instance, more = {}) {
    this.got = new Map();
    this.consumer = new Consumer(
      Object.assign({ consumerGroup: `${prefix}-${group}` }, options(instance), more),
    );
    this.consumer.on('error', error => console.error(error));
    this.answer = () => undefined;
    this.consumer.subscribe(`${prefix}-${topic}`, tags, async one => {
      this.got.set(one.keys, [...this.all(one.keys), one]);
      return this.answer(one);
    });
  }

  all(key) {
    return this.got.get(key) || [];
  }

  queues(sent) {
    return new Set(sent.flatMap(one => this.all(one.keys).map(got => got.queueId)));
  }

  // Every message came once, as it was sent.
  async arrive(sent, seconds) {
    await eventually(seconds, `${sent.length} messages`, () =>
      sent.every(one => this.got.has(one.keys)),
    );
    for (const one of sent) {
      const all = this.all(one.keys);
      assert.strictEqual(all.length, 1, `${one.keys} received ${all.length} times`);
      assert.strictEqual(all[0].body.toString(), one.body.toString());
      assert.strictEqual(all[0].tags, one.tags);
      assert.strictEqual(all[0].properties.number, one.properties.number);
      assert.strictEqual(all[0].topic, one.topic);
      assert.strictEqual(all[0].reconsumeTimes, 0);
    }
  }

  close() {
    return this.consumer.close();
  }
}

async function sending(name, count, way) {
  const inbox = new Inbox('send', `${name}-c`, '*', `${name}-c`);
  const producer = await open(name);
  const sent = messages('send', name, count);
  await way(producer, sent);
  await inbox.arrive(sent, 30);
  await producer.close();
  await inbox.close();
}

async function tags() {
  const inbox = new Inbox('tags', 'tags-c', 'Tag0 || Tag2', 'tags-c');
  const producer = await open('tags');
  const sent = messages('tags', 'tags', 30);
  const expected = sent.filter(one => one.tags !== 'Tag1');
  await send(producer, sent);
  await inbox.arrive(expected, 30);
  assert.strictEqual(inbox.got.size, expected.length, 'messages received');
  await producer.close();
  await inbox.close();
}

// ACTION_RETRY brings the message again by the retry topic.
async function retry() {
  const inbox = new Inbox('retry', 'retry-c', '*', 'retry-c');
  inbox.answer = one => (one.reconsumeTimes === 0 ? Consumer.ACTION_RETRY : undefined);
  const producer = await open('retry');
  const [sent] = messages('retry', 'retry', 1);
  await send(producer, [sent]);
  await eventually(60, 'a second delivery', () => inbox.all('retry-0').length >= 2);
  const again = inbox.all('retry-0')[1];
  assert.strictEqual(again.reconsumeTimes, 1);
  assert.strictEqual(again.body.toString(), sent.body.toString());
  assert.strictEqual(again.tags, sent.tags);
  await producer.close();
  await inbox.close();
}

// Two members of a group receive everything each.
async function broadcast() {
  const producer = await open('broadcast');
  const sent = messages('broadcast', 'broadcast', 20);
  const members = ['broadcast-1', 'broadcast-2'].map(
    name => new Inbox('broadcast', 'broadcast-c', '*', name, { isBroadcast: true }),
  );
  await Promise.all(members.map(one => one.consumer.ready()));
  await send(producer, sent);
  for (const one of members) {
    await one.arrive(sent, 30);
    await one.close();
  }
  await producer.close();
}

// One message waits for the second level, five seconds; the other one not.
async function delay() {
  const inbox = new Inbox('delayed', 'delay-c', '*', 'delay-c');
  const producer = await open('delay');
  const [now, later] = messages('delayed', 'delay', 2);
  later.delayTimeLevel = 2;
  const began = Date.now();
  await send(producer, [later, now]);
  await inbox.arrive([now, later], 30);
  const took = inbox.all(later.keys)[0].storeTimestamp - began;
  assert(took >= 4900, `stored for consumers after ${took} ms`);
  assert(inbox.all(now.keys)[0].storeTimestamp - began < 4900, 'the other one waited, too');
  await producer.close();
  await inbox.close();
}

async function split(producer, first, second, one, two) {
  for (let turn = 0; turn < 60; turn++) {
    const probe = messages('rebalance', `probe${one}${two}-${turn}`, 8);
    await send(producer, probe);
    await sleep(1000);
    if (first.queues(probe).size === one && second.queues(probe).size === two) {
      return;
    }
  }
  assert.fail(`queues never split ${one} to ${two}`);
}

async function rebalance() {
  const producer = await open('rebalance');
  const first = new Inbox('rebalance', 'rebalance-c', '*', 'rebalance-1');
  const alone = messages('rebalance', 'alone', 40);
  await send(producer, alone);
  await first.arrive(alone, 30);

  const second = new Inbox('rebalance', 'rebalance-c', '*', 'rebalance-2');
  await split(producer, first, second, 2, 2);
  const both = messages('rebalance', 'both', 100);
  await send(producer, both);
  const count = one => first.all(one.keys).length + second.all(one.keys).length;
  await eventually(30, '100 messages by two', () => both.every(one => count(one) > 0));
  both.forEach(one =>
    assert.strictEqual(count(one), 1, `${one.keys} received ${count(one)} times`),
  );
  assert(
    ![...first.queues(both)].some(queue => second.queues(both).has(queue)),
    'a queue with two consumers',
  );

  await first.close();
  await split(producer, first, second, 0, 4);
  const left = messages('rebalance', 'left', 40);
  await send(producer, left);
  await second.arrive(left, 30);
  await second.close();
  await producer.close();
}

async function restart() {
  const producer = await open('restart');
  const stays = new Inbox('restart', 'restart-stays', '*', 'stays');
  const stored = messages('restart', 'stored', 40);
  await send(producer, stored);
  await stays.arrive(stored, 30);
  const line = new Promise(done => input.once('line', done));
  console.log('restart');
  await line;
  const later = messages('restart', 'later', 40);
  await send(producer, later);
  await stays.arrive(later, 70);
  const fresh = new Inbox('restart', 'restart-new', '*', 'new');
  await fresh.arrive([...stored, ...later], 30);
  await fresh.close();
  await stays.close();
  await producer.close();
}

const cases = {
  'send-sync': () => sending('sync', 40, send),
  'send-async': () =>
    sending('async', 40, (producer, sent) => Promise.all(sent.map(one => send(producer, [one])))),
  tags,
  retry,
  broadcast,
  delay,
  rebalance,
  restart,
};

async function main() {
  for (const [name, run] of Object.entries(cases)) {
    if (!wanted.includes(name)) {
      continue;
    }
    try {
      await run();
      console.log(`ok ${name}`);
    } catch (error) {
      console.error(error);
      console.log(`fail ${name}: ${String(error.message).replace(/\n/g, ' ')}`);
    }
  }
  process.exit(0);
}

main();
