"""Equal numbers of synthetic and of real rows, drawn by a seed, for measures that compare the two."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.seeds import hash_order

Floats: TypeAlias = NDArray[np.floating[Any]]

DRAWS = 5
"""How often rows are drawn."""

MOST_ROWS = 5_000
"""Drawn of either side at most."""


@dataclass(frozen=True, slots=True)
class OverDraws:
    """A number over draws: mean, standard deviation (divisor draws − 1), and rows of either side in each draw.

    `low` and `high` are the 95 % interval of one draw (normal): what another seed would give. None where the draws
    agree or there was but one, for an interval of no width would claim certainty.
    """

    mean: float
    sd: float
    rows: int

    @property
    def low(self) -> float | None:
        return self.mean - 1.96 * self.sd if self.sd else None

    @property
    def high(self) -> float | None:
        return self.mean + 1.96 * self.sd if self.sd else None


def over_draws(numbers: list[float], rows: int) -> OverDraws:
    sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return OverDraws(float(np.mean(numbers)), sd, rows)


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
    return _drawn(synthetic, size, "synthetic", seed, draw), _drawn(real, size, "real", seed, draw)


def _drawn(rows: Floats, size: int, kind: str, seed: int, draw: int) -> Floats:
    return rows[np.array(hash_order(len(rows), "equal draw", kind, seed, draw)[:size], dtype=np.int64)]
