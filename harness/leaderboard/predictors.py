"""Which measure of the data goes with the accuracy of the students: the meta-evaluation of a board."""

import math
from collections.abc import Iterable
from pathlib import Path

from harness.files import write_atomic
from harness.leaderboard.charts import correlation_chart
from harness.leaderboard.meta import MIN_ENTRIES, correlate
from harness.leaderboard.rank import Entry, Leaderboard, Predictors
from harness.results import ResultRow

_NO_PREDICTOR = ("label_share.", "language_share.")
"""Numbers of which neither much nor little is better."""


def predictors(board: Leaderboard, rows: Iterable[ResultRow]) -> list[Predictors]:
    """For each family and student of a board, how every measure of the datasets goes with the student's mean score.

    Over the ranked entries that have a mean; nothing where they are fewer than `MIN_ENTRIES`. Measures that depend on
    the number of rows are those at the common size. The spread of an entry's seeds counts as noise of its score.
    """
    units = {row.measure.partition("@")[0]: row.unit for row in rows if row.stage == "measure"}
    found = []
    for family, entries in board.by_family.items():
        for student in dict.fromkeys(entry.student for entry in entries if not entry.baseline):
            some = [entry for entry in entries if entry.student == student and entry.complete and not entry.baseline]
            names = dict.fromkeys(name for entry in some for name in entry.compared)
            kept = [name for name in names if _is_predictor(name, units.get(name.partition("@")[0], ""))]
            if len(some) < MIN_ENTRIES or not kept:
                continue
            values = {name: [entry.compared.get(name) for entry in some] for name in kept}
            scores = [entry.mean for entry in some if entry.mean is not None]
            of_measures = correlate(values, scores, [_error(entry) for entry in some])
            found.append(Predictors(family, student, [one for one in of_measures if one.spearman is not None]))
    return found


def _is_predictor(name: str, unit: str) -> bool:
    return unit != "rows" and not name.startswith(_NO_PREDICTOR)


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
