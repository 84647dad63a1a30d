import java.time.Duration;
import java.util.Collections;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * A producer and a consumer in words that every kafka-clients from 0.9 to today understands.
 *
 * <pre>
 * produce ADDRESS TOPIC CODEC COUNT PREFIX   sends PREFIX0, PREFIX1, ... with themselves as keys; fails if one is refused
 * consume ADDRESS TOPIC GROUP COUNT SECONDS  prints what the group gives this member: key=value, until COUNT or the end
 * </pre>
 */
public class Client {
    public static void main(String[] words) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", words[1]);
        for (String side : new String[] {"key", "value"}) {
            settings.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
            settings.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        }
        if (words[0].equals("produce")) {
            produce(settings, words[2], words[3], Integer.parseInt(words[4]), words[5]);
        } else {
            consume(settings, words[2], words[3], Integer.parseInt(words[4]), Integer.parseInt(words[5]));
        }
    }

    static void produce(Properties settings, String topic, String codec, int count, String prefix) throws Exception {
        settings.put("acks", "all");
        settings.put("linger.ms", "50");
        settings.put("compression.type", codec);
        java.util.List<java.util.concurrent.Future<?>> sent = new java.util.ArrayList<>();
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
        for (int i = 0; i < count; i++) {
            sent.add(producer.send(new ProducerRecord<>(topic, prefix + i, prefix + i)));
        }
        for (java.util.concurrent.Future<?> one : sent) {
            one.get();
        }
        producer.close();
    }

    static void consume(Properties settings, String topic, String group, int count, int seconds) throws Exception {
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings);
        consumer.subscribe(Collections.singletonList(topic));
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        int seen = 0;
        while (seen < count && System.nanoTime() < end) {
            for (ConsumerRecord<String, String> record : poll(consumer)) {
                System.out.println(record.key() + "=" + record.value());
                seen++;
            }
            consumer.commitSync();
        }
        consumer.close();
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
