from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from harness.errors import HarnessError
from harness.quality.frechet import frechet, frechet_distance

Floats = NDArray[np.float64]


def by_sqrtm(one: Floats, other: Floats) -> float:
    covariances = [np.cov(rows, rowvar=False) for rows in (one, other)]
    root = sqrtm(covariances[0] @ covariances[1])
    apart = np.sum((one.mean(0) - other.mean(0)) ** 2)
    return float(apart + np.trace(covariances[0] + covariances[1] - 2 * root.real))


def correlated(count: int, width: int, seed: int) -> Floats:
    stream = np.random.default_rng(seed)
    return np.asarray(
        stream.normal(size=(count, width)) @ stream.normal(size=(width, width)) + stream.normal(size=width)
    )


@pytest.mark.parametrize(("count", "width"), [(200, 3), (500, 24)])
def test_it_agrees_with_scipys_root_of_the_product(count: int, width: int) -> None:
    one, other = correlated(count, width, 1), correlated(count + 50, width, 2)
    assert frechet_distance(one, other) == pytest.approx(by_sqrtm(one, other), rel=1e-8)


def crosses(mean: list[float], sds: list[float]) -> Floats:
    """Rows whose sample has exactly this mean and a diagonal covariance with these standard deviations."""
    width = len(sds)
    steps = np.diag(sds) * np.sqrt((2 * width - 1) / 2)
    return np.asarray(np.concatenate([steps, -steps]) + np.array(mean))


def test_for_uncorrelated_coordinates_it_is_the_closed_form_sum() -> None:
    # Σ(m₁ − m₂)² + Σ(s₁ − s₂)²: (1 + 4 + 0) + (1 + 0 + 9).
    one, other = crosses([0, 0, 5], [1, 2, 3]), crosses([1, 2, 5], [2, 2, 0])
    assert frechet_distance(one, other) == pytest.approx(15)


def test_two_normal_distributions_of_one_dimension() -> None:
    stream = np.random.default_rng(3)
    one, other = stream.normal(0, 1, (200_000, 1)), stream.normal(2, 3, (200_000, 1))
    assert frechet_distance(one, other) == pytest.approx(2**2 + (3 - 1) ** 2, rel=0.02)


def test_fewer_rows_than_dimensions_still_give_a_distance_and_equal_sets_none() -> None:
    one, other = correlated(10, 30, 1), correlated(10, 30, 2)
    # With singular covariances scipy's root is only good to a few digits.
    assert frechet_distance(one, other) == pytest.approx(by_sqrtm(one, other), rel=1e-3)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(one, one) >= 0


def test_single_precision_rows_are_summed_in_double() -> None:
    rows = correlated(300, 5, 1) + 1000
    narrow, other = rows.astype(np.float32), correlated(300, 5, 2) + 1000
    assert frechet_distance(narrow, other) == pytest.approx(by_sqrtm(narrow.astype(np.float64), other), rel=1e-8)


def test_the_more_rows_are_corrupted_the_larger_it_is() -> None:
    real, found = np.random.default_rng(1).normal(size=(500, 8)), []
    for corrupted in (0, 100, 200, 300, 400, 500):
        rows = np.random.default_rng(2).normal(size=(500, 8))
        rows[:corrupted] += 1
        found.append(frechet(rows, real).mean)
    assert found[0] < 0.1 and all(after > before + 0.1 for before, after in pairwise(found))


def test_of_one_distribution_it_falls_with_the_number_of_rows() -> None:
    stream = np.random.default_rng(4)
    one, other = stream.normal(size=(4000, 8)), stream.normal(size=(4000, 8))
    by_size = {size: frechet(one[:size], other).mean for size in (100, 400, 1600)}
    # Bias like 1/n: a quarter each time, within what five draws allow.
    assert 2.5 < by_size[100] / by_size[400] < 6 and 2.5 < by_size[400] / by_size[1600] < 6


def test_draws_are_of_equal_size_and_show_their_spread() -> None:
    stream = np.random.default_rng(5)
    small, large = stream.normal(size=(100, 4)), stream.normal(size=(1000, 4))
    found = frechet(small, large, seed=1)
    assert found.rows == 100 and found.sd > 0
    assert found == frechet(small, large, seed=1) != frechet(small, large, seed=2)
    whole = frechet(small, large[:100])
    shown = whole.value("frechet", "squared distance", "real-text")
    assert (whole.sd, shown.low, shown.high) == (0, None, None), "all rows of either side: nothing is left to chance"
    assert whole.mean == pytest.approx(frechet_distance(small, large[:100]))
    with pytest.raises(HarnessError, match="1 real ones"):
        frechet(small, large[:1])
