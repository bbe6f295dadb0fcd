// Cases driven by the unmodified Go client: interop NAMESRV PREFIX CASE..., see ../run.py.
// "interop consume NAMESRV TOPIC GROUP TAGS INSTANCE MODE" is one consumer in a process of its own:
// it prints a line for each message and ends when its input does.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var (
	namesrv string
	prefix  string
	input   = bufio.NewReader(os.Stdin)
)

func main() {
	rlog.SetLogLevel("warn")
	if os.Args[1] == "consume" {
		namesrv = os.Args[2]
		if err := consume(os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	namesrv, prefix = os.Args[1], os.Args[2]
	cases := []struct {
		name string
		run  func() error
	}{
		{"send-sync", sendSync},
		{"send-async", sendAsync},
		{"send-oneway", sendOneway},
		{"send-batch", sendBatch},
		{"tags", tags},
		{"sql", sql},
		{"pull", pull},
		{"request-reply", requestReply},
		{"rebalance", rebalance},
		{"transactions", transactions},
		{"restart", restart},
		{"ordered", ordered},
		{"broadcast", broadcast},
		{"retry", retry},
		{"delay", delay},
	}
	for _, one := range cases {
		if !some(os.Args[3:], func(word string) bool { return word == one.name }) {
			continue
		}
		if err := one.run(); err != nil {
			fmt.Printf("fail %s: %v\n", one.name, err)
		} else {
			fmt.Println("ok", one.name)
		}
	}
}

// firstError is the first of the errors, or nil.
func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func some[T any](all []T, holds func(T) bool) bool {
	for _, one := range all {
		if holds(one) {
			return true
		}
	}
	return false
}

// A message as a consumer process saw it.
type seen struct {
	queue      int
	offset     int64
	tag        string
	number     string
	body       string
	reconsumed int
}

// A consumer in a process of its own: a Go consumer that was shut down can stay in its group while
// its process lives.
type inbox struct {
	process *exec.Cmd
	end     func() error
	lock    sync.Mutex
	got     map[string][]seen
	order   []string // keys as they came
}

func open(topic, group, tags, instance string) (*inbox, error) {
	return openAs("", topic, group, tags, instance)
}

// openAs opens a consumer that is "ordered", "broadcast", or fails once on each message: "retry".
func openAs(mode, topic, group, tags, instance string) (*inbox, error) {
	process := exec.Command(os.Args[0], "consume", namesrv, topic, group, tags, instance, mode)
	process.Stderr = os.Stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	box := &inbox{process: process, end: stdin.Close, got: map[string][]seen{}}
	if err := process.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "started" {
		return nil, fmt.Errorf("the consumer did not start: %q", lines.Text())
	}
	go func() {
		for lines.Scan() {
			word := strings.Split(lines.Text(), "\t")
			one := seen{tag: word[3], number: word[4]}
			one.queue, _ = strconv.Atoi(word[1])
			one.offset, _ = strconv.ParseInt(word[2], 10, 64)
			one.body, _ = strconv.Unquote(word[5])
			one.reconsumed, _ = strconv.Atoi(word[6])
			box.lock.Lock()
			box.got[word[0]] = append(box.got[word[0]], one)
			box.order = append(box.order, word[0])
			box.lock.Unlock()
		}
	}()
	return box, nil
}

func consume(topic, group, tags, instance, mode string) error {
	model := consumer.Clustering
	if mode == "broadcast" {
		model = consumer.BroadCasting
	}
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer([]string{namesrv}),
		consumer.WithGroupName(group),
		consumer.WithInstance(instance),
		consumer.WithConsumerModel(model),
		consumer.WithConsumerOrder(mode == "ordered"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: tags}
	if expression, isSQL := strings.CutPrefix(tags, "SQL:"); isSQL {
		selector = consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}
	}
	receive := func(ctx context.Context, all ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		for _, one := range all {
			fmt.Printf("%s\t%d\t%d\t%s\t%s\t%q\t%d\n", one.GetKeys(), one.Queue.QueueId, one.QueueOffset,
				one.GetTags(), one.GetProperty("number"), one.Body, one.ReconsumeTimes)
		}
		if mode == "retry" && all[0].ReconsumeTimes == 0 {
			if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				concurrently.DelayLevelWhenNextConsume = 1
			}
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := c.Subscribe(topic, selector, receive); err != nil {
		return err
	}
	lock.Lock() // "started" comes before any message
	if err := c.Start(); err != nil {
		return err
	}
	fmt.Println("started")
	lock.Unlock()
	for {
		if _, err := input.ReadByte(); err != nil {
			return c.Shutdown()
		}
	}
}

func (box *inbox) close() error {
	if err := box.end(); err != nil {
		return err
	}
	return box.process.Wait()
}

func (box *inbox) count(key string) int {
	box.lock.Lock()
	defer box.lock.Unlock()
	return len(box.got[key])
}

func (box *inbox) queues(sent []*primitive.Message) map[int]bool {
	box.lock.Lock()
	defer box.lock.Unlock()
	queues := map[int]bool{}
	for _, message := range sent {
		for _, one := range box.got[message.GetKeys()] {
			queues[one.queue] = true
		}
	}
	return queues
}

// arrive waits until every message has come, and compares what came.
func (box *inbox) arrive(sent []*primitive.Message, limit time.Duration) error {
	err := eventually(limit, func() bool {
		return !some(sent, func(m *primitive.Message) bool { return box.count(m.GetKeys()) == 0 })
	})
	if err != nil {
		return fmt.Errorf("not all of %d messages came: %w", len(sent), err)
	}
	box.lock.Lock()
	defer box.lock.Unlock()
	for _, message := range sent {
		all := box.got[message.GetKeys()]
		want := seen{queue: all[0].queue, offset: all[0].offset, tag: message.GetTags(),
			number: message.GetProperty("number"), body: string(message.Body)}
		if len(all) != 1 || all[0] != want {
			return fmt.Errorf("%s: wanted %v once, got %v", message.GetKeys(), want, all)
		}
	}
	return nil
}

func eventually(limit time.Duration, condition func() bool) error {
	for end := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %v", limit)
		}
	}
	return nil
}

func messages(topic, name string, count int) []*primitive.Message {
	var all []*primitive.Message
	for i := 0; i < count; i++ {
		key := fmt.Sprintf("%s-%d", name, i)
		one := primitive.NewMessage(topic, []byte("body of "+key+" ä€𝄞\x00"))
		one.WithKeys([]string{key})
		one.WithTag(fmt.Sprintf("Tag%d", i%3))
		one.WithProperty("number", strconv.Itoa(i))
		all = append(all, one)
	}
	return all
}

func newProducer(name string, more ...producer.Option) (rocketmq.Producer, error) {
	p, err := rocketmq.NewProducer(append([]producer.Option{
		producer.WithNameServer([]string{namesrv}),
		producer.WithGroupName(prefix + "-" + name + "-p"),
		producer.WithInstanceName(name + "-p"),
		producer.WithQueueSelector(producer.NewRoundRobinQueueSelector()),
	}, more...)...)
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

func send(p rocketmq.Producer, sent []*primitive.Message) error {
	for _, one := range sent {
		result, err := p.SendSync(context.Background(), one)
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK || result.MsgID == "" || result.OffsetMsgID == "" {
			return fmt.Errorf("answer to a send: %v", result)
		}
	}
	return nil
}

// sending runs one way of sending against a consumer that compares what arrives.
func sending(
	name string, count int, way func(rocketmq.Producer, []*primitive.Message) error,
) error {
	topic := prefix + "-send"
	box, err := open(topic, prefix+"-"+name+"-c", "*", name+"-c")
	if err != nil {
		return err
	}
	p, err := newProducer(name)
	if err != nil {
		return err
	}
	sent := messages(topic, name, count)
	return firstError(way(p, sent), box.arrive(sent, 30*time.Second), p.Shutdown(), box.close())
}

func sendSync() error {
	return sending("sync", 40, send)
}

func sendAsync() error {
	return sending("async", 40, func(p rocketmq.Producer, sent []*primitive.Message) error {
		answers := make(chan error, len(sent))
		for _, one := range sent {
			answer := func(_ context.Context, result *primitive.SendResult, err error) {
				if err == nil && result.Status != primitive.SendOK {
					err = fmt.Errorf("answer to a send: %v", result)
				}
				answers <- err
			}
			if err := p.SendAsync(context.Background(), answer, one); err != nil {
				return err
			}
		}
		for range sent {
			if err := <-answers; err != nil {
				return err
			}
		}
		return nil
	})
}

func sendOneway() error {
	return sending("oneway", 20, func(p rocketmq.Producer, sent []*primitive.Message) error {
		for _, one := range sent {
			if err := p.SendOneWay(context.Background(), one); err != nil {
				return err
			}
		}
		return nil
	})
}

func sendBatch() error {
	return sending("batch", 30, func(p rocketmq.Producer, sent []*primitive.Message) error {
		result, err := p.SendSync(context.Background(), sent...)
		if err == nil && result.Status != primitive.SendOK {
			err = fmt.Errorf("answer to a batch: %v", result)
		}
		return err
	})
}

func tags() error {
	topic := prefix + "-tags"
	box, err := open(topic, prefix+"-tags-c", "Tag0 || Tag2", "tags-c")
	if err != nil {
		return err
	}
	p, err := newProducer("tags")
	if err != nil {
		return err
	}
	var wanted []*primitive.Message
	sent := messages(topic, "tags", 30)
	for _, one := range sent {
		if one.GetTags() != "Tag1" {
			wanted = append(wanted, one)
		}
	}
	err = firstError(send(p, sent), box.arrive(wanted, 30*time.Second))
	if len(box.got) != len(wanted) {
		err = firstError(err, fmt.Errorf("%d messages received instead of %d", len(box.got), len(wanted)))
	}
	return firstError(err, p.Shutdown(), box.close())
}

// Messages from before the consumer, and messages that wake its pulls.
func sql() error {
	topic := prefix + "-sql"
	p, err := newProducer("sql")
	if err != nil {
		return err
	}
	old, fresh := messages(topic, "sql-old", 30), messages(topic, "sql-new", 30)
	if err := send(p, old); err != nil {
		return err
	}
	box, err := open(topic, prefix+"-sql-c", "SQL:number > 9 AND TAGS <> 'Tag1'", "sql-c")
	if err != nil {
		return err
	}
	var wanted []*primitive.Message
	for i := 10; i < 30; i++ {
		if i%3 != 1 {
			wanted = append(wanted, old[i], fresh[i])
		}
	}
	err = firstError(send(p, fresh), box.arrive(wanted, 30*time.Second))
	if len(box.got) != len(wanted) {
		err = firstError(err, fmt.Errorf("%d messages received instead of %d", len(box.got), len(wanted)))
	}
	return firstError(err, p.Shutdown(), box.close())
}

func pull() error {
	topic := prefix + "-pull"
	p, err := newProducer("pull")
	if err != nil {
		return err
	}
	sent := messages(topic, "pull", 40)
	if err := send(p, sent); err != nil {
		return err
	}
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer([]string{namesrv}),
		consumer.WithGroupName(prefix+"-pull-c"),
		consumer.WithInstance("pull-c"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return err
	}
	all := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	if err := c.Subscribe(topic, all); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	found := map[string]int{}
	for id := 0; id < 4; id++ {
		queue := &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: id}
		for offset := int64(0); offset < 10; {
			result, err := c.PullFrom(context.Background(), queue, offset, 4)
			if err != nil {
				return err
			}
			if result.Status != primitive.PullFound {
				return fmt.Errorf("pull from queue %d at %d: status %v", id, offset, result.Status)
			}
			for _, one := range result.GetMessageExts() {
				if one.QueueOffset != offset {
					return fmt.Errorf("offset %d instead of %d", one.QueueOffset, offset)
				}
				if want := "body of " + one.GetKeys() + " ä€𝄞\x00"; string(one.Body) != want {
					return fmt.Errorf("body %q instead of %q", one.Body, want)
				}
				found[one.GetKeys()]++
				offset++
			}
		}
	}
	if len(found) != len(sent) {
		return fmt.Errorf("%d messages pulled instead of %d", len(found), len(sent))
	}
	return firstError(c.Shutdown(), p.Shutdown())
}

// A deciding listener commits, rolls back or leaves a message open by its tag, and commits those
// left open when it is asked.
type deciding struct {
	asked sync.Map
}

func (d *deciding) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	switch m.GetTags() {
	case "Tag0":
		return primitive.CommitMessageState
	case "Tag1":
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (d *deciding) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.asked.Store(m.GetKeys(), true)
	return primitive.CommitMessageState
}

func transactions() error {
	topic := prefix + "-txn"
	box, err := open(topic, prefix+"-txn-c", "*", "txn-c")
	if err != nil {
		return err
	}
	listener := &deciding{}
	p, err := rocketmq.NewTransactionProducer(listener,
		producer.WithNameServer([]string{namesrv}),
		producer.WithGroupName(prefix+"-txn-p"),
		producer.WithInstanceName("txn-p"),
	)
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return err
	}
	var wanted []*primitive.Message
	for _, one := range messages(topic, "txn", 30) {
		if one.GetTags() != "Tag1" {
			wanted = append(wanted, one)
		}
		if _, err := p.SendMessageInTransaction(context.Background(), one); err != nil {
			return err
		}
	}
	err = box.arrive(wanted, 40*time.Second)
	for _, one := range wanted {
		_, asked := listener.asked.Load(one.GetKeys())
		if open := one.GetTags() == "Tag2"; err == nil && asked != open {
			err = fmt.Errorf("%s: asked about: %v", one.GetKeys(), asked)
		}
	}
	if len(box.got) != len(wanted) {
		err = firstError(err, fmt.Errorf("%d messages received instead of %d", len(box.got), len(wanted)))
	}
	return firstError(err, p.Shutdown(), box.close())
}

// requestReply: every request gets the reply to itself. A reply goes to a client id, which the prefix
// makes unique.
func requestReply() error {
	topic := prefix + "-request"
	replier, err := newProducer(prefix + "-replier")
	if err != nil {
		return err
	}
	requester, err := newProducer(prefix + "-requester")
	if err != nil {
		return err
	}
	responder, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer([]string{namesrv}),
		consumer.WithGroupName(prefix+"-request-c"),
		consumer.WithInstance(prefix+"-responder"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	answer := func(ctx context.Context, all ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, one := range all {
			reply, err := consumer.CreateReplyMessage(one, nil)
			if err == nil {
				reply.Body = []byte("re: " + string(one.Body))
				_, err = replier.SendSync(ctx, reply)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "reply:", err)
			}
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := firstError(responder.Subscribe(topic, selector, answer), responder.Start()); err != nil {
		return err
	}
	// The broker knows the requester by its heartbeat, the first of which may be 30 s away.
	first := messages(topic, "first", 1)[0]
	err = eventually(45*time.Second, func() bool {
		_, err := requester.Request(context.Background(), 2*time.Second, first)
		return err == nil
	})
	if err != nil {
		return err
	}
	for _, request := range messages(topic, "request", 20) {
		reply, err := requester.Request(context.Background(), 20*time.Second, request)
		if err != nil {
			return err
		}
		if string(reply.Body) != "re: "+string(request.Body) {
			return fmt.Errorf("%s got %q", request.GetKeys(), reply.Body)
		}
	}
	return firstError(responder.Shutdown(), requester.Shutdown(), replier.Shutdown())
}

func rebalance() error {
	topic, group := prefix+"-rebalance", prefix+"-rebalance-c"
	p, err := newProducer("rebalance")
	if err != nil {
		return err
	}
	first, err := open(topic, group, "*", "rebalance-1")
	if err != nil {
		return err
	}
	alone := messages(topic, "alone", 40)
	if err := firstError(send(p, alone), first.arrive(alone, 30*time.Second)); err != nil {
		return err
	}
	second, err := open(topic, group, "*", "rebalance-2")
	if err != nil {
		return err
	}
	if err := split(p, topic, first, second, 2, 2); err != nil {
		return err
	}
	both := messages(topic, "both", 100)
	if err := send(p, both); err != nil {
		return err
	}
	if err := together(both, first, second); err != nil {
		return err
	}
	one, two := first.queues(both), second.queues(both)
	for queue := range one {
		if two[queue] {
			return fmt.Errorf("queue %d with two consumers", queue)
		}
	}
	if err := first.close(); err != nil {
		return err
	}
	if err := split(p, topic, first, second, 0, 4); err != nil {
		return err
	}
	left := messages(topic, "left", 40)
	return firstError(send(p, left), second.arrive(left, 30*time.Second), second.close(), p.Shutdown())
}

// together waits until every message was received by one of the two, once.
func together(sent []*primitive.Message, first, second *inbox) error {
	err := eventually(30*time.Second, func() bool {
		return !some(sent, func(m *primitive.Message) bool {
			return first.count(m.GetKeys())+second.count(m.GetKeys()) == 0
		})
	})
	for _, m := range sent {
		if n := first.count(m.GetKeys()) + second.count(m.GetKeys()); err == nil && n != 1 {
			return fmt.Errorf("%s received %d times", m.GetKeys(), n)
		}
	}
	return err
}

// split sends until the queues are shared in this way.
func split(p rocketmq.Producer, topic string, first, second *inbox, one, two int) error {
	for round := 0; round < 60; round++ {
		probe := messages(topic, fmt.Sprintf("probe%d%d-%d", one, two, round), 4)
		if err := send(p, probe); err != nil {
			return err
		}
		time.Sleep(time.Second)
		if len(first.queues(probe)) == one && len(second.queues(probe)) == two {
			return nil
		}
	}
	return fmt.Errorf("queues never split %d to %d", one, two)
}

func restart() error {
	topic := prefix + "-restart"
	p, err := newProducer("restart")
	if err != nil {
		return err
	}
	stays, err := open(topic, prefix+"-restart-stays", "*", "stays")
	if err != nil {
		return err
	}
	stored := messages(topic, "stored", 40)
	if err := firstError(send(p, stored), stays.arrive(stored, 30*time.Second)); err != nil {
		return err
	}
	fmt.Println("restart")
	if _, err := input.ReadByte(); err != nil {
		return err
	}
	later := messages(topic, "later", 40)
	if err := firstError(send(p, later), stays.arrive(later, 70*time.Second)); err != nil {
		return err
	}
	fresh, err := open(topic, prefix+"-restart-new", "*", "new")
	if err != nil {
		return err
	}
	err = fresh.arrive(append(stored, later...), 30*time.Second)
	return firstError(err, fresh.close(), stays.close(), p.Shutdown())
}
