"""What a user adds without touching the harness: a student in a package of its own, a task in a file of its own."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.catalogue import load_task
from harness.cli import main
from harness.errors import HarnessError
from harness.profiling import latency
from harness.students import student_module, student_modules
from tests.replay_boards import LABELS, ReplayBoard, board_of_one_task, reviews

Install = Callable[..., None]

KEYWORD_STUDENT = '''
"""Counts the rows in which a label's word stands."""

import json
from pathlib import Path

import numpy as np
from pydantic import Field

from students.protocol import Examples, History, StudentSettings, Target


class Settings(StudentSettings):
    keep: int = Field(100, ge=1)


class Student:
    VERSION = 7
    FAMILIES = ("text-classification",)

    def __init__(self, settings, target):
        self.settings, self.labels, self.words = settings, list(target.labels), {}

    def fit(self, examples, seed, report):
        for text, label in zip(examples.text, examples.label):
            for word in text.split():
                self.words.setdefault(word, [1] * len(self.labels))[self.labels.index(label)] += 1
        self.words = dict(list(self.words.items())[: self.settings.keep])
        report(len(examples), len(examples), "counted")
        return History(chosen={"words": len(self.words)})

    def predict_proba(self, examples):
        found = [np.sum([np.log(self.words.get(w, [1, 1])) for w in t.split()], axis=0) for t in examples.text]
        weights = np.exp(np.array(found))
        return weights / weights.sum(axis=1, keepdims=True)

    def parameters(self):
        return {"total": 2 * len(self.words), "without_embedding": 0}

    def save(self, folder):
        described = {"settings": self.settings.model_dump(), "labels": self.labels, "words": self.words}
        (folder / "words.json").write_text(json.dumps(described))

    @classmethod
    def load(cls, folder):
        described = json.loads((folder / "words.json").read_text())
        student = cls(Settings(**described["settings"]), Target("text-classification", described["labels"]))
        student.words = described["words"]
        return student
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """What `pip install` leaves on the path: a module, and metadata that offer it under a name."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    placed = []

    def place(name: str, module: str, code: str | None) -> None:
        placed.append(module)
        if code is not None:
            (site / f"{module}.py").write_text(code)
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[harness.students]\n{name} = {module}\n")

    yield place
    for module in placed:
        sys.modules.pop(module, None)


@pytest.fixture
def board(tmp_path: Path) -> ReplayBoard:
    made = board_of_one_task(tmp_path)
    made.add_generator("replayed", reviews(60, seed=3))
    return made


def run(board: Path, *more: str) -> dict[str, Any]:
    """The leaderboard of a board, run by the command line."""
    out, store = board.parent / "out", board.parent / "store"
    fixed = ["--out", str(out), "--store", str(store), "--workers", "1", "--quiet"]
    assert main(["run", str(board), *fixed, *more]) == 0
    loaded: dict[str, Any] = json.loads((out / "leaderboard.json").read_text())
    return loaded


def test_a_student_from_another_package_is_used_by_its_name_from_training_to_the_leaderboard(
    install: Install, board: ReplayBoard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.01)
    install("keywords", "plugin_keywords", KEYWORD_STUDENT)
    students = ["linear", "keywords", {"student": "keywords", "name": "few", "keep": 3}]
    entries = {one["student"]: one for one in run(board.write(students=students, profile=True))["entries"]}
    assert entries.keys() == {"linear", "keywords", "few"}
    assert entries["keywords"]["mean"] > 0.9
    assert entries["few"]["mean"] < entries["keywords"]["mean"]
    assert "|student:keywords.v7|" in entries["keywords"]["signatures"]["reviews"]
    assert "|student:keywords.v7+" in entries["few"]["signatures"]["reviews"]
    assert (entries["few"]["parameters"], entries["keywords"]["latency_p50_ms"] > 0) == (6, True)
    capsys.readouterr()
    assert main(["list", "students"]) == 0
    assert "keywords" in capsys.readouterr().out


def test_a_wrong_setting_of_such_a_student_is_told_with_the_line_of_the_board(
    install: Install, board: ReplayBoard
) -> None:
    install("keywords", "plugin_settings", KEYWORD_STUDENT)
    with pytest.raises(HarnessError, match=r"board\.yaml:\d+: students\[0\]\.keep: .*greater than or equal to 1"):
        board.plan(students=[{"student": "keywords", "keep": 0}])


def test_a_student_of_the_harness_keeps_its_name_when_a_package_offers_another_by_it(install: Install) -> None:
    install("linear", "plugin_impostor", KEYWORD_STUDENT)
    assert student_modules()["linear"] == "students.linear"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KEYWORD_STUDENT.replace("class Settings", "class Recipe"), "has no 'Settings'"),
        (KEYWORD_STUDENT.replace("class Student:", "class Pupil:"), "has no 'Student'"),
        (KEYWORD_STUDENT.replace("VERSION = 7", ""), "has no 'Student.VERSION'"),
        (KEYWORD_STUDENT.replace("FAMILIES", "KINDS"), "has no 'Student.FAMILIES'"),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("class Settings", "cannot be imported: expected ':'"),
        (None, "cannot be imported"),
    ],
    ids=["settings", "student", "version", "families", "import", "syntax", "no file"],
)
def test_what_a_student_module_lacks_is_told_in_one_error_that_names_it(
    code: str | None,
    reason: str,
    install: Install,
    board: ReplayBoard,
    capsys: pytest.CaptureFixture[str],
    request: Any,
) -> None:
    module = f"plugin_{request.node.callspec.id.replace(' ', '_')}"
    install("broken", module, code)
    with pytest.raises(HarnessError, match=f"'broken'.*{module}.*({reason})"):
        student_module("broken")
    assert main(["validate", str(board.write(students=["linear", "broken"]))]) == 2
    error = capsys.readouterr().err
    assert "has 1 error:" in error and "students[1]" in error and "Traceback" not in error


def test_a_name_nobody_offers_gets_a_hint_with_the_plug_ins_in_it(install: Install) -> None:
    install("keywords", "plugin_hint", KEYWORD_STUDENT)
    with pytest.raises(HarnessError, match="did you mean 'keywords'"):
        student_module("keyword")


def test_a_task_of_ones_own_is_used_by_the_path_of_its_file(tmp_path: Path) -> None:
    mine = tmp_path / "elsewhere" / "my-task"
    mine.mkdir(parents=True)
    rows = [{"review": text, "stars": 5 if label == "positive" else 1} for text, label in reviews(40, seed=1)]
    (mine / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    split = {"file": "rows.jsonl", "columns": {"text": "review", "label": "stars"}}
    task = {
        "name": "stars",
        "title": "My own reviews",
        "family": "text-classification",
        "labels": list(LABELS),
        "metric": "macro_f1",
        "splits": {"test": {**split, "labels": {1: "negative", 5: "positive"}}},
        "prompts": {
            "mine": {"source": "me", "completion": {"text": {label: [f"A {label} review:"] for label in LABELS}}}
        },
    }
    (mine / "task.yaml").write_text(yaml.safe_dump(task))
    board = ReplayBoard(tmp_path)
    board.add_generator("replayed", reviews(60, seed=3))
    board.tasks.append("elsewhere/my-task/task.yaml")
    loaded = run(board.write(baselines=["majority"], measures=["leakage"]))
    assert loaded["tasks"] == {"stars": "macro_f1"}
    assert {one["generator"]: one["mean"] for one in loaded["entries"]} == {
        "replayed": pytest.approx(1.0),
        "majority": pytest.approx(1 / 3),  # of a constant: F1 of 2/3 for one label, 0 for the other
    }


def test_a_task_file_cannot_read_rows_from_outside_its_folder(tmp_path: Path) -> None:
    board = board_of_one_task(tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    path = ReplayBoard(inner).add_task("reviews", reviews(4, seed=1))
    text = path.read_text().replace("reviews-test.jsonl", "../reviews-test.jsonl")
    path.write_text(text)
    board.tasks[:] = [str(path)]
    with pytest.raises(HarnessError, match=r"reviews\.yaml:\d+: splits\.test\.file: .*own folder"):
        load_task(str(path))
