"""Ways to damage a board or a task."""

import random
import re
from collections.abc import Iterator
from typing import Any

from tests.damage import (
    LONG_LINE_BYTES,
    READING,
    RUN,
    VALIDATE_TASK,
    Edit,
    Kind,
    Rewrite,
    contents,
    ends,
    flipped,
    insertions,
    kinds,
    losses,
    of_bytes,
    of_yaml,
    settings,
    truncated,
)

_ALIAS_BOMB = "".join(
    f"bomb{level}: &b{level} [{', '.join([f'*b{level - 1}' if level else 'x'] * 9)}]\n" for level in range(9)
)
_NO_NAMES: tuple[Any, ...] = ("", "a/b", "../a", "/etc", "..", ".a", "💥", "a b", "x" * 81, "\u202ex", 5, None, [])


def values_instead(*texts: str) -> list[Rewrite]:
    """Put each of the texts where one of a file's `key: value` lines has its value."""

    def instead(text: str) -> Rewrite:
        def rewrite(data: bytes, stream: random.Random) -> bytes:
            places = [match.span(1) for match in re.finditer(rb"^ *(?:- )?\w+: (\S.*)$", data, re.MULTILINE)]
            start, end = stream.choice(places)
            return data[:start] + text.encode() + data[end:]

        return rewrite

    return [instead(text) for text in texts]


def _key_twice(data: bytes, stream: random.Random) -> bytes:
    lines: list[bytes] = re.findall(rb"^\w+: .+\n", data, re.MULTILINE)
    return data + stream.choice(lines)


def _slice_lost(data: bytes, stream: random.Random) -> bytes:
    start = stream.randrange(len(data) - 1)
    return data[:start] + data[start + stream.randint(1, 40) :]


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _wrong_type(data: Any, stream: random.Random) -> None:
    container, key = stream.choice(list(_places(data)))
    container[key] = stream.choice([{"surprise": [1]}, [[[]]], {"surprise": {"surprise": 1.5}}])


def _any_value(data: Any, stream: random.Random) -> None:
    container, key = stream.choice(list(_places(data)))
    container[key] = stream.choice([None, True, 0, -1, 2**62, 1.5, "", "x", " ", "../x", "a/b", "💥", [], {}, "\u202e"])


def _value_lost(data: Any, stream: random.Random) -> None:
    container, key = stream.choice(list(_places(data)))
    del container[key]


def _key_misspelt(data: Any, stream: random.Random) -> None:
    name = stream.choice(list(data))
    data[name[:-1] + stream.choice("xyz_") + name[-1]] = data.pop(name)


def _any_file(name: str, required: tuple[str, ...], commands: tuple[str, ...]) -> list[Kind]:
    """Damage that any YAML file must survive."""
    certain: dict[str, list[Rewrite]] = {
        "empty": contents(b"", b"\n\n", b"# nothing\n", b"---\n", b"\xef\xbb\xbf"),
        "not a mapping": contents(b"- a\n- b\n", b"42\n", b"just words\n", b"null\n", b"[]\n", b"{}\n"),
        "two documents": ends(b"---\nname: another"),
        "tab": [lambda data, stream: b"\t" + data],
        "unclosed": ends(b'x: "', b"x: [1, 2", b"x: {a: 1", b"x: 'a"),
        "wrong tag": ends(
            b"x: !!python/object/apply:os.system ['true']",
            b"x: !!python/name:os.system ''",
            b"x: !!bool perhaps",
            b"x: !!int ''",
            b"x: !!int x",
            b"x: !!float x",
            b"x: !!timestamp x",
            b"x: !!map x",
            b"x: !!set {a, b}",
            b"x: !!binary '*'",
            b"x: !made-up 1",
            b"x: *nowhere",
            b"<<: {title: x}",
            b"x: =",
        ),
        "wrong key": ends(
            b"? [a, b]\n: 1", b"? {a: b}\n: 1", b".nan: 1", b"yes: 1", b"null: 1", b"1.5: 1", b"2024-02-03: 1"
        ),
        "alias bomb": ends(_ALIAS_BOMB.encode()),
        "endless alias": ends(b"x: &x [*x]", b"x: &x {y: *x}"),
        "deep": ends(b"x: " + b"[" * 5000, b"x: " + b"{a: " * 3000, b"x: " + b"[" * 200 + b"]" * 200),
        "key twice": [_key_twice] * 3,
        "not UTF-8": insertions(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x80\x81"),
        "UTF-16": [lambda data, stream: data.decode().encode("utf-16")],
        "control character": insertions(b"\0", b"\x07", b"\x1b[31m", b"\x7f"),
        "a long line": ends(b"# " + b"x" * LONG_LINE_BYTES),
        "a huge number": values_instead(
            "0x" + "f" * 5000, "9" * 5000, "1.0e+999", "-" + "8" * 400, "9" * 19, "1:" * 400 + "1"
        ),
        "no number": values_instead(".nan", ".inf", "-.inf", "2024-02-03", "2024-99-99", "2024-02-03T04:05:06Z"),
        "half a character": values_instead('"\\ud800"', '"a\\udfffb"', '"\\ud83d"'),
    }
    structures: dict[str, list[Edit]] = {
        "wrong type": [_wrong_type] * 15,
        "unknown key": settings("surprise", 1, None, "x", [], {}),
        "misspelt key": [_key_misspelt] * 6,
        "required key lost": losses(*required),
        "a name that is none": settings("name", *_NO_NAMES),
        "a title that is none": settings("title", "x" * 201, "💥" * 300, 5, [], {}, True),
    }
    # What these leave may still be a valid file.
    uncertain: dict[str, list[Rewrite]] = {
        "truncated": [truncated] * 8,
        "slice lost": [_slice_lost] * 8,
        "bits": [flipped] * 8,
    }
    luck: dict[str, list[Edit]] = {"any value": [_any_value] * 12, "value lost": [_value_lost] * 8}
    return [
        *kinds(certain, of_bytes(name), commands),
        *kinds(structures, of_yaml(name), commands),
        *kinds(uncertain, of_bytes(name), commands, certain=False),
        *kinds(luck, of_yaml(name), commands, certain=False),
    ]


def board_kinds() -> list[Kind]:
    """Damage to a board."""
    models = ("nowhere", "a/b", "/nowhere", "~nobody-at-all/x", "x" * 5000, "a\0b", "embedded:gpt", "embedded:..", "")
    recipes: tuple[dict[Any, Any], ...] = (
        *({"epochs": 3}, {"ngrams": 0}, {"min_rows": "x"}, {"ngrams": {}}),
        *({"name": "a/b"}, {"model_config": {}}, {"self": 1}, {5: 1}),
    )
    wrong: dict[str, list[Edit]] = {
        "task": settings(
            "tasks.0",
            "tasc.yaml",
            "sst3",
            "../task.yaml",
            "x\0.yaml",
            "x" * 5000 + ".yaml",
            "💥",
            "",
            "~nobody-at-all/x.yaml",
        ),
        "task twice": settings("tasks", ["task.yaml", "task.yaml"], ["task.yaml", {"task": "task.yaml"}]),
        "test_rows": settings("tasks.0", *({"task": "task.yaml", "test_rows": n} for n in (1, 0, True, "2", 1e9, 17))),
        "student": settings(
            "students.0", "liner", "../linear", "os", "💥", "", 5, None, [], {"student": 1}, {"name": "x"}, "x" * 9999
        ),
        "student's settings": settings("students.0", *({"student": "linear", **recipe} for recipe in recipes)),
        "student twice": settings("students", ["linear", "linear"]),
        "generator": settings(
            "generators.0", "gpt2-xxl", "💥", "", 5, None, {"name": "x"}, {"backend": "replay"}, [], "x" * 9999
        ),
        "backend": settings("generators.0.backend", "repaly", "", 5, None, [], {}),
        "model": settings("generators.0", *({"name": "x", "model": model} for model in models)),
        "data": settings(
            "generators.0.data",
            *("nowhere.jsonl", "", ".", "/dev/zero", "x\0.jsonl", "x" * 5000, "~nobody-at-all/x.jsonl", "board.yaml"),
            *("replay.jsonl/x", "replay.jsonl ", None, 5, []),
        ),
        "data by task": settings("generators.0.data", {}, {"tini": "replay.jsonl"}, {"tiny": 5}, {"tiny": "nowhere"}),
        "format": settings("generators.0.format", "zerogen", "json", "", 1, None),
        "columns": settings("generators.0.columns", {"text": "X"}, {"label": "text"}, {"txt": "text"}, {"text": 1}),
        "labels": settings(
            "generators.0.labels", {0: "negative"}, {"negative": "neg"}, {"positive": "positive"}, {1: None}
        ),
        "sizes": settings("sizes", [0], [-1], [1.5], ["many"], [True], [10**9], [], 5, [None], ["all", 0]),
        "seeds": settings("seeds", [-1], [2**31], [1.5], ["x"], [True], [], 13, [None]),
        "baselines": settings("baselines", ["best"], "majority", [1], [None], {"majority": 1}),
        "measures": settings("measures", ["self_blue"], "some", [1], 5, ["💥"]),
        "profile": settings("profile", "yes", 1, 0, None),
    }
    # Its schema allows these; it is the student that finds nothing to learn, and that takes a run.
    too_much: dict[str, list[Edit]] = {
        "nothing to learn": settings("students.0", *({"student": "linear", "min_rows": n} for n in (17, 2**31)))
    }
    required = ("name", "tasks", "generators", "students")
    return [
        *kinds(wrong, of_yaml("board.yaml"), READING),
        *kinds(too_much, of_yaml("board.yaml"), (RUN,)),
        *_any_file("board.yaml", required, READING),
    ]


def task_kinds() -> list[Kind]:
    """Damage to a task."""
    hubs = ("../..", "a", "a/b/c", "", "./x", "a b/c", "-/-", 5, "💥/💥")
    text, classify = "prompts.plain.completion.text", "prompts.plain.completion.classify"
    wrong: dict[str, list[Edit]] = {
        "a path out": settings(
            "splits.test.file",
            "../outside.jsonl",
            "a/../../outside.jsonl",
            "link.jsonl",
            "/dev/zero",
            "~/x.jsonl",
            "..",
        ),
        "file": settings(
            "splits.test.file",
            "nowhere.jsonl",
            "",
            ".",
            "task.yaml",
            "x\0.jsonl",
            "x" * 5000 + ".jsonl",
            "saved/x.txt",
            5,
        ),
        "hub and file": settings("splits.test.hub", "a/b"),
        "neither hub nor file": settings("splits.test", {}, {"split": "test"}, {"columns": {}}),
        "hub": settings("splits.test", *({"hub": hub} for hub in hubs)),
        "revision": settings("splits.test.revision", "main", "", 5, "g" * 40),
        "config": settings("splits.test.config", "..", "a/b", "", None),
        "splits": settings(
            "splits", {}, [], {"train": {"file": "train.jsonl"}}, {"validation": {"file": "test.jsonl"}}, {"test": None}
        ),
        "columns": settings("splits.test.columns", {"text": "X"}, {"label": "text"}, {"txt": "text"}, {"text": 1}),
        "label map": settings("splits.test.labels", {0: "negative"}, {"negative": "negatif"}, {"negative": "negative"}),
        "labels": settings(
            "labels", [], ["negative"], ["negative"] * 2, [True, False], ["negative", "a/b"], [0, 1], "negative"
        ),
        "a label without rows": settings("labels", ["negative", "positive", "neutral"]),
        "family": settings("family", "sentiment", "", 5, None),
        "metric": settings("metric", "f1", "", 5, None),
        "prompts": settings("prompts", {}, [], {"plain": {}}, {"plain": {"source": "x"}}, {"a/b": {}}, None),
        "prompt": settings(f"{text}.negative", [], ["<X>"], ["<C>"], "It was bad.", [1], None),
        "prompt's label": settings(f"{text}.neutral", ["x"]),
        "context prompt": settings("prompts.plain.completion.context", ["<C>"], ["<X>"], ["Film:"], "Film:"),
        "classify prompt": settings(f"{classify}.negative", [], ["x"], ["<X> <X>"], ["<C> <X>"]),
        "lengths": settings("prompts.plain.max_new_tokens", 0, -1, 10**9, 1.5, "40", True, None),
        "stop": settings("prompts.plain.stop", "", "x" * 21, 5, []),
    }
    # `validate` lets these pass: with a mirror they may be right.
    out_of_reach: dict[str, list[Edit]] = {
        "no mirror": settings("splits.test", {"hub": "nowhere/at-all"}, {"hub": "a/b", "config": "c", "split": "d"})
    }
    required = ("name", "title", "family", "labels", "splits", "prompts")
    commands = (*READING, VALIDATE_TASK)
    return [
        *kinds(wrong, of_yaml("task.yaml"), commands),
        *kinds(out_of_reach, of_yaml("task.yaml"), READING[1:]),
        *_any_file("task.yaml", required, commands),
    ]
