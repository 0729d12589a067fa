"""Stage `synthesize`: a synthetic dataset as Parquet with a dataset card, written by a PLM or replayed from a file."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import __version__
from harness.data.files import check_texts, label_names, read_columns
from harness.files import write_atomic
from harness.generators.base import TextGenerator
from harness.generators.locate import ModelPlace
from harness.seeds import hash_order
from harness.spec import Dtype, ReplayGenerator, Task, TransformersGenerator
from harness.stages.base import Record, StageIO, write_values
from harness.synthesis.card import CardFacts, dataset_card
from harness.synthesis.prompts import prompts_in_style
from harness.synthesis.zerogen import Account, Recipe, Synthesis
from harness.values import Value

DATA = "data.parquet"


@dataclass(frozen=True)
class SyntheticData:
    """What students and measures read of a synthetic dataset."""

    text: list[str]
    label: list[str]


def read_synthetic(folder: Path) -> SyntheticData:
    columns = read_columns(folder / DATA, ["text", "label"])
    return SyntheticData(columns["text"], columns["label"])


@dataclass(frozen=True)
class Synthesize:
    """A PLM writes `rows` rows for a task."""

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 1

    task: Task
    generator: TransformersGenerator
    place: ModelPlace
    dtype: Dtype
    rows: int
    seed: int

    @property
    def title(self) -> str:
        return f"{self.generator.name} writes {self.rows:,} rows of {self.task.name}, seed {self.seed}"

    def series_identity(self) -> dict[str, Any]:
        """What the blocks depend on: all but the number of rows."""
        chosen, prompts = prompts_in_style(self.task, self.generator.prompts, self.generator.style)
        settings = chosen.model_dump(exclude={"completion", "chat", "source", "classify_loss"})
        return {
            "task": self.task.name,
            "labels": list(self.task.labels),
            "family": self.task.family,
            "model": self.place.identity,
            "dtype": self.dtype,
            "style": self.generator.style,
            "prompts": prompts.model_dump(mode="json", include={"context", "text"}),
            "settings": settings,
            "top_p": self.generator.top_p,
            "top_k": self.generator.top_k,
            "temperature": self.generator.temperature,
            "block_rows": self.generator.block_rows,
            "seed": self.seed,
            "version": self.version,
        }

    def identity(self) -> dict[str, Any]:
        return {**self.series_identity(), "rows": self.rows}

    def recipe(self) -> Recipe:
        chosen, prompts = prompts_in_style(self.task, self.generator.prompts, self.generator.style)
        return Recipe(
            task=self.task.name,
            labels=self.task.labels,
            prompt_set=chosen,
            prompts=prompts,
            top_p=self.generator.top_p,
            top_k=self.generator.top_k,
            temperature=self.generator.temperature,
            block_rows=self.generator.block_rows,
            seed=self.seed,
        )

    def run(self, io: StageIO) -> Record:
        def load() -> TextGenerator:
            io.progress.update(0, self.rows, "rows", "loading the PLM")
            return io.generators.load(self.place, self.dtype, self.generator.style, self.generator.trust_remote_code)

        synthesis = Synthesis(self.recipe(), load, io.blocks)
        rows = []
        start = time.perf_counter()
        for row in synthesis.rows(self.rows):
            rows.append(row)
            if len(rows) % 32 == 0 or len(rows) == self.rows:
                rate = synthesis.account.generated_tokens / max(time.perf_counter() - start, 1e-9)
                io.progress.update(len(rows), self.rows, "rows", f"{rate:,.0f} tokens/s")
        columns: dict[str, list[Any]] = {
            "text": [row.text for row in rows],
            "label": [row.label for row in rows],
            "context": [row.context for row in rows],
            "row": list(range(len(rows))),
            "seed": [self.seed] * len(rows),
            "prompt": [row.prompt for row in rows],
            "block": [row.block for row in rows],
            "finish_reason": [row.finish_reason for row in rows],
            "prompt_tokens": [row.prompt_tokens for row in rows],
            "generated_tokens": [row.generated_tokens for row in rows],
            "log_probability": [row.log_probability for row in rows],
        }
        how = {
            "generator": self.generator.name,
            "model": self.generator.model,
            "model identity": self.place.identity,
            "dtype": self.dtype,
            "decoding": f"top-p {self.generator.top_p}, top-k {self.generator.top_k}, "
            f"temperature {self.generator.temperature}",
            "style": self.generator.style,
            "prompt set": self.recipe().prompt_set.source,
            "seed": str(self.seed),
        }
        title = f"{self.task.title}, by {self.generator.title or self.generator.name}"
        _write(io.out, columns, self.task, title, how, self.generator.license, synthesis.account)
        return Record(details={"account": _account_dict(synthesis.account)})


@dataclass(frozen=True)
class Replay:
    """A dataset somebody generated elsewhere: `rows` of its rows in an order fixed by the seed.

    Its identity has no task: tasks with the same labels share the artifact, and the students trained on it.
    """

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 1

    task: Task
    generator: ReplayGenerator
    path: Path
    text: tuple[str, ...]
    label: tuple[str, ...]
    content_hash: str
    rows: int
    seed: int

    @property
    def title(self) -> str:
        return f"replay {self.rows:,} rows of {self.generator.name} for {self.task.name}, seed {self.seed}"

    def identity(self) -> dict[str, Any]:
        return {
            "labels": list(self.task.labels),
            "data": self.content_hash,
            "rows": self.rows,
            "seed": self.seed,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        order = hash_order(len(self.text), "replay", self.seed)[: self.rows]
        columns: dict[str, list[Any]] = {
            "text": [self.text[index] for index in order],
            "label": [self.label[index] for index in order],
            "row": list(range(self.rows)),
            "seed": [self.seed] * self.rows,
            "source_row": order,
        }
        how = {"file": self.path.name, "content": self.content_hash, "seed of the order": str(self.seed)}
        _write(
            io.out,
            columns,
            self.task,
            self.generator.title or self.generator.name,
            how,
            self.generator.license,
        )
        io.progress.update(self.rows, self.rows, "rows")
        return Record()


def read_replay(generator: ReplayGenerator, path: Path, task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts and label names of a dataset somebody generated.

    Format `zerogen` is that of the paper's authors: the text is in X, or in C where X is null (tasks of single
    texts), the label in Y.

    Raises:
        HarnessError: the file is damaged, lacks a column, or holds a label that is not mapped to one of the task's.
    """
    if generator.format == "zerogen":
        columns = read_columns(path, ["C", "X", "Y"])
        raw = [c if x is None else x for c, x in zip(columns["C"], columns["X"], strict=True)]
        labels = columns["Y"]
    else:
        text_column, label_column = (
            generator.columns.get("text", "text"),
            generator.columns.get("label", "label"),
        )
        columns = read_columns(path, [text_column, label_column])
        raw, labels = columns[text_column], columns[label_column]
    names = label_names(labels, generator.labels, task.labels, str(path))
    return tuple(check_texts(raw, str(path))), tuple(names)


def _write(
    out: Path,
    columns: dict[str, list[Any]],
    task: Task,
    title: str,
    how: dict[str, str],
    license_name: str | None,
    account: Account | None = None,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), out / DATA, compression="zstd")
    counts = Counter(columns["label"])
    about = CardFacts(title, task.language, task.family, license_name, {label: counts[label] for label in task.labels})
    card = dataset_card(about, how, _account_dict(account) if account else None, __version__)
    write_atomic(out / "README.md", card.encode())
    write_values(out, _values(len(columns["text"]), account))


def _values(rows: int, account: Account | None) -> list[Value]:
    values = [Value("rows", rows, "rows", "accounting")]
    if account is not None:
        seconds = account.generate_seconds
        values += [
            Value("rows_tried", account.tried, "rows", "accounting"),
            *(
                Value(f"dropped.{why.replace(' ', '_')}", n, "rows", "accounting")
                for why, n in sorted(account.dropped.items())
            ),
            Value("prompt_tokens", account.prompt_tokens, "tokens", "accounting"),
            Value("generated_tokens", account.generated_tokens, "tokens", "accounting"),
            Value("generate_seconds", seconds, "seconds", "machine"),
        ]
        if seconds > 0:
            values.append(Value("usable_rows_per_second", rows / seconds, "rows/s", "machine"))
            values.append(
                Value("generated_tokens_per_second", account.generated_tokens / seconds, "tokens/s", "machine")
            )
    return values


def _account_dict(account: Account) -> dict[str, Any]:
    return {
        "tried": account.tried,
        "dropped": dict(sorted(account.dropped.items())),
        "prompt_tokens": account.prompt_tokens,
        "generated_tokens": account.generated_tokens,
    }
