import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;

/** Every way of receiving. */
final class Consuming {
    void tags() throws Exception {
        String topic = Interop.topic("tags");
        DefaultMQProducer producer = Interop.producer("tags");
        Inbox some = new Inbox(topic, "Tag0 || Tag2", Interop.prefix + "-tags-c", "tags-c");
        Inbox one = new Inbox(topic, "Tag1", Interop.prefix + "-tags-1", "tags-1");
        List<String> keys = Sending.send(producer, topic, "tags", 30);
        Set<String> first = new HashSet<>(); // Tag0 and Tag2
        Set<String> second = new HashSet<>(); // Tag1
        for (int i = 0; i < keys.size(); i++) {
            (i % 3 == 1 ? second : first).add(keys.get(i));
        }
        some.await(first, 20);
        one.await(second, 20);
        Interop.equal(first, some.keys(), "messages with Tag0 or Tag2");
        Interop.equal(second, one.keys(), "messages with Tag1");
        keys.forEach(
                key ->
                        Interop.equal(
                                1, some.count(key) + one.count(key), key + " received so often"));
        some.close();
        one.close();
        producer.shutdown();
    }

    /** Messages from before the consumers, and messages that wake their pulls. */
    void sql() throws Exception {
        String topic = Interop.topic("sql");
        DefaultMQProducer producer = Interop.producer("sql");
        List<String> keys = new ArrayList<>(Sending.send(producer, topic, "sql-old", 30));
        MessageSelector range =
                MessageSelector.bySql("number BETWEEN 5 AND 14 AND TAGS IN ('Tag0', 'Tag2')");
        MessageSelector rest =
                MessageSelector.bySql("NOT (number >= 5 AND number <= 14) AND none IS NULL");
        Inbox some = new Inbox(topic, range, Interop.prefix + "-sql-c", "sql-c");
        Inbox others = new Inbox(topic, rest, Interop.prefix + "-sql-1", "sql-1");
        keys.addAll(Sending.send(producer, topic, "sql-new", 30));
        Set<String> first = new HashSet<>();
        Set<String> second = new HashSet<>();
        for (int i = 0; i < keys.size(); i++) {
            int number = i % 30;
            if (number < 5 || number > 14) {
                second.add(keys.get(i));
            } else if (number % 3 != 1) {
                first.add(keys.get(i));
            }
        }
        some.await(first, 20);
        others.await(second, 20);
        Interop.equal(first, some.keys(), "messages from 5 to 14 with Tag0 or Tag2");
        Interop.equal(second, others.keys(), "messages below 5 or above 14");
        some.close();
        others.close();
        try {
            new Inbox(topic, MessageSelector.bySql("number >"), Interop.prefix + "-sql-2", "sql-2");
            Interop.check(false, "an expression that does not parse is accepted");
        } catch (MQClientException e) {
            Interop.equal(23, e.getResponseCode(), "code for an expression that does not parse");
        }
        producer.shutdown();
    }

    @SuppressWarnings("deprecation")
    void pull() throws Exception {
        String topic = Interop.topic("pull");
        DefaultMQProducer producer = Interop.producer("pull");
        DefaultMQPullConsumer consumer = reader("pull");
        long before = System.currentTimeMillis();
        List<String> keys = Sending.send(producer, topic, "pull", 40);
        Set<String> seen = new HashSet<>();
        Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
        Interop.equal(4, queues.size(), "queues");
        for (MessageQueue queue : queues) {
            Interop.eventually(10, "10 messages in " + queue, () -> max(consumer, queue) == 10);
            Interop.equal(0L, consumer.minOffset(queue), "minimum offset");
            Interop.equal(
                    0L, consumer.searchOffset(queue, before - 1000), "offset by an early time");
            Interop.equal(
                    9L,
                    consumer.searchOffset(queue, System.currentTimeMillis() + 60_000),
                    "offset by a late time");
            long offset = 0;
            while (offset < 10) {
                PullResult result = consumer.pullBlockIfNotFound(queue, "*", offset, 4);
                Interop.equal(PullStatus.FOUND, result.getPullStatus(), "status");
                Interop.equal(10L, result.getMaxOffset(), "maximum offset");
                for (MessageExt one : result.getMsgFoundList()) {
                    Interop.equal(offset++, one.getQueueOffset(), "offset of a pulled message");
                    Interop.check(
                            Arrays.equals(Sending.body(one.getKeys()), one.getBody()),
                            "other body");
                    Interop.check(seen.add(one.getKeys()), one.getKeys() + " twice");
                }
                Interop.equal(offset, result.getNextBeginOffset(), "next offset");
            }
            Interop.equal(
                    PullStatus.NO_NEW_MSG,
                    consumer.pull(queue, "*", 10, 4).getPullStatus(),
                    "at the end");
            Interop.equal(
                    PullStatus.OFFSET_ILLEGAL,
                    consumer.pull(queue, "*", 99, 4).getPullStatus(),
                    "beyond the end");
            Interop.equal(
                    PullStatus.NO_MATCHED_MSG,
                    consumer.pull(queue, "Other", 0, 4).getPullStatus(),
                    "other tag");
            consumer.updateConsumeOffset(queue, 7);
            consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            Interop.eventually(5, "offset kept", () -> committed(consumer, queue) == 7);
        }
        Interop.equal(new HashSet<>(keys), seen, "messages pulled");
        consumer.shutdown();
        producer.shutdown();
    }

    /** How much one pull brings, and pulls that wait. */
    @SuppressWarnings("deprecation")
    void flow() throws Exception {
        DefaultMQProducer producer = Interop.producer("flow");
        DefaultMQPullConsumer consumer = reader("flow");
        consumer.setBrokerSuspendMaxTimeMillis(1000);
        MessageQueue queue = new MessageQueue(Interop.topic("flow"), "broker-a", 0);
        producer.setCompressMsgBodyOverHowmuch(1 << 20);
        for (int i = 0; i < 8; i++) {
            producer.send(new Message(queue.getTopic(), new byte[100_000]), queue);
        }
        for (int i = 0; i < 70; i++) {
            producer.send(new Message(queue.getTopic(), new byte[100]), queue);
        }
        Interop.eventually(10, "all messages", () -> max(consumer, queue) == 78);
        long offset = 0;
        // 256 KiB of memory or 32 messages, whatever is asked for.
        for (int wanted : new int[] {2, 2, 2, 32, 32, 8}) {
            PullResult result = consumer.pull(queue, "*", offset, 64);
            Interop.equal(wanted, result.getMsgFoundList().size(), "messages from " + offset);
            offset = result.getNextBeginOffset();
        }
        Interop.equal(
                PullStatus.NO_NEW_MSG,
                consumer.pullBlockIfNotFound(queue, "*", offset, 64).getPullStatus(),
                "nothing comes");
        consumer.setBrokerSuspendMaxTimeMillis(20_000);
        Message late = Sending.messages(queue.getTopic(), "flow", 1).get(0);
        Thread sender =
                new Thread(
                        () -> {
                            try {
                                Thread.sleep(300);
                                producer.send(late, queue);
                            } catch (Exception e) {
                                e.printStackTrace();
                            }
                        });
        sender.start();
        PullResult woken = consumer.pullBlockIfNotFound(queue, "*", offset, 64);
        sender.join();
        Interop.equal(PullStatus.FOUND, woken.getPullStatus(), "a pull that waited");
        Interop.equal("flow-0", woken.getMsgFoundList().get(0).getKeys(), "its message");
        consumer.shutdown();
        producer.shutdown();
    }

    /** Light queues: a message is read in each that it names, and each has offsets of its own. */
    @SuppressWarnings("deprecation")
    void light() throws Exception {
        String topic = Interop.topic("light");
        DefaultMQProducer producer = Interop.producer("light");
        List<Message> messages = Sending.messages(topic, "light", 20);
        for (int i = 0; i < messages.size(); i++) {
            String names = i % 2 == 0 ? "%LMQ%a,%LMQ%b" : "%LMQ%a";
            MessageAccessor.putProperty(messages.get(i), "INNER_MULTI_DISPATCH", names);
            producer.send(messages.get(i));
        }
        DefaultMQPullConsumer consumer = reader("light");
        // From this topic's route the client knows where the broker is.
        consumer.pull(new MessageQueue(topic, "broker-a", 0), "*", 0, 1);
        for (String name : new String[] {"%LMQ%a", "%LMQ%b"}) {
            List<String> wanted = Sending.keys(messages);
            if (name.equals("%LMQ%b")) {
                wanted.removeIf(key -> Integer.parseInt(key.substring(6)) % 2 != 0);
            }
            MessageQueue queue = new MessageQueue(name, "broker-a", 0);
            Interop.eventually(10, "all in " + name, () -> max(consumer, queue) == wanted.size());
            List<String> keys = new ArrayList<>();
            while (keys.size() < wanted.size()) {
                PullResult result = consumer.pull(queue, "*", keys.size(), 8);
                Interop.equal(PullStatus.FOUND, result.getPullStatus(), "status");
                for (MessageExt one : result.getMsgFoundList()) {
                    Interop.check(
                            Arrays.equals(Sending.body(one.getKeys()), one.getBody()),
                            "other body");
                    keys.add(one.getKeys());
                }
                Interop.equal((long) keys.size(), result.getNextBeginOffset(), "next offset");
            }
            Interop.equal(wanted, keys, "messages of " + name);
            consumer.updateConsumeOffset(queue, wanted.size() - 3);
            consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            Interop.eventually(
                    5, "offset kept", () -> committed(consumer, queue) == wanted.size() - 3);
        }
        consumer.shutdown();
        producer.shutdown();
    }

    @SuppressWarnings("deprecation")
    private static DefaultMQPullConsumer reader(String name) throws Exception {
        DefaultMQPullConsumer consumer =
                new DefaultMQPullConsumer(Interop.prefix + "-" + name + "-c");
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.setInstanceName(name + "-c");
        consumer.start();
        return consumer;
    }

    @SuppressWarnings("deprecation")
    private static long max(DefaultMQPullConsumer consumer, MessageQueue queue) {
        try {
            return consumer.maxOffset(queue);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    @SuppressWarnings("deprecation")
    private static long committed(DefaultMQPullConsumer consumer, MessageQueue queue) {
        try {
            return consumer.fetchConsumeOffset(queue, true);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    void litePull() throws Exception {
        String topic = Interop.topic("lite");
        DefaultMQProducer producer = Interop.producer("lite");
        List<String> keys = Sending.send(producer, topic, "lite", 40);
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(Interop.prefix + "-lite-c");
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.setInstanceName("lite-c");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.start();
        List<String> got = new ArrayList<>();
        Interop.eventually(
                20,
                "40 messages",
                () -> {
                    consumer.poll(200).forEach(one -> got.add(one.getKeys()));
                    return got.size() >= keys.size();
                });
        Interop.equal(new TreeSet<>(keys), new TreeSet<>(got), "messages polled");
        Interop.equal(keys.size(), got.size(), "number of messages polled");
        consumer.commitSync();
        consumer.shutdown();
        producer.shutdown();
    }

    /** RECONSUME_LATER brings the message again by the retry topic, with its values and a count. */
    void retry() throws Exception {
        String topic = Interop.topic("retry");
        String group = Interop.prefix + "-retry-c";
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = Interop.consumer(group, "retry-c");
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(
                (MessageListenerConcurrently)
                        (messages, context) -> {
                            got.addAll(messages);
                            context.setDelayLevelWhenNextConsume(1);
                            return messages.get(0).getReconsumeTimes() == 0
                                    ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                                    : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                        });
        consumer.start();
        DefaultMQProducer producer = Interop.producer("retry");
        Message sent = Sending.messages(topic, "retry", 1).get(0);
        producer.send(sent);
        Interop.eventually(40, "a second delivery", () -> got.size() >= 2);
        Interop.equal(0, got.get(0).getReconsumeTimes(), "reconsumeTimes at first");
        MessageExt again = got.get(1);
        Interop.equal(1, again.getReconsumeTimes(), "reconsumeTimes");
        Interop.equal(topic, again.getTopic(), "topic");
        Interop.equal("retry-0", again.getKeys(), "key");
        Interop.equal(got.get(0).getMsgId(), again.getMsgId(), "message id");
        Interop.check(Arrays.equals(sent.getBody(), again.getBody()), "other body");
        consumer.shutdown();
        producer.shutdown();
    }

    /** Two consumers of one group share the queues; when one leaves, the other has them all. */
    void rebalance() throws Exception {
        String topic = Interop.topic("rebalance");
        String group = Interop.prefix + "-rebalance-c";
        DefaultMQProducer producer = Interop.producer("rebalance");
        Inbox first = new Inbox(topic, "*", group, "rebalance-1");
        List<String> alone = Sending.send(producer, topic, "alone", 40);
        first.await(alone, 20);
        Interop.equal(4, first.queues(alone).size(), "queues of one consumer");

        Inbox second = new Inbox(topic, "*", group, "rebalance-2");
        split(producer, topic, first, second, 2, 2);
        List<String> both = Sending.send(producer, topic, "both", 100);
        Inbox.shared(both, first, second);
        Interop.check(
                Collections.disjoint(first.queues(both), second.queues(both)),
                "a queue with two consumers");

        first.close();
        split(producer, topic, first, second, 0, 4);
        List<String> left = Sending.send(producer, topic, "left", 40);
        second.await(left, 20);
        left.forEach(key -> Interop.equal(1, second.count(key), key + " received so often"));
        second.close();
        producer.shutdown();
    }

    /**
     * Sends until the queues are split so: sooner than the client's own look every 20 s, so by the
     * broker's notice.
     */
    private static void split(
            DefaultMQProducer producer, String topic, Inbox first, Inbox second, int one, int two)
            throws Exception {
        int[] round = {0};
        Interop.eventually(
                15,
                "queues split " + one + " to " + two,
                () -> {
                    try {
                        String name = "probe" + one + two + "-" + round[0]++;
                        List<String> probe = Sending.send(producer, topic, name, 4);
                        Interop.eventually(
                                20,
                                "the probe's messages",
                                () -> probe.stream().allMatch(k -> first.has(k) || second.has(k)));
                        Thread.sleep(300);
                        return first.queues(probe).size() == one
                                && second.queues(probe).size() == two;
                    } catch (Exception e) {
                        throw new IllegalStateException(e);
                    }
                });
    }
}
