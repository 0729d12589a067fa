"""Stage `measure`: the quality of a synthetic dataset's text."""

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.data.real import RealTask
from harness.quality.measures import MEASURES, measure_all
from harness.quality.rows import Rows
from harness.stages.base import Record, StageIO, write_values
from harness.stages.synthesize import read_synthetic

DATA_INPUT = "data"


@dataclass(frozen=True)
class Measure:
    """The named measures of one dataset. Real test texts are read only if one of them needs real text."""

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 1

    task: RealTask
    measures: tuple[str, ...]
    data_title: str

    @property
    def title(self) -> str:
        return f"measure {self.data_title}"

    @property
    def _reads_real_text(self) -> bool:
        return any("test_texts" in MEASURES[name].needs for name in self.measures)

    def identity(self) -> dict[str, Any]:
        return {
            "measures": {name: MEASURES[name].version for name in self.measures},
            "family": self.task.spec.family,
            "labels": list(self.task.spec.labels),
            "test": self.task.split("test").content_hash if self._reads_real_text else None,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        family = self.task.spec.family
        data = read_synthetic(io.inputs[DATA_INPUT], family)
        test_texts = self.task.split("test").measured(family) if self._reads_real_text else None
        labels = self.task.spec.labels
        texts = data.measured(family)
        rows = Rows(texts, labels, data.label if labels else None, test_texts=test_texts)
        write_values(io.out, measure_all(self.measures, rows).values)
        io.progress.update(len(texts), len(texts), "rows")
        return Record(gold=[f"{self.task.name}/test: texts without labels, for leakage"] if test_texts else [])
