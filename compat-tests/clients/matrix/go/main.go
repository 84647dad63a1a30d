// sarama, segmentio's kafka-go, franz-go and confluent-kafka-go: LIBRARY COMMAND ARGUMENT...; the commands are explained in src/client.rs.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

const (
	limit = 60 * time.Second
	at    = 1500000000123
)

// What each library's file provides.
type library struct {
	module   string
	features func(address string)
	member   func(address, topic, group string) error
}

var libraries = map[string]library{
	"sarama":             {"github.com/IBM/sarama", saramaFeatures, saramaMember},
	"segmentio":          {"github.com/segmentio/kafka-go", segmentioFeatures, segmentioMember},
	"franz-go":           {"github.com/twmb/franz-go", franzFeatures, franzMember},
	"confluent-kafka-go": {"github.com/confluentinc/confluent-kafka-go/v2", confluentFeatures, confluentMember},
}

func main() {
	library, words := libraries[os.Args[1]], os.Args[2:]
	switch words[0] {
	case "features":
		library.features(words[1])
	case "member":
		if err := library.member(words[1], words[2], words[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "version":
		build, _ := debug.ReadBuildInfo()
		for _, module := range build.Deps {
			if module.Path == library.module {
				fmt.Println(strings.TrimPrefix(module.Version, "v"))
			}
		}
	}
}

func step(feature string, work func() (string, error)) {
	note, err := work()
	if err != nil {
		fmt.Println("cell", feature, "fail", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Println("cell", feature, "pass", note)
}

func absent(feature, why string) {
	fmt.Println("cell", feature, "n/a", why)
}

func value(n int) string {
	return fmt.Sprintf("value of record %d", n)
}

func expect(what string, wanted, seen any) error {
	if fmt.Sprint(wanted) != fmt.Sprint(seen) {
		return fmt.Errorf("%s: expected %v, got %v", what, wanted, seen)
	}
	return nil
}
