import com.github.luben.zstd.ZstdOutputStream;
import java.io.DataOutputStream;
import java.io.FileOutputStream;
import org.apache.kafka.common.metadata.MetadataRecordType;
import org.apache.kafka.coordinator.group.generated.CoordinatorRecordType;

/**
 * Writes what Apache Kafka's classes encode of the records that brokers keep in topics of their own: the metadata log's,
 * and keys and values of the coordinators', random and edge values in every version, as Recordings does for messages.
 *
 * Usage: Records OUT. An entry is: kind of the record i16, what it is u8 (the numbers below), version i16, length i32,
 * bytes. The file is zstd.
 */
public class Records {
    static final int METADATA = 2;
    static final int GROUP_KEY = 3;
    static final int GROUP_VALUE = 4;
    static final int TRANSACTION_KEY = 5;
    static final int TRANSACTION_VALUE = 6;

    public static void main(String[] args) throws Exception {
        int count = 0;
        try (DataOutputStream out = new DataOutputStream(new ZstdOutputStream(new FileOutputStream(args[0]), 19))) {
            for (MetadataRecordType type : MetadataRecordType.values()) {
                count += Recordings.record(out, type.id(), METADATA, type.newMetadataRecord());
            }
            for (CoordinatorRecordType type : CoordinatorRecordType.values()) {
                // Offsets and classic groups; nobody here reads the others' yet.
                if (type.id() > CoordinatorRecordType.GROUP_METADATA.id()) {
                    continue;
                }
                count += Recordings.record(out, type.id(), GROUP_KEY, type.newRecordKey());
                count += Recordings.record(out, type.id(), GROUP_VALUE, type.newRecordValue());
            }
            for (var type : org.apache.kafka.coordinator.transaction.generated.CoordinatorRecordType.values()) {
                count += Recordings.record(out, type.id(), TRANSACTION_KEY, type.newRecordKey());
                count += Recordings.record(out, type.id(), TRANSACTION_VALUE, type.newRecordValue());
            }
        }
        System.out.println(count + " records in " + args[0]);
    }
}
