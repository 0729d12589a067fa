"""From the long table to a ranking: an entry per (generator, size, student), a score per task, a mean if complete."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness import __version__
from harness.leaderboard.meta import Correlation
from harness.plan import BASELINES, Cell, Plan
from harness.quality.measures import depends_on_size
from harness.results import ALL_SEEDS, ResultRow
from harness.scoring.crossed import Ratio
from harness.spec import Family, Size

SCHEMA = 1


@dataclass(frozen=True)
class TaskScore:
    """The task's metric for one entry, as fractions. `low`/`high`: over test items and seeds together (items alone for
    an entry without seeds); `items` and `seeds`: each source of spread by itself."""

    value: float
    low: float | None
    high: float | None
    items: tuple[float, float] | None
    seeds: tuple[float, float] | None
    seed_sd: float | None
    n_seeds: int
    suspected_inversion: bool


@dataclass
class Entry:
    """A line of the leaderboard, in one family of tasks. A baseline has no rank; an entry that lacks a task of its
    family has no mean.

    `size` is the board's, `rows` the number of rows by task: they differ where `all` is another number for each.
    `measures` are those of the whole datasets; `compared` those by which entries can be compared: what depends on the
    number of rows is taken at the board's common size, and absent for a dataset that is smaller.

    `rank` is the place of the mean; `rank_low` to `rank_high`, `tie_group` and `borda` say what of it holds, and `pgr`
    (percent, by task; `mean_pgr` of the means over all) what the entry recovers: see `harness.leaderboard.separate`.
    """

    family: Family
    generator: str
    size: Size | None
    student: str
    baseline: bool
    rows: dict[str, int | None] = field(default_factory=dict)
    scores: dict[str, TaskScore] = field(default_factory=dict)
    mean: float | None = None
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    tie_group: str = ""
    borda: float | None = None
    pgr: dict[str, Ratio] = field(default_factory=dict)
    mean_pgr: Ratio | None = None
    parameters: float | None = None
    size_bytes: float | None = None
    latency_p50_ms: float | None = None
    rows_per_second: float | None = None
    measures: dict[str, float] = field(default_factory=dict)
    compared: dict[str, float] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.mean is not None


@dataclass(frozen=True)
class Predictors:
    """How the measures of the datasets go with one student's mean scores, over the entries of a family."""

    family: Family
    student: str
    measures: list[Correlation]
    tiers: dict[str, str]


@dataclass
class Leaderboard:
    """The entries family by family, in the order of their mean, complete ones first. `tasks`: the metric by task,
    `families`: its family, `common_rows`: the number of rows at which its datasets are compared."""

    board: str
    title: str
    tasks: dict[str, str]
    families: dict[str, Family]
    entries: list[Entry]
    notes: list[str]
    predictors: list[Predictors] = field(default_factory=list)
    common_rows: dict[str, int] = field(default_factory=dict)
    harness: str = __version__
    schema: int = SCHEMA

    @property
    def by_family(self) -> dict[Family, list[Entry]]:
        families = dict.fromkeys(self.families.values())
        return {family: [entry for entry in self.entries if entry.family == family] for family in families}

    def tasks_of(self, family: Family) -> list[str]:
        return [task for task, found in self.families.items() if found == family]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rank(plan: Plan, rows: list[ResultRow], failures: Iterable[str]) -> Leaderboard:
    """Rank the entries of each family of a board by the mean of the family's metrics.

    There is no mean over families: their metrics do not measure the same.
    """
    families = {task.name: task.spec.family for task in plan.board.tasks}
    metrics = {task.name: task.spec.metric for task in plan.board.tasks}
    uneven = _uneven(plan)
    entries: dict[tuple[Family, str, Size | None, str], Entry] = {}
    for cell in plan.cells:
        baseline = cell.generator in BASELINES or cell.student in BASELINES
        all_rows = uneven.get(cell.generator, {}).get(cell.task, -1)
        for size in [None] if baseline else _board_sizes(plan, cell, all_rows):
            key = (families[cell.task], cell.generator, size, cell.student)
            entries.setdefault(key, Entry(*key, baseline)).rows[cell.task] = cell.size
    index: dict[tuple[str, str, int | None, str], list[ResultRow]] = {}
    for row in rows:
        index.setdefault((row.generator, row.task, row.size, row.student), []).append(row)
    for entry in entries.values():
        keys = [(entry.generator, *part, student) for part in entry.rows.items() for student in (entry.student, "")]
        of_family = {task: metric for task, metric in metrics.items() if families[task] == entry.family}
        of_entry = [row for key in keys for row in index.get(key, [])]
        _fill(entry, of_entry, of_family)
        entry.compared = _mean_by_measure(_at_common_size(of_entry, plan.common_rows))
    ordered: list[Entry] = []
    for family in dict.fromkeys(families.values()):
        ordered += _in_order([entry for entry in entries.values() if entry.family == family])
    notes = [*plan.notes, *not_available(rows), *failures]
    board, common = plan.board, dict(plan.common_rows)
    return Leaderboard(board.name, board.title, dict(metrics), families, ordered, notes, common_rows=common)


def not_available(rows: Iterable[ResultRow]) -> list[str]:
    """One line for each reason why measures could not be taken."""
    found: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        if row.value is None:
            found.setdefault(row.note, {}).setdefault(row.measure, set()).add(f"{row.generator}/{row.task}")
    notes = []
    for why, measures in found.items():
        datasets = sorted({name for names in measures.values() for name in names})
        of = datasets[0] if len(datasets) == 1 else f"{len(datasets)} datasets"
        notes.append(f"{', '.join(measures)} of {of}: {why}")
    return notes


def _in_order(entries: list[Entry]) -> list[Entry]:
    """The entries of one family, ranked."""
    ordered = sorted(entries, key=lambda one: (not one.complete, -(one.mean or 0.0), one.generator, one.student))
    means = [entry.mean for entry in ordered if entry.mean is not None and not entry.baseline]
    for entry in ordered:
        if entry.mean in means and not entry.baseline:
            entry.rank = 1 + means.index(entry.mean)  # equal means share a rank
    return ordered


def _uneven(plan: Plan) -> dict[str, dict[str, int]]:
    """The generators whose `all` is not the same number of rows for every task: that number by task."""
    largest: dict[str, dict[str, int]] = {}
    for cell in plan.cells:
        if cell.size is not None and "all" in plan.board.sizes:
            by_task = largest.setdefault(cell.generator, {})
            by_task[cell.task] = max(cell.size, by_task.get(cell.task, 0))
    return {generator: by_task for generator, by_task in largest.items() if len(set(by_task.values())) > 1}


def _board_sizes(plan: Plan, cell: Cell, all_rows: int) -> list[Size | None]:
    """The sizes of the board that a cell stands for: its number of rows, and `all` if these are its uneven rows."""
    found: list[Size | None] = [size for size in plan.board.sizes if size == cell.size]
    if cell.size == all_rows:
        found.append("all")
    return found or [cell.size]


def _fill(entry: Entry, rows: list[ResultRow], metrics: Mapping[str, str]) -> None:
    for task, metric in metrics.items():
        of_task = [row for row in rows if row.task == task]
        score = _task_score([row for row in of_task if row.student == entry.student], metric)
        if score is not None:
            entry.scores[task] = score
            entry.signatures[task] = next(row.signature for row in of_task if row.seed == ALL_SEEDS)
    if len(entry.scores) == len(metrics):
        entry.mean = sum(score.value for score in entry.scores.values()) / len(metrics)
    for name in ("parameters", "size_bytes", "latency_p50_ms", "rows_per_second"):
        values = [row.number for row in rows if row.measure == name and row.stage == "profile"]
        if values:
            setattr(entry, name, sum(values) / len(values))
    entry.measures = _mean_by_measure([(row.measure, row.number) for row in rows if _is_measure(row)])


def _is_measure(row: ResultRow) -> bool:
    return row.stage == "measure" and row.value is not None


def _parts(measure: str) -> tuple[str, str]:
    """`self_bleu_4@1000` as its name and its size; the size is empty where there is none."""
    name, _, size = measure.partition("@")
    return name, size


def _at_common_size(rows: Iterable[ResultRow], common: Mapping[str, int]) -> list[tuple[str, float]]:
    """The numbers by which datasets of several sizes can be compared: what depends on the size only where it was taken
    at the common one, or at a size of its own (`compression_ratio@100kB`)."""
    found = []
    for row in rows:
        if not _is_measure(row):
            continue
        name, size = _parts(row.measure)
        at = str(common.get(row.task, ""))
        if not depends_on_size(name) or (size and not size.isdigit()):
            found.append((row.measure, row.number))
        elif size == at or (not size and str(row.size) == at):
            found.append((name, row.number))
    return found


def _mean_by_measure(numbers: Iterable[tuple[str, float]]) -> dict[str, float]:
    by_measure: dict[str, list[float]] = {}
    for name, number in numbers:
        by_measure.setdefault(name, []).append(number)
    return {name: sum(values) / len(values) for name, values in by_measure.items()}


def _task_score(rows: list[ResultRow], metric: str) -> TaskScore | None:
    over_seeds = {row.measure: row for row in rows if row.seed == ALL_SEEDS}
    if metric not in over_seeds:
        return None
    row = over_seeds[metric]
    single = [one for one in rows if one.measure == metric and one.seed != ALL_SEEDS]
    items = over_seeds.get(f"{metric}.items", single[0] if len(single) == 1 else None)
    seeds, spread = over_seeds.get(f"{metric}.seeds"), over_seeds.get(f"{metric}.seed_sd")
    whole = row if row.low is not None else items
    flags = [one.number for one in rows if one.measure == "suspected_inversion"]
    return TaskScore(
        value=row.number,
        low=whole.low if whole else None,
        high=whole.high if whole else None,
        items=_bounds(items),
        seeds=_bounds(seeds),
        seed_sd=spread.number if spread else None,
        n_seeds=len(single),
        suspected_inversion=any(flags),
    )


def _bounds(row: ResultRow | None) -> tuple[float, float] | None:
    if row is None or row.low is None or row.high is None:
        return None
    return row.low, row.high
