"""Real rows of a task: from the Hugging Face hub at a pinned revision, from a mirror of it, or from files.

A mirror is a folder `datasets/<org>/<name>/<config>/<split>.parquet` with the hub's own columns, so that one task file
serves both. Labels leave this module by name, never as the source's numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.examples import Examples
from harness.data.files import check_answers, check_texts, label_names, read_columns
from harness.data.normalise import normalise
from harness.data.sentences import sentences
from harness.errors import HarnessError
from harness.seeds import hash_order
from harness.spec import Column, ContextSource, Family, SplitSource, Task

FAMILY_COLUMNS: dict[Family, tuple[Column, ...]] = {
    "text-classification": ("text", "label"),
    "text-pair-classification": ("text", "text_pair", "label"),
    "extractive-qa": ("context", "question", "answers"),
}
"""What the rows of a family hold."""

REAL_TEXTS = 2000
"""How many real texts a dataset is compared with at most."""

MIN_SENTENCE_WORDS = 5
"""A shorter sentence (a heading, a list's number) says nothing that a text could be about."""


def examples_from(
    columns: Mapping[Column, list[Any]],
    family: Family,
    labels: Sequence[str],
    source_labels: dict[str | int, str],
    place: str,
) -> Examples:
    """Checked rows of a family from raw columns that have our names.

    Raises:
        HarnessError: a value that is no text, an unknown label, an answer that does not stand where it should.
    """
    checked: dict[str, Any] = {}
    for name in FAMILY_COLUMNS[family]:
        if name == "label":
            checked[name] = label_names(columns[name], source_labels, labels, place)
        elif name != "answers":
            checked[name] = check_texts(columns[name], place)
    if family == "extractive-qa":
        checked["answers"] = check_answers(columns["answers"], checked["context"], place)
        ids = columns.get("id")
        checked["id"] = check_texts(ids, place) if ids else [str(row) for row in range(len(checked["context"]))]
    return Examples(**checked)


def sample(examples: Examples, rows: int, labels: tuple[str, ...], what: str) -> Examples:
    """A fixed sample of `rows` rows, as many of each label (one more of the first if it must be).

    The sample depends on the number of rows of each label and on nothing else, and a smaller one is part of a larger
    one.

    Raises:
        HarnessError: a label (or, in a family without labels, the whole) has too few rows.
    """
    chosen: list[int] = []
    groups: tuple[str | None, ...] = labels or (None,)
    for place, label in enumerate(groups):
        share = rows // len(groups) + (place < rows % len(groups))
        of_label = [i for i in range(len(examples)) if label is None or examples.label[i] == label]
        if len(of_label) < share:
            wanted = f" of '{label}'" if label else ""
            raise HarnessError(f"test_rows: {rows} needs {share} rows{wanted}, the {what} split has {len(of_label)}")
        order = hash_order(len(of_label), "test-rows", label or "")
        chosen += [of_label[index] for index in order[:share]]
    return examples.take(sorted(chosen))


@dataclass(frozen=True)
class Contexts:
    """Real unlabelled texts that a PLM writes about. `origin` says which of the task's sources they are from."""

    origin: str
    text: list[str] = field(repr=False)
    content_hash: str


@dataclass
class RealTask:
    """A task together with the place its real rows come from. What is read is kept."""

    spec: Task
    folder: Path
    mirror: Path | None
    test_rows: int | None = None
    _splits: dict[str, Examples] = field(default_factory=dict, repr=False)
    _test_sample: Examples | None = field(default=None, repr=False)
    _contexts: Contexts | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.spec.name

    def has(self, split: str) -> bool:
        return split in self.spec.splits

    @property
    def signature(self) -> str:
        """`sst2@bcdcba79`, with the cap on the test rows where there is one; the name alone where nothing is tested."""
        if not self.has("test"):
            return self.name
        source = self.spec.splits["test"]
        try:
            revision = source.revision[:8] if source.revision else self.split("test").content_hash[:8]
        except HarnessError:
            revision = "unread"  # whoever needs the rows will hear why
        return f"{self.name}@{revision}" + (f"/{self.test_rows}" if self.test_rows else "")

    def split(self, name: str) -> Examples:
        """The rows of a split.

        Raises:
            HarnessError: the task has no such split, its data cannot be reached, or they are not what the task says.
        """
        if name != "test" or self.test_rows is None:
            return self._whole(name)
        if self._test_sample is None:
            self._test_sample = sample(self._whole(name), self.test_rows, self.spec.labels, name)
        return self._test_sample

    def _whole(self, name: str) -> Examples:
        """All rows of a split, `test_rows` or not."""
        if name not in self._splits:
            self._splits[name] = self._read(name)
        return self._splits[name]

    def _read(self, name: str) -> Examples:
        source = self.spec.splits.get(name)  # type: ignore[call-overload]
        if source is None:
            raise HarnessError(f"task '{self.name}' has no '{name}' split; it has {', '.join(self.spec.splits)}")
        place = f"task '{self.name}', split '{name}'"
        if name == "unlabelled":
            return Examples(text=self._texts(source, place))
        family, labels = self.spec.family, self.spec.labels
        wanted = {column: source.columns.get(column, column) for column in FAMILY_COLUMNS[family]}
        if "id" in source.columns:
            wanted["id"] = source.columns["id"]
        raw = self._columns(source, list(wanted.values()), place)
        columns = {ours: raw[theirs] for ours, theirs in wanted.items()}
        rows = examples_from(columns, family, labels, source.labels, place)
        if absent := [one for one in labels if one not in Counter(rows.label)]:
            raise HarnessError(f"{place}: no row has the label '{absent[0]}'; check the task's 'labels'")
        return rows

    def _texts(self, source: SplitSource, place: str) -> list[str]:
        column = source.columns.get("text", "text")
        return check_texts(self._columns(source, [column], place)[column], place)

    def real_texts(self) -> tuple[str, list[str]]:
        """Real texts of the kind that a PLM writes for the task, for measures that need no label: where they are from,
        and at most `REAL_TEXTS` of them, a fixed sample. From the unlabelled split or, where there is none in reach,
        from the train split; never from the test split.

        Raises:
            HarnessError: the task has neither, or they cannot be reached.
        """
        splits = [name for name in ("unlabelled", "train") if self.has(name)]
        if not splits:
            raise HarnessError(f"task '{self.name}' has neither an unlabelled nor a train split to compare with")
        splits.sort(key=lambda name: not self.in_reach(self.spec.splits[name]))  # type: ignore[index]
        rows = self.split(splits[0])
        # Unlabelled rows are single texts, in whichever family.
        texts = rows.text if splits[0] == "unlabelled" else rows.measured(self.spec.family)
        distinct = list(dict.fromkeys(text for text in texts if text.strip()))
        chosen = hash_order(len(distinct), "real-texts")[:REAL_TEXTS]
        return f"{self.name}/{splits[0]}", [distinct[index] for index in sorted(chosen)]

    def contexts(self) -> Contexts:
        """The real texts to write about, each once, without those that stand in the test split.

        Of several sources the first that is in reach is taken; those here or in the mirror go before the hub's.

        Raises:
            HarnessError: none of them can be reached, or they hold nothing but test rows.
        """
        if self._contexts is None:
            self._contexts = self._read_contexts()
        return self._contexts

    def _read_contexts(self) -> Contexts:
        sources = sorted(self.spec.contexts, key=lambda source: not self.in_reach(source))
        errors = []
        for source in sources:
            place = f"task '{self.name}', contexts"
            try:
                texts = self._texts(source, place)
            except HarnessError as error:
                if self.in_reach(source):
                    raise
                errors.append(str(error))
                continue
            return self._usable(source, texts)
        raise HarnessError("; ".join(errors))

    def _usable(self, source: ContextSource, texts: list[str]) -> Contexts:
        if source.unit == "sentence":
            texts = [one for text in dict.fromkeys(texts) for one in sentences(text)]
            texts = [one for one in texts if len(one.split()) >= MIN_SENTENCE_WORDS]
        test = self._whole("test")
        tested = {normalise(text) for text in set(test.context or test.text)}
        kept = [text for text in dict.fromkeys(texts) if normalise(text) not in tested and text.strip()]
        if not kept:
            raise HarnessError(f"task '{self.name}': its contexts hold no text that is not in the test split")
        return Contexts(_origin(source), kept, Examples(text=kept).content_hash)

    def in_reach(self, source: SplitSource) -> bool:
        """Whether the rows are here: in a file or in the mirror. Otherwise the hub is asked."""
        return source.file is not None or (self.mirror is not None and _mirrored(source, self.mirror).is_file())

    def _columns(self, source: SplitSource, wanted: list[str], place: str) -> dict[str, list[Any]]:
        if source.file is not None:
            return read_columns((self.folder / source.file).resolve(), wanted)
        assert source.hub is not None
        if self.mirror is not None and (path := _mirrored(source, self.mirror)).is_file():
            return read_columns(path, wanted)
        return _read_hub(source, wanted, place, self.mirror)


def _mirrored(source: SplitSource, mirror: Path) -> Path:
    return mirror / "datasets" / str(source.hub) / source.config / f"{source.split}.parquet"


def _origin(source: ContextSource) -> str:
    where = source.file or f"{source.hub}/{source.config}/{source.split}"
    return f"{where}@{source.revision[:8]}" if source.revision else where


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
