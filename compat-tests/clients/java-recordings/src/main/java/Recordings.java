import com.github.luben.zstd.ZstdInputStream;
import com.github.luben.zstd.ZstdOutputStream;
import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;

/**
 * Writes what Apache Kafka's message classes encode: random and edge values of every request and response, in every
 * version that the classes know. Values are drawn by the schema of a version; the class reads them and writes them
 * again, and only what it wrote counts.
 *
 * Usage: Recordings OUT [EARLIER]. Entries of EARLIER are kept, and only versions that it lacks are added.
 * An entry is: key i16, kind u8 (0 request, 1 response), version i16, length i32, bytes. The file is zstd.
 */
public class Recordings {
    static final int PER_VERSION = 6;

    public static void main(String[] args) throws Exception {
        Set<String> known = new HashSet<>();
        int count = 0;
        File part = new File(args[0] + ".part");
        try (DataOutputStream out = new DataOutputStream(new ZstdOutputStream(new FileOutputStream(part), 19))) {
            if (args.length > 1) {
                keep(args[1], out, known);
            }
            for (ApiMessageType type : ApiMessageType.values()) {
                try {
                    type.newRequest();
                } catch (UnsupportedVersionException e) {
                    // Kafka 4 remembers the names of what it dropped, nothing more.
                    continue;
                }
                // What an earlier release only tried out was changed before it was released.
                short last = type.highestSupportedVersion(args.length == 1);
                count += record(out, known, type.apiKey(), 0, type.newRequest(), last);
                count += record(out, known, type.apiKey(), 1, type.newResponse(), last);
            }
        }
        if (!part.renameTo(new File(args[0]))) {
            throw new IOException("cannot rename " + part);
        }
        System.out.println(count + " messages added to " + args[0]);
    }

    static void keep(String earlier, DataOutputStream out, Set<String> known) throws IOException {
        try (DataInputStream in = new DataInputStream(
                new BufferedInputStream(new ZstdInputStream(new FileInputStream(earlier))))) {
            while (true) {
                in.mark(1);
                if (in.read() < 0) {
                    return;
                }
                in.reset();
                short key = in.readShort();
                int kind = in.readByte();
                short version = in.readShort();
                byte[] bytes = new byte[in.readInt()];
                in.readFully(bytes);
                known.add(key + "/" + kind + "/" + version);
                entry(out, key, kind, version, bytes);
            }
        }
    }

    static void entry(DataOutputStream out, short key, int kind, short version, byte[] bytes) throws IOException {
        out.writeShort(key);
        out.writeByte(kind);
        out.writeShort(version);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    /** All versions of one class. */
    static int record(DataOutputStream out, short key, int kind, ApiMessage example) throws Exception {
        short last = (short) (((Schema[]) example.getClass().getField("SCHEMAS").get(null)).length - 1);
        return record(out, Set.of(), key, kind, example, last);
    }

    static int record(DataOutputStream out, Set<String> known, short key, int kind, ApiMessage example, short last)
            throws Exception {
        Schema[] schemas = (Schema[]) example.getClass().getField("SCHEMAS").get(null);
        int count = 0;
        for (short version = 0; version <= last; version++) {
            if (schemas[version] == null || known.contains(key + "/" + kind + "/" + version)) {
                continue;
            }
            for (int round = 0; round < PER_VERSION; round++) {
                Dice dice = new Dice(round, key * 1000003L + kind * 7919L + version * 31L + round);
                Struct struct = (Struct) dice.value(schemas[version], 0);
                ByteBuffer drawn = ByteBuffer.allocate(schemas[version].sizeOf(struct));
                schemas[version].write(drawn, struct);
                drawn.flip();
                ApiMessage message = example.getClass().getDeclaredConstructor().newInstance();
                message.read(new ByteBufferAccessor(drawn), version);
                ObjectSerializationCache cache = new ObjectSerializationCache();
                ByteBuffer written = ByteBuffer.allocate(message.size(cache, version));
                message.write(new ByteBufferAccessor(written), cache, version);
                if (drawn.hasRemaining() || written.hasRemaining()) {
                    throw new IOException(example.getClass() + " v" + version + " is not read or written whole");
                }
                entry(out, key, kind, version, written.array());
                count++;
            }
        }
        return count;
    }

    /** Round 0 draws the smallest values and no null, round 1 every null and the extremes, the others at random. */
    static class Dice {
        final int round;
        final Random random;

        Dice(int round, long seed) {
            this.round = round;
            this.random = new Random(seed);
        }

        Object value(Type type, int depth) {
            if (type.isNullable() && (round == 1 || round > 1 && random.nextInt(4) == 0)) {
                return null;
            }
            if (type.arrayElementType().isPresent()) {
                Object[] elements = new Object[round == 0 || depth > 5 ? 0 : round == 1 ? 1 : random.nextInt(4)];
                for (int i = 0; i < elements.length; i++) {
                    elements[i] = value(type.arrayElementType().get(), depth + 1);
                }
                return elements;
            }
            if (type instanceof Schema) {
                Schema schema = (Schema) type;
                Struct struct = new Struct(schema);
                for (BoundField field : schema.fields()) {
                    struct.set(field, value(field.def.type, depth + 1));
                }
                return struct;
            }
            if (type instanceof TaggedFields) {
                Map<Integer, Object> drawn = new TreeMap<>();
                for (Map.Entry<Integer, Field> field : fieldsOf((TaggedFields) type).entrySet()) {
                    if (round == 1 || round > 1 && random.nextBoolean()) {
                        drawn.put(field.getKey(), value(field.getValue().type, depth + 1));
                    }
                }
                return drawn;
            }
            String name = type.toString();
            if (name.endsWith("STRING")) {
                return string();
            } else if (name.endsWith("RECORDS")) {
                return records(ByteBuffer.wrap(bytes()));
            } else if (name.endsWith("BYTES")) {
                return ByteBuffer.wrap(bytes());
            }
            switch (name) {
                case "BOOLEAN": return round == 1 || round > 1 && random.nextBoolean();
                case "INT8": return (byte) number(Byte.MIN_VALUE, Byte.MAX_VALUE);
                case "INT16": return (short) number(Short.MIN_VALUE, Short.MAX_VALUE);
                case "UINT16": return (int) number(0, 0xffff);
                case "INT32": return (int) number(Integer.MIN_VALUE, Integer.MAX_VALUE);
                case "UINT32": return number(0, 0xffffffffL);
                case "INT64": return number(Long.MIN_VALUE, Long.MAX_VALUE);
                case "FLOAT64": return round == 0 ? 0.0 : round == 1 ? Double.NEGATIVE_INFINITY : random.nextGaussian();
                case "UUID": return round == 0 ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
                default: throw new IllegalArgumentException("no values for " + type.getClass() + " " + name);
            }
        }

        /** 3.9 has no accessor for them. */
        @SuppressWarnings("unchecked")
        static Map<Integer, Field> fieldsOf(TaggedFields type) {
            try {
                java.lang.reflect.Field fields = TaggedFields.class.getDeclaredField("fields");
                fields.setAccessible(true);
                return (Map<Integer, Field>) fields.get(type);
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        }

        /** The class of records moved to another package between 3.9 and 4.3. */
        Object records(ByteBuffer bytes) {
            String name = "org.apache.kafka.common.record.%sMemoryRecords";
            for (String folder : new String[] {"", "internal."}) {
                try {
                    return Class.forName(String.format(name, folder))
                        .getMethod("readableRecords", ByteBuffer.class)
                        .invoke(null, bytes);
                } catch (ClassNotFoundException e) {
                    continue;
                } catch (ReflectiveOperationException e) {
                    throw new IllegalStateException(e);
                }
            }
            throw new IllegalStateException("no MemoryRecords");
        }

        long number(long min, long max) {
            if (round < 2) {
                return round == 0 ? 0 : random.nextBoolean() ? min : max;
            }
            switch (random.nextInt(5)) {
                case 0: return min;
                case 1: return max;
                case 2: return min == 0 ? 1 : -1;
                default: return random.nextInt(100);
            }
        }

        String string() {
            int length = round == 0 ? 0 : new int[] {0, 1, 4, 12, 130}[random.nextInt(5)];
            String[] letters = {"a", "Z", "-", "ä", "水", "🐦"};
            StringBuilder text = new StringBuilder();
            String letter = letters[random.nextInt(letters.length)];
            for (int i = 0; i < length; i++) {
                text.append(i % 5 == 0 ? letters[random.nextInt(letters.length)] : letter);
            }
            return text.toString();
        }

        byte[] bytes() {
            byte[] bytes = new byte[round == 0 ? 0 : new int[] {0, 1, 5, 127, 600}[random.nextInt(5)]];
            Arrays.fill(bytes, (byte) random.nextInt());
            return bytes;
        }
    }
}
