"""Two entries compared on the same test items, and many such comparisons adjusted together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, erfc, sqrt

import numpy as np

from harness.scoring.metrics import BoolArray, FloatArray, IntArray
from harness.scoring.statistics import Interval, check_scores

EXACT_BELOW = 25
"""From this many discordant items on, McNemar's test takes chi-square's approximation."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """`only_first` and `only_second`: items that only that entry got right. `statistic` is the smaller of the two where
    the test is `exact`, else chi-square with continuity correction."""

    only_first: int
    only_second: int
    statistic: float
    p_value: float
    exact: bool


def mcnemar(first: BoolArray, second: BoolArray) -> McNemar:
    """Whether two entries differ in accuracy (McNemar, Psychometrika 1947); right answers `[items]` of one seed each.

    Two-sided. Exact (binomial) for fewer than `EXACT_BELOW` items that only one of them got right, else
    (|b − c| − 1)²/(b + c) on one degree of freedom (Edwards, 1948), where b = c has the statistic 0, for the correction
    must not overshoot. Without any such item p is 1. Raises ValueError on unequal or empty input.
    """
    if first.dtype != np.bool_ or second.dtype != np.bool_ or first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            "expected the right answers of two entries to the same items, "
            f"found {first.dtype} {first.shape} and {second.dtype} {second.shape}"
        )
    if first.size == 0:
        raise ValueError("expected at least one item, found none")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    if discordant < EXACT_BELOW:
        tail = sum(comb(discordant, count) for count in range(fewer + 1)) / 2**discordant
        return McNemar(only_first, only_second, float(fewer), min(1.0, 2 * tail), True)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    # The upper tail of chi-square with one degree of freedom is that of the squared normal.
    return McNemar(only_first, only_second, statistic, erfc(sqrt(statistic / 2)), False)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean score of the first entry less that of the second; `interval` is None where all resamples agree."""

    difference: float
    interval: Interval | None
    p_value: float


def paired_bootstrap(
    first: BoolArray | FloatArray,
    second: BoolArray | FloatArray,
    seed: int,
    resamples: int = 5000,
    level: float = 0.95,
) -> PairedDifference:
    """Percentile interval of the difference of two mean scores; scores `[items]` or `[seeds, items]`, in 0 … 1.

    The items are drawn with replacement, the same for both (Efron and Tibshirani, 1993, chapter 8). With several seeds
    these are drawn too, for each entry its own (two-level: Owen, Ann. Appl. Stat. 2007), one fewer than there are: this
    makes up for the variance that drawing from so few loses (Rao and Wu, JASA 1988), though not for a t quantile, so
    that with three seeds the interval is still too narrow where seeds matter. The entries may differ in their number of
    seeds; one seed is held fixed.

    `p_value`: twice the smaller share of resamples at or beyond 0, the observed one counted (Davison and Hinkley, 1997,
    section 4.4), so it is at least 2/(resamples + 1). Raises ValueError for scores of other items or outside 0 … 1.
    """
    both = [scores[np.newaxis] if scores.ndim == 1 else scores for scores in (first, second)]
    for scores in both:
        check_scores(scores)
    if both[0].shape[1] != both[1].shape[1]:
        raise ValueError(f"expected scores on the same items, found {both[0].shape[1]} and {both[1].shape[1]} items")
    n_items = both[0].shape[1]
    generator = np.random.Generator(np.random.Philox(seed))
    # Items with the same scores in every seed are drawn together: right and wrong make few different columns.
    columns, times = np.unique(np.vstack(both).astype(np.float64), axis=1, return_counts=True)
    first_columns, second_columns = columns[: len(both[0])], columns[len(both[0]) :]
    differences = np.empty(resamples)
    for start in range(0, resamples, chunk := max(1, 2_000_000 // len(times))):
        drawn = generator.multinomial(n_items, times / n_items, size=min(chunk, resamples - start)) / n_items
        of_seeds = [_seed_means(drawn @ scores.T, generator) for scores in (first_columns, second_columns)]
        differences[start : start + chunk] = of_seeds[0] - of_seeds[1]
    # Sums in another order differ in their last digits; what is no difference must count as none.
    differences[np.abs(differences) < 1e-12] = 0.0
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return PairedDifference(
        difference=float(both[0].mean() - both[1].mean()),
        interval=None if low == high else Interval(low, high, level, "paired-bootstrap-percentile"),
        p_value=min(1.0, 2 * (beyond + 1) / (resamples + 1)),
    )


def _seed_means(scores: FloatArray, generator: np.random.Generator) -> FloatArray:
    """The mean over drawn seeds of each resample's scores `[resamples, seeds]`; `[resamples]`."""
    n_resamples, n_seeds = scores.shape
    draws = max(1, n_seeds - 1)
    times: IntArray = generator.multinomial(draws, np.full(n_seeds, 1 / n_seeds), size=n_resamples)
    return np.asarray((scores * times).sum(axis=1) / draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in their order (Holm, Scand. J. Statist. 1979): those below α are rejected
    with a chance of at most α of any false rejection. Raises ValueError for a value outside 0 … 1."""
    if any(not 0 <= value <= 1 for value in p_values):
        raise ValueError(f"expected p-values in 0 … 1, found {list(p_values)}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
