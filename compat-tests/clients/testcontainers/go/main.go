// Testcontainers for Go: starts an image (after the kind: kraft), sends records to it and reads them again through a group.
// Prints the time from the start to the first record's acknowledgement.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

const records = 50

func exchange(ctx context.Context, image string) error {
	began := time.Now()
	// The module passes any text on as the cluster's id.
	container, err := kafka.Run(ctx, image, kafka.WithClusterID("any text"))
	if container != nil {
		defer func() { _ = testcontainers.TerminateContainer(container, testcontainers.StopTimeout(0)) }()
	}
	if err != nil {
		return err
	}
	brokers, err := container.Brokers(ctx)
	if err != nil {
		return err
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("from-go"), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer producer.Close()
	var sent []string
	for n := range records {
		sent = append(sent, fmt.Sprint("record ", n))
		if err := producer.ProduceSync(ctx, kgo.StringRecord(sent[n])).FirstErr(); err != nil {
			return err
		}
		if n == 0 {
			fmt.Println("first record after", time.Since(began).Milliseconds(), "ms")
		}
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("from-go"), kgo.ConsumerGroup("g"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer consumer.Close()
	var seen []string
	for len(seen) < records {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) { seen = append(seen, string(record.Value)) })
	}
	if !slices.Equal(seen, sent) {
		return fmt.Errorf("other records came back: %q", seen)
	}
	fmt.Println("all records")
	return nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Second)
	defer cancel()
	if len(os.Args) != 3 || os.Args[1] != "kraft" {
		fmt.Fprintln(os.Stderr, "usage: client kraft IMAGE")
		os.Exit(2)
	}
	if err := exchange(ctx, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
