package main

import (
	"context"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

func segmentioProduce(address string, codec kafka.Compression, messages ...kafka.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	writer := &kafka.Writer{Addr: kafka.TCP(address), AllowAutoTopicCreation: true, Compression: codec,
		RequiredAcks: kafka.RequireAll, BatchTimeout: 10 * time.Millisecond}
	defer writer.Close()
	return writer.WriteMessages(ctx, messages...)
}

func segmentioMessages(topic string, count int) []kafka.Message {
	var messages []kafka.Message
	for n := range count {
		messages = append(messages, kafka.Message{Topic: topic, Key: []byte("k"), Value: []byte(value(n))})
	}
	return messages
}

func segmentioConsume(address, topic string, count int) ([]kafka.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: topic, MaxWait: 200 * time.Millisecond})
	defer reader.Close()
	var seen []kafka.Message
	for len(seen) < count {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d records: %w", len(seen), count, err)
		}
		seen = append(seen, message)
	}
	return seen, nil
}

func segmentioFeatures(address string) {
	client := &kafka.Client{Addr: kafka.TCP(address), Timeout: limit}
	step("produce", func() (string, error) {
		return "", segmentioProduce(address, 0, segmentioMessages("basic", 20)...)
	})
	step("consume", func() (string, error) {
		_, err := segmentioConsume(address, "basic", 20)
		return "", err
	})
	step("compression", func() (string, error) {
		for _, codec := range []kafka.Compression{kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
			topic := "kind-" + codec.String()
			if err := segmentioProduce(address, codec, segmentioMessages(topic, 50)...); err != nil {
				return "", err
			}
			if _, err := segmentioConsume(address, topic, 50); err != nil {
				return "", err
			}
		}
		return "gzip snappy lz4 zstd", nil
	})
	step("headers", func() (string, error) {
		message := segmentioMessages("headers", 1)[0]
		message.Headers = []kafka.Header{{Key: "h", Value: []byte("x")}}
		if err := segmentioProduce(address, 0, message); err != nil {
			return "", err
		}
		seen, err := segmentioConsume(address, "headers", 1)
		if err != nil {
			return "", err
		}
		return "", expect("header", "x", string(seen[0].Headers[0].Value))
	})
	step("timestamps", func() (string, error) {
		message := segmentioMessages("times", 1)[0]
		message.Time = time.UnixMilli(at)
		if err := segmentioProduce(address, 0, message); err != nil {
			return "", err
		}
		seen, err := segmentioConsume(address, "times", 1)
		if err != nil {
			return "", err
		}
		return "", expect("time", at, seen[0].Time.UnixMilli())
	})
	step("admin", func() (string, error) {
		ctx := context.Background()
		made, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "made", NumPartitions: 3, ReplicationFactor: 1}}})
		if err != nil || made.Errors["made"] != nil {
			return "", fmt.Errorf("%v %v", err, made)
		}
		metadata, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{"made"}})
		if err != nil {
			return "", err
		}
		if err := expect("partitions", 3, len(metadata.Topics[0].Partitions)); err != nil {
			return "", err
		}
		gone, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{"made"}})
		if err == nil {
			err = gone.Errors["made"]
		}
		return "", err
	})
	absent("idempotence", "the library has none")
	absent("transactions", "the library's producer has none")
}

func segmentioMember(address, topic, name string) error {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: name, Brokers: []string{address}, Topics: []string{topic},
		StartOffset: kafka.FirstOffset, SessionTimeout: 6 * time.Second, HeartbeatInterval: 500 * time.Millisecond})
	if err != nil {
		return err
	}
	for {
		generation, err := group.Next(context.Background())
		if err != nil {
			fmt.Println("again after", err)
			continue
		}
		mine := generation.Assignments[topic]
		fmt.Println("owns", len(mine))
		for _, assigned := range mine {
			generation.Start(func(ctx context.Context) {
				reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: topic, Partition: assigned.ID, MaxWait: 200 * time.Millisecond})
				defer reader.Close()
				_ = reader.SetOffset(assigned.Offset)
				for {
					message, err := reader.ReadMessage(ctx)
					if err != nil {
						return
					}
					fmt.Println("got", string(message.Value))
					_ = generation.CommitOffsets(map[string]map[int]int64{topic: {assigned.ID: message.Offset + 1}})
				}
			})
		}
	}
}
