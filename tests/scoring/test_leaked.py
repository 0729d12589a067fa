import numpy as np
import pytest

from harness.data.leakage import leakage
from harness.scoring.leaked import scores_without_leaked
from harness.scoring.statistics import combined_interval, wilson

RIGHT = np.array([[True, True, False, True, False]])


def test_the_score_without_leaked_rows_worked_by_hand() -> None:
    found = leakage(["A film!", "my own"], ["a film", "one", "two", "A film.", "three"])
    scores = scores_without_leaked(RIGHT, found.normalised.test_indices)
    assert (scores.plain.value, scores.plain.items) == (3 / 5, 5)
    assert scores.remaining is not None
    assert (scores.remaining.value, scores.remaining.items) == (1 / 3, 3)  # rows 0 and 3, both right, are left out
    expected = wilson(1, 3)
    assert (scores.remaining.interval.low, scores.remaining.interval.high) == pytest.approx(
        (expected.low, expected.high)
    )


def test_several_seeds_have_the_interval_over_items_and_seeds_of_what_remains() -> None:
    seeds = np.random.default_rng(2).random((3, 40)) < 0.7
    found = scores_without_leaked(seeds, [0, 39, 7])
    left = np.delete(seeds, [0, 7, 39], axis=1)
    assert found.remaining is not None and found.remaining.value == pytest.approx(left.mean())
    assert (found.plain.interval, found.remaining.interval) == (combined_interval(seeds), combined_interval(left))


def test_no_leak_leaves_the_score_as_it_is_and_nothing_but_leaks_leaves_none() -> None:
    nothing = scores_without_leaked(RIGHT, ())
    assert nothing.remaining == nothing.plain
    assert scores_without_leaked(RIGHT, range(5)).remaining is None


@pytest.mark.parametrize("leaked", [[5], [-1, 2]])
def test_an_index_that_is_no_item_is_refused(leaked: list[int]) -> None:
    with pytest.raises(ValueError, match="indices of 5 items"):
        scores_without_leaked(RIGHT, leaked)
