import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** An orderly restart of the broker under clients that stay. */
final class Restart {
    private final String topic = Interop.topic("restart");
    private final String offsetsTopic = Interop.topic("offsets");
    private final String offsetsGroup = Interop.prefix + "-offsets-c";
    private DefaultMQProducer producer;
    private Inbox stays;
    private List<String> stored;
    private List<String> consumed;

    private List<String> send(String topic, String name, int count) throws Exception {
        List<Message> messages = Sending.messages(topic, name, count);
        for (Message one : messages) {
            Interop.equal(SendStatus.SEND_OK, producer.send(one).getSendStatus(), "status");
        }
        return Sending.keys(messages);
    }

    private void open() throws Exception {
        if (producer == null) {
            producer = Interop.producer("restart");
        }
    }

    void before() throws Exception {
        open();
        stays = new Inbox(topic, "*", Interop.prefix + "-restart-stays", "stays");
        stored = send(topic, "stored", 40);
        stays.await(stored, 20);
    }

    void after() throws Exception {
        List<String> later = send(topic, "later", 40);
        stays.await(later, 60);
        Inbox fresh = new Inbox(topic, "*", Interop.prefix + "-restart-new", "new");
        Set<String> all = new HashSet<>(stored);
        all.addAll(later);
        fresh.await(all, 20);
        Interop.equal(all, fresh.keys(), "messages after the restart");
        all.forEach(fresh::only);
        fresh.close();
        stays.close();
    }

    void offsetsBefore() throws Exception {
        open();
        consumed = send(offsetsTopic, "consumed", 20);
        Inbox inbox = new Inbox(offsetsTopic, "*", offsetsGroup, "offsets-1");
        inbox.await(consumed, 20);
        inbox.close();
    }

    /** A consumer that comes after the restart goes on where the group was. */
    void offsetsAfter() throws Exception {
        List<String> fresh = send(offsetsTopic, "fresh", 20);
        Inbox inbox = new Inbox(offsetsTopic, "*", offsetsGroup, "offsets-2");
        inbox.await(fresh, 20);
        Interop.equal(new HashSet<>(fresh), inbox.keys(), "messages beyond the group's offsets");
        inbox.close();
        producer.shutdown();
    }
}
