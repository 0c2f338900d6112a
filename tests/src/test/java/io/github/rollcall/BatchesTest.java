package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import software.amazon.awssdk.awscore.exception.AwsErrorDetails;
import software.amazon.awssdk.awscore.exception.AwsServiceException;

/** Which calls are made when AWS refuses a batch. */
class BatchesTest {
    private final List<List<Integer>> calls = new ArrayList<>();
    private final List<Integer> taken = new ArrayList<>();

    private static List<Integer> numbers(int count) {
        return IntStream.range(1000, 1000 + count).boxed().toList();
    }

    private static Failure failure(String code, String message) {
        return new Failure(
                Exit.TEMPORARY,
                message,
                AwsServiceException.builder()
                        .statusCode(400)
                        .awsErrorDetails(AwsErrorDetails.builder()
                                .errorCode(code)
                                .errorMessage(message)
                                .build())
                        .build());
    }

    /** Refuses every batch with one of these. */
    private Map<Integer, Failure> send(int count, int most, Set<Integer> bad, String code, boolean named) {
        return Batches.send(numbers(count), most, batch -> {
            calls.add(batch);
            List<Integer> theBad = batch.stream().filter(bad::contains).toList();
            if (!theBad.isEmpty()) {
                throw failure(code, "cannot take " + (named ? theBad.get(0) : "one of them"));
            }
            taken.addAll(batch);
        });
    }

    @Test
    void allThatFitGoInOneCall() {
        assertThat(send(450, 200, Set.of(), "", false)).isEmpty();

        assertThat(calls).extracting(List::size).containsExactly(200, 200, 50);
        assertThat(taken).isEqualTo(numbers(450));
    }

    @Test
    void theOneThatAwsNamesIsLeftOut() {
        assertThat(send(200, 200, Set.of(1007), "InvalidTarget", true)).containsOnlyKeys(1007);

        assertThat(calls).extracting(List::size).containsExactly(200, 199, 1);
        assertThat(taken).hasSize(199);
    }

    @Test
    void aCodeThatIsNotKnownIsAboutTheOneThatItsWordsName() {
        assertThat(send(200, 200, Set.of(1007), "ValidationError", true)).containsOnlyKeys(1007);
    }

    @Test
    void theOneThatAwsDoesNotNameIsFoundByHalving() {
        assertThat(send(200, 200, Set.of(1007), "InvalidInstance", false)).containsOnlyKeys(1007);

        assertThat(taken).hasSize(199);
        assertThat(calls).hasSizeLessThan(20);
    }

    @Test
    void severalBadOnesAreEachReportedAndTheOthersGetThrough() {
        Set<Integer> bad = Set.of(1000, 1001, 1099, 1450);

        assertThat(send(500, 200, bad, "InvalidInstance", false)).containsOnlyKeys(bad);

        assertThat(taken).hasSize(496).doesNotContainAnyElementsOf(bad).doesNotHaveDuplicates();
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 77, 199})
    void whereThereIsNoRoomForAllAsManyAsFitGetIn(int room) {
        Map<Integer, Failure> refused = Batches.send(numbers(200), 200, batch -> {
            calls.add(batch);
            if (taken.size() + batch.size() > room) {
                throw failure("TooManyTargets", "no room");
            }
            taken.addAll(batch);
        });

        assertThat(taken).isEqualTo(numbers(room));
        assertThat(refused.keySet()).isEqualTo(numbers(200).stream().skip(room).collect(Collectors.toSet()));
        assertThat(calls).hasSizeLessThan(20);
    }

    @Test
    void aFailureThatIsNotAboutMembersEndsItAll() {
        assertThatThrownBy(() -> send(500, 200, Set.of(1300), "Throttling", false))
                .isInstanceOf(Failure.class);

        assertThat(calls).extracting(List::size).containsExactly(200, 200);
    }
}
