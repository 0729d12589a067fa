"""What a student is. A new one is a module with a `Settings` class and a `Student` class like these.

    class Settings(StudentSettings): ...         # the recipe, with defaults; validated from the board file
    class Student:                               # VERSION goes up when the same settings give other numbers
        VERSION = 1
        FAMILIES = ("text-classification",)
        def __init__(self, settings, target): ...
        def fit(self, examples, seed, report): ...
        def predict_proba(self, examples): ...   # the families with labels
        def predict_answers(self, examples): ... # extractive-qa
        def parameters(self): ...
        def save(self, folder): ...
        @classmethod
        def load(cls, folder): ...

The module's top level must stay light (no torch, no scikit-learn): validating a board imports it. A student that starts
from pre-trained weights has `model` and `revision` among its settings; the harness finds them (embedded, a folder, a
mirror, the hub), hands their place over in `target.pretrained`, and puts their identity into the student's key.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from harness.data.examples import Answer, Examples
from harness.generators.locate import ModelPlace
from harness.spec import Family

__all__ = [
    "Answer",
    "Examples",
    "Family",
    "History",
    "ModelPlace",
    "Probabilities",
    "Report",
    "StudentModel",
    "StudentSettings",
    "Target",
]

Probabilities = npt.NDArray[np.float64]
"""[rows, labels], each row sums to 1; the columns are in the order of the student's labels."""

Report = Callable[[float, float, str], None]
"""Called with (rows done, rows in all, note) while training."""


class StudentSettings(BaseModel):
    """Base of a student's recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Target:
    """What is to be learnt. `labels` is empty for extractive-qa; `pretrained` is where the weights lie that the
    settings name in `model` (None for a student that starts from scratch)."""

    family: Family
    labels: tuple[str, ...] = ()
    pretrained: ModelPlace | None = None


@dataclass
class History:
    """What a training did: one entry per epoch, and what was chosen. Selection looks at held-out training rows only."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)


class StudentModel(Protocol):
    """A student with its target, before or after training."""

    VERSION: ClassVar[int]
    FAMILIES: ClassVar[tuple[Family, ...]]

    def __init__(self, settings: Any, target: Target) -> None: ...

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """Train from scratch. The same examples and seed give the same student.

        Raises:
            ValueError: the examples cannot train it (fewer than two labels, no words).
        """
        ...

    def predict_proba(self, examples: Examples) -> Probabilities:
        """Families with labels: the probability of every label for each row."""
        ...

    def predict_answers(self, examples: Examples) -> list[str]:
        """Extractive QA: for each question, the part of its context that answers it."""
        ...

    def parameters(self) -> dict[str, int]:
        """Number of parameters, `total` and without the `embedding` table."""
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder, all that `load` needs: it is given nothing else."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...
