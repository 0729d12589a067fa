"""What there is by name: tasks, boards, generators. Tasks and boards may also be named by the path of a YAML file.

Names are looked up in the folders that ship with the harness and in the entry points `harness.tasks` and
`harness.boards`, whose values are `package:folder` with YAML files in it.
"""

import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from harness.data.real import FAMILY_COLUMNS
from harness.errors import HarnessError, did_you_mean, one_of, shown
from harness.files import named_path
from harness.spec import SplitSource, Task, parse
from harness.synthesis.prompts import prompt_problems
from harness.yaml_source import Location, Problem, Source, raise_problems, read_yaml

Kind = Literal["tasks", "boards"]
_FOLDERS: dict[Kind, str] = {"tasks": "tasks", "boards": "leaderboards"}


def shipped_folder(kind: Kind) -> Path:
    """The catalogue's folder: inside the package of an installed copy, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_catalogue" / _FOLDERS[kind]
    return installed if installed.is_dir() else package.parent / _FOLDERS[kind]


def _entry_point_folders(kind: Kind) -> list[Path]:
    folders = []
    for point in metadata.entry_points(group=f"harness.{kind}"):
        package, _, folder = point.value.partition(":")
        found = importlib.util.find_spec(package)
        if found is not None and found.submodule_search_locations:
            folders.append(Path(found.submodule_search_locations[0]) / folder)
    return folders


def names(kind: Kind) -> dict[str, Path]:
    """Every name of a kind and its file."""
    found: dict[str, Path] = {}
    for folder in [*_entry_point_folders(kind), shipped_folder(kind)]:
        found |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return dict(sorted(found.items()))


def find(kind: Kind, name: str, folder: Path | None = None) -> Path:
    """The file of a name, or the file itself where a path is given (relative to `folder` if it stands there).

    Raises:
        HarnessError: neither a name nor a file.
    """
    known = names(kind)
    if name in known:
        return known[name]
    singular = kind.removesuffix("s")
    if name.endswith((".yaml", ".yml")):
        for candidate in (named_path(name, folder or Path()), named_path(name)):
            if candidate.is_file():
                return candidate
        raise HarnessError(f"{name}: no such {singular} file")
    hint = did_you_mean(name, known)
    raise HarnessError(f"unknown {singular} {shown(name)}{hint} (known: {one_of(known)}; or the path of a .yaml file)")


@dataclass(frozen=True)
class LoadedTask:
    """A task and the file it was read from; files that it names are relative to that file."""

    spec: Task
    path: Path


def load_task(name: str, folder: Path | None = None) -> LoadedTask:
    """A task by name or path.

    Raises:
        HarnessError: no such task, or every mistake in its file.
    """
    path = find("tasks", name, folder)
    source = read_yaml(path)
    spec, problems = parse(Task, source)
    if spec is not None:
        problems += _task_problems(spec, source)
    raise_problems(path, problems)
    assert spec is not None
    return LoadedTask(spec, path)


def _task_problems(task: Task, source: Source) -> list[Problem]:
    """What the schema cannot see: prompts that do not fit the labels, labels that do not exist."""
    problems = []
    for name, prompt_set in task.prompts.items():
        if prompt_set.self_debiasing and not task.labels:
            debiasing: Location = ("prompts", name, "self_debiasing")
            message = f"{task.family} has no other labels to debias against"
            problems.append(Problem(debiasing, message, source.line(debiasing)))
        for style, prompts in (("completion", prompt_set.completion), ("chat", prompt_set.chat)):
            if prompts is None:
                continue
            for below, message in prompt_problems(prompts, task, style):  # type: ignore[arg-type]
                path = ("prompts", name, style, *below)
                problems.append(Problem(path, message, source.line(path)))
    sources: list[tuple[tuple[str | int, ...], SplitSource]] = [
        *((("splits", split), where) for split, where in task.splits.items()),
        *((("contexts", index), where) for index, where in enumerate(task.contexts)),
    ]
    for above, where in sources:
        known: tuple[str, ...] = ("text",)
        if above[-1] in ("test", "train"):
            known = (*FAMILY_COLUMNS[task.family], *(("id",) if task.family == "extractive-qa" else ()))
        for column in where.columns:
            if column not in known:
                path = (*above, "columns", column)
                problems.append(Problem(path, f"its rows have no '{column}', but {one_of(known)}", source.line(path)))
        for value, label in where.labels.items():
            if label not in task.labels:
                path = (*above, "labels", value)
                message = (
                    f"unknown label '{label}'{did_you_mean(label, task.labels)} (the task has {one_of(task.labels)})"
                )
                problems.append(Problem(path, message, source.line(path)))
        if where.file is not None and (message := _file_problem(source.file.parent, where.file)):
            path = (*above, "file")
            problems.append(Problem(path, message, source.line(path)))
    return problems


def _file_problem(folder: Path, name: str) -> str:
    """What is wrong with the name of a file that must stay in a folder (links followed); empty: nothing."""
    try:
        inside = not Path(name).is_absolute() and named_path(name, folder).resolve().is_relative_to(folder.resolve())
    except HarnessError as error:
        return str(error)
    return "" if inside else f"expected a file in the task file's own folder or below it, found {shown(name)}"


def known_generators() -> dict[str, dict[str, Any]]:
    """The generators that have a name, as they would stand in a board."""
    source = read_yaml(Path(__file__).parent / "generators" / "catalogue.yaml")
    return {entry["name"]: entry for entry in source.data}
