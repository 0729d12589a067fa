import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.neighbors import NearestNeighbors

import harness.quality.embedding_distances as module
from harness.errors import HarnessError
from harness.quality.embedding_distances import embedding_distances


def random_units(count: int, width: int = 8, seed: int = 13) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(0.3, 1, (count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def nearest_by_sklearn(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    distances, _ = NearestNeighbors(n_neighbors=2, metric="cosine", algorithm="brute").fit(rows).kneighbors(rows)
    return np.asarray(distances[:, 1], np.float64)


@pytest.mark.parametrize("count", [2, 3, 1024, 1025, 2500])  # within a block, at its edge, over several
def test_both_distances_agree_with_scipy_and_scikit_learn(count: int) -> None:
    rows = random_units(count)
    found = embedding_distances(rows)
    assert found.pairwise == pytest.approx(pdist(rows.astype(np.float64), "cosine").mean(), abs=1e-6)
    np.testing.assert_allclose(found.nearest_of, nearest_by_sklearn(rows), atol=1e-6)
    assert found.nearest == pytest.approx(found.nearest_of.mean(), abs=1e-12)
    assert found.nearest_low is None and found.nearest_high is None


def test_numbers_worked_by_hand() -> None:
    # Two equal rows and one at a right angle to both: pairs 0, 1, 1; nearest 0, 0, 1; mean (2, 1)/3.
    found = embedding_distances(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    assert found.pairwise == pytest.approx(2 / 3)
    assert found.nearest_of.tolist() == [0, 0, 1]
    assert found.typicality.tolist() == pytest.approx([2 / math.sqrt(5), 2 / math.sqrt(5), 1 / math.sqrt(5)])


def test_of_many_rows_a_sample_is_asked_and_its_interval_holds_the_mean_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = random_units(2100)
    exact = embedding_distances(rows)
    monkeypatch.setattr(module, "EXACT_ROWS", 2000)
    monkeypatch.setattr(module, "QUERIES", 1100)
    held = 0
    for seed in range(20):
        found = embedding_distances(rows, seed)
        asked = ~np.isnan(found.nearest_of)
        assert asked.sum() == 1100
        np.testing.assert_allclose(found.nearest_of[asked], exact.nearest_of[asked], atol=1e-6)
        assert found.nearest_low is not None and found.nearest_high is not None
        held += found.nearest_low <= exact.nearest <= found.nearest_high
    # 19 of 20 are expected; fewer than 15 have a probability below 1 in 1000.
    assert held >= 15
    # Half the rows of a population of 2,100: the interval of infinitely many would be 1.45 times as wide.
    plain = 1.96 * np.nanstd(found.nearest_of, ddof=1) / math.sqrt(1100)
    assert found.nearest_high is not None
    assert (found.nearest_high - found.nearest) / plain == pytest.approx(math.sqrt(1000 / 2100), rel=1e-6)
    np.testing.assert_array_equal(embedding_distances(rows, 19).nearest_of, found.nearest_of)
    assert embedding_distances(rows, 18).nearest != found.nearest


def test_opposite_rows_are_typical_of_nothing() -> None:
    found = embedding_distances(np.array([[1, 0], [-1, 0]], np.float32))
    assert (found.pairwise, found.nearest) == (2, 2)
    assert np.isnan(found.typicality).all()


def test_one_row_has_no_distance() -> None:
    with pytest.raises(HarnessError, match="at least 2 rows; found 1"):
        embedding_distances(random_units(1))
