"""Comparisons of two entries against statsmodels' numbers, scipy and cases by hand."""

import numpy as np
import pytest
from scipy import stats

from harness.scoring.metrics import BoolArray, FloatArray
from harness.scoring.paired import EXACT_BELOW, holm, mcnemar


def answers(only_first: int, only_second: int, both: int = 30, neither: int = 10) -> tuple[BoolArray, BoolArray]:
    first = np.repeat([True, False, True, False], [only_first, only_second, both, neither])
    second = np.repeat([False, True, True, False], [only_first, only_second, both, neither])
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "statistic", "p_value"),
    [
        (0, 5, 0.0, 0.0625),
        (7, 2, 2.0, 0.1796875),
        (12, 12, 12.0, 1.0),
        (3, 21, 3.0, 0.0002771615982055664),
        (15, 10, 0.64, 0.4237107971667936),
        (40, 25, 3.0153846153846153, 0.08247788747320971),
        (13, 12, 0.0, 1.0),
        (300, 220, 12.001923076923077, 0.0005314568202078669),
    ],
)
def test_mcnemar_is_that_of_statsmodels(only_first: int, only_second: int, statistic: float, p_value: float) -> None:
    """`mcnemar([[100, b], [c, 50]], exact=b + c < 25, correction=True)` of statsmodels 0.15."""
    found = mcnemar(*answers(only_first, only_second))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.exact == (only_first + only_second < EXACT_BELOW)
    assert (found.statistic, found.p_value) == pytest.approx((statistic, p_value), rel=1e-12)


@pytest.mark.parametrize("discordant", [1, 8, 24])
def test_few_discordant_items_are_a_binomial_test(discordant: int) -> None:
    for only_first in range(discordant + 1):
        expected = stats.binomtest(only_first, discordant).pvalue
        assert mcnemar(*answers(only_first, discordant - only_first)).p_value == pytest.approx(expected, rel=1e-12)


def test_entries_that_no_item_tells_apart_or_equally_many_on_both_sides_have_p_1() -> None:
    assert mcnemar(*answers(0, 0)).p_value == 1
    # The correction would carry the statistic from 0 to 1/100.
    even = mcnemar(*answers(50, 50))
    assert (even.statistic, even.p_value, even.exact) == (0, 1, False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array([True]), np.array([True, False])),
        (np.array([[True]]), np.array([[True]])),
        (np.array([1.0]), np.array([0.5])),
        (np.array([], dtype=bool), np.array([], dtype=bool)),
    ],
)
def test_mcnemar_refuses_what_are_not_right_answers_to_the_same_items(
    first: BoolArray | FloatArray, second: BoolArray | FloatArray
) -> None:
    with pytest.raises(ValueError, match="expected"):
        mcnemar(first, second)  # type: ignore[arg-type]


def test_holm_worked_by_hand_and_as_statsmodels_has_it() -> None:
    """By hand: 0.005·4, 0.01·3, 0.03·2 and 0.04·1, which is raised to the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # statsmodels 0.15: multipletests(…, method="holm")[1]
    expected = [0.4, 0.006, 0.006, 0.9, 0.084, 0.147]
    assert holm([0.2, 0.001, 0.001, 0.9, 0.021, 0.049]) == pytest.approx(expected)
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
    with pytest.raises(ValueError, match="p-values in 0 … 1"):
        holm([0.5, 1.2])
