"""Random draws of rows, and what several of them say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.seeds import hash_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 5
"""How often a measure is taken that depends on which rows (or in which order) are drawn."""


def drawn_rows(n_rows: int, size: int, *parts: str | int) -> NDArray[np.int64]:
    """`size` of the numbers below `n_rows`, without replacement and in random order, fixed by the parts."""
    import numpy as np

    return np.array(hash_order(n_rows, *parts)[:size], dtype=np.int64)


def over_draws(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the draws with the 95 % interval of one draw (normal, from their standard deviation): what another draw
    would give."""
    import numpy as np

    mean = float(np.mean(numbers))
    spread = 1.96 * float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return mean, mean - spread, mean + spread
