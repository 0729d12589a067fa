import math
import statistics
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.quality.intervals import Estimate, mean_of, median_of, ratio_of


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    numbers = np.random.default_rng(1).gamma(2, 3, 50)
    found = mean_of(numbers)
    low, high = stats.norm.interval(0.95, numbers.mean(), stats.sem(numbers))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)
    assert found.value == pytest.approx(statistics.mean(numbers.tolist()))


def test_the_interval_of_a_ratio_is_what_drawing_texts_anew_gives() -> None:
    stream = np.random.default_rng(2)
    sizes = stream.integers(5, 60, 400).astype(np.float64)
    totals = sizes * stream.normal(3, 0.4, 400)
    found = ratio_of(totals, sizes)

    def ratio(some: np.ndarray, of: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(some.sum(axis) / of.sum(axis))

    drawn = stats.bootstrap(
        (totals, sizes), ratio, paired=True, vectorized=True, n_resamples=4000, method="percentile", rng=stream
    )
    assert found.low is not None and found.high is not None
    assert found.value == pytest.approx(totals.sum() / sizes.sum())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * drawn.standard_error, rel=0.06)
    # Tokens as if each were drawn by itself would claim far too much.
    assert (found.high - found.low) > 0.03


@pytest.mark.parametrize("count", [6, 7, 50, 1001])
def test_the_interval_of_a_median_is_scipys(count: int) -> None:
    numbers = np.random.default_rng(count).exponential(size=count)
    found = median_of(numbers)
    expected: Any = stats.quantile_test(numbers, p=0.5)
    expected = expected.confidence_interval(0.95)
    assert (found.low, found.high) == (expected.low, expected.high)
    assert found.value == statistics.median(numbers.tolist())


def test_too_few_numbers_have_no_interval_and_none_no_value() -> None:
    assert mean_of(np.array([2.0])) == Estimate(2.0)
    assert median_of(np.arange(5.0)) == Estimate(2.0), "even all five enclose the median with 94 % only"
    assert ratio_of(np.array([3.0]), np.array([2.0])) == Estimate(1.5)
    for empty in (mean_of(np.empty(0)), median_of(np.empty(0)), ratio_of(np.empty(0), np.empty(0))):
        assert math.isnan(empty.value) and empty.low is None and empty.high is None
