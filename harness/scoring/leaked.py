"""A student's score without the test rows that its synthetic training data hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.scoring.metrics import BoolArray, FloatArray
from harness.scoring.statistics import Interval, combined_interval, item_interval_of_seed_mean


@dataclass(frozen=True, slots=True)
class RemainingScore:
    """Mean over seeds and `items`. `interval`: over items and seeds together, items alone where there is one seed."""

    value: float
    items: int
    interval: Interval


def score_without_leaked(scores: BoolArray | FloatArray, leaked: Sequence[int]) -> RemainingScore | None:
    """Score the items outside `leaked`, indices as `harness.data.leakage` gives them; scores `[seeds, items]` in 0 … 1.

    None where no item remains. The rows left out are no random ones: text that a PLM has read may be easier or harder
    than the rest, and the two scores differ for that reason as well. Raises ValueError for an index that is no item and
    for scores that are none.
    """
    n_items = scores.shape[1]
    if len(leaked) and not 0 <= min(leaked) <= max(leaked) < n_items:
        raise ValueError(f"expected indices of {n_items} items, found {min(leaked)} … {max(leaked)}")
    keep = np.ones(n_items, dtype=np.bool_)
    keep[list(leaked)] = False
    if not keep.any():
        return None
    rest = scores[:, keep]
    interval = combined_interval(rest) or item_interval_of_seed_mean(rest)
    return RemainingScore(float(rest.mean()), rest.shape[1], interval)
