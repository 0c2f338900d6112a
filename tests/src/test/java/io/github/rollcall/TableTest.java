package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class TableTest {
    @Test
    void columnsAreAlignedAndNothingTrails() {
        Table table =
                new Table("TARGET", "STATE").row("elb/a-long-name", "InService").row("tg/b", null);

        assertThat(table)
                .hasToString(
                        """
                TARGET           STATE
                elb/a-long-name  InService
                tg/b             -
                """);
    }

    @Test
    void aCellIsOneLine() {
        assertThat(new Table("A").row("x\ny")).hasToString("A\nx y\n");
    }
}
