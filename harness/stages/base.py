"""What a stage is: settings that fix its result, the artifacts it reads, and a function that fills a folder.

A stage knows neither boards nor the store. It is given the folders of its inputs and an empty folder to fill, and says
in `identity` everything that its result depends on; the plan hashes that into the artifact's key.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from harness.files import write_json
from harness.generators.cache import GeneratorCache
from harness.synthesis.zerogen import Journal
from harness.values import Value

VALUES = "values.json"


class Progress(Protocol):
    """Told how far a stage is. `total` of None: unknown; `unit` is what is counted."""

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...


@dataclass(frozen=True)
class StageIO:
    """What a running stage may touch."""

    inputs: Mapping[str, Path]
    out: Path
    journal: Journal
    progress: Progress
    generators: GeneratorCache


@dataclass
class Record:
    """What a stage reports beside its files: for the manifest, not for the key."""

    gold: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """One stage with its settings."""

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def title(self) -> str:
        """What a person reads while it runs, such as `train bilstm on gpt2-xl/imdb/1000/13`."""
        ...

    def identity(self) -> dict[str, Any]:
        """Everything the result depends on, but for the artifacts in `inputs`; JSON values only."""
        ...

    def run(self, io: StageIO) -> Record: ...


def write_values(folder: Path, values: list[Value]) -> None:
    write_json(folder / VALUES, [value.as_dict() for value in values])


def read_values(folder: Path) -> list[Value]:
    return [Value(**row) for row in json.loads((folder / VALUES).read_text(encoding="utf-8"))]
