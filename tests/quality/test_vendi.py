import math

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray
from scipy.stats import entropy

from harness.errors import HarnessError
from harness.quality.vendi import vendi_score


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def by_definition(features: NDArray[np.float64]) -> float:
    """The kernel written out pair by pair, a general eigen-solver, and scipy's entropy."""
    kernel = np.array([[float(one @ other) for other in features] for one in features])
    eigenvalues = np.linalg.eigvals(kernel / len(features)).real
    return math.exp(float(entropy(np.clip(eigenvalues, 0, None))))


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (25, 25), (1, 3), (9, 1)])
def test_kernel_and_dual_form_agree_with_the_definition(shape: tuple[int, int]) -> None:
    features = unit(np.random.default_rng(13).normal(size=shape) + 0.3)
    expected = by_definition(features)
    assert vendi_score(features) == pytest.approx(expected, abs=1e-8)
    assert vendi_score(scipy.sparse.csr_array(features)) == pytest.approx(expected, abs=1e-8)


def test_it_counts_the_different_items() -> None:
    # Two of one kind and one each of two others: shares 1/2, 1/4, 1/4, entropy 1.5 bits, 2 ** 1.5 items.
    features = np.eye(3)[[0, 0, 1, 2]]
    assert vendi_score(features) == pytest.approx(2**1.5, abs=1e-12)


def test_equal_rows_are_one_item_and_orthogonal_rows_are_each_their_own() -> None:
    assert vendi_score(np.eye(5)[[2] * 8]) == pytest.approx(1, abs=1e-12)
    assert vendi_score(np.eye(6)) == pytest.approx(6, abs=1e-12)


def test_rows_in_single_precision_are_summed_in_double_over_many_blocks() -> None:
    features = unit(np.random.default_rng(7).normal(size=(20_000, 5))).astype(np.float32)
    wide = features.astype(np.float64)
    eigenvalues = np.linalg.svd(wide, compute_uv=False) ** 2
    assert vendi_score(features) == pytest.approx(math.exp(float(entropy(eigenvalues))), abs=1e-8)


@pytest.mark.parametrize("length", [0.0, 2.0, math.nan])
def test_rows_that_are_not_of_unit_length_are_refused_by_number(length: float) -> None:
    features = np.eye(3)
    features[1] *= length
    with pytest.raises(HarnessError, match="unit length; row 1 has length"):
        vendi_score(features)


def test_no_rows_are_refused() -> None:
    with pytest.raises(HarnessError, match="at least 1 row"):
        vendi_score(np.empty((0, 3)))
