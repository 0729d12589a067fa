"""The tidy long table of a run: a row per number, with its cell, stage, tier, interval and artifact."""

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.files import write_atomic
from harness.plan import Cell, Plan
from harness.quality.measures import MEASURES
from harness.scoring.scores import aggregate_answer_seeds, aggregate_seeds, without_leaked
from harness.stages.base import VALUES, read_values
from harness.stages.measure import read_missing, read_test_rows
from harness.stages.score import PREDICTIONS, read_scores
from harness.store import Store
from harness.values import Value

ALL_SEEDS = "all"
_DATASET_STAGES = ("synthesize", "measure")


@dataclass(frozen=True)
class ResultRow:
    """One number. `student` is empty for numbers about a dataset; `seed` is `all` for numbers over a cell's seeds.

    A measure that is not available has a row without a value, whose `note` says why.
    """

    board: str
    task: str
    generator: str
    size: int | None
    student: str
    seed: str
    stage: str
    measure: str
    tier: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    signature: str
    artifact: str
    note: str = ""

    @property
    def number(self) -> float:
        """The value of a row that has one."""
        assert self.value is not None, f"{self.measure}: {self.note}"
        return self.value


COLUMNS = [field.name for field in fields(ResultRow)]


def result_rows(plan: Plan, store: Store, lost: Mapping[str, str | None]) -> list[ResultRow]:
    """Every number of every cell whose jobs are done, what is not available, then the numbers over seeds of the cells
    that are complete. `lost`: the jobs without an artifact, and why."""
    missing = set(lost)
    rows: dict[tuple[Any, ...], ResultRow] = {}
    for cell in plan.cells:
        for stage, key in cell.jobs:
            if key in missing:
                continue
            values = read_values(store.checked(stage, key, VALUES))
            for row in _rows_of(plan.board.name, cell, stage, key, values):
                rows.setdefault((row.task, row.generator, row.size, row.student, row.seed, stage, row.measure), row)
    return [*rows.values(), *missing_rows(plan, store, lost), *_over_seeds(plan, store, missing)]


def _leaked_rows(plan: Plan, store: Store, missing: Set[str]) -> dict[str, list[int]]:
    """By the key of a measure job: the test rows of which its dataset holds a copy, exact or near. Read once, for the
    cells of all students."""
    keys = {key for cell in plan.cells for stage, key in cell.jobs if stage == "measure" and key not in missing}
    return {key: read_test_rows(store.checked("measure", key)).get("leakage", []) for key in keys}


def missing_rows(plan: Plan, store: Store, lost: Mapping[str, str | None]) -> list[ResultRow]:
    """A row for every measure of a dataset that could not be taken."""
    rows = []
    for one in plan.missing:
        why = one.why or next((lost[key] or "what it reads is missing" for key in one.by if key in lost), "")
        for key in one.by:
            if key not in lost:
                why = why or read_missing(store.checked("measure", key)).get(one.measure, "")
        if why:
            tier = MEASURES[one.measure].tier
            place = (plan.board.name, one.task, one.generator, one.size, "", str(one.seed), "measure")
            note = f"not available: {why}"
            rows.append(ResultRow(*place, one.measure, tier, None, None, None, "", one.signature, "", note))
    return rows


def _rows_of(board: str, cell: Cell, stage: str, key: str, values: list[Value]) -> list[ResultRow]:
    about_data = stage in _DATASET_STAGES
    parts = [part for part in cell.signature.split("|") if not (about_data and part.startswith("student:"))]
    if stage == "measure":  # with which versions of which measures, and which models: all that the key is made of
        parts.insert(-1, f"measures:{key[:8]}")
    return [
        ResultRow(
            board=board,
            task=cell.task,
            generator=cell.generator,
            size=cell.size,
            student="" if about_data else cell.student,
            seed="" if cell.seed is None else str(cell.seed),
            stage=stage,
            measure=value.measure,
            tier=value.tier,
            value=value.value,
            low=value.low,
            high=value.high,
            unit=value.unit,
            signature="|".join(parts),
            artifact=f"{stage}/{key}",
        )
        for value in values
    ]


def score_job(cell: Cell) -> tuple[str, str]:
    """The job that holds the cell's predictions on the test split."""
    return next(job for job in cell.jobs if job[0] in ("score", "prompt"))


def _over_seeds(plan: Plan, store: Store, missing: set[str]) -> list[ResultRow]:
    """Numbers over the seeds of each (task, generator, size, student). One that lacks a seed has none."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.task, cell.generator, cell.size, cell.student), []).append(cell)
    families = {task.name: task.spec.family for task in plan.board.tasks}
    leaked_by_job = _leaked_rows(plan, store, missing)
    rows: list[ResultRow] = []
    for cells in groups.values():
        jobs = [score_job(cell) for cell in cells]
        if any(key in missing for _, key in jobs):
            continue
        folders = [store.checked(*job, VALUES, PREDICTIONS) for job in jobs]
        first = cells[0]
        leaked = sorted({row for cell in cells for _, key in cell.jobs for row in leaked_by_job.get(key, ())})
        if families[first.task] == "extractive-qa":
            exact, f1 = (np.stack([read_scores(folder, name) for folder in folders]) for name in ("exact_match", "f1"))
            values = aggregate_answer_seeds(exact, f1)
            values += without_leaked({"exact_match": exact, "f1": f1}, leaked)
        else:
            correct = np.stack([read_scores(folder, "correct") for folder in folders])
            values = aggregate_seeds(correct, [read_values(folder) for folder in folders])
            values += without_leaked({"accuracy": correct}, leaked)
        seeds = ",".join(str(cell.seed) for cell in cells if cell.seed is not None)
        parts = [part for part in first.signature.split("|") if not part.startswith(("seed:", "data:"))]
        signature = "|".join([*parts[:-1], *([f"seeds:{seeds}"] if seeds else []), parts[-1]])
        rows += [
            replace(row, seed=ALL_SEEDS, signature=signature, artifact="")
            for row in _rows_of(plan.board.name, first, "score", "", values)
        ]
    return rows


def write_results(rows: list[ResultRow], out: Path) -> None:
    """`results.parquet` and `results.csv`, each written whole or not at all."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    kinds = {"size": pa.int64(), "value": pa.float64(), "low": pa.float64(), "high": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    parquet, csv = pa.BufferOutputStream(), pa.BufferOutputStream()
    pq.write_table(table, parquet, compression="zstd")
    pa_csv.write_csv(table, csv)
    write_atomic(out / "results.parquet", parquet.getvalue().to_pybytes())
    write_atomic(out / "results.csv", csv.getvalue().to_pybytes())
