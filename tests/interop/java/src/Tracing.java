import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** What clients note about a send and its consumption, found by the message's id and key. */
final class Tracing {
    private static final String SYSTEM = "RMQ_SYS_TRACE_TOPIC";
    private static final int FOUND_MAX = 32;

    private Tracing() {}

    static void run() throws Exception {
        String topic = Interop.topic("trace");
        String custom = Interop.topic("traces");
        String group = Interop.prefix + "-trace-c";
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, true, custom);
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.setInstanceName("trace-c");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(
                (MessageListenerConcurrently) (all, context) -> consumed(all));
        consumer.start();
        DefaultMQProducer producer =
                new DefaultMQProducer(Interop.prefix + "-trace-p", true, null);
        producer.setNamesrvAddr(Interop.namesrv);
        producer.setInstanceName("trace-p");
        producer.start();

        Message message = new Message(topic, "TagT", "trace-key", Sending.body("trace"));
        SendResult sent = producer.send(message);
        String id = sent.getMsgId();

        String[] pub = record(producer, SYSTEM, id, "Pub", id);
        Interop.equal(Interop.prefix + "-trace-p", pub[3], "group of the send");
        Interop.equal(topic, pub[4], "topic of the send");
        Interop.equal(id, pub[5], "id of the send");
        Interop.equal("TagT", pub[6], "tags of the send");
        Interop.equal("trace-key", pub[7], "keys of the send");
        Interop.equal(message.getBody().length, Integer.valueOf(pub[9]), "length of the body");
        Interop.equal("0", pub[11], "type of the message");
        Interop.equal(sent.getOffsetMsgId(), pub[12], "offset id of the send");
        Interop.equal("true", pub[13], "success of the send");
        record(producer, SYSTEM, "trace-key", "Pub", id);

        String[] before = record(producer, custom, id, "SubBefore", id);
        Interop.equal(group, before[3], "group of the consumption");
        Interop.equal(id, before[5], "id before");
        Interop.equal("0", before[6], "retries before");
        Interop.equal("trace-key", before[7], "keys before");
        String[] after = record(producer, custom, id, "SubAfter", id);
        Interop.equal(before[4], after[1], "number of the consumption");
        Interop.equal(id, after[2], "id after");
        Interop.equal("true", after[4], "success of the consumption");
        Interop.equal("0", after[6], "outcome of the consumption");
        producer.shutdown();
        consumer.shutdown();
    }

    private static ConsumeConcurrentlyStatus consumed(List<MessageExt> all) {
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    /** The fields of the first record of a kind about a message. */
    private static String[] record(
            DefaultMQProducer producer, String topic, String key, String kind, String id)
            throws Exception {
        List<String[]> found = new ArrayList<>();
        String what = kind + " by " + key;
        Interop.eventually(20, what, () -> found(producer, topic, key, kind, id, found));
        return found.get(0);
    }

    private static boolean found(
            DefaultMQProducer producer,
            String topic,
            String key,
            String kind,
            String id,
            List<String[]> found) {
        long end = System.currentTimeMillis() + 60_000;
        try {
            for (MessageExt one :
                    producer.queryMessage(topic, key, FOUND_MAX, 0, end).getMessageList()) {
                String body = new String(one.getBody(), StandardCharsets.UTF_8);
                for (String line : body.split("\u0002")) {
                    if (line.startsWith(kind + "\u0001") && line.contains(id)) {
                        found.add(line.split("\u0001"));
                    }
                }
            }
        } catch (MQClientException | InterruptedException e) {
            return false; // none yet
        }
        return !found.isEmpty();
    }
}
