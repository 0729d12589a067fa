"""The spread of differences over items and seeds: by hand, against scipy's tests, plain loops and closed forms."""

import numpy as np
import pytest
from scipy import stats

from harness.scoring.crossed import linear_macro_f1, recovered_gap, spread_of, task_moments
from harness.scoring.metrics import BoolArray, FloatArray, macro_f1


def right(*rows: str) -> BoolArray:
    return np.array([[mark == "1" for mark in row] for row in rows])


def answers(seeds: int, items: int, mean: float, stream: np.random.Generator) -> BoolArray:
    ease = 0.2 * np.sin(np.arange(items)) + 0.05 * stream.standard_normal((seeds, 1))
    return np.asarray(stream.random((seeds, items)) < mean + ease)


def test_one_seed_of_four_items_by_hand() -> None:
    """Differences 0, 1, 1, 0: squares about their mean 1, and 1 for the item that is thought to be added; over 4·3."""
    pair = spread_of([task_moments([right("1110"), right("1000")])]).pair(0, 1)
    assert (pair.value, pair.items, pair.seeds) == pytest.approx((0.5, 2 / 12, 0.0))
    assert pair.p_value() == pytest.approx(2 * stats.t.sf(0.5 / (2 / 12) ** 0.5, 3), rel=1e-6)
    half = stats.t.ppf(0.975, 3) * (2 / 12) ** 0.5
    interval = pair.interval()
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 1.0)) and half > 0.5


def test_with_one_seed_it_is_the_paired_t_test_but_for_one_item() -> None:
    stream = np.random.default_rng(1)
    a, b = answers(1, 3000, 0.75, stream), answers(1, 3000, 0.71, stream)
    expected = stats.ttest_rel(a[0].astype(float), b[0].astype(float))
    pair = spread_of([task_moments([a, b])]).pair(0, 1)
    assert pair.p_value() == pytest.approx(expected.pvalue, rel=0.02)
    interval = expected.confidence_interval()
    assert (pair.interval().low, pair.interval().high) == pytest.approx((interval.low, interval.high), rel=0.01)


def test_where_only_seeds_vary_it_is_welchs_t_test() -> None:
    of_a, of_b = [0.81, 0.84, 0.80], [0.77, 0.70, 0.79, 0.72]
    a, b = (np.repeat(np.array(means)[:, np.newaxis], 5000, axis=1) for means in (of_a, of_b))
    expected = stats.ttest_ind(of_a, of_b, equal_var=False)
    pair = spread_of([task_moments([a, b])]).pair(0, 1)
    assert pair.seed_df == pytest.approx(expected.df)
    assert pair.p_value() == pytest.approx(expected.pvalue, rel=1e-3)


def test_the_components_are_those_of_an_analysis_of_variance() -> None:
    """Seed × item by its definition, item by item; the items' share is what is left of the differences' variance."""
    stream = np.random.default_rng(2)
    a, b = answers(3, 60, 0.7, stream), answers(4, 60, 0.6, stream)
    pair = spread_of([task_moments([a, b])]).pair(0, 1)
    both = 0.0
    for scores in (a.astype(float), b.astype(float)):
        seeds, items = scores.shape
        square = 0.0
        for seed in range(seeds):
            for item in range(items):
                expected = scores[seed].mean() + scores[:, item].mean() - scores.mean()
                square += (scores[seed, item] - expected) ** 2
        both += square / ((seeds - 1) * (items - 1)) / (seeds * items)
    differences = a.mean(axis=0) - b.mean(axis=0)
    assert pair.both == pytest.approx(both)
    assert pair.items == pytest.approx(differences.var(ddof=1) / 60 + 1 / (60 * 59) - both)
    assert pair.seeds == pytest.approx(a.mean(axis=1).var(ddof=1) / 3 + b.mean(axis=1).var(ddof=1) / 4)


def test_all_pairs_at_once_are_the_pairs_one_by_one_and_p_is_where_the_interval_reaches_0() -> None:
    stream = np.random.default_rng(3)
    entries = [answers(seeds, 400, mean, stream) for seeds, mean in ((3, 0.7), (3, 0.75), (1, 0.6), (5, 0.85))]
    spread = spread_of([task_moments(entries), task_moments([one[:, :300] for one in entries])])
    found = spread.p_values()
    assert (np.diagonal(found) == 1).all() and (found == found.T).all()
    for a, b in ((0, 1), (0, 2), (1, 3), (2, 3)):
        pair = spread.pair(a, b)
        assert pair.p_value() == pytest.approx(found[a, b], rel=1e-9)
        ends = pair.interval(1 - pair.p_value())
        assert min(abs(ends.low), abs(ends.high)) < 1e-6


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_answers_are_no_difference_but_not_known_exactly(seeds: int) -> None:
    same = answers(1, 500, 0.8, np.random.default_rng(4)).repeat(seeds, axis=0)
    pair = spread_of([task_moments([same, same])]).pair(0, 1)
    assert (pair.value, pair.p_value()) == (0, 1)
    # Rule of three: with 95 % confidence fewer than 3 of 500 items would tell them apart.
    assert 2 / 500 < pair.interval().high - pair.interval().low < 6 / 500


def test_tasks_with_the_same_students_vary_together_and_others_do_not() -> None:
    stream = np.random.default_rng(5)
    a, b = answers(3, 200, 0.7, stream), answers(3, 200, 0.6, stream)
    one = task_moments([a, b])
    alone = spread_of([one])
    own, shared = spread_of([one, one]), spread_of([one, one], [["a", "b"], ["a", "b"]])
    assert shared.seed_variance == pytest.approx(alone.seed_variance)
    assert own.seed_variance == pytest.approx(alone.seed_variance / 2)
    assert (shared.seed_df == 2).all() and own.seed_df == pytest.approx([4, 4])
    assert own.means == pytest.approx(alone.means) and shared.means == pytest.approx(alone.means)
    assert own.pair(0, 1).items == pytest.approx(alone.pair(0, 1).items / 2)


def test_macro_f1_item_by_item_has_its_mean_and_its_bootstraps_spread() -> None:
    stream = np.random.default_rng(6)
    gold = stream.integers(0, 3, 900)
    guess = np.where(stream.random(900) < 0.7, gold, stream.integers(0, 3, 900))
    found = linear_macro_f1(gold, guess, 4)  # one label that nobody names
    assert found.mean() == pytest.approx(macro_f1(gold, guess, 4), abs=1e-12)
    drawn = []
    for _ in range(2000):
        rows = stream.integers(0, 900, 900)
        drawn.append(macro_f1(gold[rows], guess[rows], 4))
    # The bootstrap's own error at 2,000 draws is 1.6 %.
    assert found.std(ddof=1) / 900**0.5 == pytest.approx(np.std(drawn), rel=0.06)


def test_the_gap_recovered_has_fiellers_interval() -> None:
    """Against the quadratic's closed form, with one seed each, so that the items alone vary."""
    stream = np.random.default_rng(7)
    gen, ref, base = (answers(1, 1500, mean, stream) for mean in (0.7, 0.85, 0.5))
    found = recovered_gap(spread_of([task_moments([gen, ref, base])]))
    top, gap = (gen[0] * 1.0 - base[0]), (ref[0] * 1.0 - base[0])
    cov = np.cov(top, gap) / 1500 + np.array([[1, 0.5], [0.5, 1]]) / (1500 * 1499)
    square = stats.t.ppf(0.975, 1499) ** 2
    coefficients = [
        gap.mean() ** 2 - square * cov[1, 1],
        -2 * (top.mean() * gap.mean() - square * cov[0, 1]),
        top.mean() ** 2 - square * cov[0, 0],
    ]
    low, high = sorted(np.roots(coefficients).real)
    assert found.value == pytest.approx(100 * top.mean() / gap.mean())
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), rel=1e-6)


@pytest.mark.parametrize("reference", [0.5, 0.3])
def test_a_gap_within_its_noise_or_the_wrong_way_round_has_no_ratio(reference: float) -> None:
    stream = np.random.default_rng(8)
    three = [answers(1, 400, mean, stream) for mean in (0.7, reference, 0.5)]
    found = recovered_gap(spread_of([task_moments(three)]))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "not better than the majority" in found.why


def test_scores_on_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="same two items or more"):
        task_moments([right("101"), right("10")])
    one: FloatArray = np.zeros((3, 1))
    with pytest.raises(ValueError, match="same two items or more"):
        task_moments([one, one])
