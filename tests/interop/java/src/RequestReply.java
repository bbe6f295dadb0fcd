import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Requests and their replies between three clients. The prefix in their instance names makes their
 * client ids unique: a reply goes to a client id.
 */
final class RequestReply {
    private final String topic = Interop.topic("request");

    interface Ask {
        Message reply(DefaultMQProducer requester, Message request) throws Exception;
    }

    /** Every request gets the reply to itself. */
    void run() throws Exception {
        run((requester, request) -> requester.request(request, 20_000));
    }

    /**
     * The same with a callback. In RocketMQ 5.3.3 only this works: its request() that waits stops
     * waiting when the request is sent, before any reply.
     */
    void callback() throws Exception {
        run(
                (requester, request) -> {
                    CompletableFuture<Message> heard = new CompletableFuture<>();
                    RequestCallback callback =
                            new RequestCallback() {
                                @Override
                                public void onSuccess(Message reply) {
                                    if (reply != null) { // null: the request was sent
                                        heard.complete(reply);
                                    }
                                }

                                @Override
                                public void onException(Throwable e) {
                                    heard.completeExceptionally(e);
                                }
                            };
                    requester.request(request, callback, 20_000);
                    return heard.get(25, TimeUnit.SECONDS);
                });
    }

    private void run(Ask ask) throws Exception {
        DefaultMQProducer requester = Interop.producer(Interop.prefix + "-requester");
        DefaultMQProducer replier = Interop.producer(Interop.prefix + "-replier");
        DefaultMQPushConsumer responder = responder(replier);
        try {
            for (Message request : Sending.messages(topic, "request", 20)) {
                Message reply = ask.reply(requester, request);
                Interop.check(
                        Arrays.equals(answer(request.getBody()), reply.getBody()),
                        request.getKeys() + ": the reply to another request");
                String id = MessageConst.PROPERTY_CORRELATION_ID;
                Interop.equal(request.getProperty(id), reply.getProperty(id), id);
                Interop.check(
                        reply.getProperty(MessageConst.PROPERTY_PUSH_REPLY_TIME) != null,
                        "no time of the push");
            }
        } finally {
            responder.shutdown();
            requester.shutdown();
            replier.shutdown();
        }
    }

    private DefaultMQPushConsumer responder(DefaultMQProducer replier) throws Exception {
        DefaultMQPushConsumer responder =
                new DefaultMQPushConsumer(Interop.prefix + "-request-c");
        responder.setNamesrvAddr(Interop.namesrv);
        responder.setInstanceName(Interop.prefix + "-responder");
        responder.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        responder.subscribe(topic, "*");
        responder.registerMessageListener(
                (MessageListenerConcurrently)
                        (messages, context) -> {
                            messages.forEach(request -> reply(replier, request));
                            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                        });
        responder.start();
        return responder;
    }

    private static void reply(DefaultMQProducer replier, MessageExt request) {
        try {
            Interop.equal(
                    "DefaultCluster",
                    request.getProperty(MessageConst.PROPERTY_CLUSTER),
                    "property of the request");
            replier.send(MessageUtil.createReplyMessage(request, answer(request.getBody())), 5000);
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    private static byte[] answer(byte[] request) {
        return ("re: " + new String(request, StandardCharsets.UTF_8))
                .getBytes(StandardCharsets.UTF_8);
    }
}
