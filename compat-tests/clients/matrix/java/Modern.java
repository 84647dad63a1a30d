import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** What kafka-clients can do since 0.11: headers, admin, idempotence, transactions. */
public class Modern {
    public static void main(String[] words) {
        Matrix.step("headers", () -> {
            KafkaProducer<String, String> producer = new KafkaProducer<>(Matrix.settings());
            ProducerRecord<String, String> record = new ProducerRecord<>("headers", "k", "v");
            record.headers().add("h", new byte[] {1, 2}).add("h", new byte[0]).add("null", null);
            producer.send(record).get();
            producer.close();
            ConsumerRecord<String, String> seen = Matrix.consume("headers", 1).get(0);
            Matrix.check(seen.headers().equals(record.headers()), seen.headers().toString());
            return "";
        });
        Matrix.step("admin", () -> {
            try (AdminClient admin = AdminClient.create(Matrix.settings())) {
                NewTopic topic = new NewTopic("made", 3, (short) 1);
                topic.configs(Collections.singletonMap("retention.ms", "12345"));
                admin.createTopics(Collections.singleton(topic)).all().get();
                Matrix.check(admin.listTopics().names().get().contains("made"), "not listed");
                ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, "made");
                Config config = admin.describeConfigs(Collections.singleton(resource)).all().get().get(resource);
                Matrix.check(config.get("retention.ms").value().equals("12345"), "retention.ms");
                Matrix.check(admin.describeCluster().nodes().get().size() == 1, "nodes");
                admin.deleteTopics(Collections.singleton("made")).all().get();
                Matrix.check(!admin.listTopics().names().get().contains("made"), "still listed");
                return "";
            }
        });
        Matrix.step("idempotence", () -> {
            Properties settings = Matrix.settings();
            settings.put("enable.idempotence", "true");
            KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
            for (int i = 0; i < 50; i++) {
                producer.send(new ProducerRecord<>("once", "k", "v" + i));
            }
            producer.close();
            List<ConsumerRecord<String, String>> seen = Matrix.consume("once", 50);
            Matrix.expect(50, seen);
            for (int i = 0; i < 50; i++) {
                Matrix.check(seen.get(i).value().equals("v" + i), "order");
            }
            return "";
        });
        Matrix.step("transactions", () -> {
            Properties settings = Matrix.settings();
            settings.put("transactional.id", "t");
            KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
            producer.initTransactions();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            offsets.put(new TopicPartition("basic", 0), new OffsetAndMetadata(7));
            for (String fate : new String[] {"aborted", "committed"}) {
                producer.beginTransaction();
                for (int i = 0; i < 10; i++) {
                    producer.send(new ProducerRecord<>("txn", "k", fate));
                }
                if (fate.equals("aborted")) {
                    producer.flush();
                    producer.abortTransaction();
                } else {
                    offsets(producer, offsets);
                    producer.commitTransaction();
                }
            }
            producer.close();
            Properties reader = Matrix.settings();
            reader.put("isolation.level", "read_committed");
            List<ConsumerRecord<String, String>> seen = Matrix.consume("txn", 10, reader);
            Matrix.expect(10, seen);
            for (ConsumerRecord<String, String> record : seen) {
                Matrix.check(record.value().equals("committed"), record.value());
            }
            return "with offsets";
        });
    }

    /** The name of a group as text went away with 4.0; before 2.5 there was nothing else. */
    static void offsets(KafkaProducer<String, String> producer, Map<TopicPartition, OffsetAndMetadata> offsets) throws Exception {
        try {
            Class<?> metadata = Class.forName("org.apache.kafka.clients.consumer.ConsumerGroupMetadata");
            KafkaProducer.class.getMethod("sendOffsetsToTransaction", Map.class, metadata)
                    .invoke(producer, offsets, metadata.getConstructor(String.class).newInstance("outside"));
        } catch (ClassNotFoundException | NoSuchMethodException older) {
            KafkaProducer.class.getMethod("sendOffsetsToTransaction", Map.class, String.class)
                    .invoke(producer, offsets, "outside");
        }
    }
}
