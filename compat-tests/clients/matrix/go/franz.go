package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franzProduce(address string, records []*kgo.Record, options ...kgo.Opt) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	options = append(options, kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

func franzRecords(topic string, count int) []*kgo.Record {
	var records []*kgo.Record
	for n := range count {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(value(n))})
	}
	return records
}

func franzConsume(address, topic string, count int, options ...kgo.Opt) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(address), kgo.ConsumePartitions(start))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var seen []*kgo.Record
	for len(seen) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d records: %w", len(seen), count, err)
		}
		seen = append(seen, fetches.Records()...)
	}
	return seen, nil
}

func franzFeatures(address string) {
	step("produce", func() (string, error) {
		return "", franzProduce(address, franzRecords("basic", 20), kgo.DisableIdempotentWrite())
	})
	step("consume", func() (string, error) {
		_, err := franzConsume(address, "basic", 20)
		return "", err
	})
	step("compression", func() (string, error) {
		kinds := map[string]kgo.CompressionCodec{"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
		for kind, codec := range kinds {
			if err := franzProduce(address, franzRecords("kind-"+kind, 50), kgo.ProducerBatchCompression(codec)); err != nil {
				return "", err
			}
			if _, err := franzConsume(address, "kind-"+kind, 50); err != nil {
				return "", err
			}
		}
		return "gzip snappy lz4 zstd", nil
	})
	step("headers", func() (string, error) {
		records := franzRecords("headers", 1)
		records[0].Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}
		if err := franzProduce(address, records); err != nil {
			return "", err
		}
		seen, err := franzConsume(address, "headers", 1)
		if err != nil {
			return "", err
		}
		return "", expect("header", "x", string(seen[0].Headers[0].Value))
	})
	step("timestamps", func() (string, error) {
		records := franzRecords("times", 1)
		records[0].Timestamp = time.UnixMilli(at)
		if err := franzProduce(address, records); err != nil {
			return "", err
		}
		seen, err := franzConsume(address, "times", 1)
		if err != nil {
			return "", err
		}
		return "", expect("time", at, seen[0].Timestamp.UnixMilli())
	})
	step("admin", func() (string, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(address))
		if err != nil {
			return "", err
		}
		defer client.Close()
		admin, ctx := kadm.NewClient(client), context.Background()
		if _, err := admin.CreateTopic(ctx, 3, 1, nil, "made"); err != nil {
			return "", err
		}
		topics, err := admin.ListTopics(ctx, "made")
		if err != nil {
			return "", err
		}
		if err := expect("partitions", 3, len(topics["made"].Partitions)); err != nil {
			return "", err
		}
		gone, err := admin.DeleteTopics(ctx, "made")
		if err == nil {
			err = gone["made"].Err
		}
		return "", err
	})
	step("idempotence", func() (string, error) {
		if err := franzProduce(address, franzRecords("once", 50)); err != nil {
			return "", err
		}
		seen, err := franzConsume(address, "once", 50)
		if err != nil {
			return "", err
		}
		return "", expect("last", value(49), string(seen[49].Value))
	})
	step("transactions", func() (string, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID("t"), kgo.AllowAutoTopicCreation())
		if err != nil {
			return "", err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		for _, fate := range []string{"aborted", "committed"} {
			if err := client.BeginTransaction(); err != nil {
				return "", err
			}
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: "txn", Value: []byte(fate)}).FirstErr(); err != nil {
				return "", err
			}
			if err := client.EndTransaction(ctx, fate == "committed"); err != nil {
				return "", err
			}
		}
		seen, err := franzConsume(address, "txn", 1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if err != nil {
			return "", err
		}
		return "", expect("record", "committed", string(seen[0].Value))
	})
}

func franzMember(address, topic, group string) error {
	var owned atomic.Int64
	change := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			fmt.Println("owns", owned.Add(int64(sign*len(partitions[topic]))))
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)))
	if err != nil {
		return err
	}
	for {
		client.PollFetches(context.Background()).EachRecord(func(record *kgo.Record) { fmt.Println("got", string(record.Value)) })
		_ = client.CommitUncommittedOffsets(context.Background())
	}
}
