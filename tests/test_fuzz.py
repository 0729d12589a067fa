"""Hundreds of damaged files, each given to the command line: every one ends in one error message and harms nothing.

Boards, tasks, datasets and stores come from strangers. The files here are small valid ones, made in the test and then
damaged in one way each, with a random stream of its own: `FUZZ_CASE="tasks/truncated/3" pytest ...` is never needed,
for a complaint names the case, the command and what came out, and the same case comes out the same again.
"""

import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from harness.cli import main

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
MOST_STDERR_CHARACTERS = 20_000  # a message never repeats the whole of what it complains about

Rows = list[dict[str, Any]]
Damage = Callable[[Path, random.Random], None]
VALIDATE, VALIDATE_TASK, PLAN, RUN = "validate", "validate task", "plan", "run"
LS, VERIFY = "store ls", "store verify"
READING = (VALIDATE, PLAN, RUN)


@dataclass(frozen=True)
class Kind:
    """A way to damage a case's folder. `certain`: what comes out is invalid for each of the commands, always."""

    name: str
    damage: Damage
    certain: bool
    commands: tuple[str, ...]
    cases: int


@dataclass(frozen=True)
class Prepared:
    """The valid files, and a store that holds the finished run of the board."""

    files: Path
    store: Path
    scratch: Path


# --- the valid files ------------------------------------------------------------------------------------------------


def write_yaml(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def write_rows(path: Path, rows: Rows) -> None:
    """Rows in the format that the file's suffix names."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def call(arguments: list[str]) -> tuple[int | str, str]:
    """Exit status (or the traceback of what got out) and standard error, with streams as strict as a terminal's."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    status: int | str
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except (Exception, SystemExit):
            status = traceback.format_exc(limit=-3)
    for stream in (out, err):
        stream.flush()
    err.seek(0)
    return status, err.read()


def command_line(command: str, folder: Path, store: Path) -> list[str]:
    board, place = str(folder / "board.yaml"), ["--store", str(store)]
    if command == VALIDATE:
        return ["validate", board]
    if command == VALIDATE_TASK:
        return ["validate", str(folder / "task.yaml")]
    if command == PLAN:
        return ["run", board, "--dry-run", *place]
    if command == RUN:
        return ["run", board, *place, "--out", str(folder / "out"), "--workers", "1", "--quiet"]
    return [*command.split(), *place]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; links as what they point to by name."""
    return {
        str(path.relative_to(folder)): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    root = tmp_path_factory.mktemp("fuzz")
    found = Prepared(root / "files", root / "store", root / "scratch")
    found.files.mkdir()
    found.scratch.mkdir()
    write_yaml(found.files / "task.yaml", TASK)
    write_yaml(found.files / "board.yaml", BOARD)
    for name in ("train.jsonl", "test.jsonl", "replay.jsonl", "replay.csv", "replay.parquet"):
        write_rows(found.files / name, ROWS)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    with contextlib.redirect_stderr(io.StringIO()):
        datasets.Dataset.from_list(ROWS, features=features).save_to_disk(str(found.files / "saved"))
    status, messages = call(command_line(RUN, found.files, found.store))
    assert status == 0, messages
    shutil.rmtree(found.files / "out")
    yield found
    shutil.rmtree(found.scratch)


# --- ways to damage a YAML file -------------------------------------------------------------------------------------


def of_text(name: str, change: Callable[[str, random.Random], str | bytes]) -> Damage:
    """Damage the text of a file."""

    def damage(folder: Path, stream: random.Random) -> None:
        changed = change((folder / name).read_text(encoding="utf-8"), stream)
        (folder / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return damage


def of_data(name: str, change: Callable[[Any, random.Random], None]) -> Damage:
    """Damage what a YAML file holds."""

    def damage(folder: Path, stream: random.Random) -> None:
        data = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        change(data, stream)
        write_yaml(folder / name, data)

    return damage


def setting(path: str, *values: Any) -> Callable[[Any, random.Random], None]:
    """Set what stands at `a.0.b` to one of the values."""

    def change(data: Any, stream: random.Random) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            data = data[part]
        data[last] = stream.choice(values)

    return change


def instead_of_a_value(*texts: str) -> Callable[[str, random.Random], str]:
    """Replace the value on one of the `key: value` lines."""

    def change(text: str, stream: random.Random) -> str:
        places = [match.span(1) for match in re.finditer(r"^ *(?:- )?\w+: (\S.*)$", text, re.MULTILINE)]
        start, end = stream.choice(places)
        return text[:start] + stream.choice(texts) + text[end:]

    return change


def appended(*lines: str) -> Callable[[str, random.Random], str]:
    return lambda text, stream: text + stream.choice(lines) + "\n"


def truncated(text: str, stream: random.Random) -> bytes:
    return text.encode()[: stream.randrange(1, len(text.encode()))]


def flipped(data: bytes, stream: random.Random) -> bytes:
    """One to three bits turned."""
    changed = bytearray(data)
    for _ in range(stream.randint(1, 3)):
        changed[stream.randrange(len(changed))] ^= 1 << stream.randrange(8)
    return bytes(changed)


def slice_lost(text: str, stream: random.Random) -> str:
    start = stream.randrange(len(text) - 1)
    return text[:start] + text[start + stream.randint(1, 40) :]


def key_twice(text: str, stream: random.Random) -> str:
    line = stream.choice([line for line in text.splitlines() if re.match(r"^\w+: .", line)])
    return f"{text}{line}\n"


def with_bytes(*inserted: bytes) -> Callable[[str, random.Random], bytes]:
    def change(text: str, stream: random.Random) -> bytes:
        place = stream.randrange(len(text.encode()))
        return text.encode()[:place] + stream.choice(inserted) + text.encode()[place:]

    return change


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from _places(value)


def wrong_type(data: Any, stream: random.Random) -> None:
    container, key = stream.choice(list(_places(data)))
    container[key] = stream.choice([{"surprise": [1]}, [[[]]], {"surprise": {"surprise": 1.5}}])


def any_value(data: Any, stream: random.Random) -> None:
    container, key = stream.choice(list(_places(data)))
    container[key] = stream.choice([None, True, 0, -1, 2**63, 1.5, "", "x", " ", "../x", "a/b", "💥", [], {}, "\u202e"])


def value_lost(data: Any, stream: random.Random) -> None:
    container, key = stream.choice(list(_places(data)))
    del container[key]


def required_lost(*names: str) -> Callable[[Any, random.Random], None]:
    def change(data: Any, stream: random.Random) -> None:
        del data[stream.choice(names)]

    return change


def key_misspelt(data: Any, stream: random.Random) -> None:
    name = stream.choice(list(data))
    data[name[:-1] + stream.choice("xyz_") + name[-1]] = data.pop(name)


ALIAS_BOMB = "".join(
    f"bomb{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9) if n else ', '.join(['x'] * 9)}]\n" for n in range(9)
)


def yaml_kinds(name: str, required: tuple[str, ...], commands: tuple[str, ...]) -> list[Kind]:
    """Damage that any YAML file of ours must survive."""
    texts: dict[str, Callable[[str, random.Random], str | bytes]] = {
        "empty": lambda text, stream: stream.choice(["", "\n\n", "# nothing\n", "---\n", "\ufeff"]),
        "not a mapping": lambda text, stream: stream.choice(["- a\n- b\n", "42\n", "just words\n", "null\n", "[]\n"]),
        "two documents": lambda text, stream: f"{text}---\n{text}",
        "tab": lambda text, stream: "\t" + text,
        "unclosed": appended('x: "', "x: [1, 2", "x: {a: 1", "x: 'a"),
        "wrong tag": appended(
            "x: !!python/object/apply:os.system ['true']",
            "x: !!python/name:os.system ''",
            "x: !!bool perhaps",
            "x: !!int ''",
            "x: !!int x",
            "x: !!float x",
            "x: !!timestamp x",
            "x: 2024-99-99",
            "x: !!binary '*'",
            "x: !made-up 1",
            "x: *nowhere",
            "<<: {title: x}",
            "? [a, b]\n: 1",
            "? {a: b}\n: 1",
            ".nan: 1",
            "yes: 1",
            "null: 1",
        ),
        "alias bomb": lambda text, stream: text + ALIAS_BOMB,
        "endless alias": appended("x: &x [*x]", "x: &x {y: *x}"),
        "deep": lambda text, stream: (
            text + stream.choice(["x: " + "[" * 5000, "x: " + "{a: " * 3000, "x: " + "[" * 200 + "]" * 200]) + "\n"
        ),
        "too many values": appended("x: [" + "1, " * 60_000 + "1]"),
        "key twice": key_twice,
        "not UTF-8": with_bytes(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x80\x81"),
        "UTF-16": lambda text, stream: text.encode("utf-16"),
        "control character": with_bytes(b"\0", b"\x07", b"\x1b[31m", b"\x7f"),
        "a long line": lambda text, stream: text + "# " + "x" * LONG_LINE_BYTES,
        "a huge number": instead_of_a_value("0x" + "f" * 5000, "9" * 5000, "1e400", "-" + "8" * 400, "1:" * 200 + "1"),
        "no number": instead_of_a_value(".nan", ".inf", "-.inf", "2024-02-03", "2024-02-03T04:05:06Z"),
        "half a character": instead_of_a_value('"\\ud800"', '"a\\udfffb"'),
    }
    structures: dict[str, Callable[[Any, random.Random], None]] = {
        "wrong type": wrong_type,
        "unknown key": setting("surprise", 1, None, "x", [], {}),
        "misspelt key": key_misspelt,
        "required key lost": required_lost(*required),
        "a name that is none": setting("name", "", "a/b", "../a", "/etc", "💥", "a b", "x" * 81, "\u202ex", ".a", 5, None),
        "a long title": setting("title", "x" * 201, "💥" * 300),
    }
    once = ("a long line", "too many values", "alias bomb")
    kinds = [Kind(of, of_text(name, one), True, commands, 1 if of in once else 4) for of, one in texts.items()]
    kinds += [Kind(of, of_data(name, one), True, commands, 5) for of, one in structures.items()]
    maybe = {"truncated": of_text(name, truncated), "slice lost": of_text(name, slice_lost)}
    maybe["bits"] = of_text(name, lambda text, stream: flipped(text.encode(), stream))
    maybe |= {"any value": of_data(name, any_value), "value lost": of_data(name, value_lost)}
    return kinds + [Kind(of, damage, False, commands, 10) for of, damage in maybe.items()]


def board_kinds() -> list[Kind]:
    wrong: dict[str, Callable[[Any, random.Random], None]] = {
        "task": setting("tasks.0", "tasc.yaml", "sst3", "../task.yaml", "x\0.yaml", "x" * 5000 + ".yaml", "💥", ""),
        "task twice": setting("tasks", ["task.yaml", "task.yaml"], ["task.yaml", {"task": "task.yaml"}]),
        "test_rows": setting("tasks.0", *({"task": "task.yaml", "test_rows": rows} for rows in (1, 0, True, "2", 1e9))),
        "more test_rows than rows": setting("tasks.0", {"task": "task.yaml", "test_rows": 17}),
        "student": setting("students.0", "liner", "../linear", "os", "💥", "", {"student": 1}, {"name": "x"}),
        "student's setting": setting(
            "students.0",
            *(
                {"student": "linear", **extra}
                for extra in ({"epochs": 3}, {"ngrams": 0}, {"min_rows": "x"}, {"ngrams": {}}, {"name": "a/b"})
            ),
        ),
        "student twice": setting("students", ["linear", "linear"]),
        "generator": setting("generators.0", "gpt2-xxl", "💥", "", 5, None, {"name": "x"}, {"backend": "replay"}, []),
        "backend": setting("generators.0.backend", "repaly", "", 5, None, [], {}),
        "model": setting(
            "generators.0",
            *(
                {"name": "x", "model": model}
                for model in ("nowhere", "a/b", "/nowhere", "~nobody/x", "x" * 5000, "a\0b", "embedded:gpt", "embedded:..")
            ),
        ),
        "data": setting(
            "generators.0.data",
            *("nowhere.jsonl", "", ".", "/dev/zero", "x\0.jsonl", "x" * 5000, "~nobody-at-all/x.jsonl", "board.yaml"),
        ),
        "data by task": setting("generators.0.data", {}, {"tini": "replay.jsonl"}, {"tiny": 5}, {"tiny": "nowhere"}),
        "format": setting("generators.0.format", "zerogen", "json", "", 1),
        "columns": setting("generators.0.columns", {"text": "X"}, {"label": "text"}, {"txt": "text"}, {"text": 1}),
        "labels": setting(
            "generators.0.labels", {0: "negative"}, {"negative": "neg"}, {"positive": "positive"}, {1: None}
        ),
        "sizes": setting("sizes", [0], [-1], [1.5], ["many"], [True], [10**9], [], 5, [None], ["all", 0]),
        "seeds": setting("seeds", [-1], [2**31], [1.5], ["x"], [True], [], 13, [None]),
        "baseline": setting("baselines", ["best"], "majority", [1], [None], {"majority": 1}),
        "measures": setting("measures", ["self_blue"], "some", [1], 5),
        "profile": setting("profile", "yes", 1, 0, None),
    }
    kinds = [Kind(of, of_data("board.yaml", change), True, READING, 6) for of, change in wrong.items()]
    # The schema bounds them below only: the student refuses what is too much, and that costs a run.
    too_much = setting("students.0", *({"student": "linear", "min_rows": rows} for rows in (17, 2**31, 2**64)))
    kinds.append(Kind("nothing left to learn", of_data("board.yaml", too_much), True, (RUN,), 3))
    return kinds + yaml_kinds("board.yaml", ("name", "tasks", "generators", "students"), READING)


def task_kinds() -> list[Kind]:
    """Damage to a task. Its train split is read by `validate` alone, for the board has no SUPERVISED."""
    wrong: dict[str, Callable[[Any, random.Random], None]] = {
        "a path out": setting("splits.test.file", "../outside.jsonl", "a/../../outside.jsonl", "link.jsonl", "/dev/zero"),
        "file": setting(
            "splits.test.file", "nowhere.jsonl", "", ".", "task.yaml", "x\0.jsonl", "x" * 5000 + ".jsonl", "saved/x.txt"
        ),
        "hub and file": setting("splits.test.hub", "a/b"),
        "neither hub nor file": setting("splits.test", {}, {"split": "test"}, {"columns": {}}),
        "hub": setting(
            "splits.test", *({"hub": hub} for hub in ("../..", "a", "a/b/c", "", "./x", "a b/c", "nowhere/at-all", 5))
        ),
        "revision": setting("splits.test.revision", "main", "", 5, "g" * 40),
        "splits": setting("splits", {}, [], {"train": {"file": "train.jsonl"}}, {"validation": {"file": "test.jsonl"}}),
        "columns": setting("splits.test.columns", {"text": "X"}, {"label": "text"}, {"txt": "text"}, {"text": 1}),
        "label map": setting("splits.test.labels", {0: "negative"}, {"negative": "negatif"}, {"negative": "negative"}),
        "labels": setting(
            "labels", [], ["negative"], ["negative", "negative"], [True, False], ["negative", "a/b"], [0, 1], "negative"
        ),
        "a label without rows": setting("labels", ["negative", "positive", "neutral"]),
        "family": setting("family", "sentiment", "", 5, None),
        "metric": setting("metric", "f1", "", 5, None),
        "prompts": setting("prompts", {}, [], {"plain": {}}, {"plain": {"source": "x"}}, {"a/b": {}}),
        "prompt": setting("prompts.plain.completion.text.negative", [], ["<X>"], ["<C>"], "It was bad.", [1], None),
        "prompt's label": setting("prompts.plain.completion.text.neutral", ["x"]),
        "context prompt": setting("prompts.plain.completion.context", ["<C>"], ["<X>"], ["Film:"], "Film:"),
        "classify prompt": setting("prompts.plain.completion.classify.negative", [], ["x"], ["<X> <X>"], ["<C> <X>"]),
        "lengths": setting("prompts.plain.max_new_tokens", 0, -1, 10**9, 1.5, "40", True, None),
        "stop": setting("prompts.plain.stop", "", "x" * 21, 5, []),
    }
    kinds = [Kind(of, of_data("task.yaml", change), True, (*READING, VALIDATE_TASK), 6) for of, change in wrong.items()]
    required = ("name", "title", "family", "labels", "splits", "prompts")
    return kinds + yaml_kinds("task.yaml", required, (*READING, VALIDATE_TASK))


# --- ways to damage a dataset ---------------------------------------------------------------------------------------


def of_rows(name: str, change: Callable[[Rows, random.Random], None]) -> Damage:
    """Damage rows, then write them in the file's own format."""

    def damage(folder: Path, stream: random.Random) -> None:
        rows: Rows = [dict(row) for row in ROWS]
        change(rows, stream)
        if name.endswith(".parquet"):  # a column of one type per file; the odd one sets it
            for column in rows[0]:
                odd = [row[column] for row in rows if not isinstance(row.get(column), str)]
                if any(one is not None for one in odd):
                    for row in rows:
                        row[column] = next(one for one in odd if one is not None)
        write_rows(folder / name, rows)

    return damage


def one_label(*values: Any) -> Callable[[Rows, random.Random], None]:
    def change(rows: Rows, stream: random.Random) -> None:
        stream.choice(rows)["label"] = stream.choice(values)

    return change


def one_text(*values: Any) -> Callable[[Rows, random.Random], None]:
    def change(rows: Rows, stream: random.Random) -> None:
        stream.choice(rows)["text"] = stream.choice(values)

    return change


def column_lost(rows: Rows, stream: random.Random) -> None:
    name = stream.choice(["text", "label"])
    for row in rows:
        row[stream.choice(["txt", "Text", "sentence", "💥"])] = row.pop(name)


def column_renamed(rows: Rows, stream: random.Random) -> None:
    old, new = stream.choice(["text", "label"]), stream.choice(["txt", "Text", "sentence", "💥", "x" * 3000])
    for row in rows:
        row[new] = row.pop(old)


def of_bytes(name: str, change: Callable[[bytes, random.Random], bytes]) -> Damage:
    def damage(folder: Path, stream: random.Random) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes(), stream))

    return damage


def replaced(*contents: bytes) -> Callable[[bytes, random.Random], bytes]:
    return lambda data, stream: stream.choice(contents)


def a_line(*lines: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Another line somewhere after the first."""

    def change(data: bytes, stream: random.Random) -> bytes:
        whole = data.splitlines(keepends=True)
        whole.insert(stream.randrange(1, len(whole)), stream.choice(lines) + b"\n")
        return b"".join(whole)

    return change


def cut_in_a_line(data: bytes, stream: random.Random) -> bytes:
    """End inside a line's last field, before the closing quote or brace."""
    line = stream.choice([match.end() for match in re.finditer(rb"[^\n]+", data)][1:])
    return data[: line - stream.randint(2, 12)]


def weird_text(rows: Rows, stream: random.Random) -> None:
    odd = ["\u202egnid", "e\u0301" * 50, "💥" * 9, "\u0000", "a\u2028b", "\ufeff", "", " ", "\r\n", "=1+1", "<script>"]
    for row in rows[:8]:
        row["text"] = stream.choice(odd)


def data_kinds(name: str, commands: tuple[str, ...]) -> list[Kind]:
    """Damage to a table file, by its format."""
    rows: dict[str, Callable[[Rows, random.Random], None]] = {
        "unknown label": one_label("neutral", "Positive", "", " ", "positive ", "💥", "x" * 5000, "../x"),
        "column lost": column_renamed,
    }
    if not name.endswith(".csv"):  # in CSV all is text
        rows["no label"] = one_label(None, float("nan"))
        rows["a label of another type"] = one_label(True, False, 0, 1.0, 2**62, 1e300, float("inf"), [0], {"a": 1})
        rows["no text"] = one_text(None, float("nan"), 5, ["a"], {"a": 1}, True)
    sizes: dict[str, Callable[[bytes, random.Random], bytes]] = {
        "empty": replaced(b""),
        "of another format": replaced(b"PAR1", b"PK\x03\x04" + bytes(99), b"\x1f\x8b" + bytes(99), b"\x89PNG\r\n", b"\0"),
        "a long line": lambda data, stream: data + b'{"text": "' + b"x" * LONG_LINE_BYTES,
    }
    if name.endswith(".parquet"):
        del sizes["a long line"]
        sizes["truncated"] = lambda data, stream: data[: stream.randrange(1, len(data))]
        sizes["tail lost"] = lambda data, stream: data[: -stream.randint(1, 8)]
        sizes["middle lost"] = lambda data, stream: data[:60] + data[60 + stream.randint(1, 400) :]
    else:
        sizes["not UTF-8"] = a_line(b"\xff\xfe", b"\xc3\x28", "fünf".encode("latin-1"))
        sizes["UTF-16"] = lambda data, stream: data.decode().encode("utf-16")
    if name.endswith(".jsonl"):
        sizes["truncated"] = cut_in_a_line
        sizes["wrong JSON"] = a_line(b"[]", b"5", b"null", b'"text"', b"{", b"{'text': 1}", b"text,label", b"{}", b"\0")
        sizes["deep"] = a_line(b"[" * 100_000, b'{"text": ' * 50_000, b'{"text": "x", "label": ' + b"[" * 900 + b"]" * 900 + b"}")
        sizes["a huge number"] = a_line(
            *(b'{"text": "x", "label": %s}' % number for number in (b"9" * 5000, b"1e999", b"-1e999", b"8" * 300))
        )
        sizes["half a character"] = a_line(rb'{"text": "a \ud800 b", "label": "positive"}')
    if name.endswith(".csv"):
        sizes["fields lost or too many"] = a_line(b"a text", b"a,b,c", b",", b'"')
        sizes["wrong quotes"] = a_line(b'"a" b,positive', b'"never closed,positive')
        sizes["column twice"] = lambda data, stream: data.replace(b"text,label", b"text,text", 1)
        sizes["no header"] = lambda data, stream: data.split(b"\n", 1)[1]
    kinds = [Kind(of, of_rows(name, change), True, commands, 5) for of, change in rows.items()]
    kinds += [Kind(of, of_bytes(name, one), True, commands, 1 if of == "a long line" else 4) for of, one in sizes.items()]
    if name.endswith(".parquet"):
        kinds.append(Kind("column twice", _parquet_column_twice(name), True, commands, 2))
    bits = Kind("bits", of_bytes(name, flipped), False, commands, 24 if name.endswith(".parquet") else 8)
    return [*kinds, bits, Kind("weird text", of_rows(name, weird_text), False, commands, 3)]


def _parquet_column_twice(name: str) -> Damage:
    def damage(folder: Path, stream: random.Random) -> None:
        texts, labels = (pa.array([row[column] for row in ROWS]) for column in ("text", "label"))
        pq.write_table(pa.table([texts, labels, texts], names=["text", "label", "text"]), folder / name)

    return damage


def replay_kinds(name: str) -> list[Kind]:
    """The same damage, to the dataset of a generator."""
    point = of_data("board.yaml", setting("generators.0.data", name))

    def pointed(kind: Kind) -> Kind:
        def damage(folder: Path, stream: random.Random) -> None:
            point(folder, stream)
            kind.damage(folder, stream)

        return Kind(f"{name}: {kind.name}", damage, kind.certain, kind.commands, kind.cases)

    kinds = _saved_kinds() if name == "saved" else data_kinds(name, READING)
    return [pointed(kind) for kind in kinds]


def _saved_kinds() -> list[Kind]:
    """Damage to a folder saved by `datasets`: three files that refer to each other."""

    def state(change: Callable[[Any, random.Random], None]) -> Damage:
        def damage(folder: Path, stream: random.Random) -> None:
            path = folder / "saved" / "state.json"
            data = json.loads(path.read_text(encoding="utf-8"))
            change(data, stream)
            path.write_text(json.dumps(data), encoding="utf-8")

        return damage

    arrow = "saved/data-00000-of-00001.arrow"
    junk = replaced(b"", b"[]", b"5", b"null", b"{", b"\xff", b"{}", b"[" * 9999, b'{"features": 5}')
    out = setting("_data_files.0.filename", "../outside.arrow", "/dev/zero", "nowhere.arrow", "x\0", 5, None)
    return [
        Kind("state", of_bytes("saved/state.json", junk), True, READING, 9),
        Kind("info", of_bytes("saved/dataset_info.json", junk), True, READING, 9),
        Kind("a path out", state(out), True, READING, 6),
        Kind("keys lost", state(required_lost("_data_files", "_fingerprint")), False, READING, 4),
        Kind("truncated", of_bytes(arrow, lambda data, stream: data[: stream.randrange(300)]), True, READING, 5),
        Kind("rubbish", of_bytes(arrow, replaced(b"", b"x" * 999, b"\xff" * 8, bytes(64))), True, READING, 4),
        Kind("bits", of_bytes(arrow, flipped), False, READING, 10),
    ]


def set_kinds() -> list[Kind]:
    """Damage to the real data of the task: the test split, and the train split, which only `validate` reads here."""
    return data_kinds("test.jsonl", READING) + data_kinds("train.jsonl", (VALIDATE, VALIDATE_TASK))


# --- ways to damage a store -----------------------------------------------------------------------------------------


def of_manifest(change: Callable[[Any, random.Random], Any]) -> Damage:
    """Damage what the manifest of one of the artifacts says."""

    def damage(folder: Path, stream: random.Random) -> None:
        path = stream.choice(sorted(folder.glob("store/artifacts/*/*/manifest.json")))
        manifest = json.loads(path.read_text(encoding="utf-8"))
        changed = change(manifest, stream)
        path.write_text(json.dumps(manifest if changed is None else changed), encoding="utf-8")

    return damage


def of_file(pattern: str, change: Callable[[bytes, random.Random], bytes | None]) -> Damage:
    """Damage the bytes of a file of one of the artifacts; None removes it."""

    def damage(folder: Path, stream: random.Random) -> None:
        path = stream.choice(sorted(folder.glob(f"store/artifacts/*/*/{pattern}")))
        changed = change(path.read_bytes(), stream)
        if changed is None:
            path.unlink()
        else:
            path.write_bytes(changed)

    return damage


def entry(change: Callable[[dict[str, Any], str, random.Random], None]) -> Callable[[Any, random.Random], None]:
    """Change one of the manifest's files."""
    return lambda manifest, stream: change(manifest["files"], stream.choice(sorted(manifest["files"])), stream)


def entry_renamed(*names: str) -> Callable[[Any, random.Random], None]:
    def change(files: dict[str, Any], name: str, stream: random.Random) -> None:
        files[stream.choice(names)] = files.pop(name)

    return entry(change)


def entry_size(*sizes: Any) -> Callable[[Any, random.Random], None]:
    return entry(lambda files, name, stream: files[name].update(bytes=stream.choice(sizes)))


def store_kinds() -> list[Kind]:
    every = (LS, VERIFY, RUN)
    manifests: dict[str, Callable[[Any, random.Random], Any]] = {
        "schema": setting("schema", 2, 0, -1, None, "1", [], 10**30),
        "key": setting("key", "0" * 64, "", "../x", None, 5, "💥"),
        "stage": setting("stage", "synthesise", "", "..", None, 5, [], "\ud800"),
        "key lost": required_lost("schema", "key", "stage", "files", "record"),
        "files": setting("files", None, [], 5, "x", {"": {}}, {"x": 5}, {"x": {}}, {"x": None}),
        "record": setting("record", None, [], 5, "x"),
        "a path out": entry_renamed(
            *("../manifest.json", "/etc/passwd", "..", ".", "", "a/b", "x\0", "x" * 5000, "\ud800", "💥", "nowhere")
        ),
        "a size out of range": entry_size(-1, 0, 10**30, 1.5, float("nan"), None, "5", [], True),
        "not an object": lambda manifest, stream: stream.choice([[manifest], 5, "x", {}, [[]]]),
    }
    texts: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
        "truncated": lambda data, stream: data[: stream.randrange(len(data) - 2)],
        "empty": replaced(b"", b" ", b"\0" * 100),
        "not UTF-8": lambda data, stream: b"\xff" + data,
        "deep": replaced(b"[" * 100_000, b'{"files":' * 50_000),
        "a long line": lambda data, stream: data + b" " * LONG_LINE_BYTES,
        "lost": lambda data, stream: None,
    }
    contents: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
        "file lost": lambda data, stream: None,
        "file cut": lambda data, stream: data[: stream.randrange(len(data))],
        "file grown": lambda data, stream: data + b"\0",
    }
    same_size: dict[str, Callable[[bytes, random.Random], bytes | None]] = {"file's bits": flipped}
    kinds = [Kind(of, of_manifest(change), True, every, 9) for of, change in manifests.items()]
    kinds += [Kind(of, of_file("manifest.json", one), True, every, 1 if "long" in of else 6) for of, one in texts.items()]
    kinds += [Kind(of, of_file("[!m]*", one), True, every, 6) for of, one in contents.items()]
    kinds += [Kind(of, of_file("[!m]*", one), True, (VERIFY,), 8) for of, one in same_size.items()]
    # `run` reads values and predictions again; what it does not read it cannot find damaged.
    kinds += [Kind("numbers' bits", of_file("[vp]*", flipped), False, (RUN,), 12)]
    kinds.append(Kind("sha256", of_manifest(entry(lambda files, name, _: files[name].update(sha256="0"))), True, (VERIFY,), 3))
    return [*kinds, Kind("bits", of_file("manifest.json", flipped), False, every, 12)]


# --- the tests ------------------------------------------------------------------------------------------------------

DECKS: dict[str, Callable[[], list[Kind]]] = {
    "boards": board_kinds,
    "tasks": task_kinds,
    "real data": set_kinds,
    "replayed JSON lines": lambda: replay_kinds("replay.jsonl"),
    "replayed CSV": lambda: replay_kinds("replay.csv"),
    "replayed Parquet": lambda: replay_kinds("replay.parquet"),
    "replayed folder": lambda: replay_kinds("saved"),
    "stores": store_kinds,
}


def complaints(command: str, status: int | str, stderr: str, certain: bool) -> Iterator[str]:
    """What is wrong with the way a command ended."""
    if isinstance(status, str):
        yield f"an exception got out:\n{status}"
        return
    told = sum(line.startswith("harness: error:") for line in stderr.splitlines())
    if status not in (0, 2):
        yield f"status {status}"
    if certain and status == 0:
        yield "status 0, though the file is invalid"
    if told != (status == 2):
        yield f"status {status} with {told} error messages: {stderr[:2000]}"
    if "Traceback" in stderr:
        yield f"a traceback: {stderr[-2000:]}"
    if len(stderr) > MOST_STDERR_CHARACTERS:
        yield f"{len(stderr)} characters on standard error: {stderr[:300]}"


def play(prepared: Prepared, kind: Kind, number: int, command: str) -> tuple[int | str, list[str]]:
    """One case in a folder of its own. Returns the status and what is wrong with it."""
    folder = prepared.scratch / "case" / "files"
    shutil.copytree(prepared.files, folder)
    write_rows(folder.parent / "outside.jsonl", ROWS)
    (folder / "link.jsonl").symlink_to("../outside.jsonl")
    own_store = command in (LS, VERIFY) or "store" in kind.name
    store = folder / "store"
    shutil.copytree(prepared.store, store)
    try:
        kind.damage(folder, random.Random(f"{kind.name}/{number}"))
        before = snapshot(store / "artifacts")
        status, stderr = call(command_line(command, folder, store))
        wrong = list(complaints(command, status, stderr, kind.certain))
        after = snapshot(store / "artifacts")
        changed = [name for name, content in before.items() if after.get(name) != content]
        wrong += [f"{name} was changed" for name in changed]
        if status != 0 and command != RUN and after.keys() != before.keys():
            wrong.append("something was added to the store")
        if list((store / "staging").glob("*")):
            wrong.append("something was left in the staging folder")
        return status, wrong
    finally:
        shutil.rmtree(folder.parent)


@pytest.mark.parametrize("deck", DECKS)
def test_damage_ends_in_one_error_message_and_never_in_a_traceback_or_a_changed_store(
    prepared: Prepared, deck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_MIRROR", raising=False)
    statuses: list[int | str] = []
    wrong: list[str] = []
    for kind in DECKS[deck]():
        for number in range(kind.cases):
            command = kind.commands[number % len(kind.commands)]
            status, found = play(prepared, kind, number, command)
            statuses.append(status)
            wrong += [f"{deck}/{kind.name}/{number} ({command}): {one}" for one in found]
    assert not wrong, f"{len(wrong)} of {len(statuses)} cases:\n" + "\n".join(wrong)
    assert statuses.count(0) * 4 < len(statuses), "most damage must be noticed, or this test looks at nothing"


def test_the_decks_hold_enough_cases_to_mean_something() -> None:
    cases = [(kind.certain, kind.cases) for deck in DECKS.values() for kind in deck()]
    assert sum(number for _, number in cases) >= 500
    assert sum(number for certain, number in cases if certain) >= 400
