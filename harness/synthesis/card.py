"""The card that a synthetic dataset carries, in the form the hub and `datasets.load_dataset` read."""

from dataclasses import dataclass
from typing import Any

import yaml

from harness.escaping import in_markdown
from harness.spec import Family

_HUB_CATEGORY: dict[Family, str] = {
    "text-classification": "text-classification",
    "text-pair-classification": "text-classification",
    "extractive-qa": "question-answering",
}
"""What the hub calls the families."""


@dataclass(frozen=True)
class CardFacts:
    """What a dataset is about."""

    title: str
    language: str
    family: Family
    license_name: str | None
    rows: int
    rows_by_label: dict[str, int]


def dataset_card(about: CardFacts, how: dict[str, str], account: dict[str, Any] | None, harness_version: str) -> str:
    """A README.md with front matter that names the data file, and tables of what it holds and how it was made."""
    front: dict[str, Any] = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data.parquet"}]}],
        "language": [about.language],
        "task_categories": [_HUB_CATEGORY[about.family]],
        "tags": ["synthetic"],
        "pretty_name": f"{about.title} (synthetic)",
    }
    if about.license_name:
        front["license"] = about.license_name
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "---",
        f"# {in_markdown(about.title)} (synthetic)",
        "",
        f"{about.rows:,} rows that a language model wrote and labelled, to train a student on.",
        "",
        *_table(("label", "rows"), [(label, f"{count:,}") for label, count in about.rows_by_label.items()]),
        "",
        "## How they were made",
        "",
        *_table(("what", "value"), [*how.items(), ("harness", harness_version)]),
    ]
    if account is not None:
        dropped = [(f"dropped: {reason}", f"{count:,}") for reason, count in account["dropped"].items()]
        counts = [
            (name.replace("_", " "), f"{account[name]:,}") for name in ("tried", "prompt_tokens", "generated_tokens")
        ]
        lines += ["", "## What it took", "", *_table(("what", "count"), counts + dropped)]
    return "\n".join(lines) + "\n"


def _table(header: tuple[str, str], rows: list[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    return [
        f"| {header[0]} | {header[1]} |",
        "| --- | --- |",
        *(f"| {in_markdown(a)} | {in_markdown(b)} |" for a, b in rows),
    ]
