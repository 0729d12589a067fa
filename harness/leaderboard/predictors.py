"""Which measure of the data goes with the accuracy of the students: the meta-evaluation of a board."""

import math
from collections.abc import Iterable
from pathlib import Path

from harness.files import write_atomic
from harness.leaderboard.charts import correlation_chart
from harness.leaderboard.meta import MIN_ENTRIES, correlate
from harness.leaderboard.rank import Entry, Leaderboard, Predictors
from harness.results import ResultRow

_NO_PREDICTOR = ("label_share.", "language_share.", "oracle_ceiling", "words_min", "words_max")
"""Numbers of which neither much nor little is better, and those that grow with the number of rows alone; so does how
much of the test split leaks."""


def predictors(board: Leaderboard, rows: Iterable[ResultRow]) -> list[Predictors]:
    """For each family and student of a board, how every measure of the datasets goes with the student's mean score.

    Over the ranked entries that have a mean, one of each generator (that of its largest dataset: at the common size its
    others have the same measures); nothing where they are fewer than `MIN_ENTRIES`. The spread of an entry's seeds
    counts as noise of its score.
    """
    of_measures = {row.measure.partition("@")[0]: row for row in rows if row.stage == "measure"}
    found = []
    for family, entries in board.by_family.items():
        for student in dict.fromkeys(entry.student for entry in entries if not entry.baseline):
            some = _largest(entry for entry in entries if entry.student == student and entry.complete)
            names = dict.fromkeys(name for entry in some for name in entry.compared)
            kept = [name for name in names if _is_predictor(name, of_measures[name.partition("@")[0]].unit)]
            if len(some) < MIN_ENTRIES:
                continue
            values = {name: [entry.compared.get(name) for entry in some] for name in kept}
            scores = [entry.mean for entry in some if entry.mean is not None]
            correlations = correlate(values, scores, [_error(entry) for entry in some])
            if defined := [one for one in correlations if one.spearman is not None]:
                tiers = {name: of_measures[name.partition("@")[0]].tier for name in kept}
                found.append(Predictors(family, student, defined, tiers))
    return found


def _largest(entries: Iterable[Entry]) -> list[Entry]:
    """Of each generator the entry with the most rows; no baseline."""
    by_generator: dict[str, Entry] = {}
    for entry in entries:
        known = by_generator.get(entry.generator)
        if not entry.baseline and (known is None or _rows(entry) > _rows(known)):
            by_generator[entry.generator] = entry
    return list(by_generator.values())


def _rows(entry: Entry) -> int:
    return sum(rows or 0 for rows in entry.rows.values())


def _is_predictor(name: str, unit: str) -> bool:
    return unit != "rows" and not name.startswith(_NO_PREDICTOR) and not name.endswith("_test_share")


def _error(entry: Entry) -> float:
    """The standard error of the entry's mean over its seeds; 0 where it has one seed."""
    errors = [(score.seed_sd or 0.0) / math.sqrt(max(1, score.n_seeds)) for score in entry.scores.values()]
    return math.sqrt(sum(error * error for error in errors)) / len(errors)


def write_charts(board: Leaderboard, out: Path) -> list[Path]:
    """`predictors.<student>.svg` for each student (and family, where there are several), in the folder of results."""
    written = []
    for one in board.predictors:
        family = f"{one.family}." if len(board.by_family) > 1 else ""
        path = out / f"predictors.{family}{one.student}.svg"
        title = f"{board.title}: rank correlation of each measure with the score of {one.student}"
        write_atomic(path, correlation_chart(title, one.measures).encode())
        written.append(path)
    return written
