import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;

/** A push consumer in clustering mode that keeps what it receives, by key. */
final class Inbox {
    private final DefaultMQPushConsumer consumer;
    private final Map<String, List<MessageExt>> received = new ConcurrentHashMap<>();

    Inbox(String topic, String tags, String group, String instance) throws Exception {
        this(topic, MessageSelector.byTag(tags), group, instance);
    }

    Inbox(String topic, MessageSelector wanted, String group, String instance) throws Exception {
        this(topic, wanted, group, instance, made -> {});
    }

    /** What a case sets before the start. */
    interface Setting {
        void apply(DefaultMQPushConsumer consumer) throws Exception;
    }

    /** Each member of the group receives everything. */
    static Inbox broadcasting(String topic, String group, String instance) throws Exception {
        return new Inbox(topic, MessageSelector.byTag("*"), group, instance, Inbox::broadcast);
    }

    /** A group without offsets begins with the messages of this time, yyyyMMddHHmmss. */
    static Inbox fromTime(String topic, String time, String group, String instance)
            throws Exception {
        return new Inbox(
                topic,
                MessageSelector.byTag("*"),
                group,
                instance,
                made -> {
                    made.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
                    made.setConsumeTimestamp(time);
                });
    }

    /** A consumer of RocketMQ 5 that has the broker assign its queues. */
    static Inbox asking(String topic, String group, String instance) throws Exception {
        return new Inbox(
                topic,
                MessageSelector.byTag("*"),
                group,
                instance,
                made ->
                        DefaultMQPushConsumer.class
                                .getMethod("setClientRebalance", boolean.class)
                                .invoke(made, false));
    }

    /** The enumeration is in another package in RocketMQ 5. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void broadcast(DefaultMQPushConsumer consumer) throws Exception {
        for (Method one : DefaultMQPushConsumer.class.getMethods()) {
            if (one.getName().equals("setMessageModel")) {
                Class type = one.getParameterTypes()[0];
                one.invoke(consumer, Enum.valueOf(type, "BROADCASTING"));
            }
        }
    }

    /** Asks the broker for the queues, as a consumer of RocketMQ 5 does. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    void assignment(String topic, String group) throws Exception {
        Object factory = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory();
        for (Method one : factory.getClass().getMethods()) {
            if (one.getName().equals("queryAssignment")) {
                Class type = one.getParameterTypes()[3];
                Object model = Enum.valueOf(type, "CLUSTERING");
                one.invoke(factory, topic, group, "AVG", model, 3000);
            }
        }
    }

    private Inbox(
            String topic, MessageSelector wanted, String group, String instance, Setting setting)
            throws Exception {
        consumer = Interop.consumer(group, instance);
        setting.apply(consumer);
        consumer.subscribe(topic, wanted);
        consumer.registerMessageListener(
                (MessageListenerConcurrently)
                        (messages, context) -> {
                            for (MessageExt one : messages) {
                                received.merge(one.getKeys(), Arrays.asList(one), Inbox::both);
                            }
                            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                        });
        consumer.start();
    }

    /** A list of its own, so that nobody sees a key without its message. */
    private static List<MessageExt> both(List<MessageExt> before, List<MessageExt> more) {
        List<MessageExt> all = new ArrayList<>(before);
        all.addAll(more);
        return all;
    }

    MessageExt only(String key) {
        List<MessageExt> all = received.get(key);
        Interop.check(all != null, key + " not received");
        Interop.equal(1, all.size(), key + " received so often");
        return all.get(0);
    }

    boolean has(String key) {
        return received.containsKey(key);
    }

    Set<String> keys() {
        return new HashSet<>(received.keySet());
    }

    int count(String key) {
        List<MessageExt> all = received.get(key);
        return all == null ? 0 : all.size();
    }

    void await(Collection<String> keys, long seconds) throws InterruptedException {
        Interop.eventually(
                seconds,
                "all of " + keys.size() + " messages",
                () -> received.keySet().containsAll(keys));
    }

    /** Waits until two members of a group have received all of these, each of them once. */
    static void shared(List<String> keys, Inbox one, Inbox other) throws InterruptedException {
        Interop.eventually(
                20,
                keys.size() + " messages by two",
                () -> keys.stream().allMatch(key -> one.has(key) || other.has(key)));
        for (String key : keys) {
            int count = one.count(key) + other.count(key);
            Interop.equal(1, count, key + " received so often");
        }
    }

    /** The queues that messages with these keys came from. */
    Set<Integer> queues(Collection<String> keys) {
        Set<Integer> queues = new TreeSet<>();
        for (String key : keys) {
            for (MessageExt one : received.getOrDefault(key, new ArrayList<>())) {
                queues.add(one.getQueueId());
            }
        }
        return queues;
    }

    void close() {
        consumer.shutdown();
    }
}
