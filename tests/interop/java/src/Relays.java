import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.body.CMResult;
import org.apache.rocketmq.common.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.common.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

import java.net.InetSocketAddress;
import java.text.SimpleDateFormat;
import java.util.Arrays;
import java.util.Date;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
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
            case "order-conf":
                orderConf();
                break;
            case "given-up":
                givenUp();
                break;
            case "from-time":
                fromTime();
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

    /** The queues that a topic is ordered over come from the name server. */
    private void orderConf() throws Exception {
        String ordered = Interop.topic("order");
        Properties enable = new Properties();
        enable.setProperty("orderMessageEnable", "true");
        admin.updateNameServerConfig(enable, null);
        admin.createOrUpdateOrderConf(ordered, "broker-a:2", true);
        DefaultMQProducer producer = Interop.producer("order");
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(ordered);
        Interop.equal(2, queues.size(), "queues of " + queues);
        for (int i = 0; i < 8; i++) {
            Message one = new Message(ordered, "Tag", "order-" + i, Sending.body("order-" + i));
            int queue = producer.send(one).getMessageQueue().getQueueId();
            Interop.check(queue < 2, "sent to queue " + queue);
        }
        Interop.equal(
                "broker-a:2", admin.getKVConfig("ORDER_TOPIC_CONFIG", ordered), "in the table");
        producer.shutdown();
    }

    /** What nobody decides is given up, found in its topic, and asked about again on request. */
    private void givenUp() throws Exception {
        String broker = address();
        Properties few = new Properties();
        few.setProperty("transactionCheckMax", "1");
        admin.updateBrokerConfig(broker, few);
        Transactions open = new Transactions("given-up");
        Message half = Sending.messages(topic, "given-up", 1).get(0);
        open.send(half, LocalTransactionState.UNKNOW);
        Interop.eventually(20, "a question", () -> open.asked.containsKey("given-up-0"));
        MessageExt[] found = {null};
        Interop.eventually(30, "given up", () -> (found[0] = lookGivenUp()) != null);
        Interop.check(Arrays.equals(half.getBody(), found[0].getBody()), "other body");
        Interop.equal(topic, found[0].getProperty("REAL_TOPIC"), "topic it was for");
        int before = received.get();
        open.decided.put("given-up-0", LocalTransactionState.COMMIT_MESSAGE);
        open.asked.clear();
        String id =
                MessageDecoder.createMessageId(
                        (InetSocketAddress) found[0].getStoreHost(), found[0].getCommitLogOffset());
        Interop.check(admin.resumeCheckHalfMessage(id), "not resumed");
        Interop.eventually(20, "a second question", () -> open.asked.containsKey("given-up-0"));
        Interop.eventually(20, "the message", () -> received.get() > before);
        few.setProperty("transactionCheckMax", "100");
        admin.updateBrokerConfig(broker, few);
        open.close();
    }

    /** A new group that begins where the messages of a time do, message 0 being long ago. */
    private void fromTime() throws Exception {
        Properties small = new Properties();
        small.setProperty("accessMessageInMemoryMaxRatio", "0");
        admin.updateBrokerConfig(address(), small);
        String name = Interop.topic("seek");
        DefaultMQProducer producer = Interop.producer("from-time");
        List<Message> before = Sending.messages(name, "before", 20);
        List<Message> after = Sending.messages(name, "after", 20);
        for (Message one : before) {
            producer.send(one);
        }
        // The client gives the time in seconds.
        long time = (System.currentTimeMillis() / 1000 + 1) * 1000;
        Thread.sleep(time - System.currentTimeMillis());
        for (Message one : after) {
            producer.send(one);
        }
        String text = new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(time));
        Inbox inbox = Inbox.fromTime(name, text, Interop.prefix + "-from-time", "from-time");
        inbox.await(Sending.keys(after), 20);
        Interop.equal(new HashSet<>(Sending.keys(after)), inbox.keys(), "messages since the time");
        inbox.close();
        producer.shutdown();
        small.setProperty("accessMessageInMemoryMaxRatio", "40");
        admin.updateBrokerConfig(address(), small);
    }

    private String address() throws Exception {
        return admin.examineBrokerClusterInfo()
                .getBrokerAddrTable()
                .get("broker-a")
                .getBrokerAddrs()
                .get(0L);
    }

    @SuppressWarnings("deprecation")
    private MessageExt lookGivenUp() {
        try {
            MessageQueue queue = new MessageQueue("TRANS_CHECK_MAX_TIME_TOPIC", "broker-a", 0);
            DefaultMQPullConsumer reader = new DefaultMQPullConsumer(Interop.prefix + "-given-up");
            reader.setNamesrvAddr(Interop.namesrv);
            reader.start();
            try {
                PullResult result = reader.pull(queue, "*", 0, 32);
                return result.getPullStatus() == PullStatus.FOUND
                        ? result.getMsgFoundList().get(0)
                        : null;
            } finally {
                reader.shutdown();
            }
        } catch (Exception e) {
            return null; // the topic comes with its first message
        }
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
