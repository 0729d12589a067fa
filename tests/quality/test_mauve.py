import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import rel_entr
from sklearn.decomposition import PCA

from harness.errors import HarnessError
from harness.quality.mauve import (
    SCALE,
    cluster_counts,
    divergence_curve,
    mauve,
    mauve_of_shares,
    principal_components,
)

Floats = NDArray[np.float64]


def texts_of(topics: Floats, count: int, seed: int) -> Floats:
    """Points around centres that are drawn by the shares `topics`, in 16 dimensions."""
    stream = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(len(topics), 16))
    return np.asarray(centres[stream.choice(len(topics), count, p=topics)] + stream.normal(0, 0.3, (count, 16)))


EVEN = np.full(8, 1 / 8)


def test_the_divergence_curve_of_two_histograms_worked_by_hand() -> None:
    p, q = np.array([1 / 2, 1 / 2]), np.array([1 / 4, 3 / 4])
    curve = divergence_curve(p, q)
    assert curve.shape == (27, 2)
    assert curve[0].tolist() == [0, 1] and curve[-1].tolist() == [1, 0]
    # The middle weight is 1/2: R = (3/8, 5/8), KL(Q‖R) = ¼ln⅔ + ¾ln(6/5), KL(P‖R) = ½ln(4/3) + ½ln(4/5).
    of_q = math.log(2 / 3) / 4 + 3 / 4 * math.log(6 / 5)
    of_p = math.log(4 / 3) / 2 + math.log(4 / 5) / 2
    assert curve[13].tolist() == pytest.approx([math.exp(-5 * of_q), math.exp(-5 * of_p)])
    assert curve[13].tolist() == pytest.approx([0.8379, 0.8510], abs=1e-4)
    # Nearly at its ends the mixture is P, then Q: exp(−5·KL(Q‖P)) and 1, then 1 and exp(−5·KL(P‖Q)).
    assert curve[1].tolist() == pytest.approx([math.exp(-5 * rel_entr(q, p).sum()), 1], abs=1e-4)
    assert curve[-2].tolist() == pytest.approx([1, math.exp(-5 * rel_entr(p, q).sum())], abs=1e-4)
    assert (np.diff(curve[:, 0]) >= 0).all() and (np.diff(curve[:, 1]) <= 0).all()


def test_the_area_is_that_of_the_continuous_curve_whichever_axis_it_is_taken_over() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0]), np.array([0.2, 0.3, 0.4, 0.1])

    def divergences(weight: float) -> tuple[float, float]:
        mixed = weight * p + (1 - weight) * q
        return float(rel_entr(q, mixed).sum()), float(rel_entr(p, mixed).sum())

    def height_and_slope(weight: float) -> float:
        step = 1e-6
        ends = [math.exp(-SCALE * divergences(weight + side * step)[0]) for side in (-1, 1)]
        return math.exp(-SCALE * divergences(weight)[1]) * (ends[0] - ends[1]) / (2 * step)

    # From the axis to where the curve begins its height is 1; nothing is left where it ends.
    begin = math.exp(-SCALE * divergences(1)[0])
    exact = begin + quad(height_and_slope, 1e-5, 1 - 1e-5)[0]
    found = mauve_of_shares(p, q)
    assert found == pytest.approx(exact, abs=2e-3)
    assert mauve_of_shares(q, p) == pytest.approx(found, abs=1e-12), "exchanged sets exchange the axes"


def test_equal_histograms_score_one_and_disjoint_ones_the_least_there_is() -> None:
    p = np.array([0.25, 0.75, 0, 0])
    assert mauve_of_shares(p, p) == pytest.approx(1, abs=1e-6)
    # KL = −ln w and −ln(1 − w): x = (1 − w)^5, y = w^5, and ∫(1 − t)^5·5t^4 dt = 5·4!·5!/10! = 1/252.
    assert mauve_of_shares(p, p[::-1]) == pytest.approx(1 / 252, abs=2e-4)


def test_components_hold_the_share_of_the_variance_and_are_scikit_learns() -> None:
    rows = np.random.default_rng(5).normal(size=(300, 12)) * np.linspace(3, 0.1, 12) + 7
    found = principal_components(rows, 0.9)
    expected = PCA(0.9, svd_solver="full").fit_transform(rows)
    assert found.shape == expected.shape and 2 < found.shape[1] < 12
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)


def test_clusters_part_what_is_apart_and_count_every_row() -> None:
    one, other = np.eye(4)[[0, 0, 0, 1] * 10], np.eye(4)[[2, 3, 3, 3] * 10]
    mine, others = cluster_counts(one, other, seed=1)
    assert (len(mine), mine.sum(), others.sum()) == (4, 40, 40)
    assert not (mine * others).any()


def test_draws_of_one_distribution_score_near_one_and_other_topics_near_the_least() -> None:
    same = mauve(texts_of(EVEN, 400, 1), texts_of(EVEN, 400, 2))
    apart = mauve(texts_of(np.array([1, 1, 1, 1, 0, 0, 0, 0]) / 4, 400, 1), texts_of(np.eye(8)[7], 400, 2))
    assert 0.9 < same.plain.mean <= same.smoothed.mean <= 1
    assert apart.plain.mean < 0.02
    assert 0 < same.plain.sd < 0.05
    shown = same.plain.value("mauve", "fraction", "real-text")
    assert (shown.low, shown.high) == pytest.approx(
        (same.plain.mean - 1.96 * same.plain.sd, min(1.0, same.plain.mean + 1.96 * same.plain.sd))
    )


def test_the_more_rows_are_corrupted_the_lower_it_is() -> None:
    real = texts_of(EVEN, 400, 2)
    found = []
    for corrupted in (0, 100, 200, 300, 400):
        rows = texts_of(EVEN, 400, 1)
        rows[:corrupted] = np.random.default_rng(9).normal(size=(corrupted, 16))
        found.append(mauve(rows, real).plain.mean)
    assert all(before - after > 0.02 for before, after in pairwise(found)), found


def test_a_lost_topic_is_noticed_as_an_added_one_is() -> None:
    half = np.array([1, 1, 1, 1, 0, 0, 0, 0]) / 4
    lost = mauve(texts_of(half, 400, 1), texts_of(EVEN, 400, 2)).plain.mean
    added = mauve(texts_of(EVEN, 400, 1), texts_of(half, 400, 2)).plain.mean
    same = mauve(texts_of(EVEN, 400, 1), texts_of(EVEN, 400, 2)).plain.mean
    assert max(lost, added) < same - 0.1


def test_as_many_rows_of_either_are_drawn_and_the_seed_says_which() -> None:
    small, large = texts_of(EVEN, 60, 1), texts_of(EVEN, 400, 2)
    found = mauve(small, large, seed=3)
    assert found.plain.rows == 60
    assert found == mauve(small, large, seed=3) != mauve(small, large, seed=4)


def test_embeddings_of_two_models_or_of_one_text_cannot_be_compared() -> None:
    with pytest.raises(HarnessError, match="60 synthetic ones of 16 numbers and 60 real ones of 8"):
        mauve(texts_of(EVEN, 60, 1), texts_of(EVEN, 60, 1)[:, :8])
    with pytest.raises(HarnessError, match="at least 2 texts of either kind; found 1 synthetic"):
        mauve(texts_of(EVEN, 1, 1), texts_of(EVEN, 60, 1))
