"""From a resolved board to jobs with content keys. Jobs that come out the same are one job.

A key is the hash of a stage's name, its identity and the keys of the artifacts it reads: the same work has the same key
on every board, whatever the machine, the output folder or the number of workers.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TypeVar

from harness import __version__
from harness.data.real import RealTask
from harness.errors import HarnessError, did_you_mean, one_of
from harness.files import canonical_json
from harness.quality.measures import MEASURES
from harness.quality.rows import Measure as MeasureOf
from harness.quality.rows import Need
from harness.resolve import ReplayedGenerator, ResolvedBoard, ResolvedGenerator, WritingGenerator
from harness.spec import OpenAIGenerator, Size
from harness.stages import embed, measure, profile, score, train
from harness.stages.base import Stage
from harness.stages.prompt import PROMPTING_METHODS, Prompt
from harness.stages.synthesize import Replay, Synthesize, read_replay
from harness.synthesis.prompts import prompts_in_style

MAJORITY, SUPERVISED = "majority", "SUPERVISED"
BASELINES = (MAJORITY, SUPERVISED, *PROMPTING_METHODS)
"""The names of generators and students that stand for baselines: a cell with one of them has no rank."""


T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A stage with its place in the store. `inputs`: role -> (stage, key); `series`: of the synthesis.

    Where an `optional` job cannot be done (a model is out of reach), what it would have said is "not available": the
    run has not failed.
    """

    stage: Stage
    key: str
    inputs: dict[str, tuple[str, str]]
    series: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Cell:
    """One row of the comparison and the jobs behind it: (stage, key), to be read in this order.

    A baseline has no generator (majority, SUPERVISED) or no size and seed (PROMPTING).
    """

    task: str
    generator: str
    size: int | None
    student: str
    seed: int | None
    signature: str
    jobs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MissingMeasure:
    """A measure of one dataset that cannot be taken: `why`, or, if one of the jobs `by` fails or says so, by it."""

    task: str
    generator: str
    size: int
    seed: int
    signature: str
    measure: str
    why: str = ""
    by: tuple[str, ...] = ()


@dataclass
class Plan:
    """Jobs in an order in which every input comes before what reads it, and the cells they serve.

    `missing`: what is not available for sure, or if a job should fail. `common_rows`: the size at which the datasets
    for a task are compared, by task.
    """

    board: ResolvedBoard
    jobs: dict[str, Job] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[MissingMeasure] = field(default_factory=list)
    common_rows: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        stage: Stage,
        inputs: dict[str, Job] | None = None,
        series: str | None = None,
        *,
        optional: bool = False,
    ) -> Job:
        read = {role: (job.stage.name, job.key) for role, job in (inputs or {}).items()}
        key = content_key({"stage": stage.name, "identity": stage.identity(), "inputs": read})
        job = self.jobs.setdefault(key, Job(stage, key, read, series, optional))
        if job.optional and not optional:  # what one cell can do without, another needs
            self.jobs[key] = job = replace(job, optional=False)
        return job


def content_key(data: object) -> str:
    return hashlib.sha256(canonical_json(data)).hexdigest()


@dataclass(frozen=True)
class Selection:
    """What the command line says instead of the board: parts of it, other sizes or seeds. Empty: as the board."""

    tasks: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    students: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Data:
    """A dataset that students can be trained on: made by a job, or the gold train split (no job)."""

    task: RealTask
    generator: str
    signature: str
    size: int
    seed: int
    job: Job | None
    written_by: ResolvedGenerator | None = None
    about: list[Job] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.generator}/{self.task.name}/{self.size}/{self.seed}"

    @property
    def sha(self) -> str:
        return (self.job.key if self.job else self.task.split("train").content_hash)[:8]


def make_plan(board: ResolvedBoard, selection: Selection) -> Plan:
    """Every job of a board, or of the selected part of it.

    The jobs of one PLM stand together, so that it is loaded once. Timings come last, when nothing else is left to run.

    Raises:
        HarnessError: the selection names what the board does not have, or real data cannot be reached.
    """
    board = _select(board, selection)
    plan = Plan(board)
    for task in board.tasks:
        if not any(task.spec.family in student.families for student in board.students):
            raise HarnessError(f"none of the chosen students learns {task.spec.family}, the family of '{task.name}'")
    data: list[_Data] = []
    prompting: list[tuple[WritingGenerator, Prompt]] = []
    for generator in board.generators:
        for task in board.tasks:
            if isinstance(generator, ReplayedGenerator):
                data += _replayed(plan, generator, task)
            else:
                data += _written(plan, generator, task)
                for stage in _prompting(plan, generator, task):
                    plan.add(stage)
                    prompting.append((generator, stage))
    _measure(plan, data)
    if "supervised" in board.baselines:
        data += _gold(plan)
    if "majority" in board.baselines:
        for task in board.tasks:
            job = plan.add(score.Majority(task))
            text = _signature(task, student=MAJORITY)
            plan.cells.append(Cell(task.name, MAJORITY, None, MAJORITY, None, text, _pairs([job])))
    for one in data:
        _student_cells(plan, one)
    for generator, stage in prompting:
        jobs = [plan.add(stage)]
        if board.profile:
            jobs.append(plan.add(profile.ProfilePrompting(stage)))
        text = _signature(stage.task, gen=generator.signature, student=stage.method)
        plan.cells.append(Cell(stage.task.name, generator.name, None, stage.method, None, text, _pairs(jobs)))
    return plan


def measure_plan(board: ResolvedBoard) -> Plan:
    """Only the replayed datasets of a board and their measures: no student is trained, save as an oracle.

    Raises:
        HarnessError: a file cannot be read, or real data that are here are not what the task says.
    """
    plan = Plan(board)
    data = [
        one
        for generator in board.generators
        for task in board.tasks
        if isinstance(generator, ReplayedGenerator)
        for one in _replayed(plan, generator, task)
    ]
    _measure(plan, data)
    return plan


def _written(plan: Plan, generator: WritingGenerator, task: RealTask) -> list[_Data]:
    made = []
    for seed in plan.board.seeds:
        for size in plan.board.sizes:
            if size == "all":
                raise HarnessError(f"size 'all' has no meaning for {generator.name}, which writes its data here")
            stage = Synthesize(task, generator.spec, generator.place, generator.dtype, size, seed)
            job = plan.add(stage, series=content_key(stage.series_identity()))
            made.append(_Data(task, generator.name, generator.signature, size, seed, job, generator))
    return made


def _replayed(plan: Plan, generator: ReplayedGenerator, task: RealTask) -> list[_Data]:
    path = generator.files[task.name]
    examples = read_replay(generator.spec, path, task.spec)
    made = []
    for rows in dict.fromkeys(len(examples) if size == "all" else size for size in plan.board.sizes):
        if rows > len(examples):
            plan.notes.append(f"{generator.name} has {len(examples):,} rows for {task.name}: no cell of size {rows:,}")
            continue
        for seed in plan.board.seeds:
            job = plan.add(Replay(task.spec, generator.spec, path, examples, rows, seed))
            signature = f"{generator.name}@{examples.content_hash[:8]}"
            made.append(_Data(task, generator.name, signature, rows, seed, job, generator))
    return made


def _prompting(plan: Plan, generator: WritingGenerator, task: RealTask) -> list[Prompt]:
    """The PROMPTING baselines that the board wants and the prompt set allows; a note where it does not."""
    board = plan.board
    wanted = {"prompting", "prompting-calibrated"} & set(board.baselines)
    if isinstance(generator.spec, OpenAIGenerator) or generator.dtype is None:
        if wanted:
            plan.notes.append(f"no PROMPTING with {generator.name}: a server does not tell how likely a text is")
        return []
    _, prompts = prompts_in_style(task.spec, generator.spec.prompts, generator.spec.style)
    place = (task, generator.spec, generator.place, generator.dtype)
    found = []
    if "prompting" in board.baselines and (prompts.classify or prompts.answer):
        found.append(Prompt(*place))
    if "prompting-calibrated" in board.baselines and prompts.classify:
        found.append(Prompt(*place, calibrated=True))
    if len(found) < len(wanted):
        missing = "PROMPTING" if not found else "PROMPTING-CALIBRATED"
        plan.notes.append(f"no {missing} with {generator.name} for {task.name}: nothing in its prompt set fits")
    return found


def _gold(plan: Plan) -> list[_Data]:
    """The gold train splits, but for those that are neither here nor to be had from the hub."""
    data = []
    for task in plan.board.tasks:
        if not task.has("train"):
            continue
        try:
            rows = task.split("train")
        except HarnessError as error:
            if task.in_reach(task.spec.splits["train"]):
                raise
            plan.notes.append(f"no SUPERVISED for {task.name}: {error}")
            continue
        signature = f"gold@{rows.content_hash[:8]}"
        data += [_Data(task, SUPERVISED, signature, len(rows), seed, None) for seed in plan.board.seeds]
    return data


def _measure(plan: Plan, datasets: Sequence[_Data]) -> None:
    """The measures of every dataset, in jobs by the models that they need; what is not available is noted."""
    for data in datasets:
        smallest = min(data.size, plan.common_rows.get(data.task.name, data.size))
        plan.common_rows[data.task.name] = plan.board.measuring.rows or smallest
    for data in datasets:
        common = plan.common_rows[data.task.name]
        for names, models in _by_models(plan, data).items():
            data.about.append(_measure_job(plan, data, names, models, None))
            sized = tuple(name for name in names if MEASURES[name].sized)
            if sized and common < data.size:
                data.about.append(_measure_job(plan, data, sized, models, common))


_MODEL_NEEDS: frozenset[Need] = frozenset({"embeddings", "real_embeddings", "losses", "oracle"})


def _by_models(plan: Plan, data: _Data) -> "dict[tuple[str, ...], frozenset[Need]]":
    """The measures that the dataset allows, those that need the same models together."""
    spec, written = data.task.spec, not isinstance(data.written_by, ReplayedGenerator)
    groups: dict[frozenset[Need], list[str]] = {}
    for name in plan.board.measures:
        needs = MEASURES[name].needs
        why = measure.lacking(needs, spec, written_here=written)
        oracle = plan.board.measuring.oracle
        if why is None and "oracle" in needs and oracle is not None and spec.family not in oracle.families:
            why = f"the oracle '{oracle.student}' does not learn {spec.family}"
        why = why or _out_of_reach(data.task, needs) or _missing_library(MEASURES[name])
        if why is None:
            groups.setdefault(needs & _MODEL_NEEDS, []).append(name)
        elif "labels" not in needs or spec.labels:  # that there are no labels is no news to anybody
            _note_missing(plan, data, name, why=why)
    return {tuple(names): models for models, names in groups.items()}


def _out_of_reach(task: RealTask, needs: frozenset[Need]) -> str | None:
    """Why there are no real rows for a measure; None where there are, or none is needed."""
    if needs & {"real_embeddings", "oracle"} and not task.spec.splits:
        return "there is no task, and so nothing real to compare with"
    try:
        if "real_embeddings" in needs:
            task.real_texts()
        if "oracle" in needs:
            task.split("train")
        if needs & {"oracle", "test_texts"}:
            task.split("test")
    except HarnessError as error:
        return str(error)
    return None


def _missing_library(one: MeasureOf) -> str | None:
    if one.library is None or find_spec(one.library) is not None:
        return None
    return f"it needs {one.library}: pip install 'plm-data-harness[{one.extra}]'"


def _measure_job(plan: Plan, data: _Data, names: tuple[str, ...], models: frozenset[Need], common: int | None) -> Job:
    assert data.job is not None, "gold data are not measured"
    task, with_, inputs = data.task, plan.board.measuring, {measure.DATA_INPUT: data.job}
    if "embeddings" in models:
        assert with_.embeddings is not None
        stage = embed.Embed(task, with_.embeddings, data.title)
        inputs[measure.EMBEDDINGS_INPUT] = plan.add(stage, {embed.DATA_INPUT: data.job}, optional=True)
    if "real_embeddings" in models:
        assert with_.embeddings is not None
        real = embed.Embed(task, with_.embeddings, f"real texts of {task.name}", real=True)
        inputs[measure.REAL_INPUT] = plan.add(real, optional=True)
    if "oracle" in models:
        assert with_.oracle is not None
        trained = plan.add(
            train.Train(task, with_.oracle, plan.board.seeds[0], True, f"gold {task.name}"), optional=True
        )
        inputs[measure.ORACLE_INPUT] = trained
        asked = score.Score(task, with_.oracle, f"gold {task.name}")
        inputs[measure.ORACLE_SCORE_INPUT] = plan.add(asked, {score.STUDENT_INPUT: trained}, optional=True)
    stage_of = measure.Measure(
        task,
        names,
        data.title,
        data.seed,
        common,
        with_.perplexity if "losses" in models else None,
        with_.oracle if "oracle" in models else None,
    )
    job = plan.add(stage_of, inputs, optional=bool(models))
    for name in names if common is None else ():
        _note_missing(plan, data, name, by=(job.key,))
    return job


def _note_missing(plan: Plan, data: _Data, name: str, why: str = "", by: tuple[str, ...] = ()) -> None:
    text = _signature(data.task, gen=data.signature, n=data.size, seed=data.seed, data=data.sha)
    plan.missing.append(MissingMeasure(data.task.name, data.generator, data.size, data.seed, text, name, why, by))


def _student_cells(plan: Plan, data: _Data) -> None:
    """The cells of every student on one dataset: train, score and, for the first seed, profile."""
    board = plan.board
    inputs = {train.DATA_INPUT: data.job} if data.job else {}
    about = [data.job, *data.about] if data.job else []
    for student in board.students:
        if data.task.spec.family not in student.families:
            continue
        trained = plan.add(train.Train(data.task, student, data.seed, data.job is None, data.title), inputs)
        jobs = [
            *about,
            trained,
            plan.add(score.Score(data.task, student, data.title), {score.STUDENT_INPUT: trained}),
        ]
        if board.profile and data.seed == board.seeds[0]:
            stage = profile.ProfileStudent(data.task, student, data.title)
            jobs.append(plan.add(stage, {profile.STUDENT_INPUT: trained}))
        text = _signature(
            data.task, gen=data.signature, n=data.size, student=student.signature, seed=data.seed, data=data.sha
        )
        plan.cells.append(Cell(data.task.name, data.generator, data.size, student.name, data.seed, text, _pairs(jobs)))


def _signature(task: RealTask, **parts: str | int) -> str:
    """All that a number depends on, in one line, in the manner of sacreBLEU."""
    named = {"task": task.signature, **parts, "harness": __version__}
    return "|".join(f"{name}:{value}" for name, value in named.items())


def _pairs(jobs: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((job.stage.name, job.key) for job in jobs)


def _select(board: ResolvedBoard, selection: Selection) -> ResolvedBoard:
    return replace(
        board,
        tasks=tuple(_chosen(selection.tasks, board.tasks, "task", lambda task: task.name)),
        generators=tuple(_chosen(selection.generators, board.generators, "generator", lambda one: one.name)),
        students=tuple(_chosen(selection.students, board.students, "student", lambda one: one.name)),
        # A size or seed that stands twice is one: counted twice, it would narrow the interval over seeds.
        sizes=tuple(dict.fromkeys(selection.sizes or board.sizes)),
        seeds=tuple(dict.fromkeys(selection.seeds or board.seeds)),
    )


def _chosen(wanted: Sequence[str], known: Sequence[T], what: str, name: Callable[[T], str]) -> list[T]:
    names = [name(one) for one in known]
    for one in wanted:
        if one not in names:
            hint = did_you_mean(one, names)
            raise HarnessError(f"the board has no {what} '{one}'{hint} (it has {one_of(names)})")
    return [one for one in known if not wanted or name(one) in wanted]
