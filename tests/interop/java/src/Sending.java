import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Every way of sending; one consumer receives and compares what arrives. */
final class Sending {
    private final String topic = Interop.topic("send");
    private DefaultMQProducer producer;
    private Inbox inbox;

    private void open() throws Exception {
        if (producer == null) {
            producer = Interop.producer("send");
            inbox = new Inbox(topic, "*", Interop.prefix + "-send-c", "send-c");
        }
    }

    void close() {
        if (producer != null) {
            producer.shutdown();
            inbox.close();
        }
    }

    static byte[] body(String key) {
        return ("body of " + key + " ä€𝄞\0").getBytes(StandardCharsets.UTF_8);
    }

    static List<Message> messages(String topic, String name, int count) {
        List<Message> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String key = name + "-" + i;
            Message one = new Message(topic, "Tag" + i % 3, key, body(key));
            one.putUserProperty("number", String.valueOf(i));
            all.add(one);
        }
        return all;
    }

    static List<String> keys(List<Message> messages) {
        List<String> keys = new ArrayList<>();
        messages.forEach(m -> keys.add(m.getKeys()));
        return keys;
    }

    /** Sends so many messages, one after the other, and returns their keys. */
    static List<String> send(DefaultMQProducer producer, String topic, String name, int count)
            throws Exception {
        List<Message> messages = messages(topic, name, count);
        for (Message one : messages) {
            producer.send(one);
        }
        return keys(messages);
    }

    /** Every message arrives once, as it was sent. */
    private void arrive(List<Message> sent) throws Exception {
        inbox.await(keys(sent), 20);
        for (Message one : sent) {
            MessageExt got = inbox.only(one.getKeys());
            Interop.check(
                    Arrays.equals(one.getBody(), got.getBody()), one.getKeys() + ": other body");
            Interop.equal(one.getTags(), got.getTags(), "tag");
            Interop.equal(one.getUserProperty("number"), got.getUserProperty("number"), "property");
            Interop.equal(topic, got.getTopic(), "topic");
            Interop.equal(0, got.getReconsumeTimes(), "reconsumeTimes");
        }
    }

    void sync() throws Exception {
        open();
        List<Message> sent = messages(topic, "sync", 40);
        List<SendResult> results = new ArrayList<>();
        for (Message one : sent) {
            SendResult result = producer.send(one);
            Interop.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
            results.add(result);
        }
        arrive(sent);
        for (int i = 0; i < sent.size(); i++) {
            MessageExt got = inbox.only(sent.get(i).getKeys());
            Interop.equal(results.get(i).getQueueOffset(), got.getQueueOffset(), "queue offset");
            Interop.equal(results.get(i).getMessageQueue().getQueueId(), got.getQueueId(), "queue");
            Interop.equal(results.get(i).getMsgId(), got.getMsgId(), "message id");
        }
        Interop.equal(4, inbox.queues(keys(sent)).size(), "queues used");
    }

    void async() throws Exception {
        open();
        List<Message> sent = messages(topic, "async", 40);
        CountDownLatch answers = new CountDownLatch(sent.size());
        Set<String> problems = ConcurrentHashMap.newKeySet();
        for (Message one : sent) {
            producer.send(
                    one,
                    new SendCallback() {
                        @Override
                        public void onSuccess(SendResult result) {
                            if (result.getSendStatus() != SendStatus.SEND_OK) {
                                problems.add(result.toString());
                            }
                            answers.countDown();
                        }

                        @Override
                        public void onException(Throwable e) {
                            problems.add(e.toString());
                            answers.countDown();
                        }
                    });
        }
        Interop.check(
                answers.await(10, TimeUnit.SECONDS),
                answers.getCount() + " sends without an answer");
        Interop.check(problems.isEmpty(), problems.toString());
        arrive(sent);
    }

    void oneway() throws Exception {
        open();
        List<Message> sent = messages(topic, "oneway", 20);
        for (Message one : sent) {
            producer.sendOneway(one);
        }
        arrive(sent);
    }

    void batch() throws Exception {
        open();
        List<Message> sent = messages(topic, "batch", 30);
        SendResult result = producer.send(sent);
        Interop.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Interop.equal(30, result.getMsgId().split(",").length, "message ids");
        Interop.equal(30, result.getOffsetMsgId().split(",").length, "offset message ids");
        arrive(sent);
        Interop.equal(1, inbox.queues(keys(sent)).size(), "queues of a batch");
        for (int i = 0; i < sent.size(); i++) {
            MessageExt got = inbox.only(sent.get(i).getKeys());
            Interop.equal(
                    result.getQueueOffset() + i,
                    got.getQueueOffset(),
                    "queue offset of message " + i);
            String offsetId = ((MessageClientExt) got).getOffsetMsgId();
            Interop.equal(
                    result.getOffsetMsgId().split(",")[i], offsetId, "offset message id " + i);
        }
    }

    void values() throws Exception {
        open();
        long before = System.currentTimeMillis();
        byte[] random = new byte[100_000];
        new Random(1).nextBytes(random);
        byte[] plain = new byte[200_000];
        Arrays.fill(plain, (byte) 'x');
        for (byte[] body : Arrays.asList(random, plain, new byte[] {0})) {
            String key = "values-" + body.length;
            Message sent = new Message(topic, "a tag", key, 7, body, true);
            sent.putUserProperty("größe", "5 € = §");
            sent.putUserProperty("long", String.join("", Collections.nCopies(1000, "0123456789")));
            sent.setBuyerId("buyer");
            SendResult result = producer.send(sent);
            inbox.await(Arrays.asList(key), 20);
            MessageExt got = inbox.only(key);
            Interop.check(Arrays.equals(body, got.getBody()), "other body of " + body.length);
            Interop.equal(7, got.getFlag(), "flag");
            Interop.equal("a tag", got.getTags(), "tag");
            Interop.equal("5 € = §", got.getUserProperty("größe"), "property");
            Interop.equal(10_000, got.getUserProperty("long").length(), "length of a property");
            Interop.equal("buyer", got.getBuyerId(), "buyer");
            Interop.check(got.getBornTimestamp() >= before, "born before it was sent");
            Interop.check(
                    Math.abs(got.getStoreTimestamp() - got.getBornTimestamp()) < 60_000,
                    "store timestamp");
            Interop.equal("127.0.0.1", got.getBornHostString(), "born host");
            MessageExt again = producer.viewMessage(topic, result.getOffsetMsgId());
            Interop.equal(got.getStoreHost(), again.getStoreHost(), "store host");
            Interop.equal(got.getCommitLogOffset(), again.getCommitLogOffset(), "CommitLog offset");
        }
    }

    void vip() throws Exception {
        open();
        DefaultMQProducer vip = new DefaultMQProducer(Interop.prefix + "-vip-p");
        vip.setNamesrvAddr(Interop.namesrv);
        vip.setInstanceName("vip-p");
        vip.setVipChannelEnabled(true);
        vip.start();
        List<Message> sent = messages(topic, "vip", 8);
        for (Message one : sent) {
            Interop.equal(SendStatus.SEND_OK, vip.send(one).getSendStatus(), "status");
        }
        arrive(sent);
        vip.shutdown();
    }

    /** The first send to a topic nobody made creates it with the client's 4 queues. */
    void autoTopic() throws Exception {
        open();
        Message sent = new Message(Interop.topic("made-by-sending"), "T", "auto-0", body("auto-0"));
        SendResult result = producer.send(sent);
        Interop.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Interop.eventually(
                10,
                "routed with 4 queues",
                () -> {
                    try {
                        return producer.fetchPublishMessageQueues(Interop.topic("made-by-sending"))
                                        .size()
                                == 4;
                    } catch (Exception e) {
                        return false;
                    }
                });
        Interop.equal(
                "auto-0",
                producer.viewMessage(Interop.topic("made-by-sending"), result.getOffsetMsgId())
                        .getKeys(),
                "key");
    }

    /** A message with a delay level arrives after that time, on its own topic. */
    void delay() throws Exception {
        open();
        Message sent = messages(topic, "delay", 1).get(0);
        sent.setDelayTimeLevel(2);
        producer.send(sent);
        arrive(Arrays.asList(sent));
        MessageExt got = inbox.only("delay-0");
        long waited = got.getStoreTimestamp() - got.getBornTimestamp();
        Interop.check(waited >= 4900, "delivered after " + waited + " ms instead of 5 s");
    }

    void query() throws Exception {
        open();
        long begin = System.currentTimeMillis() - 60_000;
        Message sent = new Message(topic, "T", "query-a query-b", body("query"));
        SendResult result = producer.send(sent);
        for (String key : Arrays.asList("query-a", "query-b")) {
            Interop.eventually(10, "found by " + key, () -> found(key, begin, result.getMsgId()));
        }
        MessageExt byUniqueKey = producer.viewMessage(topic, result.getMsgId());
        Interop.equal("query-a query-b", byUniqueKey.getKeys(), "keys by unique key");
        MessageExt byOffset = producer.viewMessage(topic, result.getOffsetMsgId());
        Interop.check(Arrays.equals(sent.getBody(), byOffset.getBody()), "other body by offset id");
        Interop.check(!found("query-none", begin, result.getMsgId()), "found by a key never sent");
    }

    private boolean found(String key, long begin, String msgId) {
        try {
            QueryResult result = producer.queryMessage(topic, key, 32, begin, Long.MAX_VALUE);
            return result.getMessageList().size() == 1
                    && result.getMessageList().get(0).getMsgId().equals(msgId);
        } catch (Exception e) {
            return false; // no message by this key is an exception in this client
        }
    }
}
