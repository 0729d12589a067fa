"""Comparisons of two entries against statsmodels' numbers, scipy and plain loops."""

import numpy as np
import pytest
from scipy import stats

from harness.scoring.metrics import BoolArray, FloatArray
from harness.scoring.paired import EXACT_BELOW, holm, mcnemar, paired_bootstrap


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


def scores(seeds: int, items: int, mean: float, stream: np.random.Generator) -> BoolArray:
    """Right answers of some seeds, which differ, to items of which some are harder."""
    effect = mean + 0.06 * stream.standard_normal((seeds, 1)) + 0.2 * np.sin(np.arange(items))
    return np.asarray(stream.random((seeds, items)) < effect)


@pytest.mark.parametrize("kind", ["right and wrong", "fractions"])
def test_bootstrap_over_items_is_scipys(kind: str) -> None:
    stream = np.random.default_rng(3)
    first, second = (scores(1, 400, mean, stream)[0] for mean in (0.7, 0.6))
    if kind == "fractions":
        first, second = (one * stream.random(400) for one in (first, second))
    found = paired_bootstrap(first, second, seed=1)
    expected = stats.bootstrap(
        (first.astype(float), second.astype(float)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        n_resamples=5000,
        method="percentile",
        rng=np.random.default_rng(4),
    )
    assert found.difference == pytest.approx(first.mean() - second.mean()) and found.interval is not None
    # Four Monte-Carlo standard errors of a 2.5 % quantile, for both sides drew: 4 · √2 · 2.67 · sd/√5000.
    tolerance = 4 * 2**0.5 * 2.67 * expected.standard_error / 5000**0.5
    interval = expected.confidence_interval
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), abs=tolerance)


def test_bootstrap_over_seeds_and_items_is_a_plain_loop() -> None:
    stream = np.random.default_rng(6)
    first, second = scores(4, 150, 0.7, stream), scores(3, 150, 0.62, stream)
    found = paired_bootstrap(first, second, seed=2)
    loop = []
    for _ in range(5000):
        items = stream.integers(0, 150, 150)
        of_first, of_second = stream.integers(0, 4, 3), stream.integers(0, 3, 2)
        loop.append(first[np.ix_(of_first, items)].mean() - second[np.ix_(of_second, items)].mean())
    assert found.interval is not None
    expected = np.quantile(loop, [0.025, 0.975])
    tolerance = 4 * 2**0.5 * 2.67 * np.std(loop) / 5000**0.5
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(expected), abs=tolerance)
    assert found.p_value == pytest.approx(2 * np.mean(np.array(loop) <= 0), abs=0.03)
    # Items alone, with these very seeds, vary less.
    fixed = paired_bootstrap(first.mean(axis=0), second.mean(axis=0), seed=2).interval
    assert fixed is not None and fixed.high - fixed.low < 0.8 * (found.interval.high - found.interval.low)


def test_drawing_one_seed_fewer_gives_the_seeds_their_whole_variance() -> None:
    """Every item alike, so that only seeds vary: the variance of a mean of three is sd²/3."""
    first = np.repeat([[0.4], [0.6], [0.9]], 50, axis=1)
    found = paired_bootstrap(first, np.full((1, 50), 0.5), seed=3, resamples=40_000, level=0.68269)
    # The mean of two draws of three: 0.4 and 0.9 with chance 1/9 each, both lie beyond one standard deviation.
    draws = np.array([(a + b) / 2 for a in (0.4, 0.6, 0.9) for b in (0.4, 0.6, 0.9)])
    assert draws.var() == pytest.approx(first[:, 0].var(ddof=1) / 3)
    assert found.interval is not None
    low, high = np.quantile(draws - 0.5, [0.12, 0.88], method="inverted_cdf")
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_equal_entries_have_no_interval_and_p_1_and_clearly_different_ones_the_smallest_p() -> None:
    stream = np.random.default_rng(8)
    first = scores(3, 60, 0.7, stream)
    same = paired_bootstrap(first[0], first[0], seed=1, resamples=500)
    assert (same.difference, same.interval, same.p_value) == (0, None, 1)
    far = paired_bootstrap(first, ~first[:, ::-1], seed=1, resamples=500)
    assert far.p_value == 2 / 501


def test_the_seed_decides_and_chunks_do_not_matter_to_it() -> None:
    stream = np.random.default_rng(9)
    first, second = stream.random((2, 3000)), stream.random((2, 3000))  # 3,000 different columns: several chunks
    one, again, other = (paired_bootstrap(first, second, seed, resamples=1000) for seed in (1, 1, 2))
    assert one == again != other


def test_scores_on_other_items_or_beyond_the_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="same items, found 3 and 4"):
        paired_bootstrap(np.zeros(3), np.zeros(4), seed=1)
    with pytest.raises(ValueError, match="expected a non-empty matrix"):
        paired_bootstrap(np.full(3, 81.5), np.zeros(3), seed=1)


def test_holm_worked_by_hand_and_as_statsmodels_has_it() -> None:
    """By hand: 0.005·4, 0.01·3, 0.03·2 and 0.04·1, which is raised to the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # statsmodels 0.15: multipletests(…, method="holm")[1]
    expected = [0.4, 0.006, 0.006, 0.9, 0.084, 0.147]
    assert holm([0.2, 0.001, 0.001, 0.9, 0.021, 0.049]) == pytest.approx(expected)
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
    with pytest.raises(ValueError, match="p-values in 0 … 1"):
        holm([0.5, 1.2])
