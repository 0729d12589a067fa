"""Stage `score`: a trained student, or the constant baseline, on the real test split.

Besides training SUPERVISED this is the only stage, with `prompt`, that reads gold labels of a real split.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from harness.data.real import RealSplit, RealTask
from harness.seeds import derive_seed
from harness.stages.base import Record, StageIO, write_values
from harness.students import StudentConfig

PREDICTIONS = "predictions.parquet"
STUDENT_INPUT = "student"


def write_scores(out: Path, task: RealTask, split: RealSplit, probabilities: npt.NDArray[np.float64]) -> Record:
    """Predictions per test row and the metrics over them. `probabilities`: [rows, labels] in the task's order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.scoring.scores import score_values

    labels = task.spec.labels
    predicted = [labels[index] for index in probabilities.argmax(axis=1)]
    columns: dict[str, Any] = {
        "row": list(range(len(split))),
        "predicted": predicted,
        "correct": [p == gold for p, gold in zip(predicted, split.label, strict=True)],
        **{f"probability.{label}": probabilities[:, index] for index, label in enumerate(labels)},
    }
    pq.write_table(pa.table(columns), out / PREDICTIONS, compression="zstd")
    seed = derive_seed("bootstrap", split.content_hash)
    write_values(out, score_values(split.label, predicted, labels, seed))
    return Record(gold=[f"{task.name}/test: labels, to score"])


def read_correct(folder: Path) -> npt.NDArray[np.bool_]:
    """[test rows], whether each was classified correctly."""
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(folder / PREDICTIONS, columns=["correct"]).column("correct").to_numpy())


@dataclass(frozen=True)
class Score:
    """A trained student on the test split of a task that has the same labels as the one it was trained for."""

    name: ClassVar[str] = "score"
    version: ClassVar[int] = 1

    task: RealTask
    student: StudentConfig
    trained_on: str

    @property
    def title(self) -> str:
        return f"score {self.student.name} ({self.trained_on}) on {self.task.name}"

    def identity(self) -> dict[str, Any]:
        return {
            "test": self.task.split("test").content_hash,
            "labels": list(self.task.spec.labels),
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        from students.protocol import Examples

        split = self.task.split("test")
        student = self.student.load(io.inputs[STUDENT_INPUT])
        probabilities = student.predict_proba(Examples(split.text))
        io.progress.update(len(split), len(split), "rows")
        return write_scores(io.out, self.task, split, probabilities)


@dataclass(frozen=True)
class Majority:
    """The strongest constant answer: always the test split's most frequent label (the first of equals)."""

    name: ClassVar[str] = "score"
    version: ClassVar[int] = 1

    task: RealTask

    @property
    def title(self) -> str:
        return f"score the majority label on {self.task.name}"

    def identity(self) -> dict[str, Any]:
        return {
            "majority": True,
            "test": self.task.split("test").content_hash,
            "labels": list(self.task.spec.labels),
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        split = self.task.split("test")
        return write_scores(io.out, self.task, split, constant(split.label, self.task.spec.labels))


def constant(gold: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """[rows, labels]: all probability on the most frequent label."""
    counts = Counter(gold)
    best = max(range(len(labels)), key=lambda index: (counts[labels[index]], -index))
    probabilities = np.zeros((len(gold), len(labels)))
    probabilities[:, best] = 1.0
    return probabilities
