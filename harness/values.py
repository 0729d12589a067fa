"""The one record every stage reports its numbers in: a value with its unit, its tier and its interval."""

from dataclasses import asdict, dataclass
from typing import Literal

Tier = Literal["unreferenced", "real-text", "real-label", "machine", "accounting"]
"""What a number may have looked at: synthetic text only; real unlabelled text; gold labels. `machine` is for
timings and sizes, `accounting` for counts of rows and tokens."""


@dataclass(frozen=True, slots=True)
class Value:
    """One number. `low` and `high` bound its 95 % interval where it has one."""

    measure: str
    value: float
    unit: str
    tier: Tier
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, str | float | None]:
        return asdict(self)
