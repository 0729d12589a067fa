"""The Vendi score: how many different items a collection amounts to."""

from typing import Any, TypeAlias

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from harness.errors import HarnessError

Features: TypeAlias = "NDArray[np.floating[Any]] | scipy.sparse.csr_array[np.float64, tuple[int, int]]"
"""One row per item: [n, d], dense or sparse."""

_UNIT_TOLERANCE = 1e-3
"""How far a row's length may be from 1: half-precision embeddings are, by up to 5e-4."""

_BLOCK = 8192
"""Rows that are widened to float64 at a time."""


def vendi_score(features: Features) -> float:
    """exp(H(eigenvalues of K / n)) for the cosine kernel K = XXᵀ; between 1 (all rows equal) and n (all orthogonal).

    `features` X is [n, d] with rows of unit length, dense or CSR. Friedman and Dieng (TMLR 2023, arXiv 2210.02410).
    XXᵀ and XᵀX have the same eigenvalues but for zeros, which add nothing to the entropy H (in nats), so the smaller of
    the two is taken: time O(n·d·m + m³) and memory 8·m² bytes with m = min(n, d). Computed in float64. The figure grows
    with n: compare collections of one size.

    Raises:
        HarnessError: no rows, or rows that are not of unit length (so that K has no unit diagonal).
    """
    n_rows, width = features.shape
    if n_rows == 0:
        raise HarnessError("The Vendi score needs at least 1 row; found none.")
    lengths = _row_lengths(features)
    if not np.all(np.abs(lengths - 1) <= _UNIT_TOLERANCE):  # NaN is no unit length either
        row = int(np.argmin(np.abs(lengths - 1) <= _UNIT_TOLERANCE))
        raise HarnessError(
            f"The Vendi score expects rows of unit length; row {row} has length {lengths[row]:.4g}. "
            "Divide each row by its length first."
        )
    gram = _outer(features) if n_rows <= width else _inner(features)
    spectrum = scipy.linalg.eigvalsh(gram, overwrite_a=True, check_finite=False)
    shares = spectrum[spectrum > 0] / spectrum.sum()  # rounding leaves negatives about 1e-16 in place of zeros
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _row_lengths(features: Features) -> NDArray[np.float64]:
    if isinstance(features, np.ndarray):
        squares = np.einsum("ij,ij->i", features, features, dtype=np.float64)
    else:
        squares = features.astype(np.float64).power(2).sum(axis=1)
    lengths: NDArray[np.float64] = np.sqrt(squares)
    return lengths


def _outer(features: Features) -> NDArray[np.float64]:
    """XXᵀ, float64 [n, n]."""
    if isinstance(features, np.ndarray):
        dense = features.astype(np.float64)
        return dense @ dense.T
    sparse = features.astype(np.float64)
    product: NDArray[np.float64] = (sparse @ sparse.T).toarray()
    return product


def _inner(features: Features) -> NDArray[np.float64]:
    """XᵀX, float64 [d, d]; a dense X is widened block by block."""
    if not isinstance(features, np.ndarray):
        sparse = features.astype(np.float64)
        product: NDArray[np.float64] = (sparse.T @ sparse).toarray()
        return product
    total = np.zeros((features.shape[1], features.shape[1]))
    for start in range(0, len(features), _BLOCK):
        block = features[start : start + _BLOCK].astype(np.float64)
        total += block.T @ block
    return total
