"""Ways to damage a dataset: JSON lines, CSV, Parquet, a folder that `datasets` saved."""

import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.damage import (
    LONG_LINE_BYTES,
    READING,
    ROWS,
    VALIDATE,
    VALIDATE_TASK,
    Damage,
    Edit,
    Kind,
    Rewrite,
    Rows,
    contents,
    ends,
    flipped,
    kinds,
    losses,
    of_bytes,
    of_yaml,
    settings,
    truncated,
    write_rows,
)

RowsEdit = Callable[[Rows, random.Random], None]


def of_rows(name: str) -> Callable[[RowsEdit], Damage]:
    """Damage rows, then write them in the file's own format."""

    def to_damage(edit: RowsEdit) -> Damage:
        def damage(folder: Path, stream: random.Random) -> None:
            rows: Rows = [dict(row) for row in ROWS]
            edit(rows, stream)
            write_rows(folder / name, rows)

        return damage

    return to_damage


def cells(column: str, *values: Any) -> list[RowsEdit]:
    """Put each of the values into one row."""

    def cell(value: Any) -> RowsEdit:
        return lambda rows, stream: stream.choice(rows).update({column: value})

    return [cell(value) for value in values]


def whole_columns(column: str, *values: Any) -> list[RowsEdit]:
    """Put each of the values into every row: the columns of a Parquet file have one type."""

    def whole_column(value: Any) -> RowsEdit:
        def edit(rows: Rows, stream: random.Random) -> None:
            for row in rows:
                row[column] = value

        return edit

    return [whole_column(value) for value in values]


def renamings(*names: tuple[str, str]) -> list[RowsEdit]:
    """Give a column another name."""

    def renaming(old: str, new: str) -> RowsEdit:
        def edit(rows: Rows, stream: random.Random) -> None:
            for row in rows:
                row[new] = row.pop(old)

        return edit

    return [renaming(old, new) for old, new in names]


def lines(*values: bytes) -> list[Rewrite]:
    """Put each of the values as a line somewhere after the first."""

    def line(value: bytes) -> Rewrite:
        def rewrite(data: bytes, stream: random.Random) -> bytes:
            whole = data.splitlines(keepends=True)
            whole.insert(stream.randrange(1, len(whole)), value + b"\n")
            return b"".join(whole)

        return rewrite

    return [line(value) for value in values]


def _cut_in_a_line(data: bytes, stream: random.Random) -> bytes:
    line_end = stream.choice([match.end() for match in re.finditer(rb"[^\n]+", data)])
    return data[: line_end - stream.randint(2, 12)]


def _weird_texts(rows: Rows, stream: random.Random) -> None:
    odd = [
        "\u202egnid",
        "e\u0301" * 50,
        "💥" * 9,
        "\0",
        "a\u2028b",
        "\ufeff",
        "",
        " ",
        "\r\n",
        "=1+1",
        "<b>",
        '"',
        "\\",
    ]
    for row in rows[:8]:
        row["text"] = stream.choice(odd)


_RENAMINGS = renamings(("text", "txt"), ("text", "Text"), ("label", "💥"), ("label", "x" * 3000), ("label", ""))
_UNKNOWN_LABELS = cells("label", "neutral", "Positive", "", " ", "positive ", "💥", "x" * 5000, "../x", "\0", "nan")
_OTHER_FORMATS = contents(b"PAR1", b"PK\x03\x04" + bytes(99), b"\x1f\x8b" + bytes(99), b"\x89PNG\r\n", b"\0" * 9)
_NOT_UTF8 = lines(b"\xff\xfe", b"\xc3\x28", "fünf".encode("latin-1"))
_LONG_LINE = ends(b'{"text": "' + b"x" * LONG_LINE_BYTES)


def _jsonl_kinds(name: str, commands: tuple[str, ...]) -> list[Kind]:
    rows: dict[str, list[RowsEdit]] = {
        "unknown label": _UNKNOWN_LABELS,
        "no label": cells("label", None, math.nan, [], {}),
        "a label of another type": cells(
            "label", True, False, 0, 1.0, 2**62, 1e300, math.inf, -math.inf, [0], {"a": 1}
        ),
        "no text": cells("text", None, math.nan, 5, ["a"], {"a": 1}, True),
        "column lost": _RENAMINGS,
    }
    rewrites: dict[str, list[Rewrite]] = {
        "empty": contents(b"", b"\n\n\n", b"\xef\xbb\xbf"),
        "of another format": _OTHER_FORMATS,
        "not UTF-8": [*_NOT_UTF8, lambda data, stream: data.decode().encode("utf-16")],
        "truncated": [_cut_in_a_line] * 6,
        "wrong JSON": lines(b"[]", b"5", b"null", b'"text"', b"{", b"{'text': 1}", b"text,label", b"{}", b"\0", b"NaN"),
        "deep": lines(
            b"[" * 100_000, b'{"text": ' * 50_000, b'{"text": "x", "label": ' + b"[" * 900 + b"]" * 900 + b"}"
        ),
        "a huge number": lines(
            *(b'{"text": "x", "label": %s}' % number for number in (b"9" * 5000, b"1e999", b"-1e999", b"8" * 300))
        ),
        "half a character": lines(
            rb'{"text": "a \ud800 b", "label": "positive"}', rb'{"text": "\udc00", "label": "positive"}'
        ),
        "a long line": _LONG_LINE,
    }
    luck: dict[str, list[Rewrite]] = {"bits": [flipped] * 8}
    return [
        *kinds(rows, of_rows(name), commands),
        *kinds(rewrites, of_bytes(name), commands),
        *kinds(luck, of_bytes(name), commands, certain=False),
        *kinds({"weird texts": [_weird_texts] * 3}, of_rows(name), commands, certain=False),
    ]


def _csv_kinds(name: str) -> list[Kind]:
    rows: dict[str, list[RowsEdit]] = {"unknown label": _UNKNOWN_LABELS, "column lost": _RENAMINGS}
    rewrites: dict[str, list[Rewrite]] = {
        "empty": contents(b"", b"\n\n\n", b"text,label\n", b"\xef\xbb\xbf"),
        "of another format": _OTHER_FORMATS,
        "not UTF-8": [*_NOT_UTF8, lambda data, stream: data.decode().encode("utf-16")],
        "fields lost or too many": lines(b"a text", b"a,b,c", b",", b",,,"),
        "wrong quotes": lines(b'"a" b,positive', b'"never closed,positive', b'"'),
        "column twice": [lambda data, stream: data.replace(b"text,label", b"text,text", 1)],
        "no header": [lambda data, stream: data.partition(b"\n")[2]],
        "another separator": [lambda data, stream: data.replace(b",", b";")],
        "a long line": _LONG_LINE,
    }
    luck: dict[str, list[Rewrite]] = {"bits": [flipped] * 8, "truncated": [truncated] * 6}
    return [
        *kinds(rows, of_rows(name), READING),
        *kinds(rewrites, of_bytes(name), READING),
        *kinds(luck, of_bytes(name), READING, certain=False),
        *kinds({"weird texts": [_weird_texts] * 3}, of_rows(name), READING, certain=False),
    ]


def _parquet_kinds(name: str) -> list[Kind]:
    rows: dict[str, list[RowsEdit]] = {
        "unknown label": _UNKNOWN_LABELS,
        "no label": [*cells("label", None), *whole_columns("label", math.nan, None)],
        "labels of another type": whole_columns("label", True, 0, 1.0, 2**62, 1e300, math.inf, [0], {"a": 1}, b"\xff"),
        "no text": [*cells("text", None), *whole_columns("text", math.nan, 5, ["a"], {"a": 1}, True, b"\xff", None)],
        "column lost": _RENAMINGS,
    }
    rewrites: dict[str, list[Rewrite]] = {
        "empty": contents(b""),
        "of another format": _OTHER_FORMATS,
        "truncated": [truncated] * 8,
        "tail lost": [lambda data, stream: data[: -stream.randint(1, 8)]] * 4,
        "middle lost": [lambda data, stream: data[:60] + data[60 + stream.randint(1, 400) :]] * 4,
    }

    def column_twice(folder: Path, stream: random.Random) -> None:
        texts, labels = (pa.array([row[column] for row in ROWS]) for column in ("text", "label"))
        pq.write_table(pa.table([texts, labels, texts], names=["text", "label", "text"]), folder / name)

    luck: dict[str, list[Rewrite]] = {"bits": [flipped] * 30}
    return [
        *kinds(rows, of_rows(name), READING),
        *kinds(rewrites, of_bytes(name), READING),
        Kind("column twice", (column_twice,) * 2, True, READING),
        *kinds(luck, of_bytes(name), READING, certain=False),
        *kinds({"weird texts": [_weird_texts] * 3}, of_rows(name), READING, certain=False),
    ]


def _saved_kinds(name: str) -> list[Kind]:
    """Damage to a folder: an Arrow file and two of JSON that say what it is."""

    def of_json(file: str) -> Callable[[Edit], Damage]:
        def to_damage(edit: Edit) -> Damage:
            def damage(folder: Path, stream: random.Random) -> None:
                path = folder / name / file
                data = json.loads(path.read_text(encoding="utf-8"))
                edit(data, stream)
                path.write_text(json.dumps(data), encoding="utf-8")

            return damage

        return to_damage

    arrow = f"{name}/data-00000-of-00001.arrow"
    junk = contents(b"", b"[]", b"5", b"null", b"{", b"\xff", b"{}", b"[" * 9999, b'{"features": 5}', b" " * (5 << 20))
    out = (
        "../../outside.arrow",
        "../saved/data-00000-of-00001.arrow",
        "/dev/zero",
        "nowhere.arrow",
        "x\0",
        "..",
        "",
        5,
    )
    names: dict[str, list[Edit]] = {
        "a path out": settings("_data_files.0.filename", *out),
        "files": settings("_data_files", None, 5, {}, [5], [None], [{}], []),
    }
    features: dict[str, list[Edit]] = {
        "class names": settings("features.label.names", None, [], 5, ["a", "b"], ["positive"], [0, 1], {}),
        "features": [*settings("features", None, 5, []), *losses("features")],
    }
    rewrites: dict[str, list[Rewrite]] = {
        "truncated": [lambda data, stream: data[: stream.randrange(len(data) * 3 // 4)]] * 6,
        "rubbish": contents(b"", b"x" * 999, b"\xff" * 8, bytes(64), b"ARROW1\0\0"),
    }
    luck: dict[str, list[Rewrite]] = {"bits": [flipped] * 20}
    return [
        *kinds({"state": junk}, of_bytes(f"{name}/state.json"), READING),
        *kinds({"info": junk}, of_bytes(f"{name}/dataset_info.json"), READING),
        *kinds(names, of_json("state.json"), READING),
        *kinds(features, of_json("dataset_info.json"), READING),
        *kinds(rewrites, of_bytes(arrow), READING),
        *kinds(luck, of_bytes(arrow), READING, certain=False),
    ]


def replay_kinds(name: str) -> list[Kind]:
    """Damage to the dataset of a generator, in the format that its name says."""
    (point,) = map(of_yaml("board.yaml"), settings("generators.0.data", name))

    def pointed(damage: Damage) -> Damage:
        def both(folder: Path, stream: random.Random) -> None:
            point(folder, stream)
            damage(folder, stream)

        return both

    made = {
        "replay.jsonl": lambda: _jsonl_kinds(name, READING),
        "replay.csv": lambda: _csv_kinds(name),
        "replay.parquet": lambda: _parquet_kinds(name),
        "saved": lambda: _saved_kinds(name),
    }[name]()
    return [replace(kind, damages=tuple(map(pointed, kind.damages))) for kind in made]


def split_kinds() -> list[Kind]:
    """Damage to the real rows of the task: its test split, and its train split, which here `validate` alone reads."""
    train = _jsonl_kinds("train.jsonl", (VALIDATE, VALIDATE_TASK))
    return [*_jsonl_kinds("test.jsonl", READING), *(replace(kind, damages=kind.damages[::3]) for kind in train)]
