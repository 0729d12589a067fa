"""Boards of replayed data that are small enough to run within a test: no network, no PLM."""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.plan import Plan, Selection, make_plan
from harness.progress import Quiet
from harness.resolve import resolve_board
from harness.results import ResultRow, result_rows
from harness.run import Outcome, run_jobs
from harness.store import Store

Row = tuple[str, str]
"""Text and label."""

LABELS = ("negative", "positive")
_OWN_WORDS = (["awful", "boring", "dreadful", "stupid"], ["superb", "moving", "lovely", "witty"])
_SHARED_WORDS = ["film", "plot", "actor", "scene", "ending", "script", "camera", "score"]


def reviews(count: int, seed: int, wrong: float = 0.0) -> list[Row]:
    """Rows whose label shows in their words, as many of each; a fraction `wrong` carries the other label."""
    stream = random.Random(seed)
    rows = []
    for number in range(count):
        words = stream.choices(_OWN_WORDS[number % 2], k=3) + stream.choices(_SHARED_WORDS, k=5)
        stream.shuffle(words)
        rows.append((" ".join(words), LABELS[(number + (stream.random() < wrong)) % 2]))
    return rows


def swapped(rows: Sequence[Row]) -> list[Row]:
    """The same texts, each with the other of the two labels."""
    return [(text, LABELS[1 - LABELS.index(label)]) for text, label in rows]


@dataclass(frozen=True)
class Ran:
    """A board that was run: what was planned, what became of it, and the long table."""

    plan: Plan
    store: Store
    outcome: Outcome
    rows: list[ResultRow]


@dataclass
class ReplayBoard:
    """A board in a folder of its own, added to piece by piece."""

    folder: Path
    tasks: list[str] = field(default_factory=list)
    generators: list[str | dict[str, Any]] = field(default_factory=list)

    def add_task(self, name: str, rows: Sequence[Row], train: Sequence[Row] = (), **fields: Any) -> Path:
        """A task file with its test rows (and gold train rows) beside it."""
        splits = {split: some for split, some in (("test", rows), ("train", train)) if some}
        for split, some in splits.items():
            self._jsonl(f"{name}-{split}.jsonl", some)
        task = {
            "name": name,
            "title": name,
            "family": "text-classification",
            "labels": list(LABELS),
            "splits": {split: {"file": f"{name}-{split}.jsonl"} for split in splits},
            "prompts": {"plain": {"source": "test", "completion": {"text": {label: [label] for label in LABELS}}}},
            **fields,
        }
        self.tasks.append(f"{name}.yaml")
        return self._yaml(f"{name}.yaml", task)

    def add_generator(self, name: str, rows: Sequence[Row], **by_task: Sequence[Row]) -> None:
        """A replayed dataset for every task, or another one for those named."""
        data: str | dict[str, str] = self._jsonl(f"{name}.jsonl", rows).name
        if by_task:
            data = {task: self._jsonl(f"{name}-for-{task}.jsonl", some).name for task, some in by_task.items()}
        self.generators.append({"name": name, "backend": "replay", "data": data})

    def write(self, **fields: Any) -> Path:
        """The board file. Without `fields`: the linear student, all rows, two seeds, no baseline, measure or timing."""
        board = {
            "name": "small",
            "tasks": self.tasks,
            "generators": self.generators,
            "students": ["linear"],
            "sizes": ["all"],
            "seeds": [13, 21],
            "baselines": [],
            "measures": [],
            "profile": False,
            **fields,
        }
        return self._yaml("board.yaml", board)

    def plan(self, selection: Selection | None = None, **fields: Any) -> Plan:
        return make_plan(resolve_board(str(self.write(**fields)), None), selection or Selection())

    def run(self, **fields: Any) -> Ran:
        plan, store = self.plan(**fields), Store(self.folder / "store")
        outcome = run_jobs(plan, store, Quiet(sys.stderr), workers=1)
        return Ran(plan, store, outcome, result_rows(plan, store, outcome.lost))

    def _jsonl(self, name: str, rows: Sequence[Row]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        return path

    def _yaml(self, name: str, data: dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path


def board_of_one_task(folder: Path) -> ReplayBoard:
    """One task, `reviews`, with 40 test rows that words tell apart; no generator yet."""
    board = ReplayBoard(folder)
    board.add_task("reviews", reviews(40, seed=1), train=reviews(60, seed=2))
    return board
