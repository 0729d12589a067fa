"""YAML read safely, with the line of every value, so that an error can point at its cause.

Only the plain subset is read: texts, numbers, true, false, null, lists, mappings. Sizes are bounded before anything is
built, repeated keys are errors, and an alias counts as often as it is used (so that a "billion laughs" file is refused,
not expanded).
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError, shown

MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 30
MAX_INTEGER = 2**63 - 1
MAX_NUMBER_CHARACTERS = 100

_TAG = "tag:yaml.org,2002:"
_EXPECTED = {
    "str": "a text of whole characters",
    "int": "a whole number of at most 64 bits",
    "float": "a finite number",
    "bool": "true or false",
    "null": "null",
}
_PLAIN = frozenset(_TAG + kind for kind in (*_EXPECTED, "seq", "map"))

Scalar = str | int | float | bool | None

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake in a file: where it is and what is wrong with it."""

    path: Location
    message: str
    line: int | None = None

    def render(self, file: str) -> str:
        place = f"{file}:{self.line}" if self.line else file
        dotted = dotted_path(self.path)
        return f"{place}: {dotted}: {self.message}" if dotted else f"{place}: {self.message}"


@dataclass
class Source:
    """The data of one YAML file and the line on which each value stands."""

    file: Path
    data: Any
    lines: dict[Location, int] = field(default_factory=dict)

    def line(self, path: Location) -> int | None:
        """The line of the value at `path`, or of the nearest thing around it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return self.lines.get(())


def dotted_path(path: Location) -> str:
    """`('tasks', 0, 'name')` as `tasks[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def raise_problems(file: Path, problems: list[Problem]) -> None:
    """Raise one HarnessError that lists every problem, in the order of the file's lines."""
    if not problems:
        return
    ordered = sorted(set(problems), key=lambda problem: (problem.line or 0, dotted_path(problem.path), problem.message))
    noun = "1 error" if len(ordered) == 1 else f"{len(ordered)} errors"
    listing = "\n".join("  " + problem.render(str(file)).replace("\n", "\n  ") for problem in ordered)
    raise HarnessError(f"{file} has {noun}:\n{listing}")


def read_yaml(file: Path) -> Source:
    """Read one YAML file.

    Raises:
        HarnessError: the file is missing, too large, not UTF-8, not YAML, or nested beyond reason.
    """
    text = read_bounded_text(file, MAX_BYTES)
    source = Source(file, None)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise HarnessError(f"{file} is empty; expected a YAML mapping such as `name: ...`")
        source.data = _Builder(loader, source).build(node, (), 0)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = f"U+{error.character:04X}"
        raise HarnessError(f"{file}:{line}: the character {code} cannot stand in YAML; remove it") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark is not None else str(file)
        reason = getattr(error, "problem", None) or str(error)
        raise HarnessError(f"{place}: not valid YAML: {reason}") from None
    except RecursionError:
        raise HarnessError(f"{file}: nested deeper than {MAX_DEPTH} levels; a bracket may lack its end") from None
    return source


def read_bounded_text(file: Path, most_bytes: int) -> str:
    """The text of a file of at most `most_bytes` bytes; a HarnessError says what is wrong otherwise."""
    try:
        if not file.is_file():
            raise HarnessError(f"{file}: no such file")
        size = file.stat().st_size
        if size > most_bytes:
            raise HarnessError(f"{file} holds {size:,} bytes; a file of this kind has at most {most_bytes:,}")
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise HarnessError(
            f"{file} is not UTF-8 text: byte {error.start} cannot be decoded; save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        raise HarnessError(f"{file} cannot be read: {error}") from None


def _is_usable(value: Scalar) -> bool:
    """Numbers are finite and fit 64 bits; a text can be written out again: it holds no half of a surrogate pair."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= MAX_INTEGER
    return not isinstance(value, str) or re.search("[\ud800-\udfff]", value) is None


class _Builder:
    def __init__(self, loader: yaml.SafeLoader, source: Source) -> None:
        self.loader = loader
        self.source = source
        self.nodes = 0

    def build(self, node: yaml.Node, path: Location, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise HarnessError(
                f"{self.source.file}: more than {MAX_NODES:,} values or {MAX_DEPTH} levels; split the file"
            )
        self.source.lines[path] = node.start_mark.line + 1
        self._require_plain(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index), depth + 1) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source.file}:{node.start_mark.line + 1}"

    def _require_plain(self, node: yaml.Node) -> None:
        if node.tag not in _PLAIN:
            kind = node.tag.removeprefix(_TAG)
            raise HarnessError(
                f"{self._place(node)}: expected a text, a number, true, false, null, a list or a mapping, found a "
                f"{kind!r}; if it is meant as text, put it in quotes"
            )

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        kind = node.tag.removeprefix(_TAG)
        value: Scalar = None
        try:
            usable = len(node.value) <= MAX_NUMBER_CHARACTERS or kind not in ("int", "float")
            if usable:
                value = self.loader.construct_object(node, deep=True)
        except (ValueError, LookupError):  # PyYAML's for `!!int x` and `!!bool perhaps`
            usable = False
        if not usable or not _is_usable(value):
            raise HarnessError(f"{self._place(node)}: expected {_EXPECTED[kind]}, found {shown(node.value)}")
        return value

    def _mapping(self, node: yaml.MappingNode, path: Location, depth: int) -> dict[str | int, Any]:
        result: dict[str | int, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) and key_node.tag in _PLAIN else None
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise HarnessError(
                    f"{self.source.file}:{line}: a key must be a word or a whole number (quote words such as 'yes')"
                )
            if key in result:
                raise HarnessError(f"{self.source.file}:{line}: the key '{key}' stands twice in one mapping")
            result[key] = self.build(value_node, (*path, key), depth + 1)
            self.source.lines[(*path, key)] = line
        return result
