"""Two entries compared on the same test items, and many such comparisons adjusted together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, erfc, sqrt

import numpy as np

from harness.scoring.metrics import BoolArray

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
