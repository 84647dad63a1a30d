import java.lang.reflect.Method;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * What every kafka-clients can do, in words that 0.9 knows; {@code Modern} holds what came with 0.11 and is looked for by
 * name. The commands are explained in src/client.rs.
 */
public class Matrix {
    interface Step {
        String run() throws Exception;
    }

    static String address;

    public static void main(String[] words) throws Exception {
        address = words[1];
        if (words[0].equals("member")) {
            member(words[2], words[3]);
        }
        step("produce", () -> {
            produce("basic", "none", 20);
            return "";
        });
        step("consume", () -> {
            expect(20, consume("basic", 20));
            return "";
        });
        step("compression", () -> {
            List<String> kinds = new ArrayList<>(Arrays.asList("gzip", "snappy"));
            kinds.add("lz4");
            try {
                Class.forName("org.apache.kafka.common.record.CompressionType").getField("ZSTD");
                kinds.add("zstd");
            } catch (ClassNotFoundException moved) {
                kinds.add("zstd");
            } catch (NoSuchFieldException before21) {
                // There are three kinds.
            }
            for (String kind : kinds) {
                produce("kind-" + kind, kind, 50);
                expect(50, consume("kind-" + kind, 50));
            }
            return String.join(" ", kinds);
        });
        Method timestamp = null;
        try {
            timestamp = ConsumerRecord.class.getMethod("timestamp");
        } catch (NoSuchMethodException before010) {
            System.out.println("cell timestamps n/a since 0.10");
        }
        if (timestamp != null) {
            Method found = timestamp;
            step("timestamps", () -> {
                KafkaProducer<String, String> producer = new KafkaProducer<>(settings());
                ProducerRecord<String, String> record = (ProducerRecord<String, String>) ProducerRecord.class
                        .getConstructor(String.class, Integer.class, Long.class, Object.class, Object.class)
                        .newInstance("times", 0, 1500000000123L, "k", "v");
                producer.send(record).get();
                producer.close();
                Object seen = found.invoke(consume("times", 1).get(0));
                check(seen.equals(1500000000123L), "time " + seen);
                return "";
            });
        }
        Method modern;
        try {
            modern = Class.forName("Modern").getMethod("main", String[].class);
        } catch (ClassNotFoundException before011) {
            for (String feature : new String[] {"headers", "admin", "idempotence", "transactions"}) {
                System.out.println("cell " + feature + " n/a since 0.11");
            }
            return;
        }
        modern.invoke(null, (Object) words);
    }

    static void step(String feature, Step step) {
        try {
            System.out.println("cell " + feature + " pass " + step.run());
        } catch (Throwable error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            System.out.println("cell " + feature + " fail " + cause.toString().replace('\n', ' '));
        }
    }

    static void check(boolean good, String why) {
        if (!good) {
            throw new IllegalStateException(why);
        }
    }

    static void expect(int count, List<?> records) {
        check(records.size() == count, records.size() + " of " + count + " records");
    }

    static Properties settings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("acks", "all");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        for (String side : new String[] {"key", "value"}) {
            settings.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
            settings.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        }
        return settings;
    }

    static void produce(String topic, String codec, int count) throws Exception {
        Properties settings = settings();
        settings.put("compression.type", codec);
        settings.put("linger.ms", "20");
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
        List<Future<?>> sent = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            sent.add(producer.send(new ProducerRecord<>(topic, "k" + i, "value of record " + i)));
        }
        for (Future<?> one : sent) {
            one.get();
        }
        producer.close();
    }

    /** Reads partition 0 of a topic from its start, until there are {@code count} records or a minute has passed. */
    static List<ConsumerRecord<String, String>> consume(String topic, int count) throws Exception {
        return consume(topic, count, settings());
    }

    static List<ConsumerRecord<String, String>> consume(String topic, int count, Properties settings) throws Exception {
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings);
        TopicPartition partition = new TopicPartition(topic, 0);
        consumer.assign(Collections.singletonList(partition));
        consumer.seek(partition, 0);
        List<ConsumerRecord<String, String>> seen = new ArrayList<>();
        long end = System.nanoTime() + 60_000_000_000L;
        while (seen.size() < count && System.nanoTime() < end) {
            for (ConsumerRecord<String, String> record : poll(consumer)) {
                seen.add(record);
            }
        }
        consumer.close();
        return seen;
    }

    static void member(String topic, String group) throws Exception {
        Properties settings = settings();
        settings.put("group.id", group);
        settings.put("session.timeout.ms", "6000");
        settings.put("heartbeat.interval.ms", "500");
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings);
        consumer.subscribe(Collections.singletonList(topic));
        for (int before = 0; ; ) {
            for (ConsumerRecord<String, String> record : poll(consumer)) {
                System.out.println("got " + record.value());
            }
            if (consumer.assignment().size() != before) {
                before = consumer.assignment().size();
                System.out.println("owns " + before);
            }
            if (before > 0) {
                try {
                    consumer.commitSync();
                } catch (org.apache.kafka.clients.consumer.CommitFailedException rebalanced) {
                    // The next poll joins again.
                }
            }
        }
    }

    /** poll(long) went away with 4.0, poll(Duration) came with 2.0. */
    @SuppressWarnings("unchecked")
    static ConsumerRecords<String, String> poll(KafkaConsumer<String, String> consumer) throws Exception {
        try {
            return (ConsumerRecords<String, String>)
                    KafkaConsumer.class.getMethod("poll", Duration.class).invoke(consumer, Duration.ofMillis(200));
        } catch (NoSuchMethodException older) {
            return (ConsumerRecords<String, String>)
                    KafkaConsumer.class.getMethod("poll", long.class).invoke(consumer, 200L);
        }
    }
}
