"""A student's score without the test rows that its synthetic training data hold, beside the plain one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.scoring.metrics import BoolArray, FloatArray
from harness.scoring.statistics import Interval, combined_interval, item_interval_of_seed_mean


@dataclass(frozen=True, slots=True)
class MeanScore:
    """Mean over seeds and items. `interval`: over items and seeds together, items alone where there is one seed."""

    value: float
    items: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class LeakageScores:
    """`remaining` is None where no test row remains."""

    plain: MeanScore
    remaining: MeanScore | None


def scores_without_leaked(scores: BoolArray | FloatArray, leaked: Sequence[int]) -> LeakageScores:
    """Score the items outside `leaked`, indices as `harness.data.leakage` gives them; scores `[seeds, items]` in 0 … 1.

    The rows left out are no random ones: text that a PLM has read may be easier or harder than the rest, and the two
    scores differ for that reason as well. Raises ValueError for an index that is no item and for scores that are none.
    """
    plain = _mean_score(scores)
    keep = np.ones(plain.items, dtype=np.bool_)
    if len(leaked) and not 0 <= min(leaked) <= max(leaked) < plain.items:
        raise ValueError(f"expected indices of {plain.items} items, found {min(leaked)} … {max(leaked)}")
    keep[list(leaked)] = False
    return LeakageScores(plain, _mean_score(scores[:, keep]) if keep.any() else None)


def _mean_score(scores: BoolArray | FloatArray) -> MeanScore:
    interval = item_interval_of_seed_mean(scores)
    return MeanScore(float(scores.mean()), scores.shape[1], combined_interval(scores) or interval)
