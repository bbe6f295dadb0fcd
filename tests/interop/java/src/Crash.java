import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * kill -9 of the broker under load: what was acknowledged is there afterwards, where the answer
 * said.
 */
final class Crash {
    private static final int SENDERS = 8;
    private final String topic = Interop.topic("crash");
    private final Map<String, SendResult> acknowledged = new ConcurrentHashMap<>();
    private final AtomicInteger refused = new AtomicInteger();
    private volatile boolean ended;

    private void load(DefaultMQProducer producer, int number) {
        for (int i = 0; !ended; i++) {
            String key = "crash-" + number + "-" + i;
            try {
                SendResult result =
                        producer.send(new Message(topic, "T", key, Sending.body(key)), 1000);
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    acknowledged.put(key, result);
                }
            } catch (Exception e) {
                refused.incrementAndGet();
            }
        }
    }

    void run() throws Exception {
        DefaultMQProducer producer = Interop.producer("crash");
        producer.setRetryTimesWhenSendFailed(0);
        List<Thread> senders = new ArrayList<>();
        for (int i = 0; i < SENDERS; i++) {
            int number = i;
            senders.add(new Thread(() -> load(producer, number)));
            senders.get(i).start();
        }
        Interop.eventually(30, "2000 messages sent", () -> acknowledged.size() > 2000);
        Interop.ask("kill");
        int before = acknowledged.size();
        Interop.eventually(60, "sends go on", () -> acknowledged.size() > before + 500);
        ended = true;
        for (Thread one : senders) {
            one.join();
        }
        producer.shutdown();
        Interop.check(refused.get() > 0, "no send was refused: the broker was not away under load");
        readBack();
    }

    @SuppressWarnings("deprecation")
    private void readBack() throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(Interop.prefix + "-crash-c");
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.start();
        Set<String> missing = new HashSet<>(acknowledged.keySet());
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long offset = consumer.minOffset(queue);
            PullResult result;
            while ((result = consumer.pull(queue, "*", offset, 32)).getPullStatus()
                    == PullStatus.FOUND) {
                for (MessageExt one : result.getMsgFoundList()) {
                    Interop.equal(
                            new String(Sending.body(one.getKeys())),
                            new String(one.getBody()),
                            "body");
                    SendResult sent = acknowledged.get(one.getKeys());
                    if (sent != null && sent.getMsgId().equals(one.getMsgId())) {
                        Interop.equal(
                                sent.getQueueOffset(),
                                one.getQueueOffset(),
                                "offset of " + one.getKeys());
                        missing.remove(one.getKeys());
                    }
                    Interop.equal(offset++, one.getQueueOffset(), "queue offset without a gap");
                }
            }
        }
        consumer.shutdown();
        Interop.check(
                missing.isEmpty(),
                missing.size()
                        + " of "
                        + acknowledged.size()
                        + " acknowledged messages lost, such as "
                        + missing.stream().findAny());
    }
}
