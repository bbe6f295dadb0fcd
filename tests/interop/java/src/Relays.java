import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.body.CMResult;
import org.apache.rocketmq.common.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.common.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/** What Apache's admin client has a broker ask a live consumer: Relays NAMESRV PREFIX CASE... */
final class Relays {
    private static final int COUNT = 8;

    private final String topic = Interop.topic("relay");
    private final String group = Interop.prefix + "-relay-c";
    private final AtomicInteger received = new AtomicInteger();
    private final DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
    private DefaultMQPushConsumer consumer;
    private String clientId;
    private Message last;

    private Relays() {}

    public static void main(String[] args) throws Exception {
        Interop.namesrv = args[0];
        Interop.prefix = args[1];
        Relays relays = new Relays();
        relays.open();
        for (int i = 2; i < args.length; i++) {
            try {
                relays.run(args[i]);
                System.out.println("ok " + args[i]);
            } catch (Exception | AssertionError e) {
                e.printStackTrace();
                System.out.println("fail " + args[i] + ": " + String.valueOf(e).replace('\n', ' '));
            }
        }
        System.exit(0);
    }

    private void open() throws Exception {
        DefaultMQProducer producer = Interop.producer("relay");
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
        for (int i = 0; i < COUNT; i++) {
            last = new Message(topic, "Tag", "relay-" + i, Sending.body("relay-" + i));
            producer.send(last, queues.get(i % queues.size()));
        }
        consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(Interop.namesrv);
        consumer.setInstanceName("relayed");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(
                (MessageListenerConcurrently)
                        (messages, context) -> {
                            received.addAndGet(messages.size());
                            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                        });
        consumer.start();
        clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        admin.setNamesrvAddr(Interop.namesrv);
        admin.setInstanceName("operator");
        admin.start();
        Interop.eventually(20, "all received", () -> received.get() >= COUNT);
    }

    private void run(String name) throws Exception {
        switch (name) {
            case "running-info":
                runningInfo();
                break;
            case "consume-directly":
                consumeDirectly();
                break;
            case "consumer-status":
                consumerStatus();
                break;
            case "reset-offset":
                resetOffset();
                break;
            default:
                throw new IllegalArgumentException(name);
        }
    }

    private void runningInfo() throws Exception {
        ConsumerRunningInfo info = admin.getConsumerRunningInfo(group, clientId, true);
        Interop.check(
                info.getSubscriptionSet().stream().anyMatch(one -> one.getTopic().equals(topic)),
                "no subscription");
        long queues =
                info.getMqTable().keySet().stream().filter(q -> q.getTopic().equals(topic)).count();
        Interop.equal(4L, queues, "queues");
        Interop.check(info.getJstack().contains("TID: "), "no stack");
        try {
            admin.getConsumerRunningInfo(group, "nobody", false);
            throw new AssertionError("nobody answered");
        } catch (org.apache.rocketmq.client.exception.MQClientException e) {
            Interop.equal(
                    "The Consumer <" + group + "> <nobody> not online",
                    e.getErrorMessage(),
                    "remark");
        }
    }

    private void consumeDirectly() throws Exception {
        int before = received.get();
        String key = last.getProperty("UNIQ_KEY");
        ConsumeMessageDirectlyResult result =
                admin.consumeMessageDirectly(group, clientId, topic, key);
        Interop.equal(CMResult.CR_SUCCESS, result.getConsumeResult(), "result");
        Interop.equal(before + 1, received.get(), "received");
    }

    private void consumerStatus() throws Exception {
        Map<String, Map<MessageQueue, Long>> all = admin.getConsumeStatus(topic, group, null);
        Interop.equal(java.util.Collections.singleton(clientId), all.keySet(), "clients");
        Map<MessageQueue, Long> offsets = all.get(clientId);
        Interop.equal(4, offsets.size(), "queues");
        offsets.forEach((queue, offset) -> Interop.equal(2L, offset, queue.toString()));
        Interop.check(admin.getConsumeStatus(topic, group, "nobody").isEmpty(), "nobody answered");
    }

    private void resetOffset() throws Exception {
        Interop.eventually(20, "all committed", this::allCommitted);
        int before = received.get();
        Map<MessageQueue, Long> offsets = admin.resetOffsetByTimestamp(topic, group, 0, true);
        Interop.equal(4, offsets.size(), "queues");
        offsets.forEach((queue, offset) -> Interop.equal(0L, offset, queue.toString()));
        Interop.eventually(40, "all again", () -> received.get() >= before + COUNT);
    }

    private boolean allCommitted() {
        try {
            return admin.examineConsumeStats(group, topic).getOffsetTable().values().stream()
                            .filter(one -> one.getConsumerOffset() == 2)
                            .count()
                    == 4;
        } catch (Exception e) {
            return false;
        }
    }
}
