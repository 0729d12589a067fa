import numpy as np
import pytest

from harness.data.leakage import leakage
from harness.scoring.leaked import score_without_leaked
from harness.scoring.statistics import combined_interval, wilson

RIGHT = np.array([[True, True, False, True, False]])


def test_the_score_without_leaked_rows_worked_by_hand() -> None:
    found = leakage(["A film!", "my own"], ["a film", "one", "two", "A film.", "three"])
    rest = score_without_leaked(RIGHT, found.normalised.test_indices)
    assert rest is not None and (rest.value, rest.items) == (1 / 3, 3)  # rows 0 and 3, both right, are left out
    expected = wilson(1, 3)
    assert (rest.interval.low, rest.interval.high) == pytest.approx((expected.low, expected.high))


def test_several_seeds_have_the_interval_over_items_and_seeds_of_what_remains() -> None:
    seeds = np.random.default_rng(2).random((3, 40)) < 0.7
    rest = score_without_leaked(seeds, [0, 39, 7])
    left = np.delete(seeds, [0, 7, 39], axis=1)
    assert rest is not None and rest.value == pytest.approx(left.mean())
    assert rest.interval == combined_interval(left)


def test_no_leak_leaves_the_score_as_it_is_and_nothing_but_leaks_leaves_none() -> None:
    whole = score_without_leaked(RIGHT, ())
    assert whole is not None and (whole.value, whole.items) == (3 / 5, 5)
    assert score_without_leaked(RIGHT, range(5)) is None


@pytest.mark.parametrize("leaked", [[5], [-1, 2]])
def test_an_index_that_is_no_item_is_refused(leaked: list[int]) -> None:
    with pytest.raises(ValueError, match="indices of 5 items"):
        score_without_leaked(RIGHT, leaked)
