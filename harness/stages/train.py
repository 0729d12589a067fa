"""Stage `train`: a student from scratch, on a synthetic dataset or (SUPERVISED) on the gold train split."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.data.real import RealTask
from harness.errors import HarnessError
from harness.files import write_json
from harness.stages.base import Record, StageIO, write_values
from harness.stages.synthesize import read_synthetic
from harness.students import StudentConfig
from harness.values import Value

DATA_INPUT = "data"


@dataclass(frozen=True)
class Train:
    """Train one student. Without a synthetic input it reads the gold train split of the task."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 1

    task: RealTask
    student: StudentConfig
    seed: int
    gold: bool
    data_title: str

    @property
    def title(self) -> str:
        return f"train {self.student.name} on {self.data_title}"

    def identity(self) -> dict[str, Any]:
        return {
            "family": self.task.spec.family,
            "labels": list(self.task.spec.labels),
            "student": self.student.identity(),
            "seed": self.seed,
            "gold": self.task.split("train").content_hash if self.gold else None,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        if self.gold:
            examples = self.task.split("train")
        else:
            examples = read_synthetic(io.inputs[DATA_INPUT], self.task.spec.family)
        student = self.student.new(self.task.spec)
        start = time.perf_counter()

        def report(done: float, total: float, note: str) -> None:
            rate = done / max(time.perf_counter() - start, 1e-9)
            io.progress.update(done, total, "rows", f"{note}, {rate:,.0f} rows/s" if note else "")

        try:
            history = student.fit(examples, self.seed, report)
        except ValueError as error:
            raise HarnessError(str(error)) from None
        seconds = time.perf_counter() - start
        student.save(io.out)
        write_json(io.out / "history.json", {"epochs": history.epochs, "chosen": history.chosen})
        parameters = student.parameters()
        files = [path for path in io.out.iterdir() if path.name != "history.json"]
        write_values(
            io.out,
            [
                Value("parameters", parameters["total"], "parameters", "accounting"),
                Value(
                    "parameters_without_embedding",
                    parameters["without_embedding"],
                    "parameters",
                    "accounting",
                ),
                Value("size_bytes", sum(path.stat().st_size for path in files), "bytes", "accounting"),
                Value("train_seconds", seconds, "seconds", "machine"),
            ],
        )
        gold = (
            [f"{self.task.name}/train: texts and {'labels' if self.task.spec.labels else 'answers'}, to train on"]
            if self.gold
            else []
        )
        return Record(gold=gold, details={"chosen": history.chosen})
