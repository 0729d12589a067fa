"""One pair of entries in numbers and in words: how they differ on each task, on which items, and how sure that is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from rich.text import Text

from harness.data.examples import Examples
from harness.errors import HarnessError, did_you_mean, one_of
from harness.escaping import in_terminal
from harness.leaderboard.rank import Entry, rank
from harness.leaderboard.separate import TaskScores, key_of, read_task
from harness.plan import Plan
from harness.results import score_job
from harness.scoring.crossed import Contrast, spread_of, task_moments
from harness.scoring.metrics import BoolArray
from harness.scoring.paired import McNemar, mcnemar
from harness.spec import Family
from harness.stages.score import PREDICTIONS, read_scores
from harness.store import Store

_EXAMPLES = 3
_CUT = 160
_POWER = 0.8
_FACTORS = [round(1.05**power, 2) for power in range(1, 200)]
_MOST_SEEDS = 500

SCHEMA = 1


@dataclass(frozen=True)
class Item:
    """A test row that all seeds of one entry get right and all of the other wrong. `predicted`: by the first seed of
    either entry; `right`: whether the first or the second entry is right."""

    row: int
    text: str
    reference: str
    predicted: tuple[str, str]
    right: str


@dataclass(frozen=True)
class Difference:
    """Of two mean scores, first less second; fractions of 1. `p_value` is that of this pair alone."""

    value: float
    low: float
    high: float
    p_value: float
    sd_items: float
    sd_seeds: float


@dataclass(frozen=True)
class TaskComparison:
    """`seeds`: 0 for an entry that has none. `only_first`, `only_second`, `mcnemar_p`: of right answers by the majority
    of an entry's seeds (half is none). `always_first`, `always_second`: right in all seeds of that entry alone, and in
    none of the other."""

    task: str
    metric: str
    items: int
    seeds: tuple[int, int]
    scores: tuple[float, float]
    difference: Difference
    only_first: int
    only_second: int
    mcnemar_p: float
    mcnemar_exact: bool
    always_first: int
    always_second: int
    examples: list[Item]


@dataclass(frozen=True)
class Needed:
    """What would separate entries as different as these four times in five, tested alone: `items` times the test items
    with these seeds, or `seeds` seeds of each with these items; None where no number would do, or too many."""

    items: float | None
    seeds: int | None


@dataclass(frozen=True)
class Comparison:
    """`mean` is over the tasks. `needed` is None where the two are told apart, and where they do not differ at all."""

    board: str
    family: Family
    first: str
    second: str
    tasks: list[TaskComparison]
    mean: Difference
    needed: Needed | None
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def name_of(entry: Entry) -> str:
    """`generator/size/student`; a baseline has no size."""
    return "/".join(str(part) for part in (entry.generator, entry.size, entry.student) if part is not None)


def compare(plan: Plan, store: Store, first: str, second: str) -> Comparison:
    """Compare two entries, named `generator`, `generator/student` or `generator/size/student`, on the tasks of both.

    Raises:
        HarnessError: a name is unknown, or of several entries; the two are one or share no task; something is not in
            the store.
    """
    entries = rank(plan, [], []).entries
    a, b = _pair(entries, first, second)
    tasks = [task for task in plan.board.tasks if task.name in a.rows and task.name in b.rows]
    jobs = {job for one in (a, b) for task in tasks for job in _jobs(plan, one, task.name)}
    missing = sum(store.find(*job) is None for job in jobs)
    if missing:
        raise HarnessError(
            f"{missing} of the {len(jobs)} scores of {name_of(a)} and {name_of(b)} are not in the store {store.root}; "
            f"make them: harness run {plan.board.path}, with the same --store, --mirror, --size and --seed"
        )
    for job in jobs:
        store.checked(*job, PREDICTIONS)
    read = [read_task(plan, store, task.name, (a, b), ()) for task in tasks]
    keys = (key_of(a), key_of(b))
    moments = [task_moments([one.scores[key] for key in keys]) for one in read]
    spread = spread_of(moments, [[one.trained[key] for key in keys] for one in read])
    compared = []
    for one, task, of_task in zip(read, tasks, moments, strict=True):
        right = [_right(plan, store, entry, one) for entry in (a, b)]
        voted = _vote(right)
        always = [_always(right[0], right[1]), _always(right[1], right[0])]
        compared.append(
            TaskComparison(
                task=one.task,
                metric=one.metric,
                items=of_task.items,
                seeds=(_seeds(plan, a, one.task), _seeds(plan, b, one.task)),
                scores=(float(one.scores[keys[0]].mean()), float(one.scores[keys[1]].mean())),
                difference=_difference(spread_of([of_task]).pair(0, 1)),
                only_first=voted.only_first,
                only_second=voted.only_second,
                mcnemar_p=voted.p_value,
                mcnemar_exact=voted.exact,
                always_first=int(always[0].sum()),
                always_second=int(always[1].sum()),
                examples=_examples(plan, store, (a, b), one.task, task.split("test"), always),
            )
        )
    contrast = spread.pair(0, 1)
    seeds = max(1, *(count for one in compared for count in one.seeds))
    return Comparison(
        plan.board.name, a.family, name_of(a), name_of(b), compared, _difference(contrast), _needed(contrast, seeds)
    )


def _pair(entries: Sequence[Entry], first: str, second: str) -> tuple[Entry, Entry]:
    found = [_named(entries, name) for name in (first, second)]
    pairs = [(a, b) for a in found[0] for b in found[1] if a.family == b.family]
    if not pairs:
        raise HarnessError(
            f"'{first}' and '{second}' have no task in common: one is of {found[0][0].family}, the other of "
            f"{found[1][0].family}"
        )
    for name, side in ((first, 0), (second, 1)):
        several = {name_of(pair[side]) for pair in pairs}
        if len(several) > 1:
            raise HarnessError(f"'{name}' is the name of {len(several)} entries: say which of {one_of(several)}")
    if len(pairs) > 1:
        families = one_of({a.family for a, _ in pairs})
        raise HarnessError(f"'{first}' and '{second}' are entries of several families ({families}): choose with --task")
    ((a, b),) = pairs
    if a is b:
        raise HarnessError(f"'{first}' and '{second}' are one entry, {name_of(a)}; name two")
    return a, b


def _named(entries: Sequence[Entry], name: str) -> list[Entry]:
    """The entries that a name may mean; a baseline only where no ranked entry is so named."""
    found = [entry for entry in entries if name in _names(entry)]
    if not found:
        known = sorted({one for entry in entries for one in _names(entry)})
        raise HarnessError(
            f"no entry '{name}'{did_you_mean(name, known)} (there are {one_of({name_of(one) for one in entries})})"
        )
    ranked = [entry for entry in found if not entry.baseline]
    exact = [entry for entry in found if name_of(entry) == name]
    return exact or ranked or found


def _names(entry: Entry) -> tuple[str, ...]:
    return entry.generator, f"{entry.generator}/{entry.student}", name_of(entry)


def _jobs(plan: Plan, entry: Entry, task: str) -> list[tuple[str, str]]:
    """The jobs with the entry's predictions on a task, a seed each."""
    own = (task, entry.generator, entry.rows[task], entry.student)
    return [score_job(cell) for cell in plan.cells if (cell.task, cell.generator, cell.size, cell.student) == own]


def _seeds(plan: Plan, entry: Entry, task: str) -> int:
    own = (task, entry.generator, entry.rows[task], entry.student)
    cells = [cell for cell in plan.cells if (cell.task, cell.generator, cell.size, cell.student) == own]
    return sum(cell.seed is not None for cell in cells)


def _right(plan: Plan, store: Store, entry: Entry, task: TaskScores) -> BoolArray:
    """Right answers `[seeds, items]`: the right label, or an exact match."""
    column = "correct" if task.metric in ("accuracy", "macro_f1") else "exact_match"
    return np.stack([read_scores(store.folder(*job), column) for job in _jobs(plan, entry, task.task)])


def _always(right: BoolArray, other: BoolArray) -> BoolArray:
    """`[items]`: right in all seeds of the one, in none of the other."""
    return np.asarray(right.all(axis=0) & ~other.any(axis=0))


def _vote(right: Sequence[BoolArray]) -> McNemar:
    first, second = (2 * one.sum(axis=0) > len(one) for one in right)
    return mcnemar(first, second)


def _difference(contrast: Contrast) -> Difference:
    interval = contrast.interval()
    # What seeds and items do together is part of both; here it counts as the seeds'.
    return Difference(
        contrast.value, interval.low, interval.high, contrast.p_value(), contrast.items**0.5, contrast.seeds**0.5
    )


def _needed(contrast: Contrast, seeds: int) -> Needed | None:
    """`seeds`: how many each of the two has."""
    if contrast.value == 0 or contrast.p_value() <= 0.05:
        return None
    of_seeds = max(0.0, contrast.seeds - contrast.both)

    def with_items(times: float) -> Contrast:
        both = contrast.both / times
        return replace(contrast, items=contrast.items / times, seeds=of_seeds + both, both=both)

    def with_seeds(times: float) -> Contrast:
        df = contrast.seed_df * (times * seeds - 1) / max(1, seeds - 1)
        return replace(contrast, seeds=contrast.seeds / times, both=contrast.both / times, seed_df=df)

    items = next((times for times in _FACTORS if _is_seen(with_items(times))), None)
    more = range(seeds + 1, _MOST_SEEDS + 1) if contrast.seeds else ()
    return Needed(items, next((count for count in more if _is_seen(with_seeds(count / seeds))), None))


def _is_seen(contrast: Contrast) -> bool:
    """Whether a true difference of this size is told from 0 with a chance of `_POWER`."""
    spread = (contrast.items + contrast.seeds) ** 0.5
    return bool(abs(contrast.value) >= contrast.half_width() + NormalDist().inv_cdf(_POWER) * spread)


def _examples(
    plan: Plan, store: Store, entries: tuple[Entry, Entry], task: str, rows: Examples, always: Sequence[BoolArray]
) -> list[Item]:
    """The first few items that one entry always gets right and the other never, of either kind."""
    first, second = (read_scores(store.folder(*_jobs(plan, one, task)[0]), "predicted") for one in entries)
    found = []
    for right, where in zip(("first", "second"), always, strict=True):
        for row in np.flatnonzero(where)[:_EXAMPLES].tolist():
            parts = (rows.context, rows.question, rows.text, rows.text_pair)
            text = " | ".join(_cut(part[row]) for part in parts if len(part))
            reference = rows.label[row] if len(rows.label) else " / ".join(one.text for one in rows.answers[row][:3])
            found.append(Item(row, text, reference, (str(first[row]), str(second[row])), right))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[: _CUT - 1].rstrip() + "…"


def terminal_comparison(found: Comparison) -> list[Text]:
    """What `harness compare` prints, a line each; texts of the data without control characters."""
    lines = [f"A  {found.first}", f"B  {found.second}", ""]
    for one in found.tasks:
        a, b = (100 * score for score in one.scores)
        counts = [str(count or "no") for count in dict.fromkeys(one.seeds)]
        seeds = f"{' and '.join(counts)} seed{'s' if max(one.seeds) > 1 else ''}"
        lines += [
            f"{one.task}: {one.metric} on {one.items:,} test items, {seeds}",
            f"  A {a:.1f} %, B {b:.1f} %; {_in_words(one.difference)}",
            f"  right by the majority of seeds: A alone {one.only_first:,}, B alone {one.only_second:,} items; "
            f"McNemar's {'exact ' if one.mcnemar_exact else ''}p {_p(one.mcnemar_p)}",
            f"  in all seeds: A alone {one.always_first:,}, B alone {one.always_second:,}",
        ]
        for item in one.examples:
            who = "A right, B wrong" if item.right == "first" else "B right, A wrong"
            other = item.predicted[1 if item.right == "first" else 0]
            lines.append(f"    {who}: row {item.row}, {item.reference} (not {_cut(other) or 'nothing'}): {item.text}")
        lines.append("")
    if len(found.tasks) > 1:
        lines += [f"mean of {len(found.tasks)} tasks: {_in_words(found.mean)}", ""]
    lines += _verdict(found)
    return [in_terminal(line) for line in lines]


def _in_words(found: Difference) -> str:
    low, high = 100 * found.low, 100 * found.high
    return f"A − B {100 * found.value:+.1f} points [{low:+.1f}, {high:+.1f}], p {_p(found.p_value)}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _verdict(found: Comparison) -> list[str]:
    mean = found.mean
    lines = []
    if mean.p_value <= 0.05:
        better = "A" if mean.value > 0 else "B"
        lines.append(f"{better} is better: as large a difference would come by chance in fewer than 1 of 20 pairs.")
    elif mean.value == 0:
        lines.append("They are not told apart: the scores are equal.")
    else:
        lines.append("They are not told apart: a difference as large comes about by test items and seeds alone.")
    lines.append(
        f"Standard deviation of the difference: {100 * mean.sd_items:.2f} points by test items, "
        f"{100 * mean.sd_seeds:.2f} by seeds."
    )
    if found.needed is not None:
        ways = []
        if found.needed.items is not None:
            times = found.needed.items
            ways.append(f"{times:,.{1 if times < 10 else 0}f} times the test items")
        if found.needed.seeds is not None:
            ways.append(f"{found.needed.seeds:,} seeds of each")
        if ways:
            lines.append(f"To tell a difference of this size, four times in five: {' or '.join(ways)}.")
        else:
            lines.append(
                "Neither more test items alone nor more seeds alone would do to tell a difference of this size."
            )
    if any(1 in one.seeds for one in found.tasks):
        lines.append("Where an entry has one seed, this is about that very student: another seed may do otherwise.")
    lines.append("The p-values are of this pair alone; the leaderboard adjusts for all its pairs.")
    return lines
