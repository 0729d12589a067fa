"""Charts as SVG that stands inside a page: it takes its colours from the page's classes and loads nothing."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.escaping import in_html
from harness.quality.report_rows import Histogram, round_step
from harness.quality.report_words import digits, number, percent

_WIDTH, _HEIGHT = 560.0, 200.0
_LEFT, _TOP, _BOTTOM = 6.0, 20.0, 26.0


def histogram_chart(bins: Histogram, unit: str, median: float, label: str) -> str:
    """Bars, a line at the median and an axis; every bar names its range and its count when pointed at."""
    n_bins = len(bins.counts)
    width = (_WIDTH - 2 * _LEFT) / n_bins
    floor = _HEIGHT - _BOTTOM
    tallest = int(bins.counts.max())
    parts = []
    for index, (count, name) in enumerate(zip(bins.counts.tolist(), bin_names(bins, unit), strict=True)):
        left = _LEFT + index * width
        height = count / tallest * (floor - _TOP)
        # A bar that is there at all can be seen.
        height = max(height, 1.5) if count else 0
        tail = " tail" if (index == 0 and bins.below) or (index == n_bins - 1 and bins.above) else ""
        parts.append(
            f'<g class="bin"><title>{in_html(name)}: {count:,} {"text" if count == 1 else "texts"}</title>'
            f'<rect class="hit" x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{floor - _TOP}"/>'
            f'<rect class="bar{tail}" x="{left + 0.75:.1f}" y="{floor - height:.1f}"'
            f' width="{max(width - 1.5, 0.5):.1f}" height="{height:.1f}" rx="1.5"/></g>'
        )

    def across(value: float) -> float:
        # Within the bins of a chart the axis is straight, in logarithms where they are; a tail is one bin wide.
        scale = np.log(bins.edges) if bins.log else bins.edges
        place = np.interp(np.log(value) if bins.log else value, scale, np.arange(n_bins + 1))
        return _LEFT + float(place) * width

    parts.append(f'<path class="axis" d="M{_LEFT} {floor}H{_WIDTH - _LEFT}"/>')
    for tick in ticks(bins):
        x = across(tick)
        anchor = "start" if x < 30 else "end" if x > _WIDTH - 30 else "middle"
        parts.append(
            f'<path class="axis" d="M{x:.1f} {floor}v4"/>'
            f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{_tick(tick, unit)}</text>'
        )
    x = across(median)
    anchor, gap = ("end", -5) if x > _WIDTH / 2 else ("start", 5)
    parts.append(
        f'<path class="median" d="M{x:.1f} 4V{floor}"/>'
        f'<text class="mark" x="{x + gap:.1f}" y="13" text-anchor="{anchor}">median {number(median, unit)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{in_html(label)}">'
        f"{''.join(parts)}</svg>"
    )


def bin_names(bins: Histogram, unit: str) -> list[str]:
    """`20 to 24 words`: the range of each bin, as a person says it."""
    names = []
    for index, (low, high) in enumerate(pairwise(bins.edges.tolist())):
        last = index == len(bins.counts) - 1
        if bins.whole and not last:
            high -= 1
        elif bins.whole and not bins.above:
            high = max(low, high - 1)
        ends = [percent(end) if unit == "fraction" else digits(end) for end in (low, high)]
        shown = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
        names.append(f"{shown} {'%' if unit == 'fraction' else unit}".rstrip())
    return names


def ticks(bins: Histogram) -> list[float]:
    """Round numbers along the axis, about six; none inside a tail."""
    first = float(bins.edges[1 if bins.below else 0])
    last = float(bins.edges[-2 if bins.above else -1])
    if first == last:
        return [first]
    if bins.log:
        powers = np.arange(np.floor(np.log10(first)), np.ceil(np.log10(last)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [factor * 10.0**power for power in powers for factor in factors]
            inside = [tick for tick in found if first <= tick <= last]
            if len(inside) <= 8:
                return inside or [first, last]
        return inside[:: len(inside) // 6]
    step = round_step((last - first) / 6, bins.whole)
    rounding = 1e-6 * step
    places = np.arange(np.ceil((first - rounding) / step), np.floor((last + rounding) / step) + 1)
    return [float(place * step) or 0.0 for place in places]  # -0.0 is no label


def _tick(tick: float, unit: str) -> str:
    shown = percent(tick) if unit == "fraction" else digits(tick)
    if "." in shown and "e" not in shown:
        shown = shown.rstrip("0").rstrip(".")
    return f"{shown} %" if unit == "fraction" else shown


def share_bar(share: float, low: float | None = None, high: float | None = None) -> str:
    """A share of 1 as a bar, with a line over its interval. The number stands beside it: hidden from screen readers."""
    line = ""
    if low is not None and high is not None:
        start, end = (100 * min(max(bound, 0.0), 1.0) for bound in (low, high))
        line = f'<rect class="range" x="{start:.1f}" y="3" width="{max(end - start, 0.8):.1f}" height="2"/>'
    return (
        '<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="8"/>'
        f'<rect class="bar" width="{100 * share:.1f}" height="8"/>{line}</svg>'
    )


def summary(scores: NDArray[np.float64], unit: str) -> str:
    """Median, mean and the middle 90 % of the finite scores in words."""
    finite = scores[np.isfinite(scores)]
    low, median, high = np.quantile(finite, [0.05, 0.5, 0.95]).tolist()
    unscored = len(scores) - len(finite)
    without = f"; {unscored:,} have no score" if unscored else ""
    return (
        f"Median {number(median, unit)}, mean {number(float(finite.mean()), unit)}. Nine texts in ten lie between "
        f"{number(low, unit)} and {number(high, unit)}. {len(finite):,} texts{without}."
    )
