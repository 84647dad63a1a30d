import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.LogCleanerManager;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogStartOffsetIncrementReason;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Opens logs with the classes of Apache Kafka's broker, at a time that is given, and lets its cleaner go over each once.
 *
 * <pre>
 * FILE   a step on each line: log directory, time, whether the stop was clean, recovery point, high watermark, bytes of
 *        the map (0: nothing is compacted), whether to forget how far it is clean, where to copy the directory to
 *        afterwards, log start before and after, a file of batches to append (or -), after how many ms producers are
 *        forgotten, and settings of the topic as key=value
 * </pre>
 *
 * Prints for each step where the log ends, and the first offsets of its segments; `uncleanable` and why before it, if the
 * cleaner gave up.
 */
public class Compactor {
    static final TopicPartition PARTITION = new TopicPartition("t", 0);

    public static void main(String[] words) throws Exception {
        for (String line : Files.readAllLines(Path.of(words[0]))) {
            try {
                System.out.println(step(line.split(" ")));
            } catch (Throwable error) {
                error.printStackTrace(System.out);
                System.out.println("failed at " + line);
                System.exit(1);
            }
        }
    }

    static String step(String[] words) throws Exception {
        File home = new File(words[0]);
        Time time = new Standing(Long.parseLong(words[1]));
        long recoveryPoint = Long.parseLong(words[3]);
        int mapBytes = Integer.parseInt(words[5]);
        if (Boolean.parseBoolean(words[6])) {
            Files.delete(new File(home, "cleaner-offset-checkpoint").toPath());
        }
        long logStart = Long.parseLong(words[8]);
        int expiration = Integer.parseInt(words[11]);
        Properties topic = new Properties();
        for (int at = 12; at < words.length; at++) {
            String[] setting = words[at].split("=", 2);
            topic.put(setting[0], setting[1]);
        }
        LogDirFailureChannel failures = new LogDirFailureChannel(10);
        UnifiedLog log = UnifiedLog.create(
            new File(home, PARTITION.toString()), new LogConfig(topic), logStart, recoveryPoint,
            new Idle(), new BrokerTopicStats(), time, 15 * 60_000, new ProducerStateManagerConfig(expiration, false),
            600_000, failures, Boolean.parseBoolean(words[2]), Optional.empty());
        if (!words[10].equals("-")) {
            ByteBuffer appended = ByteBuffer.wrap(Files.readAllBytes(Path.of(words[10])));
            for (var batch : MemoryRecords.readableRecords(appended.duplicate()).batches()) {
                ByteBuffer one = appended.slice(appended.position(), batch.sizeInBytes());
                appended.position(appended.position() + batch.sizeInBytes());
                log.appendAsFollower(MemoryRecords.readableRecords(one), batch.partitionLeaderEpoch());
            }
        }
        log.updateHighWatermark(Math.min(Long.parseLong(words[4]), log.logEndOffset()));
        log.maybeIncrementLogStartOffset(Long.parseLong(words[9]), LogStartOffsetIncrementReason.ClientRecordDeletion);
        log.deleteOldSegments();
        log.removeExpiredProducers(time.milliseconds());
        String result = "";
        if (mapBytes > 0) {
            ConcurrentHashMap<TopicPartition, UnifiedLog> logs = new ConcurrentHashMap<>(Map.of(PARTITION, log));
            LogCleanerManager manager = new LogCleanerManager(List.of(home), logs, failures);
            Cleaner cleaner = new Cleaner(
                0, new SkimpyOffsetMap(mapBytes), 512 << 10, 1 << 20, 0.9,
                new Throttler(Double.MAX_VALUE, 300, "cleaner", "bytes", time), time, partition -> { });
            var due = manager.grabFilthiestCompactedLog(time, new org.apache.kafka.storage.internals.log.PreCleanStats());
            if (due.isPresent()) {
                try {
                    long end = cleaner.clean(due.get()).getKey();
                    manager.doneCleaning(PARTITION, home, end);
                } catch (RuntimeException error) {
                    result = "uncleanable " + error + " ";
                }
            }
            manager.removeMetrics();
        }
        String segments = log.logSegments().stream()
            .map(segment -> Long.toString(segment.baseOffset()))
            .collect(Collectors.joining(" "));
        result += log.logEndOffset() + ": " + segments;
        log.close();
        try (var files = Files.list(log.dir().toPath())) {
            for (Path file : files.toList()) {
                if (file.toString().endsWith(".deleted")) {
                    Files.delete(file);
                }
            }
        }
        copy(home.toPath(), Path.of(words[7]));
        return result;
    }

    static void copy(Path from, Path to) throws Exception {
        try (var files = Files.walk(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, to.resolve(from.relativize(file)), StandardCopyOption.COPY_ATTRIBUTES);
            }
        }
    }

    /** Nothing happens by itself. */
    static class Idle implements Scheduler {
        private static final ScheduledExecutorService LATER = Executors.newSingleThreadScheduledExecutor(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });

        public void startup() { }

        public void shutdown() { }

        public void resizeThreadPool(int size) { }

        public ScheduledFuture<?> schedule(String name, Runnable task, long delay, long period) {
            return LATER.schedule(() -> { }, 1, TimeUnit.DAYS);
        }
    }

    /** It is always the same time. */
    static class Standing implements Time {
        private final long now;

        Standing(long now) {
            this.now = now;
        }

        public long milliseconds() {
            return now;
        }

        public long nanoseconds() {
            return now * 1_000_000;
        }

        public void sleep(long ms) { }

        public void waitObject(Object object, Supplier<Boolean> condition, long deadline) {
            throw new UnsupportedOperationException();
        }
    }
}
