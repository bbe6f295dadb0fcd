import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Order in one queue and by key, while the queues change hands between orderly consumers. */
final class Ordered {
    private static final int STREAMS = 8;

    private final String topic;
    private final int streams;
    private final DefaultMQProducer producer;
    private final String group;

    /** Stream → the next number of it, as sent and as received. */
    private final int[] sent = new int[STREAMS];

    private final Map<Integer, Integer> received = new ConcurrentHashMap<>();

    /** Queue → its consumer while a listener runs. */
    private final Map<Integer, String> busy = new ConcurrentHashMap<>();

    /** Consumer → the queues it had messages of lately. */
    private final Map<String, Set<Integer>> lately = new ConcurrentHashMap<>();

    private final Set<String> suspended = ConcurrentHashMap.newKeySet();
    private volatile String wrong;

    private Ordered(String name, int streams) throws Exception {
        topic = Interop.topic(name);
        this.streams = streams;
        producer = Interop.producer(name);
        group = Interop.prefix + "-" + name + "-c";
    }

    /** Eight streams over four queues: consumers join and leave. */
    static void byKey() throws Exception {
        new Ordered("ordered", STREAMS).run(4);
    }

    /** One stream in one queue: its one consumer is followed by another. */
    static void global() throws Exception {
        new Ordered("global", 1).run(1);
    }

    private void run(int queues) throws Exception {
        send(10);
        DefaultMQPushConsumer first = consumer("first");
        complete(20);
        Interop.equal(queues, lately.get("first").size(), "queues of the first consumer");
        DefaultMQPushConsumer second = consumer("second");
        if (queues > 1) {
            share(queues / 2);
        }
        send(10);
        complete(60);
        first.shutdown();
        lately.clear();
        for (int round = 0; round < 5; round++) {
            send(2);
            Thread.sleep(200);
        }
        complete(60);
        Interop.equal(queues, lately.get("second").size(), "queues of the second consumer");
        Interop.check(!suspended.isEmpty(), "no message was put off");
        second.shutdown();
        producer.shutdown();
    }

    /** Sends until both have a half of the queues. */
    private void share(int half) throws Exception {
        long end = System.nanoTime() + 60_000_000_000L;
        while (lately.getOrDefault("first", Collections.emptySet()).size() != half
                || lately.getOrDefault("second", Collections.emptySet()).size() != half) {
            Interop.check(System.nanoTime() < end, "queues never shared: " + lately);
            Interop.check(wrong == null, wrong);
            lately.clear();
            send(1);
            Thread.sleep(500);
        }
    }

    private void send(int count) throws Exception {
        for (int i = 0; i < count; i++) {
            for (int stream = 0; stream < streams; stream++) {
                int number = sent[stream]++;
                String key = stream + ":" + number;
                Message one = new Message(topic, "Tag", key, Sending.body(key));
                producer.send(
                        one,
                        (all, message, by) -> all.get((Integer) by % all.size()),
                        stream);
            }
        }
    }

    /** Everything sent was received, in order. */
    private void complete(long seconds) throws Exception {
        Interop.eventually(
                seconds,
                "all messages in order",
                () -> {
                    for (int stream = 0; stream < streams; stream++) {
                        if (received.getOrDefault(stream, 0) < sent[stream]) {
                            return wrong != null;
                        }
                    }
                    return true;
                });
        Interop.check(wrong == null, wrong);
    }

    private DefaultMQPushConsumer consumer(String name) throws Exception {
        DefaultMQPushConsumer consumer = Interop.consumer(group, topic + "-" + name);
        consumer.setConsumeMessageBatchMaxSize(4);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(
                (MessageListenerOrderly)
                        (messages, context) -> {
                            MessageQueue queue = context.getMessageQueue();
                            String other = busy.putIfAbsent(queue.getQueueId(), name);
                            if (other != null) {
                                wrong = queue + " consumed by " + other + " and " + name;
                            }
                            context.setSuspendCurrentQueueTimeMillis(50);
                            boolean now = receive(name, messages);
                            busy.remove(queue.getQueueId());
                            return now
                                    ? ConsumeOrderlyStatus.SUCCESS
                                    : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                        });
        consumer.start();
        return consumer;
    }

    /** False puts the messages off, once: they come again before those behind them. */
    private boolean receive(String name, List<MessageExt> messages) {
        for (MessageExt one : messages) {
            if (one.getKeys().endsWith("7") && suspended.add(one.getKeys())) {
                return false;
            }
        }
        for (MessageExt one : messages) {
            String[] parts = one.getKeys().split(":");
            int stream = Integer.parseInt(parts[0]);
            int number = Integer.parseInt(parts[1]);
            int next = received.getOrDefault(stream, 0);
            // One that is behind comes again after its queue changed hands.
            if (number > next) {
                wrong = one.getKeys() + " comes where " + next + " was to come";
            }
            if (!Arrays.equals(Sending.body(one.getKeys()), one.getBody())) {
                wrong = one.getKeys() + ": other body";
            }
            received.put(stream, Math.max(next, number + 1));
            lately.computeIfAbsent(name, k -> ConcurrentHashMap.newKeySet()).add(one.getQueueId());
        }
        return true;
    }
}
