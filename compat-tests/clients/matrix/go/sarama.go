package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return config
}

func saramaProduce(address string, config *sarama.Config, messages ...*sarama.ProducerMessage) error {
	producer, err := sarama.NewSyncProducer([]string{address}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	return producer.SendMessages(messages)
}

func saramaMessages(topic string, count int) []*sarama.ProducerMessage {
	var messages []*sarama.ProducerMessage
	for n := range count {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder(value(n))})
	}
	return messages
}

func saramaConsume(address, topic string, count int, config *sarama.Config) ([]*sarama.ConsumerMessage, error) {
	consumer, err := sarama.NewConsumer([]string{address}, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	var seen []*sarama.ConsumerMessage
	end := time.After(limit)
	for len(seen) < count {
		select {
		case message := <-partition.Messages():
			seen = append(seen, message)
		case <-end:
			return nil, fmt.Errorf("%d of %d records", len(seen), count)
		}
	}
	return seen, nil
}

func saramaFeatures(address string) {
	step("produce", func() (string, error) {
		return "", saramaProduce(address, saramaConfig(), saramaMessages("basic", 20)...)
	})
	step("consume", func() (string, error) {
		_, err := saramaConsume(address, "basic", 20, saramaConfig())
		return "", err
	})
	step("compression", func() (string, error) {
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
			config, topic := saramaConfig(), "kind-"+codec.String()
			config.Producer.Compression = codec
			if err := saramaProduce(address, config, saramaMessages(topic, 50)...); err != nil {
				return "", err
			}
			if _, err := saramaConsume(address, topic, 50, config); err != nil {
				return "", err
			}
		}
		return "gzip snappy lz4 zstd", nil
	})
	step("headers", func() (string, error) {
		message := saramaMessages("headers", 1)[0]
		message.Headers = []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("x")}}
		if err := saramaProduce(address, saramaConfig(), message); err != nil {
			return "", err
		}
		seen, err := saramaConsume(address, "headers", 1, saramaConfig())
		if err != nil {
			return "", err
		}
		return "", expect("header", "x", string(seen[0].Headers[0].Value))
	})
	step("timestamps", func() (string, error) {
		message := saramaMessages("times", 1)[0]
		message.Timestamp = time.UnixMilli(at)
		if err := saramaProduce(address, saramaConfig(), message); err != nil {
			return "", err
		}
		seen, err := saramaConsume(address, "times", 1, saramaConfig())
		if err != nil {
			return "", err
		}
		return "", expect("time", at, seen[0].Timestamp.UnixMilli())
	})
	step("admin", func() (string, error) {
		admin, err := sarama.NewClusterAdmin([]string{address}, saramaConfig())
		if err != nil {
			return "", err
		}
		defer admin.Close()
		if err := admin.CreateTopic("made", &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false); err != nil {
			return "", err
		}
		topics, err := admin.ListTopics()
		if err != nil {
			return "", err
		}
		if err := expect("partitions", 3, topics["made"].NumPartitions); err != nil {
			return "", err
		}
		return "", admin.DeleteTopic("made")
	})
	step("idempotence", func() (string, error) {
		config := saramaConfig()
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
		if err := saramaProduce(address, config, saramaMessages("once", 50)...); err != nil {
			return "", err
		}
		seen, err := saramaConsume(address, "once", 50, config)
		if err != nil {
			return "", err
		}
		return "", expect("last", value(49), string(seen[49].Value))
	})
	step("transactions", func() (string, error) {
		config := saramaConfig()
		config.Producer.Idempotent = true
		config.Producer.Transaction.ID = "t"
		config.Net.MaxOpenRequests = 1
		producer, err := sarama.NewSyncProducer([]string{address}, config)
		if err != nil {
			return "", err
		}
		defer producer.Close()
		for _, fate := range []string{"aborted", "committed"} {
			if err := producer.BeginTxn(); err != nil {
				return "", err
			}
			if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "txn", Value: sarama.StringEncoder(fate)}); err != nil {
				return "", err
			}
			end := producer.CommitTxn
			if fate == "aborted" {
				end = producer.AbortTxn
			}
			if err := end(); err != nil {
				return "", err
			}
		}
		reader := saramaConfig()
		reader.Consumer.IsolationLevel = sarama.ReadCommitted
		seen, err := saramaConsume(address, "txn", 1, reader)
		if err != nil {
			return "", err
		}
		return "", expect("record", "committed", string(seen[0].Value))
	})
}

func saramaMember(address, topic, group string) error {
	consumer, err := sarama.NewConsumerGroup([]string{address}, group, saramaConfig())
	if err != nil {
		return err
	}
	for {
		if err := consumer.Consume(context.Background(), []string{topic}, saramaHandler{topic}); err != nil {
			return err
		}
	}
}

type saramaHandler struct{ topic string }

func (handler saramaHandler) Setup(session sarama.ConsumerGroupSession) error {
	fmt.Println("owns", len(session.Claims()[handler.topic]))
	return nil
}
func (saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (saramaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			fmt.Println("got", string(message.Value))
			session.MarkMessage(message, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}
