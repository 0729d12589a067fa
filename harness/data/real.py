"""Real rows of a task: from the Hugging Face hub at a pinned revision, from a mirror of it, or from files.

A mirror is a folder `datasets/<org>/<name>/<config>/<split>.parquet` with the hub's own columns, so that one task file
serves both. Labels leave this module by name, never as the source's numbers.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.data.files import check_texts, label_names, read_columns
from harness.errors import HarnessError
from harness.seeds import hash_order
from harness.spec import SplitSource, Task


@dataclass(frozen=True)
class RealSplit:
    """The rows of one real split. `label` is empty for unlabelled text."""

    name: str
    text: list[str] = field(repr=False)
    label: list[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the rows as we read them: the same from the hub, a mirror or a file."""
        digest = hashlib.sha256()
        for column in (self.text, self.label):
            digest.update(len(column).to_bytes(8, "little"))
            for value in column:
                encoded = value.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "little"))
                digest.update(encoded)
        return digest.hexdigest()

    def balanced_sample(self, rows: int, labels: tuple[str, ...]) -> "RealSplit":
        """A fixed sample of `rows` rows, as many of each label (one more of the first if it must be).

        The sample depends on the number of rows of each label and on nothing else, and a smaller one is part of a
        larger one.

        Raises:
            HarnessError: a label has too few rows.
        """
        chosen: list[int] = []
        for place, label in enumerate(labels):
            share = rows // len(labels) + (place < rows % len(labels))
            of_label = [index for index, value in enumerate(self.label) if value == label]
            if len(of_label) < share:
                raise HarnessError(
                    f"test_rows: {rows} needs {share} rows of '{label}', the {self.name} split has {len(of_label)}"
                )
            order = hash_order(len(of_label), "test-rows", label)
            chosen += [of_label[index] for index in order[:share]]
        chosen.sort()
        return RealSplit(self.name, [self.text[i] for i in chosen], [self.label[i] for i in chosen])


@dataclass
class RealTask:
    """A task together with the place its real rows come from. Splits are read when first asked for, then kept."""

    spec: Task
    folder: Path
    mirror: Path | None
    test_rows: int | None = None
    _splits: dict[str, RealSplit] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.spec.name

    def has(self, split: str) -> bool:
        return split in self.spec.splits

    @property
    def signature(self) -> str:
        """`sst2@bcdcba79`, with the cap on the test rows where there is one."""
        source = self.spec.splits["test"]
        revision = source.revision[:8] if source.revision else self.split("test").content_hash[:8]
        return f"{self.name}@{revision}" + (f"/{self.test_rows}" if self.test_rows else "")

    def split(self, name: str) -> RealSplit:
        """The rows of a split.

        Raises:
            HarnessError: the task has no such split, its data cannot be reached, or they are not what the task says.
        """
        if name not in self._splits:
            self._splits[name] = self._read(name)
        return self._splits[name]

    def _read(self, name: str) -> RealSplit:
        source = self.spec.splits.get(name)  # type: ignore[call-overload]
        if source is None:
            raise HarnessError(f"task '{self.name}' has no '{name}' split; it has {', '.join(self.spec.splits)}")
        labelled = name != "unlabelled"
        text_column = source.columns.get("text", "text")
        label_column = source.columns.get("label", "label")
        wanted = [text_column, label_column] if labelled else [text_column]
        place = f"task '{self.name}', split '{name}'"
        columns = self._columns(source, wanted, place)
        text = check_texts(columns[text_column], place)
        label = label_names(columns[label_column], source.labels, self.spec.labels, place) if labelled else []
        split = RealSplit(name, text, label)
        if name == "test" and self.test_rows is not None:
            split = split.balanced_sample(self.test_rows, self.spec.labels)
        if labelled and (absent := [one for one in self.spec.labels if one not in Counter(label)]):
            raise HarnessError(f"{place}: no row has the label '{absent[0]}'; check the task's 'labels'")
        return split

    def _columns(self, source: SplitSource, wanted: list[str], place: str) -> dict[str, list[Any]]:
        if source.file is not None:
            return read_columns((self.folder / source.file).resolve(), wanted)
        assert source.hub is not None
        if self.mirror is not None:
            path = self.mirror / "datasets" / source.hub / source.config / f"{source.split}.parquet"
            if path.is_file():
                return read_columns(path, wanted)
        return _read_hub(source, wanted, place, self.mirror)


def _read_hub(source: SplitSource, wanted: list[str], place: str, mirror: Path | None) -> dict[str, list[Any]]:
    looked = f"not in the mirror {mirror}" if mirror else "no mirror is set (HARNESS_MIRROR or --mirror)"
    wanted_file = f"datasets/{source.hub}/{source.config}/{source.split}.parquet"
    if source.revision is None:
        raise HarnessError(
            f"{place}: {wanted_file} is {looked}, and the task pins no hub revision; set a mirror that has it"
        )
    import datasets

    try:
        config = None if source.config == "default" else source.config
        rows = datasets.load_dataset(source.hub, config, split=source.split, revision=source.revision)
        missing = [name for name in wanted if name not in rows.column_names]
        if missing:
            raise HarnessError(f"{place}: expected a column '{missing[0]}', found {', '.join(rows.column_names)}")
        return {name: list(rows[name]) for name in wanted}
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise HarnessError(
            f"{place}: {source.hub} cannot be had from the hub ({reason}); {looked}; "
            f"put it into a mirror as {wanted_file}, or go online"
        ) from None
