import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import kafka.server.KafkaConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.storage.internals.log.LogConfig;

/**
 * What a broker makes of files: for each argument, which holds the lines of a server.properties, either the settings of a
 * topic that has none of its own, or why such a broker would not start; then a line with "--".
 */
public class Settings {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            Properties properties = new Properties();
            properties.load(new java.io.StringReader(file));
            try {
                KafkaConfig broker = KafkaConfig.fromProps(properties, false);
                LogConfig.validateBrokerLogConfigValues(broker.extractLogConfigMap(), false);
                LogConfig topic = LogConfig.fromProps(broker.extractLogConfigMap(), new Properties());
                for (Map.Entry<String, ?> one : new TreeMap<String, Object>(topic.values()).entrySet()) {
                    ConfigDef.Type type = LogConfig.configType(one.getKey()).orElse(null);
                    System.out.println(one.getKey() + "=" + ConfigDef.convertToString(one.getValue(), type));
                }
            } catch (RuntimeException refused) {
                System.out.println("refused: " + String.valueOf(refused.getMessage()).replace('\n', ' '));
            }
            System.out.println("--");
        }
    }
}
