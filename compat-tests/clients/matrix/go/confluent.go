package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func confluentRecords(topic string, count int) []*kafka.Message {
	var records []*kafka.Message
	for n := range count {
		place := kafka.TopicPartition{Topic: &topic, Partition: 0}
		records = append(records, &kafka.Message{TopicPartition: place, Key: []byte("k"), Value: []byte(value(n))})
	}
	return records
}

// Sends on, and waits for what the broker says of each.
func confluentSend(producer *kafka.Producer, records []*kafka.Message) error {
	said := make(chan kafka.Event, len(records))
	for _, record := range records {
		if err := producer.Produce(record, said); err != nil {
			return err
		}
	}
	for range records {
		select {
		case event := <-said:
			if err := event.(*kafka.Message).TopicPartition.Error; err != nil {
				return err
			}
		case <-time.After(limit):
			return errors.New("no word of a record")
		}
	}
	return nil
}

func confluentProduce(address string, records []*kafka.Message, settings kafka.ConfigMap) error {
	_ = settings.SetKey("bootstrap.servers", address)
	producer, err := kafka.NewProducer(&settings)
	if err != nil {
		return err
	}
	defer producer.Close()
	return confluentSend(producer, records)
}

func confluentConsumer(address, group string, more kafka.ConfigMap) (*kafka.Consumer, error) {
	settings := kafka.ConfigMap{"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest"}
	for key, value := range more {
		settings[key] = value
	}
	return kafka.NewConsumer(&settings)
}

func confluentConsume(address, topic string, count int) ([]*kafka.Message, error) {
	consumer, err := confluentConsumer(address, "of-"+topic, kafka.ConfigMap{})
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	if err := consumer.Assign([]kafka.TopicPartition{{Topic: &topic, Partition: 0}}); err != nil {
		return nil, err
	}
	var seen []*kafka.Message
	for len(seen) < count {
		record, err := consumer.ReadMessage(limit)
		if err != nil {
			return nil, fmt.Errorf("%d of %d records: %w", len(seen), count, err)
		}
		seen = append(seen, record)
	}
	return seen, nil
}

// Whether the last of `count` records came back as it was sent.
func confluentReturns(address, topic string, count int) error {
	seen, err := confluentConsume(address, topic, count)
	if err != nil {
		return err
	}
	return expect("last", value(count-1), string(seen[count-1].Value))
}

func confluentFeatures(address string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	step("produce", func() (string, error) {
		return "", confluentProduce(address, confluentRecords("basic", 20), kafka.ConfigMap{})
	})
	step("consume", func() (string, error) { return "", confluentReturns(address, "basic", 20) })
	step("compression", func() (string, error) {
		for _, kind := range []string{"gzip", "snappy", "lz4", "zstd"} {
			settings := kafka.ConfigMap{"compression.type": kind, "linger.ms": 50}
			if err := confluentProduce(address, confluentRecords("kind-"+kind, 50), settings); err != nil {
				return "", err
			}
			if err := confluentReturns(address, "kind-"+kind, 50); err != nil {
				return "", err
			}
		}
		return "gzip snappy lz4 zstd", nil
	})
	step("headers", func() (string, error) {
		records := confluentRecords("headers", 1)
		records[0].Headers = []kafka.Header{{Key: "h", Value: []byte("x")}}
		if err := confluentProduce(address, records, kafka.ConfigMap{}); err != nil {
			return "", err
		}
		seen, err := confluentConsume(address, "headers", 1)
		if err != nil {
			return "", err
		}
		return "", expect("headers", records[0].Headers, seen[0].Headers)
	})
	step("timestamps", func() (string, error) {
		records := confluentRecords("times", 1)
		records[0].Timestamp = time.UnixMilli(at)
		if err := confluentProduce(address, records, kafka.ConfigMap{}); err != nil {
			return "", err
		}
		seen, err := confluentConsume(address, "times", 1)
		if err != nil {
			return "", err
		}
		return "", expect("time", at, seen[0].Timestamp.UnixMilli())
	})
	step("admin", func() (string, error) {
		admin, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": address})
		if err != nil {
			return "", err
		}
		defer admin.Close()
		made, err := admin.CreateTopics(ctx, []kafka.TopicSpecification{{Topic: "made", NumPartitions: 3, ReplicationFactor: 1}})
		if err != nil {
			return "", err
		}
		if err := expect("creation", kafka.ErrNoError, made[0].Error.Code()); err != nil {
			return "", err
		}
		topics, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{"made"}))
		if err != nil {
			return "", err
		}
		if err := expect("partitions", 3, len(topics.TopicDescriptions[0].Partitions)); err != nil {
			return "", err
		}
		gone, err := admin.DeleteTopics(ctx, []string{"made"})
		if err != nil {
			return "", err
		}
		return "", expect("deletion", kafka.ErrNoError, gone[0].Error.Code())
	})
	step("idempotence", func() (string, error) {
		settings := kafka.ConfigMap{"enable.idempotence": true}
		if err := confluentProduce(address, confluentRecords("once", 50), settings); err != nil {
			return "", err
		}
		return "", confluentReturns(address, "once", 50)
	})
	step("transactions", func() (string, error) { return "with offsets", confluentTransactions(ctx, address) })
}

func confluentTransactions(ctx context.Context, address string) error {
	producer, err := kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": address, "transactional.id": "t"})
	if err != nil {
		return err
	}
	defer producer.Close()
	consumer, err := confluentConsumer(address, "outside", kafka.ConfigMap{})
	if err != nil {
		return err
	}
	defer consumer.Close()
	basic, txn := "basic", "txn"
	if err := producer.InitTransactions(ctx); err != nil {
		return err
	}
	ends := map[string]func(context.Context) error{"aborted": producer.AbortTransaction, "committed": producer.CommitTransaction}
	for n, fate := range []string{"aborted", "committed"} {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		place := kafka.TopicPartition{Topic: &txn, Partition: 0}
		if err := confluentSend(producer, []*kafka.Message{{TopicPartition: place, Value: []byte(fate)}}); err != nil {
			return err
		}
		group, err := consumer.GetConsumerGroupMetadata()
		if err != nil {
			return err
		}
		offsets := []kafka.TopicPartition{{Topic: &basic, Partition: 0, Offset: kafka.Offset(3 + 4*n)}}
		if err := producer.SendOffsetsToTransaction(ctx, offsets, group); err != nil {
			return err
		}
		if err := ends[fate](ctx); err != nil {
			return err
		}
	}
	seen, err := confluentConsume(address, "txn", 1)
	if err != nil {
		return err
	}
	if err := expect("record", "committed", string(seen[0].Value)); err != nil {
		return err
	}
	offsets, err := consumer.Committed([]kafka.TopicPartition{{Topic: &basic, Partition: 0}}, int(limit.Milliseconds()))
	if err != nil {
		return err
	}
	return expect("offset", 7, int64(offsets[0].Offset))
}

func confluentMember(address, topic, group string) error {
	consumer, err := confluentConsumer(address, group, kafka.ConfigMap{"session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
	if err != nil {
		return err
	}
	owned := func(consumer *kafka.Consumer, event kafka.Event) error {
		switch change := event.(type) {
		case kafka.AssignedPartitions:
			fmt.Println("owns", len(change.Partitions))
		case kafka.RevokedPartitions:
			fmt.Println("owns", 0)
		}
		return nil
	}
	if err := consumer.Subscribe(topic, owned); err != nil {
		return err
	}
	for {
		if record, ok := consumer.Poll(100).(*kafka.Message); ok {
			fmt.Println("got", string(record.Value))
		}
	}
}
