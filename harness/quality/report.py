"""The report on one dataset: what it holds, for the terminal and for a page of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.values import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import RenderableType


@dataclass(frozen=True)
class DataReport:
    """The measures of one dataset, and the rows that they are about.

    `missing`: measure -> why it is not available. `per_text`: float64 [rows] by name, NaN where a text has no score.
    `source_rows`: where each row stands in the file, from 0. `made_with`: what the numbers depend on, by name (the
    file's content, the models, the versions of the measures). `clusters`: rows that are near duplicates of each other,
    each cluster as indices into `texts` (None: not looked for).
    """

    title: str
    file: str
    task: str | None
    values: Sequence[Value]
    missing: Mapping[str, str]
    per_text: "Mapping[str, NDArray[np.float64]]"
    texts: Sequence[str]
    labels: Sequence[str] | None
    label_names: Sequence[str]
    contexts: Sequence[str] | None
    source_rows: Sequence[int]
    made_with: Mapping[str, str]
    clusters: Sequence[Sequence[int]] | None = None


def terminal_report(report: DataReport) -> "list[RenderableType]":
    """About a page for `rich` to print."""
    from harness.quality.report_terminal import terminal_report

    return terminal_report(report)


def html_page(report: DataReport) -> str:
    """A page of its own: one file that loads nothing, runs no script, and stays below a megabyte."""
    from harness.quality.report_html import html_page

    return html_page(report)
