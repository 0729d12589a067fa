"""The report on one dataset: all that was measured is there, what strangers wrote is harmless, and all is bounded."""

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from harness.quality.measures import MEASURES, measure_all
from harness.quality.report import DataReport, html_page, terminal_report
from harness.quality.report_charts import bin_names, ticks
from harness.quality.report_rows import histogram, lowest
from harness.quality.report_words import digits, family_of, grouped, interval, percent
from harness.quality.rows import Rows
from harness.values import Value

VOID = {"meta", "rect", "path", "br"}


class Page(HTMLParser):
    """Collects text and tags, and fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs), attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def report(texts: list[str], **other: object) -> DataReport:
    rows = len(texts)
    rng = np.random.default_rng(1)
    plain = DataReport(
        title="gpt.jsonl",
        file="/data/gpt.jsonl",
        task="films",
        values=[
            Value("self_bleu_4", 0.4371, "fraction", "unreferenced"),
            Value("mauve", 0.63, "fraction", "real-text", 0.6, 0.66),
            Value("oracle_agreement.good", 0.8122, "fraction", "real-label", 0.79, 0.83),
            Value("novelty_3", 12.5, "furlongs", "unreferenced"),
        ],
        missing={"perplexity": "the PLM cannot be reached", "leakage": "there is no test split"},
        per_text={
            "words": rng.integers(5, 40, rows).astype(float),
            "self_confidence": np.where(np.arange(rows) == 0, 0.01, rng.uniform(0.5, 1, rows)),
            "near_duplicate": (np.arange(rows) % 7 == 1).astype(float),
            "embedding_typicality": np.full(rows, np.nan),
        },
        texts=texts,
        labels=["good", "bad"] * (rows // 2) + ["good"] * (rows % 2),
        label_names=("good", "bad"),
        contexts=None,
        source_rows=[row + 1000 for row in range(rows)],
        made_with={"rows": "ab" * 32},
        clusters=[[3], [4, 5], [0, 1, 2]],
    )
    return replace(plain, **other)  # type: ignore[arg-type]


PLAIN = report([f"the film number {row}" for row in range(20)])


def shown(found: DataReport, width: int) -> str:
    console = Console(width=width, record=True, color_system=None)
    with console.capture() as capture:
        for part in terminal_report(found):
            console.print(part)
    return capture.get()


def test_every_number_and_every_reason_is_on_the_page_and_in_the_terminal() -> None:
    page = Page(html_page(PLAIN)).text
    terminal = " ".join(shown(PLAIN, 200).split())
    for text in (page, terminal):
        assert "43.7 %" in text and "63.0 %" in text and "60.0 to 66.0" in text and "12.50 furlongs" in text
        assert "not available: the PLM cannot be reached" in text and "there is no test split" in text
        assert "81.2 %" in text and "79.0 to 83.0" in text
    assert "ab" * 32 in page and "gpt.jsonl" in page


def test_the_row_whose_label_looks_most_wrong_comes_first_with_its_place_in_the_file() -> None:
    page = html_page(PLAIN)
    suspects = page[page.index('<section id="suspects"') :]
    assert suspects.index("row 1,000") < suspects.index("</li>")
    assert "the film number 0" in shown(PLAIN, 120)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = html_page(PLAIN)
    found = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(found.tags)
    assert all(link.startswith("#") for link in found.links)
    assert "default-src 'none'" in page and "url(" not in page and "@import" not in page
    assert not re.search(r"\sstyle=", page), "the policy forbids it"


def test_the_policy_lets_in_the_pages_own_style_and_no_other() -> None:
    page = html_page(PLAIN)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in page


def test_headings_follow_one_another_and_tables_say_what_they_hold() -> None:
    found = Page(html_page(replace(PLAIN, contexts=PLAIN.texts)))
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert found.tags.count("table") == found.tags.count("caption") > 4
    assert found.tags.count("main") == found.tags.count("nav") == found.tags.count("header") == 1


def test_flagged_rows_clusters_labels_and_contexts_are_shown() -> None:
    text = " ".join(Page(html_page(replace(PLAIN, contexts=["about"] * 20))).text.split())
    assert "Nearly repeats an earlier row 3 rows, 15.0 %" in text  # rows 1, 8 and 15 of 20
    assert "2 groups hold 5 rows" in text
    assert "About: about" in text
    assert "10 50.0 %" in " ".join(shown(PLAIN, 80).split())  # of either label


def test_parts_about_which_nothing_is_known_are_left_out() -> None:
    page = html_page(report(["one", "two"], labels=None, label_names=(), per_text={}, clusters=None, made_with={}))
    assert re.findall(r'<section id="([^"]+)"', page) == ["numbers", "measures", "reading"]
    assert "Rows per label" not in shown(replace(PLAIN, labels=None), 80)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_dataset_of_hardly_any_rows_has_a_report(rows: int) -> None:
    found = report(["only"] * rows, clusters=[], labels=["good"] * rows)
    Page(html_page(found))
    assert f"{rows} rows" in shown(found, 80)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_of_the_terminal_is_wider_than_it(width: int) -> None:
    assert max(map(len, shown(PLAIN, width).splitlines())) <= width


def test_each_tier_shows_known_measures_in_order_and_unknown_ones_after_them() -> None:
    names = ["novelty_3", "words_mean", "self_bleu_4", "novelty_4", "self_bleu_4@1000", "mauve"]
    values = [Value(name, 1.0, "", "real-text" if name == "mauve" else "unreferenced") for name in names]
    groups = grouped(values, {"oracle_agreement": "no oracle", "sparkle": "unknown"})
    found = [
        (group.title, [[value.measure for value in family.values] for family in group.families], [*group.missing])
        for group in groups
    ]
    assert found == [
        ("The texts themselves", [["self_bleu_4", "self_bleu_4@1000"], ["words_mean"], ["novelty_3", "novelty_4"]], []),
        ("Against real text", [["mauve"]], []),
        ("Against gold labels", [], ["oracle_agreement"]),
        ("Other", [], ["sparkle"]),
    ]


def test_every_measure_of_the_text_is_explained_in_a_sentence() -> None:
    texts = [f"a film about the number {row} , which is good" for row in range(12)]
    rows = Rows(texts, ("good", "bad"), ["good", "bad"] * 6, contexts=texts, test_texts=texts)
    given = {"labels", "contexts", "test_texts"}
    names = [name for name, measure in MEASURES.items() if measure.needs <= given and name != "label_errors"]
    by_models = ["embedding_nearest_distance", "perplexity_text_mean", "oracle_kappa", "label_errors_estimated.good"]
    measured = [value.measure for value in measure_all(names, rows).values]
    assert len(measured) > 30
    assert [name for name in (*measured, *by_models) if not family_of(name).says] == []


def test_numbers_are_written_with_the_digits_that_tell_something() -> None:
    assert [percent(share) for share in (0, 0.0002, 1e-9, 0.4371, 0.99999, 1)] == [
        "0.0", "0.02", "< 0.001", "43.7", "99.999", "100.0",
    ]  # fmt: skip
    assert [digits(value) for value in (3, 12345.6, 123.45, 1.234, 0.12345, 0.00001234, -2.5, np.inf, np.nan)] == [
        "3", "12,346", "123.5", "1.23", "0.123", "1.2e−05", "−2.50", "∞", "undefined",
    ]  # fmt: skip
    narrow = Value("x", 0.1152, "fraction", "unreferenced", 0.11494, 0.11543)
    assert interval(narrow) == "11.494 to 11.543"
    assert interval(replace(narrow, low=0.1)) == "10.0 to 11.5"
    assert interval(replace(narrow, low=None)) == ""


HOSTILE = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "\x1b[31mred\x07",
    "\u202egnp.exe",
    "x" * 10_000,
    "",
    "🎬 família",
    "half \ud800 a pair",
    "[bold]markup[/bold]",
    "&lt;already&gt;",
]


def test_what_strangers_wrote_is_text_and_no_more() -> None:
    names = ["<b>good</b>", "bad"]
    hostile = report(
        HOSTILE,
        title="[bold]<script>title</script>[/bold]",
        task="<i>task</i>",
        labels=[names[row % 2] for row in range(len(HOSTILE))],
        label_names=names,
        contexts=HOSTILE,
        missing={"<u>measure</u>": "<u>why</u>"},
        made_with={"<u>name</u>": "<u>what</u>"},
    )
    page = html_page(hostile)
    page.encode("utf-8")
    found = Page(page)
    assert not {"script", "img", "b", "i", "u", "bold"} & set(found.tags)
    assert "<script>title</script>" in found.text and "&lt;already&gt;" in found.text
    assert "\u202e" not in page and "\x1b" not in page and "x" * 601 not in page and "(empty)" in found.text
    worst_last = {"self_confidence": np.arange(len(HOSTILE), 0, -1) / 100}
    assert "[bold]markup[/bold]" in shown(replace(hostile, per_text=worst_last), 80)
    terminal = shown(hostile, 80)
    assert "\x1b" not in terminal and "\u202e" not in terminal and "[bold]<script>title</script>[/bold]" in terminal


def test_the_page_stays_below_a_megabyte_whatever_the_dataset() -> None:
    rng = np.random.default_rng(2)
    rows = 100_000
    texts = ["word " * 400] * rows
    labels = [f"label-{row % 900}" for row in range(rows)]
    large = report(texts, labels=labels, label_names=sorted(set(labels)), clusters=[list(range(rows))])
    large = replace(large, per_text={**large.per_text, "perplexity": np.exp(rng.normal(3, 2, rows))})
    assert len(html_page(large).encode()) < 1_000_000


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "scores",
    [
        np.random.default_rng(3).normal(5, 1, 1000),
        np.random.default_rng(3).integers(3, 90, 1000).astype(float),
        np.exp(np.random.default_rng(3).normal(3, 1.5, 1000)),
        np.array([1.0, np.nan, 2.0, np.inf, 2.0]),
        np.array([0.25] * 5),
        np.append(np.zeros(999), 50.0),
    ],
)
def test_the_bars_of_a_histogram_are_numpys_and_hold_every_finite_score(scores: np.ndarray, log: bool) -> None:
    bins = histogram(scores, log)
    finite = scores[np.isfinite(scores)]
    assert bins is not None and bins.counts.sum() == len(finite) and bins.unscored == len(scores) - len(finite)
    if len(set(finite.tolist())) > 1:
        assert bins.counts.tolist() == np.histogram(finite, bins.edges)[0].tolist()
    assert histogram(np.array([np.nan])) is None


def test_bins_of_whole_numbers_hold_whole_numbers() -> None:
    bins = histogram(np.array([3.0, 3, 4, 7, 7, 7, 9]))
    assert bins is not None and bins.whole
    assert bins.edges.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert bins.counts.tolist() == [2, 1, 0, 0, 3, 0, 1]
    assert bin_names(bins, "words") == [f"{words} words" for words in range(3, 10)]


def test_a_long_tail_is_one_bar_that_is_named_as_such() -> None:
    scores = np.append(np.arange(1000.0) % 40, [5000.0, 9000.0])
    bins = histogram(scores)
    assert bins is not None and bins.above and not bins.below
    assert bins.counts[-1] == 2 and bins.edges[-1] == 9000 and bins.edges[-2] <= 50
    assert max(ticks(bins)) <= bins.edges[-2]


def test_an_axis_has_round_numbers_on_both_scales() -> None:
    rng = np.random.default_rng(5)
    shares, wide = histogram(rng.uniform(0, 1, 500)), histogram(np.exp(rng.uniform(0, 7, 500)), log=True)
    assert shares is not None and wide is not None and wide.log
    assert ticks(shares) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    ratios = wide.edges[1:] / wide.edges[:-1]
    assert ratios == pytest.approx(np.full(len(ratios), ratios[0]))
    assert ticks(wide) == pytest.approx([tick for tick in (1, 3, 10, 30, 100, 300, 1000) if wide.edges[0] <= tick])


def test_the_lowest_are_different_texts_in_order() -> None:
    scores = np.array([0.5, np.nan, 0.1, 0.1, 0.1, -np.inf, 0.3])
    assert lowest(scores, 3, ["a", "b", "c", "c", "d", "e", "f"]) == [2, 4, 6]
