import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.internals.Exit;

/**
 * Runs many of Apache Kafka's tools in one process. Each line of the input is one run: its class and its words, separated
 * by tabs; a word that begins with "<" is the tool's standard input, with "|" for the end of a line and "~" for a tab. After
 * each run: what it printed, and a line "== " with its exit code.
 */
public class Tools {
    static class Ended extends RuntimeException {}

    /** What the tool does when its process ends; a producer sends what it still has. */
    static final List<Runnable> atTheEnd = new ArrayList<>();

    /** What the tool wanted to exit with. Some catch what ends them, and then want to exit with an error. */
    static Integer code;

    public static void main(String[] none) throws Exception {
        Exit.Procedure end = (wanted, message) -> {
            if (code == null) {
                code = wanted;
            }
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        Exit.setShutdownHookAdder((name, hook) -> atTheEnd.add(hook));
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true);
        BufferedReader script = new BufferedReader(new InputStreamReader(System.in));
        for (String line = script.readLine(); line != null; line = script.readLine()) {
            ByteArrayOutputStream page = new ByteArrayOutputStream();
            PrintStream printer = new PrintStream(page, true);
            System.setOut(printer);
            System.setErr(new PrintStream(new ByteArrayOutputStream()));
            code = null;
            boolean failed = run(line.split("\t"));
            end();
            printer.flush();
            out.print(page);
            out.println("== " + (code != null ? code : failed ? 1 : 0));
        }
        Runtime.getRuntime().halt(0);
    }

    /** A tool that was ended in the middle may have left something that its end waits for. */
    static void end() throws InterruptedException {
        for (Runnable hook : atTheEnd) {
            Thread thread = new Thread(hook);
            thread.setDaemon(true);
            thread.start();
            thread.join(10_000);
        }
        atTheEnd.clear();
    }

    static boolean run(String[] line) throws Exception {
        List<String> words = new ArrayList<>();
        for (int i = 1; i < line.length; i++) {
            if (line[i].startsWith("<")) {
                System.setIn(new ByteArrayInputStream(line[i].substring(1).replace('|', '\n').replace('~', '\t').getBytes()));
            } else {
                words.add(line[i]);
            }
        }
        try {
            Object all = words.toArray(new String[0]);
            Class.forName(line[0]).getMethod("main", String[].class).invoke(null, all);
            return false;
        } catch (InvocationTargetException thrown) {
            return true;
        }
    }
}
