"""Ways to damage a store."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.damage import (
    LONG_LINE_BYTES,
    LS,
    RUN,
    VERIFY,
    Damage,
    Edit,
    Kind,
    Rewrite,
    contents,
    flipped,
    kinds,
    losses,
    settings,
    truncated,
)

_EVERY = (LS, VERIFY, RUN)


def _of_manifest(edit: Edit) -> Damage:
    """Damage what the manifest of one of the artifacts says."""

    def damage(folder: Path, stream: random.Random) -> None:
        path = stream.choice(sorted(folder.glob("store/artifacts/*/*/manifest.json")))
        manifest = json.loads(path.read_text(encoding="utf-8"))
        edit(manifest, stream)
        path.write_text(json.dumps(manifest), encoding="utf-8")

    return damage


def _of_file(pattern: str) -> Callable[[Rewrite], Damage]:
    """Damage the bytes of a file of one of the artifacts."""

    def to_damage(rewrite: Rewrite) -> Damage:
        def damage(folder: Path, stream: random.Random) -> None:
            path = stream.choice(sorted(folder.glob(f"store/artifacts/*/*/{pattern}")))
            path.write_bytes(rewrite(path.read_bytes(), stream))

        return damage

    return to_damage


def _lost(pattern: str) -> Damage:
    def damage(folder: Path, stream: random.Random) -> None:
        stream.choice(sorted(folder.glob(f"store/artifacts/*/*/{pattern}"))).unlink()

    return damage


def _renamed_entries(*names: str) -> list[Edit]:
    """Give one of a manifest's files another name."""

    def renamed(new: str) -> Edit:
        def edit(manifest: Any, stream: random.Random) -> None:
            files = manifest["files"]
            files[new] = files.pop(stream.choice(sorted(files)))

        return edit

    return [renamed(name) for name in names]


def _entries(field: str, *values: Any) -> list[Edit]:
    """Set a field of one of a manifest's files."""

    def entry(value: Any) -> Edit:
        def edit(manifest: Any, stream: random.Random) -> None:
            manifest["files"][stream.choice(sorted(manifest["files"]))][field] = value

        return edit

    return [entry(value) for value in values]


def store_kinds() -> list[Kind]:
    """Damage to manifests and to the files that they vouch for."""
    sizes: tuple[Any, ...] = (-1, 0, 10**30, 1.5, math.nan, math.inf, None, "5", [], True)
    out = (
        "../manifest.json",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "x\0",
        "x" * 5000,
        "\ud800",
        "💥",
        "nowhere",
        "a\nb",
    )
    manifests: dict[str, list[Edit]] = {
        "schema": settings("schema", 2, 0, -1, None, "1", [], 10**30),
        "key": settings("key", "0" * 64, "", "../x", None, 5, "💥", "x" * 100_000),
        "stage": settings("stage", "synthesise", "", "..", None, 5, [], "\ud800", "x" * 100_000),
        "key lost": losses("schema", "key", "stage", "files", "record"),
        "files": settings("files", None, [], 5, "x", {"": {}}, {"x": 5}, {"x": {}}, {"x": None}),
        "record": settings("record", None, [], 5, "x"),
        "a path out": _renamed_entries(*out),
        "a size out of range": _entries("bytes", *sizes),
    }
    texts: dict[str, list[Rewrite]] = {
        "not an object": contents(b"[{}]", b"5", b'"x"', b"{}", b"null", b"NaN"),
        "truncated": [truncated] * 6,
        "empty": contents(b"", b" ", b"\0" * 100),
        "not UTF-8": contents(b"\xff{}", b'{"schema": "\xc3\x28"}'),
        "deep": contents(b"[" * 100_000, b'{"files":' * 50_000, b"9" * 100_000),
        "a long line": [lambda data, stream: data + b" " * LONG_LINE_BYTES],
    }
    files: dict[str, list[Rewrite]] = {
        "file cut": [lambda data, stream: data[: stream.randrange(len(data))]] * 6,
        "file grown": [lambda data, stream: data + b"\0"] * 3,
    }
    # The size is right: only reading every byte shows it.
    every_byte: dict[str, list[Rewrite]] = {"file's bits": [flipped] * 8}
    sums: dict[str, list[Edit]] = {"sha256": _entries("sha256", "0", None, 5)}
    luck: dict[str, list[Rewrite]] = {"bits": [flipped] * 15}
    not_manifests = "[!m]*"
    return [
        *kinds(manifests, _of_manifest, _EVERY),
        *kinds(texts, _of_file("manifest.json"), _EVERY),
        *kinds(files, _of_file(not_manifests), _EVERY),
        Kind("file lost", (_lost("manifest.json"), _lost("manifest.json"), *[_lost(not_manifests)] * 4), True, _EVERY),
        *kinds(every_byte, _of_file(not_manifests), (VERIFY,)),
        *kinds(sums, _of_manifest, (VERIFY,)),
        *kinds({"numbers' bits": [flipped] * 8}, _of_file("predictions.parquet"), (RUN,)),
        *kinds({"values' bits": [flipped] * 8}, _of_file("values.json"), (RUN,)),
        *kinds(luck, _of_file("manifest.json"), _EVERY, certain=False),
    ]
