"""What a student is. A new one is a module with a `Settings` class and a `Student` class like these.

    class Settings(StudentSettings): ...         # the recipe, with defaults; validated from the board file
    class Student:                               # VERSION goes up when the same settings give other numbers
        VERSION = 1
        FAMILIES = ("text-classification",)
        def __init__(self, settings, labels): ...
        def fit(self, examples, seed, report): ...
        def predict_proba(self, examples): ...
        def save(self, folder): ...
        @classmethod
        def load(cls, folder): ...

The module's top level must stay light (no torch, no scikit-learn): validating a board imports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Probabilities = npt.NDArray[np.float64]
"""[rows, labels], each row sums to 1; the columns are in the order of the student's labels."""

Report = Callable[[float, float, str], None]
"""Called with (rows done, rows in all, note) while training."""


class StudentSettings(BaseModel):
    """Base of a student's recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Examples:
    """Rows for a student, in columns. `label` holds label names and is empty at prediction."""

    text: Sequence[str]
    label: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: Sequence[int]) -> "Examples":
        return Examples([self.text[row] for row in rows], [self.label[row] for row in rows] if self.label else ())


@dataclass
class History:
    """What a training did: one entry per epoch, and what was chosen. Selection looks at held-out training rows only."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)


class StudentModel(Protocol):
    """A student with its labels, before or after training."""

    VERSION: ClassVar[int]
    FAMILIES: ClassVar[tuple[str, ...]]

    def __init__(self, settings: Any, labels: Sequence[str]) -> None: ...

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """Train from scratch. The same examples and seed give the same student.

        Raises:
            ValueError: the examples cannot train it (fewer than two labels, no words).
        """
        ...

    def predict_proba(self, examples: Examples) -> Probabilities: ...

    def parameters(self) -> dict[str, int]:
        """Number of parameters, `total` and without the `embedding` table."""
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...
