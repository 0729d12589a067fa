"""Rank correlations over a board's entries against scipy and cases worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.leaderboard.meta import Correlation, correlate, rank_correlations
from harness.scoring.metrics import FloatArray


def rows(kind: str) -> tuple[FloatArray, FloatArray]:
    stream = np.random.default_rng(4)
    x = stream.standard_normal((30, 12))
    y = x + stream.standard_normal((30, 12))
    return (x.round(), y.round()) if kind == "with ties" else (x, y)


@pytest.mark.parametrize("kind", ["without ties", "with ties"])
def test_coefficients_are_scipys(kind: str) -> None:
    x, y = rows(kind)
    rho, tau = rank_correlations(x, y)
    expected = [(stats.spearmanr(a, b).statistic, stats.kendalltau(a, b).statistic) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(np.stack([rho, tau], axis=1), expected, rtol=0, atol=1e-12)


def test_many_entries_are_looked_at_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows("with ties")
    whole = rank_correlations(x, y)
    monkeypatch.setattr("harness.leaderboard.meta._CELLS", 7 * 12 * 12)
    np.testing.assert_array_equal(rank_correlations(x, y), whole)


def one(values: list[float | None], scores: list[float], errors: list[float] | None = None) -> Correlation:
    return correlate({"measure": values}, scores, errors)[0]


def test_a_board_worked_by_hand() -> None:
    """Ranks 1 2 3 4 5 against 2 1 4 3 5: d² sums to 4, rho = 1 − 6·4/(5·24); two of ten pairs are discordant."""
    found = one([0.1, 0.2, 0.3, 0.4, None, 0.5], [72, 70, 81, 80, 99, 85])
    assert found.entries == 5 and found.spearman is not None and found.kendall is not None
    assert (found.spearman.value, found.kendall.value) == pytest.approx((0.8, 0.6))


@pytest.mark.parametrize("which", ["spearman", "kendall"])
@pytest.mark.parametrize("errors", [None, 0.5])
def test_the_interval_is_that_of_a_plain_loop_with_scipy(which: str, errors: float | None) -> None:
    stream = np.random.default_rng(1)
    x = stream.standard_normal(15).round(1)
    y = (x + stream.standard_normal(15)).round(1)
    found = one(list(x), list(y), None if errors is None else [errors] * 15)
    loop = []
    for _ in range(1500):
        drawn = stream.integers(0, 15, 15)
        moved = y + (errors or 0) * stream.standard_normal(15)
        if which == "spearman":
            loop.append(stats.spearmanr(x[drawn], moved[drawn]).statistic)
        else:
            loop.append(stats.kendalltau(x[drawn], moved[drawn]).statistic)
    coefficient = getattr(found, which)
    assert coefficient.interval is not None
    low, high = np.quantile(loop, [0.025, 0.975])
    # Four Monte-Carlo standard errors of the lower quantile, whose tail is the longer: both sides drew.
    tolerance = 4 * 2**0.5 * 2.67 * np.std(loop) / 1500**0.5
    assert (coefficient.interval.low, coefficient.interval.high) == pytest.approx((low, high), abs=tolerance)


def test_uncertain_scores_widen_the_interval_but_do_not_move_the_coefficient() -> None:
    x, y = [float(index) for index in range(10)], [1.0, 0, 2, 3, 5, 4, 6, 7, 9, 8]
    sure, unsure = one(list(x), y), one(list(x), y, [3.0] * 10)
    assert sure.spearman and unsure.spearman and sure.spearman.interval and unsure.spearman.interval
    assert sure.spearman.value == unsure.spearman.value
    assert unsure.spearman.interval.low < sure.spearman.interval.low - 0.1


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2, None, 4, math.nan], [1, 2, 3, 4, 5]),  # three are known
        ([5, 5, 5, 5, 5], [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], [0.5, 0.5, 0.5, 0.5, 0.5]),
        ([], []),
    ],
)
def test_few_entries_or_no_variance_have_no_correlation(values: list[float | None], scores: list[float]) -> None:
    found = one(values, scores)
    assert (found.spearman, found.kendall) == (None, None)


def test_perfect_agreement_is_exactly_1_and_claims_no_certainty() -> None:
    found = one([1, 2, 3, 4, 5, 6, 7], [10, 20, 30, 31, 32, 33, 90])
    assert found.spearman is not None and (found.spearman.value, found.spearman.interval) == (1.0, None)
    assert found.kendall is not None and (found.kendall.value, found.kendall.interval) == (1.0, None)


def test_a_measure_that_hardly_varies_has_a_coefficient_but_mostly_no_resample_has() -> None:
    """One of four entries differs: a resample misses it with chance 0.32, or has it alone; one of three scores too."""
    found = one([0, 0, 0, 1], [0, 0, 0, 1])
    assert found.spearman is not None and found.spearman.value == 1
    rare = one([0, 0, 0, 0, 0, 1], [0.0, 0, 0, 0, 1, 0])
    assert rare.spearman is not None and rare.spearman.value == pytest.approx(-0.2)
    # Both must be drawn: 1 − 2·(5/6)⁶ + (4/6)⁶ = 0.42 of the resamples have a coefficient.
    assert rare.spearman.interval is None


def test_a_measures_interval_is_seeded_and_does_not_depend_on_the_other_measures() -> None:
    x, y = rows("without ties")
    both = correlate({"a": list(x[0]), "b": list(x[1])}, list(y[0]), seed=3)
    assert [found.measure for found in both] == ["a", "b"]
    assert correlate({"b": list(x[1])}, list(y[0]), seed=3) == both[1:]
    assert correlate({"b": list(x[1])}, list(y[0]), seed=4) != both[1:]


@pytest.mark.parametrize(
    ("values", "scores", "errors", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], None, "expected 3 values of measure.*found 2"),
        ([1.0, math.inf], [1.0, 2.0], None, "values of measure to be 2 finite numbers"),
        ([1.0, 2.0], [1.0, math.nan], None, "scores to be 2 finite numbers"),
        ([1.0, 2.0], [1.0, 2.0], [0.1], "errors of the scores to be 2 finite"),
        ([1.0, 2.0], [1.0, 2.0], [0.1, -0.1], "errors of at least 0, found -0.1"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(
    values: list[float | None], scores: list[float], errors: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        one(values, scores, errors)


def test_where_one_entry_alone_differs_there_is_no_interval() -> None:
    """A third of the resamples lack that entry; the others all say what choosing it says."""
    (found,) = correlate({"duplicates": [0.0, 0.0, 0.0, 0.0, 0.0, 0.1]}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert found.spearman is not None and found.spearman.value < -0.6 and found.spearman.interval is None
