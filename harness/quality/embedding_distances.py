"""How far the texts of a dataset are from each other, by the cosines of their embeddings."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.seeds import hash_order

EXACT_ROWS = 20_000
"""Up to so many rows every nearest neighbour is looked up: the time grows with their square."""

QUERIES = 10_000
"""Of more rows, how many are asked for their nearest neighbour."""

_BLOCK = 1024


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingDistances:
    """Cosine distances 1 − cos, between 0 and 2, smaller where texts mean more alike.

    `pairwise`: mean over all pairs of different rows. `nearest`: mean over rows of the distance to the nearest other
    row, with the 95 % interval `nearest_low` … `nearest_high` where a sample of rows was asked (None: all were).
    Per row, float64 [n]: `nearest_of`, NaN for a row that was not asked; `typicality`, the cosine to the mean
    embedding, NaN for all where the mean has no direction.
    """

    pairwise: float
    nearest: float
    nearest_low: float | None
    nearest_high: float | None
    nearest_of: NDArray[np.float64]
    typicality: NDArray[np.float64]


def embedding_distances(embeddings: NDArray[np.float32], seed: int = 0) -> EmbeddingDistances:
    """Distances of rows of unit length, float32 [n, d].

    The mean over pairs needs no pairs: it is 1 − (‖Σx‖² − Σ‖x‖²)/(n(n − 1)), exact in time O(n·d). Nearest neighbours
    are exact, by products of blocks; of more than `EXACT_ROWS` rows, `QUERIES` drawn without replacement by `seed` are
    compared with all, and the interval (normal, with the correction for a finite population) is that of the mean over
    all rows. Both figures fall or rise with n: compare datasets of one size.

    Raises:
        HarnessError: fewer than two rows.
    """
    n_rows = len(embeddings)
    if n_rows < 2:
        raise HarnessError(
            f"embedding_distances compares each text with the others, so it needs at least 2 rows; found {n_rows}"
        )
    total = embeddings.sum(axis=0, dtype=np.float64)
    squares = float(np.einsum("ij,ij->", embeddings, embeddings, dtype=np.float64))
    pairwise = 1 - (float(total @ total) - squares) / (n_rows * (n_rows - 1))
    length = float(np.sqrt(total @ total))
    # Of n unit vectors that cancel out, rounding leaves a sum of about n times float32's.
    has_direction = length > 1e-6 * n_rows
    typicality = np.asarray(embeddings @ (total / length), np.float64) if has_direction else np.full(n_rows, math.nan)

    nearest_of = np.full(n_rows, math.nan)
    low = high = None
    if n_rows <= EXACT_ROWS:
        nearest_of[:] = 1 - _largest_cosines(embeddings)
        nearest = float(nearest_of.mean())
    else:
        asked = np.sort(np.array(hash_order(n_rows, "nearest neighbours", seed)[:QUERIES], dtype=np.int64))
        found = nearest_of[asked] = 1 - _largest_cosines_of(embeddings, asked)
        nearest = float(found.mean())
        half = 1.96 * float(found.std(ddof=1)) * math.sqrt((1 - len(asked) / n_rows) / len(asked))
        low, high = nearest - half, nearest + half
    return EmbeddingDistances(max(0.0, pairwise), nearest, low, high, nearest_of, typicality)


def _largest_cosines(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each row's largest cosine with another row, [n]; each pair of blocks is multiplied once and read both ways."""
    largest = np.full(len(embeddings), -np.inf, dtype=np.float32)
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = embeddings[block] @ embeddings[start:].T
        np.fill_diagonal(cosines, -np.inf)
        largest[block] = np.maximum(largest[block], cosines.max(axis=1))
        largest[start:] = np.maximum(largest[start:], cosines.max(axis=0))
    return _at_most_one(largest)


def _largest_cosines_of(embeddings: NDArray[np.float32], asked: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest cosine of each row in `asked` with any other row, [len(asked)]."""
    largest = np.full(len(asked), -np.inf, dtype=np.float32)
    for first in range(0, len(asked), _BLOCK):
        rows = asked[first : first + _BLOCK]
        queries = embeddings[rows]
        for start in range(0, len(embeddings), 8 * _BLOCK):
            others = embeddings[start : start + 8 * _BLOCK]
            cosines = queries @ others.T
            own = (rows >= start) & (rows < start + len(others))
            cosines[np.flatnonzero(own), rows[own] - start] = -np.inf
            largest[first : first + _BLOCK] = np.maximum(largest[first : first + _BLOCK], cosines.max(axis=1))
    return _at_most_one(largest)


def _at_most_one(cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rounding carries the cosine of equal rows past 1."""
    return np.minimum(cosines.astype(np.float64), 1.0)
