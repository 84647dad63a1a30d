import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Repartitioned;

/** Kafka Streams: a word count kept in a changelog, a join of stream and table, a repartition. Argument: ADDRESS. */
public class Streams {
    static final Map<String, Long> COUNTS = Map.of("the", 3L, "cat", 2L, "dog", 1L, "end", 1L);

    public static void main(String[] words) throws Exception {
        String address = words[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", address))) {
            admin.createTopics(List.of(topic("lines"), topic("names"), topic("orders"), topic("counts"), topic("joined"), topic("by-value"))).all().get();
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("lines").flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word).count(Materialized.as("counts-store")).toStream()
                .to("counts", org.apache.kafka.streams.kstream.Produced.with(Serdes.String(), Serdes.Long()));
        KStream<String, String> orders = builder.stream("orders");
        orders.join(builder.<String, String>table("names"), (order, name) -> name + " ordered " + order).to("joined");
        orders.selectKey((key, order) -> order).repartition(Repartitioned.<String, String>as("again").withNumberOfPartitions(3)).to("by-value");

        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("application.id", "app");
        settings.put("default.key.serde", Serdes.StringSerde.class);
        settings.put("default.value.serde", Serdes.StringSerde.class);
        settings.put("commit.interval.ms", "200");
        settings.put("state.dir", words[1]);
        send(address, "names", "1", "Ann");
        // The second start finds its state in the changelogs: the local one is thrown away in between.
        for (String line : List.of("the cat the", "dog the cat")) {
            KafkaStreams streams = new KafkaStreams(builder.build(), settings);
            streams.cleanUp();
            streams.start();
            send(address, "lines", "k", line);
            if (line.startsWith("dog")) {
                send(address, "lines", "k", "end");
                send(address, "orders", "1", "tea");
                step("word count", () -> counts(address));
                step("join", () -> check(read(address, "joined", "1"), "Ann ordered tea"));
                step("repartition", () -> check(read(address, "by-value", "tea"), "tea"));
            } else {
                check(counts(address, Map.of("the", 2L, "cat", 1L)), true);
            }
            streams.close(Duration.ofSeconds(20));
        }
        // No non-daemon thread of ours may keep the process.
        System.exit(0);
    }

    interface Step {
        void run() throws Exception;
    }

    static void step(String feature, Step step) {
        try {
            step.run();
            System.out.println("cell " + feature.replace(' ', '_') + " pass");
        } catch (Exception error) {
            System.out.println("cell " + feature.replace(' ', '_') + " fail " + error);
        }
    }

    static void check(Object seen, Object wanted) {
        if (!wanted.equals(seen)) {
            throw new IllegalStateException("expected " + wanted + ", got " + seen);
        }
    }

    static NewTopic topic(String name) {
        return new NewTopic(name, 2, (short) 1);
    }

    static void send(String address, String topic, String key, String value) throws Exception {
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", address), new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>(topic, key, value)).get();
        }
    }

    static void counts(String address) {
        check(counts(address, COUNTS), true);
    }

    static boolean counts(String address, Map<String, Long> wanted) {
        Map<String, Long> seen = new HashMap<>();
        Map<String, Object> settings = Map.of("bootstrap.servers", address, "group.id", "counts" + wanted.size(), "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new LongDeserializer())) {
            consumer.subscribe(List.of("counts"));
            long end = System.nanoTime() + 120_000_000_000L;
            while (!seen.equals(wanted) && System.nanoTime() < end) {
                consumer.poll(Duration.ofMillis(500)).forEach(record -> seen.put(record.key(), record.value()));
            }
        }
        check(seen, wanted);
        return true;
    }

    static String read(String address, String topic, String key) {
        Map<String, Object> settings = Map.of("bootstrap.servers", address, "group.id", "of-" + topic, "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            for (long end = System.nanoTime() + 120_000_000_000L; System.nanoTime() < end; ) {
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    if (record.key().equals(key)) {
                        return record.value();
                    }
                }
            }
        }
        return "nothing";
    }
}
