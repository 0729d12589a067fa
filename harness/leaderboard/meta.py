"""Meta-evaluation: which measure of a dataset goes with the accuracy of the students trained on it?

Over the entries of a board, each measure is correlated by rank with the entries' scores: a measure that anyone can take
without gold labels is worth as much as this says. Boards have few entries, so the intervals are wide; and of twenty
measures one correlates well by luck.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.scoring.metrics import FloatArray
from harness.scoring.statistics import Interval
from harness.seeds import derive_seed

MIN_ENTRIES = 4
"""With three entries, one order in three of chance's gives a perfect correlation."""

_MOST_DEFINED = 0.95

_CELLS = 4_000_000
"""Pairs of entries looked at in one go, to bound the memory."""


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """A coefficient in −1 … 1. `interval` is None where many resamples have none, or all the same."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Correlation:
    """A measure against the scores of the `entries` that have it. Spearman's rho and Kendall's tau-b are None where
    they are not defined: fewer than `MIN_ENTRIES` entries, or one side has the same number for all."""

    measure: str
    entries: int
    spearman: RankCorrelation | None
    kendall: RankCorrelation | None


def correlate(
    measure_values: Mapping[str, Sequence[float | None]],
    scores: Sequence[float],
    score_errors: Sequence[float] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> list[Correlation]:
    """Correlate each measure with the scores; both [entries], in the same order. In the order of the measures.

    An entry without a value (None or NaN) is left out of that measure. The interval is a percentile bootstrap over
    entries (Efron, 1979); a resample in which one side has the same number for all has no coefficient and does not
    count. `score_errors` [entries] are standard errors of the scores: each resample then moves every score by its
    normal error, which widens the interval and draws it towards 0, as noise does with rank correlations. The
    coefficients themselves are those of the scores as given.

    Raises ValueError where a measure or the errors are not as many as the scores, a number is infinite, or an error
    negative.
    """
    of_scores = np.asarray(scores, dtype=np.float64)
    errors = np.zeros(len(of_scores)) if score_errors is None else np.asarray(score_errors, dtype=np.float64)
    _check("the scores", of_scores, len(of_scores))
    _check("the errors of the scores", errors, len(of_scores))
    if (errors < 0).any():
        raise ValueError(f"expected standard errors of at least 0, found {errors.min()}")
    found = []
    for measure, given in measure_values.items():
        values = np.array([math.nan if value is None else value for value in given], dtype=np.float64)
        known = ~np.isnan(values)
        _check(f"the values of {measure}", values[known], int(known.sum()))
        if len(values) != len(of_scores):
            raise ValueError(f"expected {len(of_scores)} values of {measure}, one per entry, found {len(values)}")
        x, y, spread = values[known], of_scores[known], errors[known]
        rho, tau = rank_correlations(x[np.newaxis], y[np.newaxis])
        if len(x) < MIN_ENTRIES or math.isnan(rho[0]):
            found.append(Correlation(measure, len(x), None, None))
            continue
        generator = np.random.Generator(np.random.Philox(derive_seed("meta-evaluation", seed, measure)))
        drawn = generator.integers(0, len(x), (resamples, len(x)))
        # An entry drawn twice is one entry: both have the same error.
        moved = y + spread * generator.standard_normal((resamples, len(x)))
        of_rho, of_tau = rank_correlations(x[drawn], np.take_along_axis(moved, drawn, axis=1))
        spearman = RankCorrelation(float(rho[0]), _percentiles(of_rho, level))
        kendall = RankCorrelation(float(tau[0]), _percentiles(of_tau, level))
        found.append(Correlation(measure, len(x), spearman, kendall))
    return found


def strongest(correlations: Iterable[Correlation], most: int) -> list[Correlation]:
    """Those with the largest Spearman correlation, of either sign, first."""
    return sorted(correlations, key=lambda one: -abs(one.spearman.value) if one.spearman else 0.0)[:most]


def rank_correlations(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Spearman's rho (1904, with mid-ranks) and Kendall's tau-b (Biometrika 1945) row by row; x and y are [rows, n].

    Both follow from the signs of the differences of all pairs (Daniels, Biometrika 1944): tau-b is the cosine of the
    two sides' signs, rho that of their sums over the partners, 2·rank − (n + 1). NaN where a side is constant.
    """
    rows, n = x.shape
    rho, tau = np.empty(rows), np.empty(rows)
    step = max(1, _CELLS // max(1, n * n))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        of_x, of_y = (np.sign(one[part, :, np.newaxis] - one[part, np.newaxis, :]) for one in (x, y))
        tau[part] = _cosine(of_x.reshape(len(of_x), -1), of_y.reshape(len(of_y), -1))
        rho[part] = _cosine(of_x.sum(axis=2), of_y.sum(axis=2))
    return rho, tau


def _cosine(x: FloatArray, y: FloatArray) -> FloatArray:
    """Of whole numbers, so that perfect agreement is 1 to the last digit; [rows], NaN where a row is all 0."""
    product = (x * x).sum(axis=1) * (y * y).sum(axis=1)
    found = np.full(len(x), np.nan)
    np.divide((x * y).sum(axis=1), np.sqrt(product), out=found, where=product > 0)
    return found


def _percentiles(values: FloatArray, level: float) -> Interval | None:
    """None where more than one resample in twenty has no coefficient, for those that have one are then a choice (where
    only one entry differs, those that hold it), and where all have the same: no width would claim certainty."""
    defined = values[~np.isnan(values)]
    if len(defined) < _MOST_DEFINED * len(values) or defined.min() == defined.max():
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return None if low == high else Interval(low, high, level, "bootstrap-percentile")


def _check(what: str, numbers: FloatArray, count: int) -> None:
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"expected {what} to be {count} finite numbers, found shape {numbers.shape}: {numbers}")
