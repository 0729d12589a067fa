"""MAUVE: how close the distribution of synthetic texts is to that of real ones.

Pillutla et al. (NeurIPS 2021, arXiv 2102.01454; JMLR 2023, arXiv 2212.14578), written from the papers. Both sets of
embeddings are cut into the same clusters; of the two histograms P and Q the divergence curve is drawn, which weighs the
two errors against each other that a generator can make: texts that are not like real ones, and real ones that it does
not write.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.quality.draws import DRAWS, OverDraws, equal_draw, over_draws
from harness.seeds import derive_seed

if TYPE_CHECKING:
    from harness.quality.draws import Floats

SCALE = 5.0
"""c of the paper: divergences become exp(−c·KL)."""

WEIGHTS = 25
"""Mixtures that the curve is drawn through."""

VARIANCE = 0.9
"""Share of the variance that the principal components keep."""

RESTARTS = 5
MOST_CLUSTERS = 500

_SHORTEST = 1e-12
"""A row of zeros stays one."""


@dataclass(frozen=True, slots=True)
class Mauve:
    """Between 0 and 1, 1 for equal distributions, 0.004 (1/252 but for the trapezoids) where they share no cluster.

    `plain`: from the shares of the clusters as they are (2021). `smoothed`: with 1/2 added to every count (Krichevsky
    and Trofimov), which the authors advise for small samples (2023).
    """

    plain: OverDraws
    smoothed: OverDraws


def mauve(synthetic: Floats, real: Floats, seed: int = 0) -> Mauve:
    """MAUVE of embeddings [n, d] and [m, d], over `DRAWS` draws of equally many rows of either and k-means seeds.

    Rows are scaled to unit length, joined, reduced to the principal components that hold 90 % of the variance, and
    clustered by k-means into a tenth as many clusters as a side has rows, from 2 to 500, the best of five starts at
    random rows. The number of clusters follows n, and small samples look less alike than their distributions are: what
    is compared must have one n. Choice of rows and start move the figure as much as one PLM's difference from another
    does, hence the draws.

    Raises:
        HarnessError: fewer than two rows of either, or rows of different widths.
    """
    plain, smoothed = list[float](), list[float]()
    n_rows = 0
    for draw in range(DRAWS):
        one, other = equal_draw(synthetic, real, seed, draw)
        n_rows = len(one)
        counts = cluster_counts(one, other, derive_seed("mauve", seed, draw) % 2**32)
        plain.append(mauve_of_shares(*(count / count.sum() for count in counts)))
        smoothed.append(mauve_of_shares(*((count + 0.5) / (count + 0.5).sum() for count in counts)))
    return Mauve(over_draws(plain, n_rows), over_draws(smoothed, n_rows))


def mauve_of_shares(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Area under the divergence curve of two distributions over the same clusters, each [clusters].

    By trapezoids. The authors take the mean of the areas over either axis; along a curve from (0, 1) to (1, 0) that
    only falls, the two are one number.
    """
    x, y = divergence_curve(p, q).T
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def divergence_curve(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (exp(−c·KL(Q‖R)), exp(−c·KL(P‖R))) for mixtures R = w·P + (1 − w)·Q, [WEIGHTS + 2, 2].

    w falls from 1 to 0 over `WEIGHTS` equal steps, its ends short of both by 1e-6; before and after stand (0, 1) and
    (1, 0), which any curve comes from and goes to. Abscissas rise.
    """
    weights = np.linspace(1 - 1e-6, 1e-6, WEIGHTS)
    inner = [[_divergence(q, w * p + (1 - w) * q), _divergence(p, w * p + (1 - w) * q)] for w in weights.tolist()]
    return np.exp(-SCALE * np.array([[math.inf, 0.0], *inner, [0.0, math.inf]]))


def _divergence(p: NDArray[np.float64], r: NDArray[np.float64]) -> float:
    """KL(p‖r) in nats; r > 0 wherever p > 0."""
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / r[some])))


def cluster_counts(one: Floats, other: Floats, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many rows of either lie in each cluster of both, [clusters] each; `seed` below 2³²."""
    from sklearn.cluster import KMeans

    joined = np.concatenate([one, other]).astype(np.float64)
    joined /= np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), _SHORTEST)
    clusters = min(max(2, round(len(one) / 10)), MOST_CLUSTERS)
    reduced = principal_components(joined, VARIANCE).astype(np.float32)
    clusters = min(clusters, len(np.unique(reduced, axis=0)))
    means = KMeans(clusters, init="random", n_init=RESTARTS, random_state=seed, copy_x=False)
    assigned = means.fit_predict(reduced)
    return (
        np.bincount(assigned[: len(one)], minlength=clusters),
        np.bincount(assigned[len(one) :], minlength=clusters),
    )


def principal_components(rows: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Rows [n, d] along the fewest principal components that hold at least `share` of their variance, [n, some].

    From the d × d covariance: exact, and with n well above d faster than the decomposition of the rows themselves.
    """
    centred = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    held = np.cumsum(variances)
    kept = int(np.searchsorted(held, share * held[-1])) + 1
    reduced: NDArray[np.float64] = centred @ axes[:, :kept]
    return reduced
