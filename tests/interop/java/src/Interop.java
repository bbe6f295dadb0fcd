import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

/**
 * Cases driven by an unmodified Java client: Interop NAMESRV PREFIX CASE... Topics are PREFIX-name
 * and were made by the runner (4 queues). Prints "ok CASE" or "fail CASE: why"; prints "restart",
 * "kill" or "swap" when it wants that done to the broker and waits for a line on standard input.
 */
final class Interop {
    interface Step {
        void run() throws Exception;
    }

    static String namesrv;
    static String prefix;
    private static final Map<String, String> FAILED = new HashMap<>();

    private Interop() {}

    public static void main(String[] args) throws Exception {
        namesrv = args[0];
        prefix = args[1];
        List<String> wanted = Arrays.asList(args).subList(2, args.length);

        Map<String, Step> cases = new LinkedHashMap<>();
        Sending sending = new Sending();
        cases.put("send-sync", sending::sync);
        cases.put("send-async", sending::async);
        cases.put("send-oneway", sending::oneway);
        cases.put("send-batch", sending::batch);
        cases.put("values", sending::values);
        cases.put("vip-channel", sending::vip);
        cases.put("auto-topic", sending::autoTopic);
        cases.put("query", sending::query);
        cases.put("delay", sending::delay);
        Consuming consuming = new Consuming();
        cases.put("tags", consuming::tags);
        cases.put("sql", consuming::sql);
        cases.put("pull", consuming::pull);
        cases.put("flow", consuming::flow);
        cases.put("light", consuming::light);
        cases.put("lite-pull", consuming::litePull);
        cases.put("retry", consuming::retry);
        cases.put("rebalance", consuming::rebalance);
        cases.put("transactions", Transactions::run);
        cases.put("request-reply", new RequestReply()::run);
        cases.put("request-callback", new RequestReply()::callback);
        cases.put("ordered", Ordered::byKey);
        cases.put("ordered-global", Ordered::global);
        cases.put("broadcast", Groups::broadcast);
        cases.put("dead-letters", Groups::deadLetters);
        cases.put("delayed-in-order", Groups::delayedInOrder);
        cases.put("namespace", Groups::namespace);
        cases.put("seek", Groups::seek);
        cases.put("trace", Tracing::run);
        cases.put("pop", Groups::pop);
        cases.put("timer", Groups::timer);
        cases.put("crash", new Crash()::run);
        cases.put("other-broker", new OtherBroker()::run);
        for (Map.Entry<String, Step> one : cases.entrySet()) {
            if (wanted.contains(one.getKey())) {
                attempt(one.getKey(), one.getValue());
                report(one.getKey());
            }
        }
        sending.close();

        if (wanted.contains("restart") || wanted.contains("offsets")) {
            Restart restart = new Restart();
            attempt("restart", restart::before);
            attempt("offsets", restart::offsetsBefore);
            ask("restart");
            attempt("restart", restart::after);
            report("restart");
            attempt("offsets", restart::offsetsAfter);
            report("offsets");
        }
        System.exit(0);
    }

    /** Has the runner do something to the broker and waits until it is done. */
    static void ask(String what) throws Exception {
        System.out.println(what);
        if (System.in.read() < 0) {
            throw new IllegalStateException("the runner went away");
        }
    }

    private static void attempt(String name, Step step) {
        if (FAILED.containsKey(name)) {
            return;
        }
        try {
            step.run();
        } catch (Throwable e) {
            FAILED.put(name, String.valueOf(e));
            e.printStackTrace();
        }
    }

    private static void report(String name) {
        String why = FAILED.get(name);
        System.out.println(
                why == null ? "ok " + name : "fail " + name + ": " + why.replace('\n', ' '));
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object wanted, Object got, String what) {
        check(wanted.equals(got), what + ": wanted " + wanted + ", got " + got);
    }

    static void eventually(long seconds, String what, BooleanSupplier condition)
            throws InterruptedException {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            check(System.nanoTime() < end, "not within " + seconds + " s: " + what);
            Thread.sleep(20);
        }
    }

    static String topic(String name) {
        return prefix + "-" + name;
    }

    /** Reads from the first message on and hears quickly of changes; not started yet. */
    static DefaultMQPushConsumer consumer(String group, String instance) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setPollNameServerInterval(1000);
        return consumer;
    }

    static DefaultMQProducer producer(String name) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(prefix + "-" + name + "-p");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(name + "-p");
        producer.setPollNameServerInterval(1000);
        producer.setHeartbeatBrokerInterval(1000);
        producer.start();
        return producer;
    }
}
