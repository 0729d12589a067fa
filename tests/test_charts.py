"""The chart read as XML: where things stand, what is said, and that no label becomes markup."""

from xml.etree import ElementTree

import pytest

from harness.leaderboard.charts import LABELS, RIGHT, WIDTH, Dot, correlation_chart, dot_chart
from harness.leaderboard.meta import Correlation, RankCorrelation
from harness.scoring.statistics import Interval

SVG = "{http://www.w3.org/2000/svg}"
LEFT_END, RIGHT_END = LABELS, WIDTH - RIGHT


def spearman(value: float, low: float | None = None, high: float | None = None) -> RankCorrelation:
    interval = None if low is None or high is None else Interval(low, high, 0.95, "bootstrap-percentile")
    return RankCorrelation(value, interval)


CORRELATIONS = [
    Correlation("weak", 6, spearman(0.1, -0.5, 0.6), None),
    Correlation("undefined", 1, None, None),
    Correlation("strong", 6, spearman(-0.9, -1.0, 0.5), None),
    Correlation("sure", 6, spearman(0.5), None),
]


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def test_measures_stand_in_the_order_of_their_strength_and_the_undefined_last() -> None:
    root = ElementTree.fromstring(correlation_chart("A board", CORRELATIONS))
    shown = texts(root)
    assert [text for text in shown if text in {one.measure for one in CORRELATIONS}] == [
        "strong",
        "sure",
        "weak",
        "undefined",
    ]
    assert "−0.90, 6 entries" in shown and "not defined, 1 entry" in shown


def test_dots_and_whiskers_stand_at_their_numbers_on_the_scale() -> None:
    root = ElementTree.fromstring(correlation_chart("A board", CORRELATIONS))
    width = RIGHT_END - LEFT_END
    dots = [float(dot.get("cx", "")) for dot in root.iter(f"{SVG}circle")]
    assert dots == pytest.approx([LEFT_END + width * (value + 1) / 2 for value in (-0.9, 0.5, 0.1)], abs=0.06)
    whiskers = [line for line in root.iter(f"{SVG}line") if line.get("class") == "whisker"]
    ends = [(float(line.get("x1", "")), float(line.get("x2", ""))) for line in whiskers]
    expected = [(LEFT_END, LEFT_END + 0.75 * width), (LEFT_END + 0.25 * width, LEFT_END + 0.8 * width)]
    assert ends == [pytest.approx(pair, abs=0.06) for pair in expected]  # "sure" has none
    zero = [line.get("x1") for line in root.iter(f"{SVG}line") if line.get("class") == "zero"]
    assert zero == [str(LEFT_END + width / 2)]


def test_a_screen_reader_hears_the_title_and_every_row() -> None:
    root = ElementTree.fromstring(correlation_chart("A board", CORRELATIONS))
    assert root.get("role") == "img" and root.findtext(f"{SVG}title") == "A board"
    said = root.findtext(f"{SVG}desc") or ""
    assert "strong: −0.90, −1.00 to 0.50. sure: 0.50. weak: 0.10, −0.50 to 0.60. undefined: not defined." in said


def test_labels_are_text_whatever_they_hold() -> None:
    evil = "</text><script>alert(1)</script>&\"'\x1b[2J\x00\ud800"
    chart = dot_chart(evil, evil, [Dot(evil, 0.5, note=evil)])
    root = ElementTree.fromstring(chart)  # refuses control characters and stray markup
    chart.encode()
    assert not list(root.iter(f"{SVG}script")) and "<script" not in chart


def test_long_labels_are_cut_in_the_picture_but_not_for_screen_readers() -> None:
    root = ElementTree.fromstring(dot_chart("A board", "an axis", [Dot("x" * 90, 0.5)]))
    assert "x" * 29 + "…" in texts(root) and f"{'x' * 90}: 0.50" in (root.findtext(f"{SVG}desc") or "")


def test_a_value_beyond_the_scale_stays_in_the_picture_and_minus_zero_has_no_sign() -> None:
    root = ElementTree.fromstring(dot_chart("A board", "an axis", [Dot("far", 7.0), Dot("none", -0.001)]))
    assert next(root.iter(f"{SVG}circle")).get("cx") == str(float(RIGHT_END)) and "0.00" in texts(root)
    assert "−0.00" not in texts(root)


def test_no_dots_make_an_empty_chart() -> None:
    assert not list(ElementTree.fromstring(correlation_chart("A board", [])).iter(f"{SVG}circle"))
