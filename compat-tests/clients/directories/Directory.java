import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Fills a broker with everything that its message format can hold, and prints everything that a broker serves.
 *
 * <pre>
 * fill ADDRESS old|new   topics in every codec, a compacted one, one whose beginning was deleted, one with the broker's
 *                        times, a group's offsets;
 *                        new: headers, zstd and transactions too
 * more ADDRESS old|new   further records in the same topics; new: in transactions too
 * dump ADDRESS           a line for each record, for lookups by time, for log ends, for the group's offsets
 * </pre>
 */
public class Directory {
    static final String GROUP = "readers";
    /** So many that the last one of each partition has a key and a value: compaction must keep it. */
    static final int RECORDS = 202;

    public static void main(String[] words) {
        try {
            work(words);
        } catch (Throwable wrong) {
            // Java's launcher of source files cannot print every trace.
            wrong.printStackTrace();
            System.exit(1);
        }
    }

    static void work(String[] words) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", words[1]);
        settings.put("request.timeout.ms", "20000");
        settings.put("default.api.timeout.ms", "40000");
        if (words[0].equals("fill")) {
            // Since 4.0 brokers want segments of a megabyte.
            String segment = words[2].equals("newest") ? "1048576" : "2000";
            fill(settings, !words[2].equals("old"), segment);
        } else if (words[0].equals("more")) {
            send(settings, "none-topic", "none", 2, "more", false, null);
            send(settings, "gzip-topic", "gzip", 2, "more", false, null);
            if (!words[2].equals("old")) {
                send(settings, "transactional", "lz4", 1, "aborted", true, false);
                send(settings, "transactional", "none", 1, "more", true, true);
            }
        } else {
            dump(settings);
        }
    }

    static void fill(Properties settings, boolean batches, String segment) throws Exception {
        List<String> codecs = new ArrayList<>(List.of("none", "gzip", "snappy", "lz4"));
        if (batches) {
            codecs.add("zstd");
        }
        Map<String, String> compacted = new HashMap<>();
        compacted.put("cleanup.policy", "compact");
        compacted.put("min.cleanable.dirty.ratio", "0.01");
        compacted.put("segment.bytes", segment);
        try (Admin admin = Admin.create(settings)) {
            List<NewTopic> topics = new ArrayList<>();
            for (String codec : codecs) {
                topics.add(new NewTopic(codec + "-topic", 2, (short) 1));
            }
            topics.add(new NewTopic("compacted", 1, (short) 1).configs(compacted));
            topics.add(new NewTopic("transactional", 1, (short) 1));
            topics.add(new NewTopic("stamped", 1, (short) 1)
                    .configs(Collections.singletonMap("message.timestamp.type", "LogAppendTime")));
            admin.createTopics(topics).all().get();
            for (String codec : codecs) {
                send(settings, codec + "-topic", codec, 2, codec, batches, null);
            }
            send(settings, "stamped", "gzip", 1, "stamped", false, null);
            for (int round = 0; round < 5; round++) {
                send(settings, "compacted", "snappy", 1, "round" + round, false, null);
            }
            if (batches) {
                send(settings, "transactional", "lz4", 1, "aborted", true, false);
                send(settings, "transactional", "none", 1, "committed", true, true);
            }
            admin.deleteRecords(Collections.singletonMap(
                    new TopicPartition("none-topic", 0), RecordsToDelete.beforeOffset(30))).all().get();
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (String codec : codecs) {
                offsets.put(new TopicPartition(codec + "-topic", 1), new OffsetAndMetadata(codec.length() * 7, codec));
            }
            consumer.commitSync(offsets);
        }
    }

    /** The records of a topic; with `committed` in a transaction that ends so. */
    static void send(Properties base, String topic, String codec, int partitions, String prefix, boolean headers, Boolean committed)
            throws Exception {
        Properties settings = new Properties();
        settings.putAll(base);
        settings.put("acks", "all");
        settings.put("linger.ms", "20");
        settings.put("batch.size", "1000");
        settings.put("compression.type", codec);
        settings.put("enable.idempotence", Boolean.toString(committed != null));
        if (committed != null) {
            settings.put("transactional.id", "transaction-" + prefix);
        }
        long start = System.currentTimeMillis() - 3_600_000;
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            if (committed != null) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            for (int i = 0; i < RECORDS; i++) {
                byte[] key = i % 7 == 3 && !topic.equals("compacted") ? null : ("key-" + i % 40).getBytes();
                byte[] value = i % 11 == 5 ? null : (prefix + "-" + i + "-" + "x".repeat(i % 60)).getBytes();
                ProducerRecord<byte[], byte[]> record =
                        new ProducerRecord<>(topic, i % partitions, start + i * 1000L, key, value);
                if (headers) {
                    record.headers().add("number", Integer.toString(i).getBytes()).add("nothing", null);
                }
                producer.send(record);
            }
            producer.flush();
            if (committed != null) {
                if (committed) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
    }

    static KafkaConsumer<byte[], byte[]> consumer(Properties base) {
        Properties settings = new Properties();
        settings.putAll(base);
        settings.put("group.id", GROUP);
        settings.put("enable.auto.commit", "false");
        settings.put("isolation.level", "read_committed");
        settings.put("check.crcs", "true");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static void dump(Properties settings) throws Exception {
        StringBuilder out = new StringBuilder();
        try (Admin admin = Admin.create(settings); KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            for (String topic : new TreeSet<>(admin.listTopics().names().get())) {
                int partitions = admin.describeTopics(Collections.singleton(topic)).allTopicNames().get().get(topic)
                        .partitions().size();
                for (int index = 0; index < partitions; index++) {
                    partition(consumer, new TopicPartition(topic, index), out);
                }
            }
            Map<String, OffsetAndMetadata> offsets = new TreeMap<>();
            admin.listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata().get()
                    .forEach((partition, offset) -> offsets.put(partition.toString(), offset));
            offsets.forEach((partition, offset) ->
                    out.append("offset ").append(partition).append(' ').append(offset.offset()).append(' ')
                            .append(offset.metadata()).append('\n'));
        }
        System.out.print(out);
    }

    static void partition(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, StringBuilder out) {
        List<TopicPartition> only = Collections.singletonList(partition);
        consumer.assign(only);
        consumer.seekToBeginning(only);
        long end = consumer.endOffsets(only).get(partition);
        out.append("bounds ").append(partition).append(' ').append(consumer.position(partition)).append(' ')
                .append(end).append('\n');
        List<Long> times = new ArrayList<>();
        long deadline = System.nanoTime() + 20_000_000_000L;
        while (consumer.position(partition) < end) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException(partition + " ends at " + consumer.position(partition) + " before " + end);
            }
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                times.add(record.timestamp());
                out.append("record ").append(partition).append(' ').append(record.offset()).append(' ')
                        .append(record.timestampType()).append(' ').append(record.timestamp()).append(' ')
                        .append(text(record.key())).append(' ').append(text(record.value()));
                for (Header header : record.headers()) {
                    out.append(' ').append(header.key()).append('=').append(text(header.value()));
                }
                out.append('\n');
            }
        }
        Map<Long, String> lookups = new LinkedHashMap<>();
        for (int share = 0; share < 5 && !times.isEmpty(); share++) {
            long time = times.get(times.size() * share / 5);
            if (time >= 0) {
                OffsetAndTimestamp found =
                        consumer.offsetsForTimes(Collections.singletonMap(partition, time)).get(partition);
                lookups.put(time, found == null ? "-" : found.offset() + " " + found.timestamp());
            }
        }
        lookups.forEach((time, found) ->
                out.append("lookup ").append(partition).append(' ').append(time).append(' ').append(found).append('\n'));
    }

    static String text(byte[] bytes) {
        return bytes == null ? "null" : '"' + new String(bytes) + '"';
    }
}
