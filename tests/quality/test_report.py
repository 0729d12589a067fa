"""The report on one dataset: all that was measured is there, what strangers wrote is harmless, and all is bounded."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from harness.quality.report import DataReport, html_page, terminal_report
from harness.quality.report_rows import histogram
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
            Value("oracle_agreement.good", 0.8125, "fraction", "real-label", 0.79, 0.83),
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
        clusters=[[0, 1, 2], [4, 5]],
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
        assert "81.2 %" in text or "81.3 %" in text
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
