"""`harness measure DATA`: the measures of one file, apart from any board, through the same plan, store and stages."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.catalogue import load_task
from harness.data.files import column_names, read_columns
from harness.data.real import RealTask
from harness.errors import HarnessError, one_of, shown
from harness.generators.locate import ModelPlace, locate_model
from harness.machine import automatic_dtype
from harness.plan import Plan, measure_plan
from harness.quality.measures import MEASURES, measure_named
from harness.quality.report import DataReport
from harness.resolve import ReplayedGenerator, ResolvedBoard, ResolvedMeasuring
from harness.spec import Column, Family, Measuring, MeasuringModel, ReplayGenerator, Task
from harness.stages.base import read_values
from harness.stages.measure import PER_TEXT, read_missing
from harness.stages.synthesize import DATA, read_synthetic
from harness.store import Store
from harness.students import StudentConfig, student_module, student_modules
from harness.values import Value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_MAX_LABELS = 1000
_SEED = 13


@dataclass(frozen=True)
class FileToMeasure:
    """A file and how to read it. `task`: a name or a YAML file; without one, family and labels are what the file has.

    `measures`: all that can be taken where none is named; an oracle is asked only where one is.
    """

    path: Path
    task: str | None = None
    format: Literal["columns", "zerogen"] = "columns"
    columns: Mapping[Column, str] = field(default_factory=dict)
    labels: dict[str | int, str] = field(default_factory=dict)
    measures: tuple[str, ...] = ()
    embeddings: MeasuringModel | None = None
    perplexity: MeasuringModel | None = None
    oracle: MeasuringModel | None = None
    mirror: Path | None = None


def plan_file(file: FileToMeasure) -> Plan:
    """The jobs that measure a file.

    Raises:
        HarnessError: the file cannot be read, holds labels that nobody knows, or a name is wrong.
    """
    if file.task is not None:
        loaded = load_task(file.task)
        task = RealTask(loaded.spec, loaded.path.parent, file.mirror)
        spec_labels: dict[str | int, str] = dict(file.labels)
    else:
        spec, spec_labels = _task_of(file)
        task = RealTask(spec, file.path.parent, file.mirror)
    replay = ReplayGenerator(
        name=_name(file.path),
        backend="replay",
        data=str(file.path),
        format=file.format,
        columns=dict(file.columns),
        labels=spec_labels,
    )
    measures = tuple(measure_named(name).name for name in file.measures) or tuple(
        name for name, measure in MEASURES.items() if file.oracle is not None or "oracle" not in measure.needs
    )
    board = ResolvedBoard(
        name=_name(file.path),
        title=file.path.name,
        path=file.path,
        tasks=(task,),
        generators=(ReplayedGenerator(replay, {task.name: file.path}),),
        students=(),
        sizes=("all",),
        seeds=(_SEED,),
        baselines=(),
        measures=measures,
        profile=False,
        measuring=_measuring(file, measures),
    )
    return measure_plan(board)


def report_of(plan: Plan, store: Store, lost: Mapping[str, str | None]) -> DataReport:
    """What the jobs of a measured file have found; `lost`: the jobs without an artifact, and why."""
    import pyarrow.parquet as pq

    from harness.quality.near_duplicates import near_duplicates

    task, board = plan.board.tasks[0], plan.board
    values: list[Value] = []
    missing: dict[str, str] = {}
    per_text: dict[str, npt.NDArray[np.float64]] = {}
    (data,) = (job for job in plan.jobs.values() if job.stage.name == "synthesize")
    for job in plan.jobs.values():
        if job.stage.name == "measure" and job.key not in lost:
            folder = store.checked("measure", job.key)
            missing |= read_missing(folder)
            values += read_values(folder)
            table = pq.ParquetFile(folder / PER_TEXT).read()
            per_text |= {name: table.column(name).to_numpy() for name in table.column_names if name != "row"}
    for one in plan.missing:
        why = one.why or next((lost[key] for key in one.by if key in lost), None)
        if why:
            missing[one.measure] = why
    folder = store.checked(data.stage.name, data.key)
    rows = read_synthetic(folder, task.spec.family, labelled=bool(task.spec.labels))
    texts = rows.measured(task.spec.family)
    contexts = {"text-classification": None, "text-pair-classification": rows.text, "extractive-qa": rows.context}
    source_rows = pq.ParquetFile(folder / DATA).read(columns=["source_row"]).column("source_row").to_pylist()
    return DataReport(
        title=board.title,
        file=str(board.path),
        task=task.name if task.has("test") else None,
        values=values,
        missing=missing,
        per_text=per_text,
        texts=texts,
        labels=rows.label or None,
        label_names=task.spec.labels,
        contexts=contexts[task.spec.family],
        source_rows=source_rows,
        made_with=_made_with(plan),
        clusters=near_duplicates(texts).clusters() if "near_duplicates" in board.measures else None,
    )


def _made_with(plan: Plan) -> dict[str, str]:
    """What the numbers depend on."""
    task, with_ = plan.board.tasks[0], plan.board.measuring
    (spec,) = (one.spec for one in plan.board.generators if isinstance(one, ReplayedGenerator))
    (data,) = (job.stage.identity()["data"] for job in plan.jobs.values() if job.stage.name == "synthesize")
    found = {"rows (SHA-256 of their content)": str(data)}
    if task.has("test"):
        found["task"] = task.signature
    for name, place in (("embeddings", with_.embeddings), ("perplexity", with_.perplexity)):
        if place is not None:
            found[name] = place.identity
    if with_.oracle is not None:
        found["oracle"] = with_.oracle.signature
    labels = {str(value): name for value, name in spec.labels.items() if str(value) != name}
    if labels:
        found["labels"] = ", ".join(f"{name}: {value}" for value, name in labels.items())
    versions = ", ".join(f"{name} {MEASURES[name].version}" for name in plan.board.measures)
    return {**found, "measures": versions}


def _measuring(file: FileToMeasure, measures: tuple[str, ...]) -> ResolvedMeasuring:
    needs = {need for name in measures for need in MEASURES[name].needs}
    default = Measuring()

    def place(model: MeasuringModel) -> ModelPlace:
        return locate_model(model.model, model.revision, file.mirror)

    if "oracle" in needs and file.oracle is None:
        raise HarnessError(
            "a measure by an oracle needs one: give --oracle MODEL, an encoder to fine-tune on gold labels"
        )
    return ResolvedMeasuring(
        embeddings=place(file.embeddings or default.embeddings) if "embeddings" in needs else None,
        perplexity=place(file.perplexity or default.perplexity) if "losses" in needs else None,
        oracle=_oracle(file.oracle, place(file.oracle)) if "oracle" in needs and file.oracle else None,
    )


def _oracle(model: MeasuringModel, place: ModelPlace) -> StudentConfig:
    module = student_module("encoder")
    settings = module.Settings(model=model.model, revision=model.revision, dtype=automatic_dtype())
    return StudentConfig(
        "oracle",
        "encoder",
        student_modules()["encoder"],
        module.Student.VERSION,
        settings,
        module.Student.FAMILIES,
        place,
    )


def _task_of(file: FileToMeasure) -> tuple[Task, dict[str | int, str]]:
    """What a file by itself says of its task: the family by its columns, the labels by their values."""
    family, labelled = _family(file)
    names: dict[str | int, str] = {}
    if labelled:
        column = "Y" if file.format == "zerogen" else file.columns.get("label", "label")
        values = list(dict.fromkeys(_plain(value, file.path) for value in read_columns(file.path, [column])[column]))
        if len(values) > _MAX_LABELS:
            raise HarnessError(f"{file.path}: more than {_MAX_LABELS:,} different labels; is '{column}' the label?")
        names = dict(file.labels) or _label_names(values)
    # Not validated: what a task must have to be learnt (a test split, prompts) a file that is measured need not.
    task = Task.model_construct(
        name=_name(file.path),
        title=file.path.name,
        family=family,
        language="en",
        labels=tuple(dict.fromkeys(names.values())),
        metric="f1" if family == "extractive-qa" else "accuracy",
        splits={},
        contexts=(),
        prompts={},
        license="unknown",
    )
    return task, names


def _family(file: FileToMeasure) -> tuple[Family, bool]:
    """The family by the names of the columns that the file has, and whether it has labels.

    A column that `columns` names must be there; its absence is told when the file is read.
    """
    if file.format == "zerogen":
        return "text-classification", True
    there = {*column_names(file.path), *(theirs for theirs in file.columns.values())}

    def has(*names: Column) -> bool:
        return all(file.columns.get(name, name) in there for name in names)

    if has("context", "question", "answers"):
        return "extractive-qa", False
    if has("text", "text_pair"):
        return "text-pair-classification", True
    return "text-classification", has("label")


def _plain(value: Any, path: Path) -> str | int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise HarnessError(f"{path}: expected labels that are texts or whole numbers, found {shown(value)}")


def _label_names(values: Sequence[str | int]) -> dict[str | int, str]:
    """A name for each value: itself where it can be one, else `label-1` and so on, whichever is free."""
    names: dict[str | int, str] = {
        value: str(value) for value in values if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", str(value))
    }
    free = (name for number in itertools.count(1) if (name := f"label-{number}") not in names.values())
    return {value: names[value] if value in names else next(free) for value in values}


def _name(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:80] or "data"


def model_of(flag: str, text: str) -> MeasuringModel:
    """`MODEL` or `MODEL@REVISION`.

    Raises:
        HarnessError: no revision of 40 hexadecimal digits after the `@`.
    """
    model, _, revision = text.partition("@")
    if not model or (revision and not re.fullmatch(r"[0-9a-f]{40}", revision)):
        raise HarnessError(f"{flag}: expected MODEL or MODEL@REVISION (a commit of 40 digits), found {shown(text)}")
    return MeasuringModel(model=model, revision=revision or None)


def pairs_of(flag: str, text: str, known: tuple[str, ...] = ()) -> dict[str | int, str]:
    """`a=b,c=d` as a mapping.

    Raises:
        HarnessError: something else; a key that is none of `known`.
    """
    found: dict[str | int, str] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise HarnessError(f"{flag}: expected KEY=VALUE,KEY=VALUE, found {shown(text)}")
        if known and key not in known:
            raise HarnessError(f"{flag}: unknown column {shown(key)}; expected {one_of(known)}")
        found[key] = value
    return found
