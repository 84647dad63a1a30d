import java.lang.reflect.Method;
import java.time.Duration;
import java.util.Collections;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Copies a partition of topic "input" to the end that it has now, a few records per transaction, a fifth of which it aborts.
 * In words that every kafka-clients since 0.11 understands. Arguments: ADDRESS PARTITION TRANSACTIONAL-ID.
 */
public class Copier {
    static final int PER_TRANSACTION = 20;

    public static void main(String[] words) throws Exception {
        try {
            copy(words[0], Integer.parseInt(words[1]), words[2]);
            System.exit(0);
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    static void copy(String address, int partition, String id) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("group.id", "copiers");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("max.poll.records", String.valueOf(PER_TRANSACTION));
        settings.put("transactional.id", id);
        for (String side : new String[] {"key", "value"}) {
            settings.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
            settings.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        }
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
        // Whatever a predecessor left is finished before its offsets are asked for.
        producer.initTransactions();
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings);
        TopicPartition input = new TopicPartition("input", partition);
        consumer.assign(Collections.singletonList(input));
        long end = consumer.endOffsets(Collections.singletonList(input)).get(input);
        long done = consumer.position(input);
        while (done < end) {
            long next = done;
            producer.beginTransaction();
            for (ConsumerRecord<String, String> record : poll(consumer)) {
                producer.send(new ProducerRecord<>("output", record.key(), record.value()));
                next = record.offset() + 1;
            }
            sendOffsets(producer, consumer, Collections.singletonMap(input, new OffsetAndMetadata(next)));
            if (Math.random() < 0.2) {
                producer.abortTransaction();
                consumer.seek(input, done);
            } else {
                producer.commitTransaction();
                done = next;
            }
        }
    }

    /** The form with the group's metadata came with 2.5, the one with its name went away with 4.0. */
    static void sendOffsets(KafkaProducer<?, ?> producer, KafkaConsumer<?, ?> consumer, Map<TopicPartition, OffsetAndMetadata> offsets)
            throws Exception {
        for (Method method : KafkaProducer.class.getMethods()) {
            if (method.getName().equals("sendOffsetsToTransaction") && method.getParameterTypes()[1] != String.class) {
                Object metadata = KafkaConsumer.class.getMethod("groupMetadata").invoke(consumer);
                unwrapped(method, producer, offsets, metadata);
                return;
            }
        }
        unwrapped(KafkaProducer.class.getMethod("sendOffsetsToTransaction", Map.class, String.class), producer, offsets, "copiers");
    }

    /** poll(long) went away with 4.0, poll(Duration) came with 2.0. */
    @SuppressWarnings("unchecked")
    static ConsumerRecords<String, String> poll(KafkaConsumer<String, String> consumer) throws Exception {
        Method method;
        Object wait;
        try {
            method = KafkaConsumer.class.getMethod("poll", Duration.class);
            wait = Duration.ofMillis(200);
        } catch (NoSuchMethodException older) {
            method = KafkaConsumer.class.getMethod("poll", long.class);
            wait = 200L;
        }
        return (ConsumerRecords<String, String>) unwrapped(method, consumer, wait);
    }

    static Object unwrapped(Method method, Object of, Object... with) throws Exception {
        try {
            return method.invoke(of, with);
        } catch (java.lang.reflect.InvocationTargetException wrapped) {
            throw (Exception) wrapped.getCause();
        }
    }
}
