"""Rows of a task in columns, whichever family it is of; what students learn from and predict for.

| family                   | columns                               | what a PLM writes, and the measures look at |
|--------------------------|---------------------------------------|---------------------------------------------|
| text-classification      | `text`, `label`                       | `text`                                      |
| text-pair-classification | `text`, `text_pair`, `label`          | `text_pair`                                 |
| extractive-qa            | `id`, `context`, `question`, `answers`| `question`                                  |
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from harness.spec import Family


@dataclass(frozen=True, slots=True)
class Answer:
    """A span of a context: its text, and where it begins in it, counted in characters (code points)."""

    text: str
    start: int


@dataclass(frozen=True)
class Examples:
    """Rows in columns of equal length; a column that the family has not, or that is not known, is empty.

    `label` holds label names and `answers` the accepted answers of each question; both are empty at prediction.
    """

    text: Sequence[str] = ()
    label: Sequence[str] = ()
    text_pair: Sequence[str] = ()
    id: Sequence[str] = ()
    context: Sequence[str] = ()
    question: Sequence[str] = ()
    answers: Sequence[tuple[Answer, ...]] = ()

    def __len__(self) -> int:
        return len(self.text) or len(self.question)

    def take(self, rows: Sequence[int]) -> "Examples":
        """The given rows, in the given order."""
        return Examples(**{name: [column[row] for row in rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Sequence[Any]]:
        """The columns that hold something, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if len(getattr(self, field.name))}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the rows as we read them: the same from the hub, a mirror or a file. Ids do not count."""
        digest = hashlib.sha256()

        def update(part: str) -> None:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)

        for name, column in self.columns().items():
            if name == "id":
                continue
            update(name)
            digest.update(len(column).to_bytes(8, "little"))
            for value in column:
                if isinstance(value, str):
                    update(value)
                    continue
                digest.update(len(value).to_bytes(8, "little"))
                for answer in value:
                    update(answer.text)
                    digest.update(answer.start.to_bytes(8, "little"))
        return digest.hexdigest()

    def without_gold(self) -> "Examples":
        """The same rows without labels and answers: what a student may see at prediction."""
        return replace(self, label=(), answers=())

    def measured(self, family: Family) -> Sequence[str]:
        """The texts that a PLM writes in this family: see the table above."""
        return {
            "text-classification": self.text,
            "text-pair-classification": self.text_pair,
            "extractive-qa": self.question,
        }[family]
