package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

@Isolated("the loggers belong to the whole process")
class LogTest {
    private final List<LogRecord> records = new ArrayList<>();
    private final Logger tools = Logger.getLogger("rollcall");
    private final Handler recorder = new Handler() {
        @Override
        public void publish(LogRecord r) {
            records.add(r);
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    };

    @BeforeEach
    void record() {
        tools.setLevel(Level.FINE);
        tools.setUseParentHandlers(false);
        tools.addHandler(recorder);
    }

    @AfterEach
    void stopRecording() {
        tools.removeHandler(recorder);
        tools.setUseParentHandlers(true);
        tools.setLevel(null);
    }

    private String line(Log.Format format) {
        return new Log.LineFormatter(format).format(records.get(0));
    }

    @Test
    void theSubjectComesFirstAndDetailsAreKeyValue() {
        Log.of("elb/web").info("health", "state", "InService", "description", null, "why", "two words", "empty", "");

        assertThat(line(Log.Format.text)).isEqualTo("elb/web: health state=InService why=\"two words\" empty=\"\"\n");
    }

    @Test
    void aWarningAndAnErrorSayWhatTheyAre() {
        Log.of("elb/web").warn("throttled");

        assertThat(line(Log.Format.text)).isEqualTo("elb/web: warning: throttled\n");
    }

    @Test
    void nothingThatIsLoggedCanWriteALineOfItsOwn() {
        Log.of("elb/web\nroot: error: x").error("a\r\nb\u2028c", "k", "v\n\"w\"\u001b[31m\\");

        assertThat(line(Log.Format.text))
                .isEqualTo("elb/web root: error: x: error: a b c k=\"v \\\"w\\\" [31m\\\\\"\n");
    }

    @Test
    void jsonIsOneObjectALine() {
        Log.of("elb/web").info("quote \" and\nline", "key", "välue\u0000");

        String line = line(Log.Format.json);

        assertThat(line).hasLineCount(1).endsWith("\n");
        JsonObject json = JsonParser.parseString(line).getAsJsonObject();
        assertThat(json.get("subject").getAsString()).isEqualTo("elb/web");
        assertThat(json.get("event").getAsString()).isEqualTo("quote \" and\nline");
        assertThat(json.get("key").getAsString()).isEqualTo("välue\u0000");
        assertThat(json.keySet()).containsExactly("time", "level", "subject", "event", "key");
    }

    @Test
    void bracesInAMessageAreLeftAlone() {
        Log.of("x").info("{0} 100% 'quoted'");

        assertThat(line(Log.Format.text)).isEqualTo("x: {0} 100% 'quoted'\n");
    }
}
