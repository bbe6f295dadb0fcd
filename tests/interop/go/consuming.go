package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// ordered: messages with one sharding key stay in order, also when another consumer goes on.
func ordered() error {
	topic, group := prefix+"-ordered", prefix+"-ordered-c"
	p, err := newProducer("ordered", producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	for _, instance := range []string{"ordered-1", "ordered-2"} {
		sent := messages(topic, instance, 80)
		for i, one := range sent {
			one.WithShardingKey(strconv.Itoa(i % 8))
		}
		if err := send(p, sent); err != nil {
			return err
		}
		box, err := openAs("ordered", topic, group, "*", instance)
		if err != nil {
			return err
		}
		if err := box.arrive(sent, 100*time.Second); err != nil {
			return err
		}
		if len(box.queues(sent)) < 2 {
			return fmt.Errorf("all keys in the queues %v", box.queues(sent))
		}
		if err := box.inOrder(8); err != nil {
			return err
		}
		if err := box.close(); err != nil {
			return err
		}
	}
	return p.Shutdown()
}

// inOrder looks whether the numbers of each stream came in order: every streams-th is of one.
func (box *inbox) inOrder(streams int) error {
	box.lock.Lock()
	defer box.lock.Unlock()
	last := map[int]int{}
	for _, key := range box.order {
		number, err := strconv.Atoi(key[strings.LastIndex(key, "-")+1:])
		if err != nil {
			return err
		}
		before, some := last[number%streams]
		if some && number != before+streams {
			return fmt.Errorf("%d comes after %d", number, before)
		}
		last[number%streams] = number
	}
	return nil
}

// broadcast: every member gets everything.
func broadcast() error {
	topic, group := prefix+"-broadcast", prefix+"-broadcast-c"
	p, err := newProducer("broadcast")
	if err != nil {
		return err
	}
	sent := messages(topic, "broadcast", 40)
	var boxes []*inbox
	for _, instance := range []string{"broadcast-1", "broadcast-2"} {
		box, err := openAs("broadcast", topic, group, "*", instance)
		if err != nil {
			return err
		}
		boxes = append(boxes, box)
	}
	if err := send(p, sent); err != nil {
		return err
	}
	for _, box := range boxes {
		if err := firstError(box.arrive(sent, 40*time.Second), box.close()); err != nil {
			return err
		}
	}
	return p.Shutdown()
}

// retry: what fails once comes once more, with its values and a count.
func retry() error {
	topic := prefix + "-retry"
	box, err := openAs("retry", topic, prefix+"-retry-c", "*", "retry-c")
	if err != nil {
		return err
	}
	p, err := newProducer("retry")
	if err != nil {
		return err
	}
	sent := messages(topic, "retry", 10)
	if err := send(p, sent); err != nil {
		return err
	}
	err = eventually(60*time.Second, func() bool {
		return !some(sent, func(m *primitive.Message) bool { return box.count(m.GetKeys()) < 2 })
	})
	if err != nil {
		return fmt.Errorf("not all of %d messages came again: %w", len(sent), err)
	}
	for _, one := range sent {
		all := box.got[one.GetKeys()]
		for times, got := range all {
			want := seen{queue: got.queue, offset: got.offset, tag: one.GetTags(),
				number: one.GetProperty("number"), body: string(one.Body), reconsumed: times}
			if len(all) != 2 || got != want {
				return fmt.Errorf("%s: wanted %v, got %v", one.GetKeys(), want, all)
			}
		}
	}
	return firstError(p.Shutdown(), box.close())
}

func delay() error {
	topic := prefix + "-delayed"
	box, err := open(topic, prefix+"-delayed-c", "*", "delayed-c")
	if err != nil {
		return err
	}
	p, err := newProducer("delayed")
	if err != nil {
		return err
	}
	sent := messages(topic, "delayed", 10)
	for _, one := range sent {
		one.WithDelayTimeLevel(2)
	}
	began := time.Now()
	if err := firstError(send(p, sent), box.arrive(sent, 40*time.Second)); err != nil {
		return err
	}
	if waited := time.Since(began); waited < 5*time.Second {
		return fmt.Errorf("delivered after %v", waited)
	}
	return firstError(p.Shutdown(), box.close())
}
