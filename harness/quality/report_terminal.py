"""The report on one dataset for a terminal: about a page."""

from typing import TYPE_CHECKING

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.escaping import in_terminal
from harness.quality.report_rows import label_counts, largest_clusters, suspects
from harness.quality.report_words import ARROWS, Shown, digits, grouped, interval, number, percent
from harness.quality.report_words import Group as TierGroup
from harness.values import Value

if TYPE_CHECKING:
    from harness.quality.report import DataReport

_NAME, _TEXT = 25, 200
"""Characters of a family's name that stand in a line, and of a text that are shown."""

_ARROWS_SAY = "↓ ↑ the way to more variety, cleaner texts, truer labels, more likeness to real text; [ ] 95 % intervals"

_LABELS, _SUSPECTS, _REPEATS = 10, 3, 2


def terminal_report(report: "DataReport") -> list[RenderableType]:
    """One block per part of the report; parts about which nothing is known are left out."""
    parts: list[RenderableType] = [_header(report), *map(_tier, grouped(report.values, report.missing))]
    parts.append(in_terminal(_ARROWS_SAY, "dim"))
    if report.labels is not None:
        parts += _titled("Rows per label", _labels(report))
    if (found := suspects(report, _SUSPECTS)) is not None and found[1]:
        parts += _titled("Labels that look most wrong", _suspects(report, *found))
    if report.clusters is not None and (clusters := largest_clusters(report.clusters)):
        rows = len(clusters[0])
        parts += _titled(
            f"The largest of {len(clusters):,} groups of near duplicates: {rows:,} rows",
            Group(*(_text(report, row) for row in clusters[0][:_REPEATS])),
        )
    return parts


def _header(report: "DataReport") -> RenderableType:
    facts = [f"{len(report.texts):,} rows"]
    if report.task is not None:
        facts.append(f"task {report.task}")
    facts.append(report.file)
    return Group(in_terminal(report.title, "bold"), in_terminal(" · ".join(facts), "dim"))


def _titled(title: str, body: RenderableType) -> list[RenderableType]:
    return [Group(Text(""), in_terminal(title, "bold")), Padding(body, (0, 0, 0, 2))]


def _tier(group: TierGroup) -> RenderableType:
    table = Table(
        title=in_terminal(group.title, "bold"), title_justify="left", show_header=False, box=box.SIMPLE, pad_edge=False
    )
    table.add_column(overflow="fold", width=_NAME)  # the same for all tiers, so that their numbers stand in line
    table.add_column(overflow="fold")
    for shown in group.families:
        name = in_terminal(shown.family.title)
        if shown.family.better:
            name.append(f" {ARROWS[shown.family.better[0]]}", "dim")
        table.add_row(name, Columns([_value(value, shown) for value in shown.values], padding=(0, 2)))
    for measure, why in group.missing.items():
        table.add_row(in_terminal(measure, "dim"), in_terminal(f"not available: {why}", "dim"))
    return table


def _value(value: Value, shown: Shown) -> Text:
    """`4 23.1 % [22.8 to 23.4]`: what the name says beyond its family, then the number."""
    rest = value.measure.removeprefix(shown.family.name).lstrip("_.")
    text = in_terminal(f"{rest} " if rest else "", "cyan")
    text.append_text(in_terminal(number(value.value, value.unit)))
    if bounds := interval(value):
        text.append(f" [{bounds}]", "dim")
    return text


def _labels(report: "DataReport") -> RenderableType:
    table = Table.grid(padding=(0, 2))
    counts = label_counts(report)
    for name, count in list(counts.items())[:_LABELS]:
        share = count / len(report.texts) if report.texts else 0.0
        bar = Text("█" * round(20 * share) or "▏", "cyan")
        table.add_row(in_terminal(name), Text(f"{count:,}", justify="right"), f"{percent(share)} %", bar)
    if len(counts) > _LABELS:
        table.add_row(f"and {len(counts) - _LABELS:,} more")
    return table


def _suspects(report: "DataReport", name: str, rows: list[int]) -> RenderableType:
    assert report.labels is not None, "suspects has looked"
    blocks = []
    for row in rows:
        head = in_terminal(f"{report.labels[row]}: {percent(float(report.per_text[name][row]))} %  ", "yellow")
        blocks.append(head.append_text(_text(report, row)))
    return Group(*blocks)


def _text(report: "DataReport", row: int) -> Text:
    text = report.texts[row]
    cut = text if len(text) <= _TEXT else text[: _TEXT - 1].rstrip() + "…"
    shown = in_terminal(f"row {digits(report.source_rows[row])}  ", "dim")
    return shown.append_text(in_terminal(cut or "(empty)"))
