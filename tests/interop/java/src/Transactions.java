import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Transactions: what is decided at once, and what the broker has to ask about. */
final class Transactions implements TransactionListener {
    /** What the producer answers when it is asked about a key; nothing yet: unknown. */
    final Map<String, LocalTransactionState> decided = new ConcurrentHashMap<>();

    final Map<String, MessageExt> asked = new ConcurrentHashMap<>();
    private final TransactionMQProducer producer;

    Transactions(String name) throws Exception {
        producer = new TransactionMQProducer(Interop.prefix + "-" + name + "-p");
        producer.setNamesrvAddr(Interop.namesrv);
        producer.setInstanceName(name + "-p");
        producer.setPollNameServerInterval(1000);
        producer.setHeartbeatBrokerInterval(1000);
        producer.setTransactionListener(this);
        producer.start();
    }

    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object decision) {
        return (LocalTransactionState) decision;
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
        asked.put(message.getKeys(), message);
        return decided.getOrDefault(message.getKeys(), LocalTransactionState.UNKNOW);
    }

    void send(Message message, LocalTransactionState decision) throws Exception {
        TransactionSendResult result = producer.sendMessageInTransaction(message, decision);
        Interop.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Interop.equal(decision, result.getLocalTransactionState(), "state");
    }

    void close() {
        producer.shutdown();
    }

    static void run() throws Exception {
        String topic = Interop.topic("txn");
        Inbox inbox = new Inbox(topic, "*", Interop.prefix + "-txn-c", "txn-c");
        Transactions all = new Transactions("txn");
        List<Message> arrive = new ArrayList<>();
        List<Message> open = new ArrayList<>();
        for (LocalTransactionState decision : LocalTransactionState.values()) {
            for (Message one : Sending.messages(topic, decision.name(), 20)) {
                String key = one.getKeys();
                if (decision == LocalTransactionState.UNKNOW) {
                    open.add(one);
                    boolean commits = open.size() % 2 == 0;
                    all.decided.put(
                            key,
                            commits
                                    ? LocalTransactionState.COMMIT_MESSAGE
                                    : LocalTransactionState.ROLLBACK_MESSAGE);
                }
                if (all.decided.getOrDefault(key, decision)
                        == LocalTransactionState.COMMIT_MESSAGE) {
                    arrive.add(one);
                }
                all.send(one, decision);
            }
        }
        inbox.await(Sending.keys(arrive), 40);
        Interop.eventually(
                40,
                "a question about each of " + open.size(),
                () -> all.asked.keySet().containsAll(Sending.keys(open)));
        for (Message one : arrive) {
            MessageExt got = inbox.only(one.getKeys());
            Interop.check(
                    Arrays.equals(one.getBody(), got.getBody()), one.getKeys() + ": other body");
            Interop.equal(one.getTags(), got.getTags(), "tag");
            Interop.equal(one.getUserProperty("number"), got.getUserProperty("number"), "property");
        }
        for (Message one : open) {
            MessageExt question = all.asked.get(one.getKeys());
            Interop.equal(topic, question.getTopic(), "topic of a question");
            Interop.check(
                    Arrays.equals(one.getBody(), question.getBody()), "other body in a question");
            Interop.equal(
                    one.getProperty("UNIQ_KEY"), question.getTransactionId(), "transaction id");
        }
        Interop.equal(arrive.size(), inbox.keys().size(), "messages received");
        all.close();
        inbox.close();
    }
}
