import org.apache.rocketmq.tools.command.MQAdminStartup;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Apache's mqadmin, many commands in one Java process: each line of standard input is a command
 * with its arguments between tabs; what it printed comes back, ended by a line with a full stop.
 */
final class MqAdmin {
    private MqAdmin() {}

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = in.readLine()) != null) {
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            System.setOut(new PrintStream(printed, true, "UTF-8"));
            MQAdminStartup.main0(line.split("\t"), null);
            System.out.flush();
            out.write(printed.toByteArray());
            out.println("\n.");
            out.flush();
        }
        System.exit(0);
    }
}
