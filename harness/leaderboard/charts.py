"""Charts as SVG text: no library, no script, readable on light and dark pages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.escaping import in_html
from harness.leaderboard.meta import Correlation

_SPOKEN = 100_000
"""Characters of what a screen reader says of all rows."""

WIDTH, LABELS, RIGHT, ROW, TOP, BOTTOM = 800, 250, 190, 24, 56, 44
"""In pixels: the whole width, the room for labels on the left and for numbers on the right, and the heights."""

# Within a page what is drawn takes the colour of its text; a file by itself follows the reader's scheme.
_STYLE = """\
.chart{font:13px system-ui,sans-serif}
.chart:root{color-scheme:light dark;color:#1f2328}
@media (prefers-color-scheme:dark){.chart:root{color:#e6edf3}}
.chart text{fill:currentColor}
.chart line{stroke:currentColor}
.chart circle{fill:currentColor}
.chart .grid{stroke-opacity:.15}
.chart .zero{stroke-opacity:.6}
.chart .whisker{stroke-width:2;stroke-opacity:.55}
.chart .quiet{fill-opacity:.7}
.chart .title{font-size:15px;font-weight:600}"""


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of a dot-and-interval chart. Without a value it says "not defined", without bounds it has no whiskers."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def correlation_chart(title: str, correlations: Iterable[Correlation]) -> str:
    """Spearman's rho of each measure with its interval, the strongest first; those that are not defined come last."""
    ordered = sorted(
        correlations,
        key=lambda one: (one.spearman is None, -abs(one.spearman.value) if one.spearman else 0.0, one.measure),
    )
    dots = []
    for one in ordered:
        note = f"{one.entries} {'entry' if one.entries == 1 else 'entries'}"
        if one.spearman is None:
            dots.append(Dot(one.measure, None, note=note))
            continue
        interval = one.spearman.interval
        low, high = (interval.low, interval.high) if interval else (None, None)
        dots.append(Dot(one.measure, one.spearman.value, low, high, note))
    return dot_chart(title, "Spearman's rank correlation with the score, and its 95 % interval over entries", dots)


def dot_chart(title: str, axis: str, dots: Sequence[Dot], ends: tuple[float, float] = (-1.0, 1.0)) -> str:
    """An SVG document: a line per dot from top to bottom, its value on a scale between the ends with five ticks.

    Labels, notes and titles may hold anything; long ones are cut. A screen reader hears the title and every row.
    """
    first, last = ends
    span = WIDTH - LABELS - RIGHT

    def at(value: float) -> float:
        return round(LABELS + span * (min(max(value, first), last) - first) / (last - first), 1)

    bottom, height = TOP + ROW * len(dots), TOP + ROW * len(dots) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">',
        f"<title>{in_html(title)}</title>",
        f"<desc>{in_html(axis)}. {in_html(' '.join(map(_spoken, dots)), _SPOKEN)}</desc>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="12" y="24">{in_html(_cut(title, 90))}</text>',
    ]
    for tick in (first + (last - first) * step / 4 for step in range(5)):
        kind = "zero" if tick == 0 else "grid"
        lines.append(f'<line class="{kind}" x1="{at(tick)}" x2="{at(tick)}" y1="{TOP - 8}" y2="{bottom}"/>')
        lines.append(
            f'<text class="quiet" text-anchor="middle" x="{at(tick)}" y="{bottom + 16}">{_number(tick)}</text>'
        )
    middle = (at(first) + at(last)) / 2
    lines.append(f'<text class="quiet" text-anchor="middle" x="{middle}" y="{bottom + 36}">{in_html(axis)}</text>')
    for row, dot in enumerate(dots):
        y = TOP + ROW * row + ROW / 2 - 4
        lines.append(f'<text text-anchor="end" x="{LABELS - 12}" y="{y + 4}">{in_html(_cut(dot.label, 30))}</text>')
        if dot.low is not None and dot.high is not None:
            lines.append(f'<line class="whisker" x1="{at(dot.low)}" x2="{at(dot.high)}" y1="{y}" y2="{y}"/>')
        if dot.value is not None:
            lines.append(f'<circle cx="{at(dot.value)}" cy="{y}" r="4.5"/>')
        number = _number(dot.value) if dot.value is not None else "not defined"
        note = f", {dot.note}" if dot.note else ""
        x = WIDTH - RIGHT + 12
        lines.append(f'<text class="quiet" x="{x}" y="{y + 4}">{in_html(_cut(number + note, 24))}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _spoken(dot: Dot) -> str:
    if dot.value is None:
        return f"{dot.label}: not defined."
    bounds = f", {_number(dot.low)} to {_number(dot.high)}" if dot.low is not None and dot.high is not None else ""
    return f"{dot.label}: {_number(dot.value)}{bounds}."


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if round(value, 2) else "0.00"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
