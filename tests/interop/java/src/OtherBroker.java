import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** One store under our broker and the Java one in turn: each goes on where the other was. */
final class OtherBroker {
    private final String topic = Interop.topic("other");
    private final List<Message> sent = new ArrayList<>();
    private final List<SendResult> results = new ArrayList<>();
    private final List<Message> committed = new ArrayList<>();
    private final List<Message> rolledBack = new ArrayList<>();
    private int turns;
    private DefaultMQProducer producer;

    void run() throws Exception {
        producer = Interop.producer("other");
        Transactions open = new Transactions("other-txn");
        List<Message> halves = new ArrayList<>();
        Inbox group = new Inbox(topic, "*", Interop.prefix + "-other-c", "other-c");
        for (String turn : Arrays.asList("first", "second", "third")) {
            Set<String> before = new HashSet<>(Sending.keys(sent));
            List<Message> fresh = Sending.messages(topic, turn, 40);
            for (Message one : fresh) {
                results.add(producer.send(one));
            }
            List<Message> batch = Sending.messages(topic, turn + "-batch", 10);
            producer.send(batch);
            sent.addAll(fresh);
            group.await(Sending.keys(fresh), 40);
            group.await(Sending.keys(batch), 40);
            // Left open under the broker before, asked about and committed under this one.
            for (String key : Sending.keys(halves)) {
                open.decided.put(key, LocalTransactionState.COMMIT_MESSAGE);
            }
            group.await(Sending.keys(halves), 40);
            halves = Sending.messages(topic, turn + "-half", 10);
            for (Message one : halves) {
                open.send(one, LocalTransactionState.UNKNOW);
            }
            // Ended shortly before the swap: the other broker has to find that in the op messages.
            for (int i = 0; i < 10; i++) {
                Message one = Sending.messages(topic, turn + "-commit" + i, 1).get(0);
                open.send(one, LocalTransactionState.COMMIT_MESSAGE);
                committed.add(one);
                Message other = Sending.messages(topic, turn + "-rollback" + i, 1).get(0);
                open.send(other, LocalTransactionState.ROLLBACK_MESSAGE);
                rolledBack.add(other);
            }
            group.await(Sending.keys(committed.subList(10 * turns++, committed.size())), 40);
            Interop.check(
                    Collections.disjoint(before, group.keys()),
                    "the group was given messages again");
            group.close(); // its offsets are with the broker
            readBack(turn);
            if (!turn.equals("third")) {
                Interop.ask("swap");
                group = new Inbox(topic, "*", Interop.prefix + "-other-c", "other-c-" + turn);
            }
        }
        for (Message one : rolledBack) {
            Interop.check(!open.asked.containsKey(one.getKeys()), "asked about a rollback");
        }
        for (Message one : committed) {
            Interop.check(!open.asked.containsKey(one.getKeys()), "asked about a commit");
        }
        producer.shutdown();
        open.close();
    }

    private void readBack(String turn) throws Exception {
        Inbox all = new Inbox(topic, "*", Interop.prefix + "-other-" + turn, "other-" + turn);
        all.await(Sending.keys(sent), 40);
        all.await(Sending.keys(committed), 40);
        for (int i = 0; i < sent.size(); i++) {
            String key = sent.get(i).getKeys();
            MessageExt got = all.only(key);
            Interop.check(
                    Arrays.equals(sent.get(i).getBody(), got.getBody()), key + ": other body");
            Interop.equal(
                    results.get(i).getQueueOffset(),
                    got.getQueueOffset(),
                    "queue offset of " + key);
            String byId = producer.viewMessage(topic, results.get(i).getOffsetMsgId()).getKeys();
            Interop.equal(key, byId, "message by offset id");
        }
        for (Message one : committed) {
            MessageExt got = all.only(one.getKeys());
            Interop.check(Arrays.equals(one.getBody(), got.getBody()), "other body, committed");
        }
        for (Message one : rolledBack) {
            Interop.check(!all.has(one.getKeys()), one.getKeys() + " was rolled back");
        }
        for (int i = 0; i < sent.size(); i += 20) {
            String key = sent.get(i).getKeys();
            Interop.equal(
                    1,
                    producer.queryMessage(topic, key, 8, 0, Long.MAX_VALUE).getMessageList().size(),
                    "messages by the key " + key);
        }
        all.close();
    }
}
