import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.config.TopicBuilder;
import org.springframework.kafka.core.ConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.core.ProducerFactory;
import org.springframework.messaging.handler.annotation.SendTo;

/** Spring for Apache Kafka with a broker from outside, in the place of its embedded one. Argument: ADDRESS. */
@Configuration
@EnableKafka
public class Spring {
    static String address;
    static final CountDownLatch ANSWERED = new CountDownLatch(10);
    static final List<String> COMMITTED = new CopyOnWriteArrayList<>();

    public static void main(String[] words) throws Exception {
        address = words[0];
        try (var context = new AnnotationConfigApplicationContext(Spring.class)) {
            @SuppressWarnings("unchecked")
            KafkaTemplate<String, String> template = context.getBean("template", KafkaTemplate.class);
            for (int i = 0; i < 10; i++) {
                template.send("questions", "k" + i, "question " + i).get(60, TimeUnit.SECONDS);
            }
            cell("listener_and_reply", ANSWERED.await(120, TimeUnit.SECONDS));

            @SuppressWarnings("unchecked")
            KafkaTemplate<String, String> exact = context.getBean("exact", KafkaTemplate.class);
            try {
                exact.executeInTransaction(work -> {
                    work.send("exact", "aborted");
                    throw new IllegalStateException("on purpose");
                });
            } catch (IllegalStateException wanted) {
                exact.executeInTransaction(work -> work.send("exact", "committed"));
            }
            for (int i = 0; i < 600 && COMMITTED.isEmpty(); i++) {
                Thread.sleep(200);
            }
            cell("transactions", COMMITTED.equals(List.of("committed")));
        }
        System.exit(0);
    }

    static void cell(String feature, boolean good) {
        System.out.println("cell " + feature + (good ? " pass" : " fail " + COMMITTED));
    }

    @KafkaListener(topics = "questions", groupId = "answering", concurrency = "2")
    @SendTo("answers")
    public String answer(String question) {
        return "answer to " + question;
    }

    @KafkaListener(topics = "answers", groupId = "reading")
    public void read(String answer) {
        if (answer.startsWith("answer to question")) {
            ANSWERED.countDown();
        }
    }

    @KafkaListener(topics = "exact", groupId = "exact")
    public void readExact(String value) {
        COMMITTED.add(value);
    }

    @Bean
    public KafkaAdmin admin() {
        return new KafkaAdmin(Map.of("bootstrap.servers", address));
    }

    @Bean
    public NewTopic questions() {
        return TopicBuilder.name("questions").partitions(4).replicas(1).build();
    }

    @Bean
    public ProducerFactory<String, String> producers() {
        return new DefaultKafkaProducerFactory<>(Map.of("bootstrap.servers", address), new StringSerializer(), new StringSerializer());
    }

    @Bean
    public KafkaTemplate<String, String> template(ProducerFactory<String, String> producers) {
        return new KafkaTemplate<>(producers);
    }

    @Bean
    public KafkaTemplate<String, String> exact() {
        Map<String, Object> settings = Map.of("bootstrap.servers", address);
        var factory = new DefaultKafkaProducerFactory<>(settings, new StringSerializer(), new StringSerializer());
        factory.setTransactionIdPrefix("tx-");
        return new KafkaTemplate<>(factory);
    }

    @Bean
    public ConsumerFactory<String, String> consumers() {
        Map<String, Object> settings = Map.of("bootstrap.servers", address, "auto.offset.reset", "earliest", "isolation.level", "read_committed");
        return new DefaultKafkaConsumerFactory<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    @Bean
    public ConcurrentKafkaListenerContainerFactory<String, String> kafkaListenerContainerFactory(
            ConsumerFactory<String, String> consumers, KafkaTemplate<String, String> template) {
        var factory = new ConcurrentKafkaListenerContainerFactory<String, String>();
        factory.setConsumerFactory(consumers);
        factory.setReplyTemplate(template);
        return factory;
    }
}
