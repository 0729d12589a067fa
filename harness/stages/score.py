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

from harness.data.examples import Answer, Examples
from harness.data.real import RealTask
from harness.seeds import derive_seed
from harness.stages.base import Record, StageIO, write_values
from harness.students import StudentConfig
from harness.values import Value

PREDICTIONS = "predictions.parquet"
STUDENT_INPUT = "student"

Predictions = npt.NDArray[np.float64] | list[str]
"""[rows, labels] probabilities in the task's order, or (extractive QA) an answer for each row."""


def write_scores(out: Path, task: RealTask, predictions: Predictions) -> Record:
    """Predictions per test row and the metrics over them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    split = task.split("test")
    if isinstance(predictions, list):
        columns, values = _answers(split, predictions)
    else:
        columns, values = _labels(split, predictions, task.spec.labels)
    pq.write_table(pa.table({"row": list(range(len(split))), **columns}), out / PREDICTIONS, compression="zstd")
    write_values(out, values)
    return Record(gold=[f"{task.name}/test: {'labels' if task.spec.labels else 'answers'}, to score"])


def _labels(
    split: Examples, probabilities: npt.NDArray[np.float64], labels: tuple[str, ...]
) -> tuple[dict[str, Any], list[Value]]:
    from harness.scoring.scores import score_values

    predicted = [labels[index] for index in probabilities.argmax(axis=1)]
    columns: dict[str, Any] = {
        "predicted": predicted,
        "correct": [p == gold for p, gold in zip(predicted, split.label, strict=True)],
        **{f"probability.{label}": probabilities[:, index] for index, label in enumerate(labels)},
    }
    seed = derive_seed("bootstrap", split.content_hash)
    return columns, score_values(split.label, predicted, labels, seed)


def _answers(split: Examples, predicted: list[str]) -> tuple[dict[str, Any], list[Value]]:
    from harness.scoring.scores import answer_score_values
    from harness.scoring.squad import answer_scores

    exact, f1 = answer_scores(predicted, [[answer.text for answer in row] for row in split.answers])
    columns = {"predicted": predicted, "exact_match": exact, "f1": f1}
    return columns, answer_score_values(exact, f1)


def read_scores(folder: Path, column: str) -> npt.NDArray[Any]:
    """[test rows] of the predictions: `correct` (labels), `exact_match` or `f1` (answers)."""
    import pyarrow.parquet as pq

    # Not `read_table`, which imports pandas: a run that finds everything made would wait for that longest.
    return np.asarray(pq.ParquetFile(folder / PREDICTIONS).read(columns=[column]).column(column).to_numpy())


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
        rows = self.task.split("test").without_gold()
        student = self.student.load(io.inputs[STUDENT_INPUT])
        predicted = student.predict_proba(rows) if self.task.spec.labels else student.predict_answers(rows)
        io.progress.update(len(rows), len(rows), "rows")
        return write_scores(io.out, self.task, predicted)


@dataclass(frozen=True)
class Majority:
    """The strongest constant: always the test split's most frequent label, or answer (the first of equals)."""

    name: ClassVar[str] = "score"
    version: ClassVar[int] = 1

    task: RealTask

    @property
    def title(self) -> str:
        return f"score the majority {'label' if self.task.spec.labels else 'answer'} on {self.task.name}"

    def identity(self) -> dict[str, Any]:
        return {
            "majority": True,
            "test": self.task.split("test").content_hash,
            "labels": list(self.task.spec.labels),
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        split = self.task.split("test")
        if self.task.spec.labels:
            return write_scores(io.out, self.task, constant(split.label, self.task.spec.labels))
        return write_scores(io.out, self.task, [constant_answer(split.answers)] * len(split))


def constant_answer(gold: Sequence[Sequence[Answer]]) -> str:
    """The answer that most questions accept, as the metrics compare answers."""
    from harness.scoring.squad import normalize_answer

    accepted = [{normalize_answer(answer.text) for answer in row} for row in gold]
    counts = Counter(text for row in accepted for text in row if text)
    return max(sorted(counts), key=lambda text: counts[text], default="")


def constant(gold: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """[rows, labels]: all probability on the most frequent label."""
    counts = Counter(gold)
    best = max(range(len(labels)), key=lambda index: (counts[labels[index]], -index))
    probabilities = np.zeros((len(gold), len(labels)))
    probabilities[:, best] = 1.0
    return probabilities
