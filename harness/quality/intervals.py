"""Figures over the texts of a dataset with the 95 % interval of what other texts of the same kind would give."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval, None where there are too few texts for one. NaN for no texts."""

    value: float
    low: float | None = None
    high: float | None = None


def mean_of(numbers: Floats) -> Estimate:
    """The mean of [n], with the normal interval from the standard deviation."""
    return ratio_of(numbers, np.ones(len(numbers)))


def ratio_of(totals: Floats, sizes: Floats) -> Estimate:
    """Σ totals / Σ sizes of texts [n], which are drawn as wholes: the linearised interval of a ratio estimator
    (Cochran, Sampling Techniques, 1977, 6.3), variance n/(n − 1)·Σ(t − r·s)²/(Σs)²."""
    n_texts, size = len(totals), float(sizes.sum())
    if not size:
        return Estimate(math.nan)
    ratio = float(totals.sum()) / size
    if n_texts < 2:
        return Estimate(ratio)
    squares = float(np.sum((totals - ratio * sizes) ** 2))
    half = 1.96 * math.sqrt(n_texts / (n_texts - 1) * squares) / size
    return Estimate(ratio, ratio - half, ratio + half)


def median_of(numbers: Floats) -> Estimate:
    """The median of [n], between the order statistics that enclose it with at least 95 % (exact, by the binomial
    distribution; Conover, Practical Nonparametric Statistics, 1999, 3.2)."""
    from scipy.special import bdtr

    n_texts = len(numbers)
    if not n_texts:
        return Estimate(math.nan)
    ordered = np.sort(numbers)
    below = int(np.searchsorted(bdtr(np.arange(n_texts), n_texts, 0.5), 0.025))
    if not below:
        return Estimate(float(np.median(ordered)))
    return Estimate(float(np.median(ordered)), float(ordered[below - 1]), float(ordered[n_texts - below]))
