import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;

/** Groups side by side, groups that give up, and consumers that choose their queues. */
final class Groups {
    private Groups() {}

    /** Broadcasting groups and a clustering one: each consumes on its own. */
    static void broadcast() throws Exception {
        String topic = Interop.topic("broadcast");
        String group = Interop.prefix + "-broadcast-";
        DefaultMQProducer producer = Interop.producer("broadcast");
        Inbox one = Inbox.broadcasting(topic, group + "a", "broadcast-1");
        Inbox two = Inbox.broadcasting(topic, group + "a", "broadcast-2");
        Inbox other = Inbox.broadcasting(topic, group + "b", "broadcast-3");
        Inbox shared = new Inbox(topic, "*", group + "c", "broadcast-4");
        Inbox sharing = new Inbox(topic, "*", group + "c", "broadcast-5");
        List<String> keys = Sending.send(producer, topic, "all", 40);
        for (Inbox all : Arrays.asList(one, two, other)) {
            all.await(keys, 20);
            keys.forEach(all::only);
        }
        Inbox.shared(keys, shared, sharing);
        // A member that was away goes on where it was.
        one.close();
        List<String> later = Sending.send(producer, topic, "later", 20);
        Inbox again = Inbox.broadcasting(topic, group + "a", "broadcast-1");
        again.await(later, 20);
        two.await(later, 20);
        later.forEach(again::only);
        Interop.equal(new HashSet<>(later), again.keys(), "messages of who was away");
        for (Inbox all : Arrays.asList(again, two, other, shared, sharing)) {
            all.close();
        }
        producer.shutdown();
    }

    /** What is consumed in vain too often is found among the dead letters. */
    static void deadLetters() throws Exception {
        String topic = Interop.topic("dead");
        String group = Interop.prefix + "-dead-c";
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = Interop.consumer(group, "dead-c");
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(
                (MessageListenerConcurrently)
                        (messages, context) -> {
                            got.addAll(messages);
                            context.setDelayLevelWhenNextConsume(1);
                            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                        });
        consumer.start();
        DefaultMQProducer producer = Interop.producer("dead");
        Message sent = Sending.messages(topic, "dead", 1).get(0);
        SendResult result = producer.send(sent);
        String dead = "%DLQ%" + group;
        Interop.eventually(40, "three deliveries", () -> got.size() >= 3);
        for (int times = 0; times < 3; times++) {
            Interop.equal(times, got.get(times).getReconsumeTimes(), "reconsumeTimes");
        }
        Inbox letters = new Inbox(dead, "*", Interop.prefix + "-dead-letters", "dead-letters");
        letters.await(Collections.singleton("dead-0"), 60);
        MessageExt letter = letters.only("dead-0");
        Interop.check(Arrays.equals(sent.getBody(), letter.getBody()), "other body");
        Interop.equal(dead, letter.getTopic(), "topic");
        Interop.equal(0, letter.getQueueId(), "queue");
        Interop.equal("Tag0", letter.getTags(), "tag");
        Interop.equal("0", letter.getUserProperty("number"), "property");
        Interop.equal(3, letter.getReconsumeTimes(), "reconsumeTimes of the letter");
        Interop.equal(topic, letter.getProperty(MessageConst.PROPERTY_RETRY_TOPIC), "origin");
        Interop.equal(
                result.getOffsetMsgId(),
                letter.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID),
                "id of the origin");
        Interop.equal(result.getMsgId(), letter.getMsgId(), "message id");
        Thread.sleep(2000);
        Interop.equal(3, got.size(), "deliveries in all");
        letters.close();
        consumer.shutdown();
        producer.shutdown();
    }

    /** Two levels in turn into one queue: each keeps its order and its delay. */
    static void delayedInOrder() throws Exception {
        String topic = Interop.topic("delayed");
        DefaultMQProducer producer = Interop.producer("delayed");
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        List<Message> all = Sending.messages(topic, "delayed", 40);
        for (int i = 0; i < all.size(); i++) {
            all.get(i).setDelayTimeLevel(i % 2 == 0 ? 2 : 1);
            producer.send(all.get(i), queue);
        }
        Inbox inbox = new Inbox(topic, "*", Interop.prefix + "-delayed-c", "delayed-c");
        inbox.await(Sending.keys(all), 40);
        long[] last = {-1, -1};
        for (int i = 0; i < all.size(); i++) {
            MessageExt got = inbox.only(all.get(i).getKeys());
            long waited = got.getStoreTimestamp() - got.getBornTimestamp();
            int delay = i % 2 == 0 ? 5000 : 1000;
            Interop.check(waited >= delay - 100, got.getKeys() + " after " + waited + " ms");
            Interop.check(got.getQueueOffset() > last[i % 2], got.getKeys() + " out of order");
            Interop.equal(queue.getQueueId(), got.getQueueId(), "queue");
            Interop.equal(i % 2 == 0 ? 2 : 1, got.getDelayTimeLevel(), "level");
            last[i % 2] = got.getQueueOffset();
        }
        inbox.close();
        producer.shutdown();
    }

    /** Clients of a name space do not see what others have under the same names. */
    static void namespace() throws Exception {
        String topic = Interop.topic("spaces");
        DefaultMQProducer outside = Interop.producer("spaces");
        DefaultMQProducer producer = new DefaultMQProducer(Interop.prefix + "-spaces-p");
        producer.setNamespace("SPACE");
        producer.setNamesrvAddr(Interop.namesrv);
        producer.setInstanceName("spaces-inside");
        producer.start();
        Sending.send(outside, topic, "outside", 10);
        List<Message> sent = Sending.messages(topic, "inside", 20);
        for (Message one : sent) {
            producer.send(one);
        }
        Map<String, MessageExt> got = Collections.synchronizedMap(new HashMap<>());
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(Interop.prefix + "-spaces-c");
        consumer.setNamespace("SPACE");
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.setInstanceName("spaces-c");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(
                (MessageListenerConcurrently)
                        (messages, context) -> {
                            messages.forEach(one -> got.put(one.getKeys(), one));
                            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                        });
        consumer.start();
        Interop.eventually(20, "20 messages", () -> got.size() >= sent.size());
        Interop.equal(new HashSet<>(Sending.keys(sent)), got.keySet(), "messages inside");
        for (MessageExt one : got.values()) {
            Interop.equal(topic, one.getTopic(), "topic");
            Interop.check(Arrays.equals(Sending.body(one.getKeys()), one.getBody()), "other body");
        }
        consumer.shutdown();
        producer.shutdown();
        outside.shutdown();
    }

    /** A consumer that is told its queues and where to read. */
    static void seek() throws Exception {
        String topic = Interop.topic("seek");
        DefaultMQProducer producer = Interop.producer("seek");
        long before = System.currentTimeMillis() - 1000;
        Sending.send(producer, topic, "seek", 40);
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(Interop.prefix + "-seek-c");
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.setInstanceName("seek-c");
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Interop.equal(4, queues.size(), "queues");
        consumer.assign(queues);
        for (MessageQueue queue : queues) {
            Interop.equal(0L, consumer.offsetForTimestamp(queue, before), "offset by time");
            consumer.seek(queue, 6);
        }
        Map<MessageQueue, List<Long>> got = poll(consumer, 16);
        queues.forEach(
                queue -> Interop.equal(Arrays.asList(6L, 7L, 8L, 9L), got.get(queue), "offsets"));
        consumer.commitSync();
        MessageQueue paused = queues.iterator().next();
        consumer.pause(Collections.singleton(paused));
        for (MessageQueue queue : queues) {
            Interop.eventually(10, "offset kept", () -> committed(consumer, queue) == 10);
            consumer.seekToBegin(queue);
        }
        Map<MessageQueue, List<Long>> others = poll(consumer, 30);
        Interop.check(!others.containsKey(paused), "messages of a paused queue");
        consumer.resume(Collections.singleton(paused));
        Interop.equal(10, poll(consumer, 10).get(paused).size(), "messages after a pause");
        for (MessageQueue queue : queues) {
            consumer.seekToEnd(queue);
        }
        List<String> fresh = Sending.send(producer, topic, "fresh", 4);
        Set<String> keys = new HashSet<>();
        Interop.eventually(
                20,
                "what is new",
                () -> {
                    consumer.poll(200).forEach(one -> keys.add(one.getKeys()));
                    return keys.size() >= fresh.size();
                });
        Interop.equal(new HashSet<>(fresh), keys, "messages behind the end");
        consumer.shutdown();
        producer.shutdown();
    }

    private static long committed(DefaultLitePullConsumer consumer, MessageQueue queue) {
        try {
            return consumer.committed(queue);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private static Map<MessageQueue, List<Long>> poll(DefaultLitePullConsumer consumer, int count)
            throws Exception {
        Map<MessageQueue, List<Long>> got = new HashMap<>();
        int[] left = {count};
        Interop.eventually(
                20,
                count + " messages",
                () -> {
                    for (MessageExt one : consumer.poll(200)) {
                        MessageQueue queue =
                                new MessageQueue(
                                        one.getTopic(), one.getBrokerName(), one.getQueueId());
                        got.computeIfAbsent(queue, k -> new ArrayList<>())
                                .add(one.getQueueOffset());
                        left[0]--;
                    }
                    return left[0] <= 0;
                });
        return got;
    }

    /**
     * RocketMQ 5: a consumer that has the broker assign its queues, as POP needs it, learns that
     * this is not served and asks again; the same group consumes when it shares its queues itself.
     */
    static void pop() throws Exception {
        String topic = Interop.topic("pop");
        String group = Interop.prefix + "-pop-c";
        DefaultMQProducer producer = Interop.producer("pop");
        List<String> keys = Sending.send(producer, topic, "pop", 20);
        Inbox asking = Inbox.asking(topic, group, "pop-1");
        try {
            asking.assignment(topic, group);
            throw new AssertionError("queues were assigned");
        } catch (InvocationTargetException e) {
            MQBrokerException refusal = (MQBrokerException) e.getCause();
            Interop.equal(3, refusal.getResponseCode(), "code");
            Interop.equal(
                    " request type 400 not supported", refusal.getErrorMessage(), "remark");
        }
        asking.close();
        Interop.check(asking.keys().isEmpty(), "messages without queues");
        Inbox sharing = new Inbox(topic, "*", group, "pop-2");
        sharing.await(keys, 60);
        keys.forEach(sharing::only);
        sharing.close();
        producer.shutdown();
    }

    /** A message with a time of RocketMQ 5: refused, as it would be delivered at once. */
    static void timer() throws Exception {
        String topic = Interop.topic("timer");
        DefaultMQProducer producer = Interop.producer("timer");
        Message late = Sending.messages(topic, "timer", 1).get(0);
        Method set = Message.class.getMethod("setDelayTimeSec", long.class);
        set.invoke(late, 30L);
        try {
            producer.send(late);
            throw new AssertionError("a timer message was accepted");
        } catch (MQClientException e) { // after further attempts: another broker may have timers
            String why = String.valueOf(e.getCause());
            Interop.check(why.contains("accurate timer message is not enabled"), why);
        }
        producer.shutdown();
    }
}
