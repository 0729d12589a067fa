"""The valid files that `test_fuzz` starts from, and how to say in what way they are to be damaged."""

import csv
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROWS = [
    {
        "text": f"{'a good' if number % 2 else 'a bad'} film, number {number % 5}",
        "label": "positive" if number % 2 else "negative",
    }
    for number in range(16)
]
TASK: dict[str, Any] = {
    "name": "tiny",
    "title": "Tiny reviews",
    "family": "text-classification",
    "labels": ["negative", "positive"],
    "splits": {"train": {"file": "train.jsonl"}, "test": {"file": "test.jsonl"}},
    "prompts": {
        "plain": {
            "source": "made up",
            "completion": {
                "text": {"negative": ["It was bad."], "positive": ["It was good."]},
                "classify": {"negative": ["Bad: <X>"], "positive": ["Good: <X>"]},
            },
        }
    },
}
BOARD: dict[str, Any] = {
    "name": "tiny-board",
    "title": "A tiny board",
    "tasks": ["task.yaml"],
    "generators": [{"name": "stranger", "backend": "replay", "data": "replay.jsonl"}],
    "students": ["linear"],
    "sizes": ["all"],
    "seeds": [13],
    "baselines": [],
    "measures": [],
    "profile": False,
}
LONG_LINE_BYTES = 50_000_000

VALIDATE, VALIDATE_TASK, PLAN, RUN = "validate", "validate task", "plan", "run"
LS, VERIFY = "store ls", "store verify"
READING = (VALIDATE, PLAN, RUN)

Rows = list[dict[str, Any]]
Damage = Callable[[Path, random.Random], None]
"""Damages something in the folder of a case."""
Edit = Callable[[Any, random.Random], None]
"""Changes what a YAML or JSON file holds, in place."""
Rewrite = Callable[[bytes, random.Random], bytes]
"""Returns other bytes for a file."""


@dataclass(frozen=True)
class Kind:
    """Ways to damage a case's folder, one per case. `certain`: what comes out is invalid for each of the commands."""

    name: str
    damages: tuple[Damage, ...]
    certain: bool
    commands: tuple[str, ...]


def kinds(
    ways: Mapping[str, Iterable[Any]],
    damage: Callable[[Any], Damage],
    commands: tuple[str, ...],
    certain: bool = True,
) -> list[Kind]:
    """A kind for each name; `damage` turns an edit or a rewrite into damage to one file."""
    return [Kind(name, tuple(map(damage, some)), certain, commands) for name, some in ways.items()]


def write_yaml(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def write_rows(path: Path, rows: Rows) -> None:
    """Rows in the format that the file's suffix names."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def write_valid_files(folder: Path) -> None:
    """A task, a board that replays a dataset, the dataset in every format, and what lies outside the folder."""
    write_yaml(folder / "task.yaml", TASK)
    write_yaml(folder / "board.yaml", BOARD)
    for name in ("train.jsonl", "test.jsonl", "replay.jsonl", "replay.csv", "replay.parquet"):
        write_rows(folder / name, ROWS)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    datasets.Dataset.from_list(ROWS, features=features).save_to_disk(str(folder / "saved"))
    write_rows(folder.parent / "outside.jsonl", ROWS)
    (folder / "link.jsonl").symlink_to("../outside.jsonl")
    (folder.parent / "outside.arrow").write_bytes((folder / "saved" / "data-00000-of-00001.arrow").read_bytes())


def of_yaml(name: str) -> Callable[[Edit], Damage]:
    """Damage what a YAML file holds."""

    def to_damage(edit: Edit) -> Damage:
        def damage(folder: Path, stream: random.Random) -> None:
            data = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
            edit(data, stream)
            write_yaml(folder / name, data)

        return damage

    return to_damage


def of_bytes(name: str) -> Callable[[Rewrite], Damage]:
    """Damage the bytes of a file."""

    def to_damage(rewrite: Rewrite) -> Damage:
        def damage(folder: Path, stream: random.Random) -> None:
            (folder / name).write_bytes(rewrite((folder / name).read_bytes(), stream))

        return damage

    return to_damage


def settings(path: str, *values: Any) -> list[Edit]:
    """Set what stands at `a.0.b` to each of the values."""
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]

    def setting(value: Any) -> Edit:
        def edit(data: Any, stream: random.Random) -> None:
            for part in way:
                data = data[part]
            data[last] = value

        return edit

    return [setting(value) for value in values]


def losses(*keys: str) -> list[Edit]:
    """Lose each of the keys."""

    def loss(key: str) -> Edit:
        return lambda data, stream: data.pop(key)

    return [loss(key) for key in keys]


def contents(*values: bytes) -> list[Rewrite]:
    """Put each of the values in the place of a file's whole content."""

    def content(value: bytes) -> Rewrite:
        return lambda data, stream: value

    return [content(value) for value in values]


def ends(*values: bytes) -> list[Rewrite]:
    """Append each of the values as a line."""

    def end(value: bytes) -> Rewrite:
        return lambda data, stream: data + value + b"\n"

    return [end(value) for value in values]


def insertions(*values: bytes) -> list[Rewrite]:
    """Put each of the values somewhere into a file, not at its end."""

    def insertion(value: bytes) -> Rewrite:
        def rewrite(data: bytes, stream: random.Random) -> bytes:
            place = stream.randrange(len(data) - 1)
            return data[:place] + value + data[place:]

        return rewrite

    return [insertion(value) for value in values]


def flipped(data: bytes, stream: random.Random) -> bytes:
    """One to three bits turned."""
    changed = bytearray(data)
    for _ in range(stream.randint(1, 3)):
        changed[stream.randrange(len(changed))] ^= 1 << stream.randrange(8)
    return bytes(changed)


def truncated(data: bytes, stream: random.Random) -> bytes:
    return data[: stream.randrange(len(data) - 2)]
