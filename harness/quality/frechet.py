"""The Fréchet distance between the embeddings of synthetic and of real texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.quality.draws import DRAWS, OverDraws, equal_draw, over_draws

if TYPE_CHECKING:
    from harness.quality.draws import Floats


def frechet(synthetic: Floats, real: Floats, seed: int = 0) -> OverDraws:
    """`frechet_distance` of embeddings [n, d] and [m, d], over `DRAWS` draws of equally many rows of either.

    The distance of two samples is above that of their distributions, by an amount that falls like 1/n and is large
    where n is not far above d (Chong and Forsyth, CVPR 2020): what is compared must have one n, and 0 is never reached.
    A side that has no more rows than are drawn is the same in every draw and adds nothing to the spread; where both
    are, one draw is all there are.

    Raises:
        HarnessError: fewer than two rows of either, or rows of different widths.
    """
    numbers, n_rows = list[float](), 0
    for draw in range(DRAWS):
        one, other = equal_draw(synthetic, real, seed, draw)
        n_rows = len(one)
        numbers.append(frechet_distance(one, other))
        if n_rows == len(synthetic) == len(real):
            break
    return over_draws(numbers, n_rows)


def frechet_distance(one: Floats, other: Floats) -> float:
    """‖μ₁ − μ₂‖² + tr(S₁ + S₂ − 2(S₁S₂)^½) of the normal distributions fitted to the rows of [n, d] and [m, d].

    The squared 2-Wasserstein distance of two normal distributions (Dowson and Landau, 1982), for texts after Xiang et
    al. (EMNLP Findings 2021) as for images after Heusel et al. (NeurIPS 2017); S with divisor n − 1. (S₁S₂)^½ has the
    trace of (S₁^½ S₂ S₁^½)^½, which is symmetric: its root needs no complex numbers and no correction. At least two
    rows of either.
    """
    (mean_one, cov_one), (mean_other, cov_other) = _normal(one), _normal(other)
    values, axes = np.linalg.eigh(cov_one)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    of_product = np.linalg.eigvalsh(root @ cov_other @ root)
    overlap = float(np.sqrt(np.maximum(of_product, 0)).sum())
    apart = float(np.sum((mean_one - mean_other) ** 2))
    # Rounding carries equal sets below 0.
    return max(0.0, apart + float(np.trace(cov_one) + np.trace(cov_other)) - 2 * overlap)


def _normal(rows: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [d] and covariance [d, d]."""
    wide = rows.astype(np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    return mean, centred.T @ centred / (len(wide) - 1)
