"""Which entries of a family are told apart: pairs on the same test items, Holm over the pairs, groups of ties.

Every pair of ranked entries (complete, no baseline) of a family is compared by its mean over the family's tasks, see
`harness.scoring.crossed`; of all pairs together at most one in twenty boards has a false separation. Then

* `rank_low` and `rank_high` are the best and the worst rank that the separations leave an entry,
* entries share a letter of `tie_group` exactly if they are not separated (a compact letter display: Piepho, J. Comput.
  Graph. Stat. 2004),
* `borda` is a second view, by order alone: in each task a point for each entry beaten and half of one for each equal
  one, meaned over tasks,
* `pgr` says how much of the gap between the majority and the student on gold data an entry closes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.leaderboard.rank import Entry, Leaderboard
from harness.plan import MAJORITY, SUPERVISED, Cell, Plan
from harness.results import score_job
from harness.scoring.crossed import (
    Spread,
    TaskMoments,
    linear_macro_f1,
    recovered_gap,
    spread_of,
    task_moments,
)
from harness.scoring.metrics import BoolArray, FloatArray, encode
from harness.scoring.paired import holm
from harness.spec import Metric, Size
from harness.stages.score import read_scores
from harness.store import Store

ALPHA = 0.05

EntryKey = tuple[str, Size | None, str]
"""Generator, size and student: an entry within its family."""


def key_of(entry: Entry) -> EntryKey:
    return entry.generator, entry.size, entry.student


@dataclass(frozen=True)
class TaskScores:
    """One task of a board: for each entry that has all its seeds, scores `[seeds, items]` whose mean is the metric, and
    the names of its trained students, which other tasks may have, too."""

    task: str
    metric: Metric
    scores: dict[EntryKey, BoolArray | FloatArray] = field(default_factory=dict)
    trained: dict[EntryKey, tuple[str, ...]] = field(default_factory=dict)


def read_task(plan: Plan, store: Store, task: str, entries: Iterable[Entry], lost: Iterable[str]) -> TaskScores:
    """The scores of these entries on one task, from the predictions in the store."""
    (real,) = (one for one in plan.board.tasks if one.name == task)
    cells: dict[tuple[str, int | None, str], list[Cell]] = {}
    for cell in plan.cells:
        if cell.task == task:
            cells.setdefault((cell.generator, cell.size, cell.student), []).append(cell)
    found, missing = TaskScores(task, real.spec.metric), set(lost)
    gold = encode(real.split("test").label, real.spec.labels) if real.spec.metric == "macro_f1" else None
    by_job: dict[str, npt.NDArray[Any]] = {}
    for entry in entries:
        own = cells.get((entry.generator, entry.rows.get(task), entry.student), [])
        jobs = [score_job(cell) for cell in own]
        if not own or any(key in missing for _, key in jobs):
            continue
        for stage, key in jobs:
            if key not in by_job:
                folder = store.folder(stage, key)
                if gold is None:
                    column = "correct" if real.spec.metric == "accuracy" else real.spec.metric
                    by_job[key] = read_scores(folder, column)
                else:
                    predicted = encode(read_scores(folder, "predicted").tolist(), real.spec.labels)
                    by_job[key] = linear_macro_f1(gold, predicted, len(real.spec.labels))
        found.scores[key_of(entry)] = np.stack([by_job[key] for _, key in jobs])
        found.trained[key_of(entry)] = tuple(dict(cell.jobs).get("train", score_job(cell)[1]) for cell in own)
    return found


@dataclass(frozen=True)
class _Task:
    name: str
    moments: TaskMoments
    place: dict[EntryKey, int]
    trained: dict[EntryKey, tuple[str, ...]]


def _spread(tasks: Sequence[_Task], entries: Sequence[EntryKey]) -> Spread:
    moments = [task.moments.take([task.place[entry] for entry in entries]) for task in tasks]
    return spread_of(moments, [[task.trained[entry] for entry in entries] for task in tasks])


def separate(board: Leaderboard, plan: Plan, store: Store, lost: Iterable[str]) -> None:
    """Fill in `rank_low`, `rank_high`, `tie_group`, `borda` and `pgr` of the entries. `lost`: jobs without artifact."""
    missing = set(lost)
    for family, entries in board.by_family.items():
        tasks = []
        for name in board.tasks_of(family):
            read = read_task(plan, store, name, entries, missing)
            if not read.scores or next(iter(read.scores.values())).shape[1] < 2:
                continue
            place = {key: number for number, key in enumerate(read.scores)}
            tasks.append(_Task(name, task_moments(list(read.scores.values())), place, read.trained))
        if len(tasks) == len(board.tasks_of(family)):
            _ties([entry for entry in entries if entry.rank is not None], tasks)
        _recovered(entries, tasks)
    borda(board)


def _ties(ranked: Sequence[Entry], tasks: Sequence[_Task]) -> None:
    """`ranked`: complete, in the order of their means."""
    if not ranked:
        return
    spread = _spread(tasks, [key_of(entry) for entry in ranked])
    upper = np.triu_indices(len(ranked), 1)
    apart = np.zeros((len(ranked), len(ranked)), dtype=np.bool_)
    apart[upper] = np.array(holm(spread.p_values()[upper].tolist())) <= ALPHA
    better = (apart | apart.T) & (spread.means[:, np.newaxis] > spread.means)
    groups = letters(apart | apart.T)
    for number, entry in enumerate(ranked):
        entry.rank_low = 1 + int(better[:, number].sum())
        entry.rank_high = len(ranked) - int(better[number].sum())
        entry.tie_group = groups[number]


def letters(apart: BoolArray) -> list[str]:
    """For each entry its letters: two share one exactly if they are not `apart`, a symmetric matrix `[E, E]`.

    A letter is a set of entries none of which are apart, and as large as it can be; beyond z they go on with a2.
    """
    count = len(apart)
    near = [sum(1 << other for other in range(count) if not apart[one, other]) for one in range(count)]
    shares = [0] * count
    groups: list[list[int]] = []
    for one in range(count):
        # The farthest first: what lies between two entries is mostly near both.
        for other in range(count - 1, one - 1, -1):
            if not near[one] >> other & 1 or shares[one] >> other & 1:
                continue
            members, common = (1 << one) | (1 << other), near[one] & near[other]
            for more in range(count):
                if common >> more & 1:
                    members |= 1 << more
                    common &= near[more]
            groups.append([member for member in range(count) if members >> member & 1])
            for member in groups[-1]:
                shares[member] |= members
    names = [""] * count
    for number, group in enumerate(sorted(groups)):
        again, letter = divmod(number, len(ascii_lowercase))
        for member in group:
            names[member] += ascii_lowercase[letter] + (str(again + 1) if again else "")
    return names


def borda(board: Leaderboard) -> None:
    """Fill in `borda` of the ranked entries of each family."""
    for family, entries in board.by_family.items():
        ranked, tasks = [entry for entry in entries if entry.rank is not None], board.tasks_of(family)
        for entry in ranked:
            points = 0.0
            for task in tasks:
                own = entry.scores[task].value
                others = [other.scores[task].value for other in ranked if other is not entry]
                points += sum(1.0 if own > other else 0.5 if own == other else 0.0 for other in others)
            entry.borda = points / len(tasks)


def _recovered(entries: Iterable[Entry], tasks: Sequence[_Task]) -> None:
    by_key = {key_of(entry): entry for entry in entries}
    majority: EntryKey = (MAJORITY, None, MAJORITY)
    for key, entry in by_key.items():
        three = [key, (SUPERVISED, None, entry.student), majority]
        if entry.baseline or any(one not in by_key for one in three):
            continue
        having = [task for task in tasks if all(one in task.place for one in three)]
        entry.pgr = {task.name: recovered_gap(_spread([task], three)) for task in having}
        if entry.complete and len(having) == len(tasks) == len(entry.scores):
            entry.mean_pgr = recovered_gap(_spread(having, three))
