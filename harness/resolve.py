"""A board with everything it names looked up and checked: tasks, generators' prompt sets and files, students' settings.

Every mistake is collected and reported at once; nothing is downloaded and no data are read here.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from harness.catalogue import LoadedTask, find, known_generators, load_task
from harness.data.real import RealTask
from harness.errors import HarnessError, did_you_mean, one_of
from harness.files import named_path
from harness.generators.base import SelfDebiasing
from harness.generators.locate import ModelPlace, locate_model, server_place, short_identity
from harness.machine import automatic_dtype
from harness.quality.measures import DEFAULT_MEASURES, MEASURES
from harness.spec import (
    Baseline,
    Board,
    Dtype,
    Generator,
    MeasuringModel,
    OpenAIGenerator,
    PromptSet,
    ReplayGenerator,
    Size,
    StudentEntry,
    VllmGenerator,
    WritingSpec,
    parse_board,
    problems_of,
)
from harness.students import StudentConfig, student_module, student_modules
from harness.synthesis.answers import finder_version
from harness.synthesis.prompts import prompts_in_style
from harness.synthesis.recipe import decoding_of
from harness.yaml_source import Problem, Source, raise_problems, read_yaml


@dataclass(frozen=True)
class WritingGenerator:
    """A PLM and where it is. `dtype`: None where a server decides."""

    spec: WritingSpec
    place: ModelPlace
    dtype: Dtype | None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def signature(self) -> str:
        return f"{self.name}@{short_identity(self.place)}"


@dataclass(frozen=True)
class ReplayedGenerator:
    """A dataset somebody generated: a file per task, by task name."""

    spec: ReplayGenerator
    files: dict[str, Path]

    @property
    def name(self) -> str:
        return self.spec.name


ResolvedGenerator = WritingGenerator | ReplayedGenerator


@dataclass(frozen=True)
class ResolvedMeasuring:
    """What measures are taken with; None where no measure of the board asks for it."""

    rows: int | None = None
    embeddings: ModelPlace | None = None
    perplexity: ModelPlace | None = None
    oracle: StudentConfig | None = None


@dataclass(frozen=True)
class ResolvedBoard:
    """A board ready to be planned."""

    name: str
    title: str
    path: Path
    tasks: tuple[RealTask, ...]
    generators: tuple[ResolvedGenerator, ...]
    students: tuple[StudentConfig, ...]
    sizes: tuple[Size, ...]
    seeds: tuple[int, ...]
    baselines: tuple[Baseline, ...]
    measures: tuple[str, ...]
    profile: bool
    measuring: ResolvedMeasuring = ResolvedMeasuring()


@dataclass
class _Resolver:
    source: Source
    mirror: Path | None
    problems: list[Problem]

    @property
    def folder(self) -> Path:
        return self.source.file.parent

    def wrong(self, path: tuple[str | int, ...], message: str) -> None:
        self.problems.append(Problem(path, message, self.source.line(path)))

    def tasks(self, board: Board) -> list[LoadedTask | None]:
        found: list[LoadedTask | None] = []
        for index, entry in enumerate(board.tasks):
            try:
                found.append(load_task(entry.task, self.folder))
            except HarnessError as error:
                self.wrong(("tasks", index), str(error))
                found.append(None)
        self.unique("tasks", [task.spec.name if task else None for task in found], "leave one of them out")
        return found

    def generator(self, index: int, spec: Generator, tasks: list[LoadedTask]) -> ResolvedGenerator | None:
        before = len(self.problems)
        self._no_baseline(("generators", index), spec.name)
        if isinstance(spec, ReplayGenerator):
            files = self._replay_files(index, spec, tasks)
            return ReplayedGenerator(spec, files) if len(self.problems) == before else None
        for task in tasks:
            try:
                chosen, _ = prompts_in_style(task.spec, spec.prompts, spec.style)
                if task.spec.family == "extractive-qa":
                    finder_version(chosen.candidates)
                _check_backend(spec, chosen)
            except HarnessError as error:
                self.wrong(("generators", index), str(error))
        if isinstance(spec, OpenAIGenerator):
            return WritingGenerator(spec, server_place(spec.url, spec.model), None)
        try:
            place = locate_model(spec.model, spec.revision, self.mirror, self.folder)
        except HarnessError as error:
            self.wrong(("generators", index, "model"), str(error))
            return None
        dtype: Dtype = automatic_dtype() if spec.dtype == "auto" else spec.dtype  # type: ignore[assignment]
        return WritingGenerator(spec, place, dtype) if len(self.problems) == before else None

    def _replay_files(self, index: int, spec: ReplayGenerator, tasks: list[LoadedTask]) -> dict[str, Path]:
        path = ("generators", index, "data")
        by_task = spec.data if isinstance(spec.data, dict) else {task.spec.name: spec.data for task in tasks}
        files = {}
        for task in tasks:
            if task.spec.name not in by_task:
                self.wrong(path, f"no file for the task '{task.spec.name}'")
                continue
            try:
                file = named_path(by_task[task.spec.name], self.folder)
            except HarnessError as error:
                self.wrong(path, str(error))
                continue
            if not file.exists():
                self.wrong(path, f"{file}: no such file or folder")
            files[task.spec.name] = file
        labels = list(dict.fromkeys(label for task in tasks for label in task.spec.labels))
        for value, label in spec.labels.items():
            if tasks and label not in labels:
                message = f"unknown label '{label}'{did_you_mean(label, labels)} (the tasks have {one_of(labels)})"
                self.wrong(("generators", index, "labels", value), message)
        for name in by_task:
            if name not in [task.spec.name for task in tasks]:
                self.wrong((*path, name), f"the board has no task '{name}'")
        return files

    def student(self, index: int, entry: StudentEntry, tasks: list[LoadedTask]) -> StudentConfig | None:
        path = ("students", index)
        self._no_baseline(path, entry.name or entry.student)
        return self._student(path, entry, tasks)

    def _student(
        self, path: tuple[str | int, ...], entry: StudentEntry, tasks: list[LoadedTask]
    ) -> StudentConfig | None:
        try:
            module = student_module(entry.student)
        except HarnessError as error:
            self.wrong(path, str(error))
            return None
        families = dict.fromkeys(task.spec.family for task in tasks)
        if tasks and not any(family in module.Student.FAMILIES for family in families):
            can = one_of(module.Student.FAMILIES)
            self.wrong(path, f"student '{entry.student}' learns {can}; the board's tasks are {one_of(families)}")
        try:
            settings = module.Settings(**entry.overrides)
        except ValidationError as error:
            self.problems += problems_of(error, module.Settings, self.source, path)
            return None
        if getattr(settings, "dtype", None) == "auto":  # as for PLMs: what a number was computed in is in its key
            settings = settings.model_copy(update={"dtype": automatic_dtype()})
        pretrained = None
        if "model" in module.Settings.model_fields:
            try:
                pretrained = locate_model(settings.model, getattr(settings, "revision", None), self.mirror, self.folder)
            except HarnessError as error:
                self.wrong((*path, "model") if "model" in entry.overrides else path, str(error))
                return None
        return StudentConfig(
            entry.name or entry.student,
            entry.student,
            student_modules()[entry.student],
            module.Student.VERSION,
            settings,
            module.Student.FAMILIES,
            pretrained,
        )

    def _no_baseline(self, path: tuple[str | int, ...], name: str) -> None:
        """Numbers go by name: an entry with the name of a baseline would be taken for it."""
        if name.lower() in get_args(Baseline):
            self.wrong(path, f"'{name}' is the name of a baseline; give it another 'name'")

    def unique(self, field: str, found: list[str | None], fix: str = "give one of them another 'name'") -> None:
        for index, name in enumerate(found):
            if name is not None and name in found[:index]:
                self.wrong((field, index), f"'{name}' stands twice; {fix}")

    def measures(self, board: Board) -> tuple[str, ...]:
        if board.measures is None or board.measures == "all":
            return tuple(MEASURES) if board.measures == "all" else tuple(DEFAULT_MEASURES)
        for index, name in enumerate(board.measures):
            if name not in MEASURES:
                hint = did_you_mean(name, MEASURES)
                self.wrong(("measures", index), f"unknown measure '{name}'{hint} (known: {one_of(MEASURES)})")
        return tuple(name for name in MEASURES if name in board.measures)

    def measuring(self, board: Board, measures: tuple[str, ...], tasks: list[LoadedTask]) -> ResolvedMeasuring:
        needs = {need for name in measures for need in MEASURES[name].needs}
        with_labels = [task for task in tasks if task.spec.labels]
        spec = board.measuring
        return ResolvedMeasuring(
            rows=spec.rows,
            embeddings=self._model("embeddings", spec.embeddings) if "embeddings" in needs else None,
            perplexity=self._model("perplexity", spec.perplexity) if "losses" in needs else None,
            oracle=self._student(("measuring", "oracle"), spec.oracle, with_labels)
            if "oracle" in needs and with_labels
            else None,
        )

    def _model(self, name: str, spec: MeasuringModel) -> ModelPlace | None:
        try:
            return locate_model(spec.model, spec.revision, self.mirror, self.folder)
        except HarnessError as error:
            self.wrong(("measuring", name), str(error))
            return None

    def baselines(self, board: Board, tasks: list[LoadedTask]) -> tuple[Baseline, ...]:
        for index, name in enumerate(board.baselines or ()):
            if name == "supervised":
                for task in tasks:
                    if "train" not in task.spec.splits:
                        self.wrong(("baselines", index), f"task '{task.spec.name}' has no gold train split")
        return board.baselines if board.baselines is not None else ("majority", "prompting", "supervised")

    def learners(self, tasks: list[LoadedTask], students: list[StudentConfig | None]) -> None:
        """A task that no student of the board can learn would be left without a score."""
        if any(student is None for student in students):
            return
        for index, task in enumerate(tasks):
            if not any(student and task.spec.family in student.families for student in students):
                message = f"no student of the board learns {task.spec.family}, the family of '{task.spec.name}'"
                self.wrong(("tasks", index), message)


def _check_backend(spec: WritingSpec, prompts: PromptSet) -> None:
    """Raises HarnessError where the backend cannot draw tokens as generator and prompt set say."""
    if isinstance(spec, VllmGenerator):
        from harness.generators.vllm_backend import check_decoding
    elif isinstance(spec, OpenAIGenerator):
        from harness.generators.openai_backend import check_decoding
    else:
        return
    debiasing = SelfDebiasing(**prompts.self_debiasing.model_dump()) if prompts.self_debiasing else None
    check_decoding(replace(decoding_of(spec), self_debiasing=debiasing))


def resolve_board(name: str, mirror: Path | None) -> ResolvedBoard:
    """A board by name or path, resolved.

    Raises:
        HarnessError: no such board, or every mistake in its file.
    """
    path = find("boards", name)
    source = read_yaml(path)
    board, problems = parse_board(source, known_generators())
    if board is None:
        raise_problems(path, problems)
    assert board is not None
    resolver = _Resolver(source, mirror, problems)
    found = resolver.tasks(board)
    tasks = [task for task in found if task is not None]
    unknown = {problem.path for problem in problems}
    known = {index: spec for index, spec in enumerate(board.generators) if ("generators", index) not in unknown}
    generators = [resolver.generator(index, spec, tasks) for index, spec in known.items()]
    students = [resolver.student(index, entry, tasks) for index, entry in enumerate(board.students)]
    resolver.unique(
        "generators", [known[index].name if index in known else None for index in range(len(board.generators))]
    )
    resolver.unique("students", [entry.name or entry.student for entry in board.students])
    if "all" in board.sizes and any(not isinstance(spec, ReplayGenerator) for spec in known.values()):
        resolver.wrong(("sizes",), "'all' has no meaning for a PLM that writes the data here; give a number of rows")
    if len(tasks) == len(board.tasks):
        resolver.learners(tasks, students)
    measures = resolver.measures(board)
    measuring = resolver.measuring(board, measures, tasks)
    baselines = resolver.baselines(board, tasks)
    raise_problems(path, resolver.problems)
    return ResolvedBoard(
        name=board.name,
        title=board.title or board.name,
        path=path,
        tasks=tuple(
            RealTask(task.spec, task.path.parent, mirror, entry.test_rows)
            for task, entry in zip(tasks, board.tasks, strict=True)
        ),
        generators=tuple(generator for generator in generators if generator is not None),
        students=tuple(student for student in students if student is not None),
        sizes=board.sizes,
        seeds=board.seeds,
        baselines=baselines,
        measures=measures,
        profile=board.profile,
        measuring=measuring,
    )
