"""Intervals against scipy, published values, plain loops and simulation."""

import numpy as np
import pytest
from scipy import stats

from harness.scoring.metrics import BoolArray, FloatArray, IntArray
from harness.scoring.statistics import (
    Interval,
    bootstrap_macro_f1,
    chance_flag,
    combined_interval,
    item_interval_of_seed_mean,
    seed_interval,
    wilson,
)

CONFUSION = np.array([[60, 12, 3], [9, 40, 16], [2, 5, 13]])


def simulate(boards: int, seeds: int, items: int, seed_sd: float) -> tuple[list[BoolArray], float]:
    """Boards of answers from a crossed probit model, and the accuracy that all seeds and items would give.

    An answer is right where 1 + seed effect + item difficulty + noise > 0, the last two standard normal.
    """
    generator = np.random.default_rng([boards, seeds, items, round(1000 * seed_sd)])
    draws = [
        1
        + seed_sd * generator.standard_normal((seeds, 1))
        + generator.standard_normal((1, items))
        + generator.standard_normal((seeds, items))
        > 0
        for _ in range(boards)
    ]
    return draws, float(stats.norm.cdf(1 / np.sqrt(2 + seed_sd**2)))


def coverage(intervals: list[Interval | None], truth: float) -> float:
    return float(np.mean([known.low <= truth <= known.high for known in intervals if known is not None]))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_published_by_newcombe_1998(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (277, 277), (0, 872), (24_999, 25_000)])
def test_wilson_agrees_with_scipy_up_to_both_ends_of_the_scale(successes: int, n: int, level: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    interval = wilson(successes, n, level)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_counts_that_no_test_split_can_give(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def macro_f1_by_hand(reference: IntArray, predicted: IntArray, n_labels: int) -> float:
    scores = []
    for label in range(n_labels):
        hits = int(((reference == label) & (predicted == label)).sum())
        total = int((reference == label).sum() + (predicted == label).sum())
        scores.append(2 * hits / total if total else 0.0)
    return float(np.mean(scores))


def test_resampling_the_table_is_resampling_the_items() -> None:
    """Both ends agree with a plain loop over items, within four Monte-Carlo standard errors."""
    rows, columns = np.nonzero(CONFUSION)
    reference = np.repeat(rows, CONFUSION[rows, columns])
    predicted = np.repeat(columns, CONFUSION[rows, columns])
    generator = np.random.default_rng(5)
    loop = []
    for _ in range(4000):
        items = generator.integers(0, reference.size, reference.size)
        loop.append(macro_f1_by_hand(reference[items], predicted[items], 3))
    interval = bootstrap_macro_f1(CONFUSION, seed=1, resamples=20_000)
    assert interval is not None
    # The standard error of a quantile is √(p(1−p)/resamples) over the density there, here that of a normal.
    sd = float(np.std(loop))
    error = np.sqrt(0.025 * 0.975 * (1 / 4000 + 1 / 20_000)) / (stats.norm.pdf(1.96) / sd)
    low, high = np.quantile(loop, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=4 * error)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    assert bootstrap_macro_f1(CONFUSION, seed=3) == bootstrap_macro_f1(CONFUSION, seed=3)
    assert bootstrap_macro_f1(CONFUSION, seed=3) != bootstrap_macro_f1(CONFUSION, seed=4)


@pytest.mark.parametrize("confusion", [[[50, 0], [0, 50]], [[0, 50], [0, 0]]])
def test_a_table_that_resampling_cannot_change_has_no_interval_rather_than_one_of_no_width(
    confusion: list[list[int]],
) -> None:
    assert bootstrap_macro_f1(np.array(confusion), seed=1) is None


def test_a_table_without_items_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        bootstrap_macro_f1(np.zeros((2, 2), dtype=np.int64), seed=1)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_over_seeds_is_scipys_t_interval(level: float) -> None:
    values = [0.81, 0.835, 0.79, 0.82, 0.8]
    expected = stats.t.interval(level, df=4, loc=np.mean(values), scale=stats.sem(values))
    spread = seed_interval(values, level)
    assert spread.sd == pytest.approx(np.std(values, ddof=1))
    assert spread.interval is not None
    assert (spread.interval.low, spread.interval.high) == pytest.approx(expected)


def test_one_seed_has_no_spread_for_it_would_look_like_certainty() -> None:
    spread = seed_interval([0.8])
    assert (spread.mean, spread.sd, spread.interval) == (0.8, None, None)
    assert combined_interval(np.array([[True, False, True]])) is None


def test_seeds_that_agree_have_a_spread_of_zero_but_no_interval_of_no_width() -> None:
    spread = seed_interval([0.1, 0.1, 0.1])
    assert spread.mean == pytest.approx(0.1)
    assert (spread.sd, spread.interval) == (0.0, None)


def test_no_seeds_have_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        seed_interval([])


def test_for_one_seed_the_item_interval_is_wilsons_so_that_a_row_does_not_change_when_averaged() -> None:
    correct = np.arange(100)[None, :] < 83
    interval, expected = item_interval_of_seed_mean(correct), wilson(83, 100)
    assert (interval.low, interval.high) == (expected.low, expected.high)


def test_seeds_with_the_same_answers_narrow_nothing_for_they_add_no_items() -> None:
    correct = np.repeat(np.arange(100)[None, :] < 83, 5, axis=0)
    interval, expected = item_interval_of_seed_mean(correct), wilson(83, 100)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_answers_independent_of_the_item_count_as_items_of_their_own() -> None:
    generator = np.random.default_rng(2)
    correct = generator.random((4, 20_000)) < 0.8
    interval, expected = item_interval_of_seed_mean(correct), wilson(int(correct.sum()), correct.size)
    assert interval.high - interval.low == pytest.approx(expected.high - expected.low, rel=0.03)


def test_the_item_interval_agrees_with_resampling_the_items_for_all_seeds_at_once() -> None:
    (correct,), _ = simulate(boards=1, seeds=3, items=800, seed_sd=0.1)
    generator = np.random.default_rng(3)
    means = [correct[:, generator.integers(0, 800, 800)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    interval = item_interval_of_seed_mean(correct)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.2 * float(np.std(means)))


@pytest.mark.parametrize("answer", [True, False])
def test_a_flawless_score_keeps_an_interval_of_some_width(answer: bool) -> None:
    correct = np.full((3, 50), answer)
    combined, expected = combined_interval(correct), wilson(50 * answer, 50)
    assert combined is not None
    assert (combined.low, combined.high) == (expected.low, expected.high)


@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.5])
def test_the_combined_interval_contains_the_item_interval_for_it_has_one_more_reason_to_move(
    seed_sd: float,
) -> None:
    for correct in simulate(boards=50, seeds=3, items=200, seed_sd=seed_sd)[0]:
        combined, items = combined_interval(correct), item_interval_of_seed_mean(correct)
        assert combined is not None
        assert combined.low <= items.low < items.high <= combined.high


def test_the_combined_interval_adds_the_squares_of_both_half_widths() -> None:
    """Near 50 % and with many items, Wilson's form is the normal one and the sum can be worked by hand."""
    correct = np.zeros((3, 40_000), dtype=np.bool_)
    for row, right in zip(correct, (19_800, 20_000, 20_200), strict=True):
        row[:right] = True
    combined = combined_interval(correct)
    items, seeds = item_interval_of_seed_mean(correct), seed_interval(correct.mean(axis=1).tolist()).interval
    assert combined is not None
    assert seeds is not None
    apart = np.hypot(items.high - items.low, seeds.high - seeds.low)
    assert combined.high - combined.low == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.4])
def test_the_combined_interval_covers_the_truth_at_least_as_often_as_it_says(seeds: int, seed_sd: float) -> None:
    """600 boards each; three standard errors of a 95 % coverage are 2.7 points."""
    boards, truth = simulate(boards=600, seeds=seeds, items=300, seed_sd=seed_sd)
    covered = coverage([combined_interval(correct) for correct in boards], truth)
    assert covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 600)


def test_either_spread_alone_covers_too_seldom_which_is_why_both_are_combined() -> None:
    seeds_matter, truth = simulate(boards=300, seeds=3, items=300, seed_sd=0.4)
    assert coverage([item_interval_of_seed_mean(correct) for correct in seeds_matter], truth) < 0.7
    items_matter, truth = simulate(boards=300, seeds=5, items=300, seed_sd=0.0)
    over_seeds = [seed_interval(correct.mean(axis=1).tolist()).interval for correct in items_matter]
    assert coverage(over_seeds, truth) < 0.9


def two_level_bootstrap(correct: BoolArray, generator: np.random.Generator) -> Interval:
    n_seeds, n_items = correct.shape
    means: FloatArray = np.array(
        [
            correct[generator.integers(0, n_seeds, n_seeds)][:, generator.integers(0, n_items, n_items)].mean()
            for _ in range(300)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high), 0.95, "two-level")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_two_level_bootstrap_covers_too_seldom_which_is_why_it_was_not_chosen(seeds: int) -> None:
    boards, truth = simulate(boards=400, seeds=seeds, items=300, seed_sd=0.4)
    generator = np.random.default_rng(4)
    assert coverage([two_level_bootstrap(correct, generator) for correct in boards], truth) < 0.9


def fractions(boards: int, seeds: int, items: int, seed_sd: float) -> tuple[list[FloatArray], float]:
    """Boards of scores in 0 … 1, many of them at either end as token F1 has them, and the mean of all there are.

    A score is a latent number as in `simulate`, cut at 0 and 1: two in seven are 0, almost half are 1.
    """
    generator = np.random.default_rng([boards, seeds, items, round(1000 * seed_sd), 1])
    draws = [
        (
            0.8
            + seed_sd * generator.standard_normal((seeds, 1))
            + generator.standard_normal((1, items))
            + generator.standard_normal((seeds, items))
        ).clip(0, 1)
        for _ in range(boards)
    ]
    # The mean of a cut number is the area above its distribution function.
    points = np.linspace(0, 1, 10_001)
    above = stats.norm.sf(points, loc=0.8, scale=np.sqrt(2 + seed_sd**2))
    return draws, float(np.trapezoid(above, points))


@pytest.mark.parametrize("seeds", [1, 3])
def test_right_and_wrong_written_as_numbers_keep_their_intervals(seeds: int) -> None:
    for correct in simulate(boards=20, seeds=seeds, items=50, seed_sd=0.3)[0]:
        for interval in (item_interval_of_seed_mean, combined_interval):
            assert interval(correct.astype(np.float64)) == interval(correct)


def test_the_item_interval_of_fractions_agrees_with_resampling_the_items() -> None:
    for seeds in (1, 3):
        (scores,), _ = fractions(boards=1, seeds=seeds, items=800, seed_sd=0.1)
        generator = np.random.default_rng(3)
        means = [scores[:, generator.integers(0, 800, 800)].mean() for _ in range(4000)]
        low, high = np.quantile(means, [0.025, 0.975])
        interval = item_interval_of_seed_mean(scores)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.2 * float(np.std(means)))


def test_the_interval_of_fractions_solves_the_score_equation_with_their_own_variance() -> None:
    """Worked from the definition: at both ends (p − π)² = z²·φ·π(1 − π)/n, φ = variance/p(1 − p)."""
    scores = np.array([[0.0, 0.0, 1.0, 0.5, 0.25, 1.0, 0.75, 0.5]])
    p, variance = 4 / 8, (1 + 1 + 0.25 + 0.0625 + 0.5625 + 0.25) / 8 - 1 / 4  # 35/256
    interval = item_interval_of_seed_mean(scores)
    assert interval.low < p < interval.high
    for end in (interval.low, interval.high):
        expected = stats.norm.ppf(0.975) ** 2 * variance / (p * (1 - p)) * end * (1 - end) / 8
        assert (p - end) ** 2 == pytest.approx(expected)


@pytest.mark.parametrize("items", [40, 300])
def test_the_item_interval_of_fractions_covers_the_truth_as_often_as_it_says(items: int) -> None:
    """1,000 boards; three standard errors of a 95 % coverage are 2.1 points."""
    boards, truth = fractions(boards=1000, seeds=1, items=items, seed_sd=0.0)
    covered = coverage([item_interval_of_seed_mean(scores) for scores in boards], truth)
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 1000))


@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.4])
def test_the_combined_interval_of_fractions_covers_the_truth_at_least_as_often_as_it_says(seed_sd: float) -> None:
    boards, truth = fractions(boards=600, seeds=3, items=300, seed_sd=seed_sd)
    covered = coverage([combined_interval(scores) for scores in boards], truth)
    assert covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 600)
    for scores in boards[:50]:
        combined, items = combined_interval(scores), item_interval_of_seed_mean(scores)
        assert combined is not None
        assert 0 <= combined.low <= items.low < items.high <= combined.high <= 1


@pytest.mark.parametrize("score", [0.0, 0.4, 1.0])
def test_scores_that_are_all_the_same_have_the_widest_interval_their_mean_allows_and_not_none(score: float) -> None:
    scores = np.full((3, 50), score)
    expected = wilson(round(50 * score), 50)
    for interval in (item_interval_of_seed_mean(scores), combined_interval(scores)):
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    "scores",
    [
        np.array([True, False]),
        np.zeros((3, 0), dtype=np.bool_),
        np.array([[0.5, 1.1]]),
        np.array([[-0.1, 0.5]]),
        np.array([[0.5, np.nan]]),
        np.array([[1, 0]]),
    ],
)
def test_anything_but_a_matrix_of_right_and_wrong_or_of_fractions_is_refused(scores: FloatArray) -> None:
    for interval in (item_interval_of_seed_mean, combined_interval):
        with pytest.raises(ValueError, match="booleans or of numbers in 0 … 1"):
            interval(scores)


@pytest.mark.parametrize(
    ("successes", "n", "n_classes", "flagged"),
    [
        (140, 872, 2, True),  # an inverted SST-2 student: 84 % the wrong way round
        (436, 872, 2, False),  # at chance
        (400, 872, 2, False),  # 45.9 %: below chance, but not by the margin
        (2, 8, 2, False),  # far below, but too few items to say so
        (20, 1000, 4, True),  # four labels shifted by one
        (240, 1000, 4, False),  # four labels, at chance
        (732, 872, 2, False),
    ],
)
def test_only_what_is_significantly_far_below_chance_is_suspected_of_inversion(
    successes: int, n: int, n_classes: int, flagged: bool
) -> None:
    assert chance_flag(successes, n, n_classes) is flagged


def test_students_at_chance_are_hardly_ever_flagged_on_a_small_test_set() -> None:
    highest_flagged = max(right for right in range(278) if chance_flag(right, 277, 2))
    assert stats.binom.cdf(highest_flagged, 277, 0.5) < 1 / 5000


def test_one_class_has_no_chance_level() -> None:
    with pytest.raises(ValueError, match="two classes"):
        chance_flag(1, 2, n_classes=1)
