"""Stage `measure`: the quality of a synthetic dataset's text and labels."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.data.examples import Examples
from harness.data.real import RealTask
from harness.errors import HarnessError, OutOfReachError
from harness.files import write_json
from harness.generators.locate import ModelPlace
from harness.quality.measures import MEASURES, measure_all, measure_at
from harness.quality.rows import NEEDS, Need, Oracle, Rows, TokenLosses
from harness.seeds import hash_order
from harness.spec import Family, Task, TransformersGenerator
from harness.stages.base import Record, StageIO, write_values
from harness.stages.embed import read_embeddings
from harness.stages.score import read_scores
from harness.stages.synthesize import DATA, read_synthetic
from harness.students import StudentConfig

if TYPE_CHECKING:
    from pathlib import Path

DATA_INPUT, EMBEDDINGS_INPUT, REAL_INPUT = "data", "embeddings", "real embeddings"
ORACLE_INPUT, ORACLE_SCORE_INPUT = "oracle", "oracle score"
PER_TEXT, MISSING, TEST_ROWS = "per_text.parquet", "missing.json", "test_rows.json"

ORACLE_ROWS = 10_000
"""How many rows an oracle is asked about at most, as in the paper."""

_OF_DATASET: dict[Need, str] = {
    "finish_reasons": "finish_reason",
    "log_probabilities": "log_probability",
}
"""What a measure may need of a dataset's own columns: the provenance that only a PLM's writing here has."""


def lacking(needs: frozenset[Need], task: Task, *, written_here: bool) -> str | None:
    """Why a dataset has not what a measure needs, in words; None where it has, models aside."""
    if "labels" in needs and not task.labels:
        return "the rows have no labels"
    if needs & set(_OF_DATASET) and not written_here:
        return "a replayed dataset does not say how its PLM wrote each row"
    if "contexts" in needs and task.family == "text-classification" and not written_here:
        return "a replayed dataset does not say what its texts were written about"
    if "test_texts" in needs and "test" not in task.splits:
        return "there is no task, and so no real test split to compare with"
    return None


@dataclass(frozen=True)
class Measure:
    """Some measures of one dataset. Real test texts are read only if one of them needs them.

    `common_rows`: take those that depend on the number of rows at this one, instead of all of them at the dataset's.
    `plm`: what losses are taken under. `oracle`: the student whose artifact is an input.
    """

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 1

    task: RealTask
    measures: tuple[str, ...]
    data_title: str
    seed: int
    common_rows: int | None = None
    plm: ModelPlace | None = None
    oracle: StudentConfig | None = None

    @property
    def model(self) -> ModelPlace | None:
        """What must be within reach, if anything."""
        return self.plm

    @property
    def title(self) -> str:
        what = f", {len(self.measures)} measures" if len(self.measures) > 3 else f", {', '.join(self.measures)}"
        return f"measure {self.data_title}{what}{f' at {self.common_rows:,} rows' if self.common_rows else ''}"

    @property
    def _needs(self) -> set[Need]:
        return {need for name in self.measures for need in MEASURES[name].needs | MEASURES[name].uses}

    def identity(self) -> dict[str, Any]:
        return {
            "measures": {name: MEASURES[name].version for name in self.measures},
            "family": self.task.spec.family,
            "labels": list(self.task.spec.labels),
            "test": self.task.split("test").content_hash if "test_texts" in self._needs else None,
            "common_rows": self.common_rows,
            "plm": self.plm.identity if self.plm else None,
            "seed": self.seed,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        family = self.task.spec.family
        data = read_synthetic(io.inputs[DATA_INPUT], family, labelled=bool(self.task.spec.labels))
        rows, gold = self._rows(io, data)
        done = 0

        def report(measure: str) -> None:
            nonlocal done
            io.progress.update(done, len(self.measures), "measures", measure)
            done += 1

        lacks = {name: [need for need in MEASURES[name].needs if not rows.has(need)] for name in self.measures}
        here = [name for name, needs in lacks.items() if not needs]
        if self.common_rows is not None:
            write_values(io.out, measure_at(self.common_rows, here, rows, report))
        else:
            found = measure_all(here, rows, report)
            write_values(io.out, found.values)
            _write_per_text(io.out / PER_TEXT, found.per_text, len(rows.texts))
            absent = {name: f"the dataset lacks {NEEDS[needs[0]]}" for name, needs in lacks.items() if needs}
            write_json(io.out / MISSING, {**absent, **found.missing})
            write_json(io.out / TEST_ROWS, {name: list(rows) for name, rows in found.test_rows.items()})
        return Record(gold=gold)

    def _rows(self, io: StageIO, data: Examples) -> tuple[Rows, list[str]]:
        """What the measures look at, and which gold data that touches."""
        family, needs, gold = self.task.spec.family, self._needs, []
        texts = list(data.measured(family))
        columns = _columns(io.inputs[DATA_INPUT], needs, family)
        test_texts = None
        if "test_texts" in needs:
            test_texts = list(self.task.split("test").measured(family))
            gold.append(f"{self.task.name}/test: texts without labels, for leakage")
        oracle = None
        if self.oracle is not None:
            oracle = _ask(self.oracle, io, data, self.task.spec.labels)
            gold.append(f"{self.task.name}/train: texts and labels, which the oracle was trained on")
            gold.append(f"{self.task.name}/test: labels, to say how good the oracle is")
        rows = Rows(
            texts,
            label_names=self.task.spec.labels,
            labels=list(data.label) if len(data.label) else None,
            test_texts=test_texts,
            embeddings=read_embeddings(io.inputs[EMBEDDINGS_INPUT]) if EMBEDDINGS_INPUT in io.inputs else None,
            real_embeddings=read_embeddings(io.inputs[REAL_INPUT]) if REAL_INPUT in io.inputs else None,
            losses=_losses(self.plm, io, texts) if self.plm is not None else None,
            oracle=oracle,
            seed=self.seed,
            **columns,
        )
        return rows, gold


def _columns(folder: "Path", needs: set[Need], family: Family) -> dict[str, Any]:
    """The columns of a dataset beside its family's that the measures look at, those of them that are there."""
    import numpy as np
    import pyarrow.parquet as pq

    found: dict[str, Any] = {}
    file = pq.ParquetFile(folder / DATA)

    def column(name: str) -> list[Any]:
        return list(file.read(columns=[name]).column(name).to_pylist())

    there = set(file.schema_arrow.names)
    about = "text" if family == "text-pair-classification" else "context"
    if "contexts" in needs and about in there and None not in (contexts := column(about)):
        found["contexts"] = contexts  # a PLM that needs none to write from has none
    if "finish_reasons" in needs and "finish_reason" in there:
        found["finish_reasons"] = column("finish_reason")
    if "log_probabilities" in needs:
        found["log_probabilities"] = np.array(column("log_probability"), dtype=np.float64)  # None: untold, so NaN
        found["generated_tokens"] = np.array(column("generated_tokens"), dtype=np.int64)
    return found


def _losses(place: ModelPlace, io: StageIO, texts: list[str]) -> TokenLosses:
    from harness.quality.perplexity import token_losses

    spec = TransformersGenerator(name="perplexity", model=place.source)
    io.progress.update(0, len(texts), "texts", "loading the PLM")
    # In float32 on every machine: the number must not depend on where it was taken.
    try:
        plm = io.generators.scorer(spec, place, "float32")
    except HarnessError as error:
        raise OutOfReachError(str(error)) from None
    return token_losses(plm, place.source, texts, io.progress.update)


def _ask(config: StudentConfig, io: StageIO, data: Examples, labels: tuple[str, ...]) -> Oracle:
    import numpy as np

    chosen = np.sort(np.array(hash_order(len(data), "oracle")[:ORACLE_ROWS], dtype=np.int64))
    io.progress.update(0, len(chosen), "texts", "asking the oracle")
    probabilities = config.load(io.inputs[ORACLE_INPUT]).predict_proba(data.take(chosen.tolist()).without_gold())
    correct = read_scores(io.inputs[ORACLE_SCORE_INPUT], "correct")
    return Oracle(config.name, chosen, probabilities, int(correct.sum()), len(correct))


def read_missing(folder: "Path") -> dict[str, str]:
    """The measures that could not be taken of a dataset's rows, and why."""
    return _read(folder / MISSING)


def read_test_rows(folder: "Path") -> dict[str, list[int]]:
    """Rows of the real test split that measures point at, by name: `leakage`, of which the dataset holds a copy."""
    return _read(folder / TEST_ROWS)


def _read(path: "Path") -> dict[str, Any]:
    # At a common size there is neither file: what is said of the whole dataset is said once.
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _write_per_text(path: "Path", scores: "Any", texts: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if any(len(column) != texts for column in scores.values()):
        raise HarnessError(f"a measure gave another number of scores per text than the {texts:,} texts")
    pq.write_table(pa.table({"row": list(range(texts)), **scores}), path, compression="zstd")
