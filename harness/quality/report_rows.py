"""Which rows a report shows, and how scores are binned: the facts that the terminal and the page have in common."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.quality.report_words import Score, score_of, score_order

if TYPE_CHECKING:
    from harness.quality.report import DataReport

BINS = 40
"""At most about so many bins per histogram, and at least half as many where the scores allow."""

_TAIL = 0.005
"""Share of the texts at either end that may be put into one bin, where they would squeeze all others together."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """`counts` int64 [bins] of the finite scores between `edges` float64 [bins + 1], the last bin closed at both ends.

    `below`, `above`: the first or last bin holds a long tail, and is as wide as it takes. `whole`: all scores are whole
    numbers, and so are the edges. `log`: bins are equally wide on a logarithmic scale. `unscored`: scores left out.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    unscored: int
    whole: bool = False
    log: bool = False
    below: bool = False
    above: bool = False


def histogram(scores: NDArray[np.float64], log: bool = False) -> Histogram | None:
    """The histogram of the finite scores, on round edges; None without any. `log` holds where all are above 0."""
    finite = scores[np.isfinite(scores)].astype(np.float64)
    unscored = len(scores) - len(finite)
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    # Too close, or too far apart, for numbers between them.
    if not max(1e-9 * abs(low), 1e-9 * abs(high), 1e-290) < high - low < np.inf:
        edges = np.array([low, high])
        return Histogram(edges, np.array([len(finite)]), unscored)
    if log and low > 0:
        edges = np.geomspace(low, high, BINS + 1)
        edges[0], edges[-1] = low, high  # which rounding may have moved inside
        return Histogram(edges, np.histogram(finite, edges)[0], unscored, log=True)
    whole = bool(np.all(finite == np.round(finite)))
    start, end = (float(quantile) for quantile in np.quantile(finite, [_TAIL, 1 - _TAIL]))
    below, above = start - low > 0.25 * (end - start), high - end > 0.25 * (end - start)
    start, end = start if below else low, end if above else high
    if start == end:  # nearly all are the same: no tail is set apart from them
        start, end, below, above = low, high, False, False
    step = round_step((end - start) / BINS, whole)
    first = np.floor(start / step)
    # A whole number at the upper end begins a bin of its own; a probability of 1 ends the last.
    last = np.floor(end / step) + 1 if whole else max(np.ceil(end / step), first + 1)
    edges = np.arange(first, last + 1) * step
    above, below = above and high > edges[-1], below and low < edges[0]
    if not below:
        edges[0] = min(edges[0], low)  # which rounding may have left just outside
    if not above:
        edges[-1] = max(edges[-1], high)
    edges = np.concatenate([[low] if below else [], edges, [high] if above else []])
    return Histogram(edges, np.histogram(finite, edges)[0], unscored, whole, below=below, above=above)


def round_step(width: float, whole: bool = False) -> float:
    """The smallest of 1, 2, 5, 10 … times a power of ten that is at least `width`; at least 1 where `whole`."""
    if whole and width <= 1:
        return 1.0
    power = 10.0 ** np.floor(np.log10(width))
    # The quotient of a width that is round already may come out a little too large.
    return float(power * next(factor for factor in (1, 2, 5, 10) if factor * (1 + 1e-9) >= width / power))


def scored(report: "DataReport") -> dict[str, tuple[Score, NDArray[np.float64]]]:
    """Scores by name in the order of a report, without those that say yes or no."""
    flags = flagged(report.per_text)
    return {name: (score_of(name), report.per_text[name]) for name in score_order(report.per_text) if name not in flags}


def flagged(per_text: "Mapping[str, NDArray[np.float64]]") -> dict[str, NDArray[np.int64]]:
    """Rows with a 1, by name, where nobody described the name as a scale and every text that has a score has 0 or 1."""
    return {
        name: np.flatnonzero(scores == 1)
        for name, scores in per_text.items()
        if score_of(name).name == name
        and not score_of(name).says
        and bool(np.isin(scores[~np.isnan(scores)], (0, 1)).all())
    }


def lowest(scores: NDArray[np.float64], count: int, texts: Sequence[str]) -> list[int]:
    """The rows of the `count` lowest finite scores, lowest first, then by row; each text once."""
    found: dict[str, int] = {}
    finite = np.flatnonzero(np.isfinite(scores))
    for row in finite[np.argsort(scores[finite], kind="stable")].tolist():
        if len(found) == count:
            break
        found.setdefault(texts[row], row)
    return list(found.values())


def suspects(report: "DataReport", count: int) -> tuple[str, list[int]] | None:
    """The rows whose labels look most wrong and the name of the scores that say so; None where nothing does."""
    for wanted in ("self_confidence", "oracle_probability"):
        for name in report.per_text:
            if score_of(name).name == wanted and report.labels is not None:
                return name, lowest(report.per_text[name], count, report.texts)
    return None


def largest_clusters(clusters: Iterable[Sequence[int]]) -> list[Sequence[int]]:
    """Those of two rows or more, largest first."""
    return sorted((cluster for cluster in clusters if len(cluster) > 1), key=len, reverse=True)


def label_counts(report: "DataReport") -> dict[str, int]:
    """Rows per label, in the order of the task; labels that it does not name come last."""
    counts = Counter(report.labels or ())
    return {name: counts[name] for name in dict.fromkeys((*report.label_names, *counts))}
