import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;

/**
 * Says what RocketMQ's SQL92 filter makes of the expressions of cases.txt and of random ones.
 *
 *     mvn -q dependency:copy -Dartifact=org.apache.rocketmq:rocketmq-filter:4.9.7   (and what it needs)
 *     javac -cp 'lib/*' -d out Table.java
 *     java -cp 'lib/*:out' Table cases.txt > table.txt
 *
 * A line of table.txt: one letter for each property set of cases.txt, a tab, the expression. T true,
 * F false, N null, X an error while evaluating; a single E: the expression does not compile.
 */
public class Table {
    static final int RANDOM_CASES = 600;
    static final Random random = new Random(92);

    public static void main(String[] args) throws Exception {
        List<Map<String, Object>> sets = new ArrayList<>();
        List<String> expressions = new ArrayList<>();
        for (String line : Files.readAllLines(Paths.get(args[0]), StandardCharsets.UTF_8)) {
            if (line.startsWith("@")) {
                sets.add(properties(line));
            } else if (!line.startsWith("#")) {
                expressions.add(unescape(line));
            }
        }
        for (int i = 0; i < RANDOM_CASES; i++) {
            expressions.add(condition(3));
        }
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        for (String expression : expressions) {
            out.print(results(expression, sets) + "\t" + escape(expression) + "\n");
        }
        out.flush();
        System.exit(0);
    }

    static Map<String, Object> properties(String line) {
        Map<String, Object> map = new HashMap<>();
        String[] parts = line.split("\t");
        for (int i = 1; i + 1 < parts.length; i += 2) {
            map.put(parts[i], unescape(parts[i + 1]));
        }
        return map;
    }

    static String results(String expression, List<Map<String, Object>> sets) {
        Expression compiled;
        try {
            compiled = FilterFactory.INSTANCE.get("SQL92").compile(expression);
        } catch (Throwable e) {
            return "E";
        }
        StringBuilder letters = new StringBuilder();
        for (final Map<String, Object> set : sets) {
            letters.append(letter(compiled, set));
        }
        return letters.toString();
    }

    static char letter(Expression compiled, final Map<String, Object> set) {
        try {
            Object value = compiled.evaluate(new EvaluationContext() {
                public Object get(String name) {
                    return set.get(name);
                }

                public Map<String, Object> keyValues() {
                    return set;
                }
            });
            return value == null ? 'N' : Boolean.TRUE.equals(value) ? 'T' : 'F';
        } catch (Throwable e) {
            return 'X';
        }
    }

    static String one(String... choices) {
        return choices[random.nextInt(choices.length)];
    }

    static String variable() {
        return one("i", "j", "d", "s", "t", "big", "none", "bool");
    }

    static String number() {
        return one("0", "1", "5", "7", "2147483648", "2.5", "5.0", "1e3", ".5", "3000000000L", "-3", "- 2.5", "+5");
    }

    static String text() {
        return one("'abc'", "'it''s'", "'5'", "'true'", "''", "'x y'", "'2.5'");
    }

    static String operand() {
        switch (random.nextInt(8)) {
            case 0: return text();
            case 1: case 2: return number();
            case 3: return one("TRUE", "FALSE", "-" + variable(), "+" + variable());
            default: return variable();
        }
    }

    static String simple() {
        String name = variable();
        switch (random.nextInt(9)) {
            case 0: return name + one(" IS NULL", " is not null");
            case 1: return name + one(" IN (", " NOT IN (") + text() + ", " + text() + ")";
            case 2: return name + one(" BETWEEN ", " NOT BETWEEN ") + number() + " AND " + one(number(), variable());
            case 3: return operand() + one(" = ", " <> ", "=", "<>") + operand();
            case 4: return one("TRUE", "FALSE", name, name);
            default: return operand() + one(" > ", " >= ", " < ", " <= ", " = ", " <> ") + one(number(), variable());
        }
    }

    static String condition(int depth) {
        if (depth == 0) {
            return simple();
        }
        switch (random.nextInt(6)) {
            case 0: return "NOT (" + condition(depth - 1) + ")";
            case 1: return "(" + condition(depth - 1) + ")";
            case 2: return condition(depth - 1) + " OR " + condition(depth - 1);
            case 3: return condition(depth - 1) + " AND " + condition(depth - 1);
            default: return simple();
        }
    }

    static String escape(String text) {
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
            .replace("\f", "\\f");
    }

    static String unescape(String text) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c != '\\') {
                out.append(c);
                continue;
            }
            c = text.charAt(++i);
            out.append(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'f' ? '\f' : c);
        }
        return out.toString();
    }
}
