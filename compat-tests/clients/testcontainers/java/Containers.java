import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.kafka.ConfluentKafkaContainer;
import org.testcontainers.kafka.KafkaContainer;
import org.testcontainers.utility.DockerImageName;

/**
 * Testcontainers for Java: starts an image (after the kind: apache, confluent, legacy or zookeeper), sends records to it and
 * reads them again through a group. Prints the time from the start, and from the container's creation, to the first record's
 * acknowledgement.
 */
public class Containers {
    static final int RECORDS = 50;

    @SuppressWarnings("deprecation")
    public static void main(String[] words) {
        DockerImageName apache = DockerImageName.parse(words[1]).asCompatibleSubstituteFor("apache/kafka");
        DockerImageName confluent = DockerImageName.parse(words[1]).asCompatibleSubstituteFor("confluentinc/cp-kafka");
        switch (words[0]) {
            case "apache" -> {
                var container = new KafkaContainer(apache);
                exchange(container, container::getBootstrapServers);
            }
            case "confluent" -> {
                var container = new ConfluentKafkaContainer(confluent);
                exchange(container, container::getBootstrapServers);
            }
            case "legacy" -> {
                var container = new org.testcontainers.containers.KafkaContainer(confluent).withKraft();
                exchange(container, container::getBootstrapServers);
            }
            case "zookeeper" -> {
                var container = new org.testcontainers.containers.KafkaContainer(confluent);
                exchange(container, container::getBootstrapServers);
            }
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    static void exchange(GenericContainer<?> container, Supplier<String> address) {
        long began = System.nanoTime();
        try (container) {
            container.start();
            Map<String, Object> settings = Map.of("bootstrap.servers", address.get(), "group.id", "g", "auto.offset.reset", "earliest");
            List<String> sent = new ArrayList<>();
            try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
                for (int i = 0; i < RECORDS; i++) {
                    sent.add("record " + i);
                    producer.send(new ProducerRecord<>("from-java", "k", sent.get(i))).get();
                    if (i == 0) {
                        long whole = (System.nanoTime() - began) / 1_000_000;
                        // Before it is created, the module finds the engine: the same for every image.
                        var created = Instant.parse(container.getContainerInfo().getCreated());
                        long since = Duration.between(created, Instant.now()).toMillis();
                        System.out.println("first record after " + whole + " ms, " + since + " ms after the container was created");
                    }
                }
            } catch (InterruptedException | java.util.concurrent.ExecutionException error) {
                throw new IllegalStateException(error);
            }
            List<String> seen = new ArrayList<>();
            try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of("from-java"));
                for (long end = System.nanoTime() + 60_000_000_000L; seen.size() < RECORDS && System.nanoTime() < end; ) {
                    consumer.poll(Duration.ofMillis(500)).forEach(record -> seen.add(record.value()));
                }
            }
            if (!seen.equals(sent)) {
                throw new IllegalStateException("other records came back: " + seen);
            }
            System.out.println("all records");
        }
    }
}
