"""The dataset card: front matter that the hub reads, and tables that no title can break."""

from typing import Any

import pytest
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.synthesis.card import CardFacts, dataset_card

ACCOUNT = {"tried": 1200, "prompt_tokens": 30_000, "generated_tokens": 45_678, "dropped": {"too short": 150}}
EVIL = (
    "a | b",
    "<script>alert(1)</script>",
    "two\nlines",
    "x\n---\n# y\n\n| 1 | 2 |",
    "colon: 'quote\" # hash",
    "[link](http://tracker) ![image](http://tracker)",
    "back\\| slash\\",
    "- \t tab \u2028 line separator \x07 bell",
    "long " * 39,
    "no",
)


def card(title: str = "Reviews", license_name: str | None = "mit", how: dict[str, str] | None = None) -> str:
    facts = CardFacts(title, "en", "text-classification", license_name, 1050, {"negative": 1000, "positive": 50})
    return dataset_card(facts, {"generator": "gpt2-xl"} if how is None else how, ACCOUNT, "1.2.3")


def front(text: str) -> dict[str, Any]:
    return dict(DatasetCard(text).data.to_dict())  # type: ignore[no-untyped-call]


def body(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(DatasetCard(text).text)


def tables(text: str) -> list[list[str]]:
    """The rows of all tables, header rows included, as a reader sees their cells."""
    rows: list[list[str]] = []
    for token in body(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level == 4 and rows:
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


def test_the_front_matter_tells_the_hub_where_the_rows_are_and_what_they_are() -> None:
    assert front(card()) == {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data.parquet"}]}],
        "language": ["en"],
        "task_categories": ["text-classification"],
        "tags": ["synthetic"],
        "pretty_name": "Reviews (synthetic)",
        "license": "mit",
    }


def test_a_license_nobody_named_is_not_made_up() -> None:
    assert "license" not in front(card(license_name=None))


def test_the_tables_say_what_it_holds_how_it_was_made_and_what_it_took() -> None:
    assert tables(card()) == [
        ["label", "rows"],
        ["negative", "1,000"],
        ["positive", "50"],
        ["what", "value"],
        ["generator", "gpt2-xl"],
        ["harness", "1.2.3"],
        ["what", "count"],
        ["tried", "1,200"],
        ["prompt tokens", "30,000"],
        ["generated tokens", "45,678"],
        ["dropped: too short", "150"],
    ]
    assert "1,050 rows" in card()


def test_a_replayed_dataset_took_nothing_so_nothing_is_said() -> None:
    facts = CardFacts("Reviews", "en", "text-classification", None, 1, {"negative": 1})
    assert "What it took" not in dataset_card(facts, {}, None, "1.2.3")


@pytest.mark.parametrize("text", EVIL)
def test_no_title_breaks_the_front_matter(text: str) -> None:
    data = front(card(title=text, license_name=text))
    assert data["pretty_name"] == f"{text} (synthetic)"
    assert data["license"] == text


@pytest.mark.parametrize("text", EVIL)
def test_no_title_and_no_value_breaks_a_table_or_opens_a_tag_or_link(text: str) -> None:
    evil = card(title=text, how={"file": text, text: "value"})
    tokens = body(evil)
    kinds = {one.type for token in tokens for one in (token, *(token.children or ()))}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "hr", "fence", "code_block"}
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2"]
    rows, seen = tables(evil), " ".join(text.split())
    assert {len(row) for row in rows} == {2}
    assert rows[4:6] == [["file", seen], [seen, "value"]]
    assert len(rows) == len(tables(card())) + 1
