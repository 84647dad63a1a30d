// sarama and segmentio: admin, idempotent producer, groups, compression. Argument: the address of a broker.
package main

import (
	"context"
	"fmt"
	"github.com/IBM/sarama"
	kg "github.com/segmentio/kafka-go"
	"os"
	"time"
)

func main() {
	c := sarama.NewConfig()
	c.Version = sarama.V2_8_0_0
	c.Producer.Return.Successes = true
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Compression = sarama.CompressionZSTD
	addr := os.Args[1:]
	a, err := sarama.NewClusterAdmin(addr, c)
	if err != nil {
		panic(err)
	}
	check("create", a.CreateTopic("sar", &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1}, false) == nil)
	p, err := sarama.NewSyncProducer(addr, c)
	if err != nil {
		panic(err)
	}
	for i := 0; i < 20; i++ {
		_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "sar", Key: sarama.StringEncoder(fmt.Sprint(i)), Value: sarama.StringEncoder("v")})
		if err != nil {
			panic(err)
		}
	}
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	g, err := sarama.NewConsumerGroup(addr, "sg", c)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	h := &H{cancel: cancel}
	g.Consume(ctx, []string{"sar"}, h)
	check("sarama consumed", h.n == 20)
	check("leave", g.Close() == nil)
	r := kg.NewReader(kg.ReaderConfig{Brokers: addr, GroupID: "seg", Topic: "sar", StartOffset: kg.FirstOffset, MaxWait: 200 * time.Millisecond})
	n := 0
	ctx2, c2 := context.WithTimeout(context.Background(), 100*time.Second)
	defer c2()
	for n < 20 {
		_, err := r.ReadMessage(ctx2)
		if err != nil {
			fmt.Println(err)
			break
		}
		n++
	}
	check("segmentio consumed", n == 20 && r.Close() == nil)
	w := &kg.Writer{Addr: kg.TCP(addr...), Topic: "seg-auto", AllowAutoTopicCreation: true, Compression: kg.Lz4}
	check("segmentio write", w.WriteMessages(ctx2, kg.Message{Value: []byte("x")}) == nil)
}

type H struct {
	n      int
	cancel func()
}

func (h *H) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (h *H) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *H) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-c.Messages():
			if !ok {
				return nil
			}
			s.MarkMessage(m, "")
			h.n++
			if h.n == 20 {
				s.Commit()
				h.cancel()
				return nil
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func check(what string, good bool) {
	if !good {
		panic(what)
	}
	fmt.Println(what, "ok")
}
