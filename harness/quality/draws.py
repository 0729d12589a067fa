"""Random draws of rows, and what several of them say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.errors import HarnessError
from harness.seeds import hash_order
from harness.values import Tier, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.floating[Any]]

DRAWS = 5
"""How often a measure is taken that depends on which rows (or in which order) are drawn."""

MOST_ROWS = 5_000
"""Of either side at most, where synthetic rows are compared with real ones."""


@dataclass(frozen=True, slots=True)
class OverDraws:
    """A number over draws: mean, standard deviation (divisor draws − 1), and rows of each draw where they are told.

    The interval is the 95 % one of one draw (normal): what another draw would give. There is none where the draws agree
    but for rounding, or there was but one: an interval of no width would claim certainty.
    """

    mean: float
    sd: float
    rows: int | None = None

    def value(self, measure: str, unit: str, tier: Tier) -> Value:
        """As a value with its interval; that of a fraction ends where fractions end."""
        if self.sd <= 1e-9 * max(abs(self.mean), 1e-9):
            return Value(measure, self.mean, unit, tier)
        low, high = self.mean - 1.96 * self.sd, self.mean + 1.96 * self.sd
        if unit == "fraction":
            low, high = max(0.0, low), min(1.0, high)
        return Value(measure, self.mean, unit, tier, low, high)


def over_draws(numbers: Sequence[float], rows: int | None = None) -> OverDraws:
    """What the numbers of several draws say together."""
    import numpy as np

    sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return OverDraws(float(np.mean(numbers)), sd, rows)


def drawn_rows(n_rows: int, size: int, *parts: str | int) -> NDArray[np.int64]:
    """`size` of the numbers below `n_rows`, without replacement and in random order, fixed by the parts."""
    import numpy as np

    return np.array(hash_order(n_rows, *parts)[:size], dtype=np.int64)


def equal_draw(synthetic: Floats, real: Floats, seed: int, draw: int) -> tuple[Floats, Floats]:
    """As many rows of either, without replacement: those of the smaller set, at most `MOST_ROWS`.

    Raises:
        HarnessError: fewer than two rows of either, or rows of different widths.
    """
    size = min(len(synthetic), len(real), MOST_ROWS)
    if size < 2 or synthetic.shape[1] != real.shape[1]:
        raise HarnessError(
            "a comparison with real text needs embeddings by one model of at least 2 texts of either kind; found "
            f"{synthetic.shape[0]} synthetic ones of {synthetic.shape[1]} numbers and {real.shape[0]} real ones of "
            f"{real.shape[1]}"
        )
    of_synthetic = drawn_rows(len(synthetic), size, "equal draw", "synthetic", seed, draw)
    return synthetic[of_synthetic], real[drawn_rows(len(real), size, "equal draw", "real", seed, draw)]
