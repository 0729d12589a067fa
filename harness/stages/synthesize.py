"""Stage `synthesize`: a synthetic dataset as Parquet with a dataset card, written by a PLM or replayed from a file."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import __version__
from harness.data.examples import Answer, Examples
from harness.data.files import read_columns
from harness.data.real import FAMILY_COLUMNS, RealTask, examples_from
from harness.errors import HarnessError, shown
from harness.files import write_atomic
from harness.generators.base import TextGenerator
from harness.generators.locate import ModelPlace
from harness.seeds import hash_order
from harness.spec import Column, Dtype, Family, ReplayGenerator, Task, TransformersGenerator
from harness.stages.base import Record, StageIO, write_values
from harness.synthesis.answers import candidate_finder, finder_version
from harness.synthesis.card import CardFacts, dataset_card
from harness.synthesis.contexts import RealContexts
from harness.synthesis.prompts import prompts_in_style
from harness.synthesis.zerogen import Account, Recipe, Row, Synthesis
from harness.values import Value

DATA = "data.parquet"


def read_synthetic(folder: Path, family: Family) -> Examples:
    """What students and measures read of a synthetic dataset."""
    columns = read_columns(folder / DATA, FAMILY_COLUMNS[family])
    if family != "extractive-qa":
        return Examples(**columns)
    answers = [tuple(map(Answer, row["text"], row["answer_start"])) for row in columns.pop("answers")]
    return Examples(**columns, answers=answers)


@dataclass(frozen=True)
class Synthesize:
    """A PLM writes `rows` rows for a task."""

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 1

    real: RealTask
    generator: TransformersGenerator
    place: ModelPlace
    dtype: Dtype
    rows: int
    seed: int

    @property
    def task(self) -> Task:
        return self.real.spec

    @property
    def title(self) -> str:
        return f"{self.generator.name} writes {self.rows:,} rows of {self.task.name}, seed {self.seed}"

    def series_identity(self) -> dict[str, Any]:
        """What the blocks depend on: all but the number of rows."""
        chosen, prompts = prompts_in_style(self.task, self.generator.prompts, self.generator.style)
        unread = {"completion", "chat", "source", "classify_loss", "answer_max_new_tokens", "candidates"}
        unread |= {"samples_per_context"} if self.task.contexts else set()
        settings = chosen.model_dump(exclude=unread)
        is_qa = self.task.family == "extractive-qa"
        return {
            "task": self.task.name,
            "labels": list(self.task.labels),
            "family": self.task.family,
            "model": self.place.identity,
            "dtype": self.dtype,
            "style": self.generator.style,
            "prompts": prompts.model_dump(mode="json", include={"context", "text", "question"}),
            "settings": settings,
            "contexts": self.real.contexts().content_hash if self.task.contexts else None,
            "candidates": finder_version(chosen.candidates) if is_qa else None,
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
            style=self.generator.style,
        )

    def run(self, io: StageIO) -> Record:
        def load() -> TextGenerator:
            io.progress.update(0, self.rows, "rows", "loading the PLM")
            return io.generators.load(self.place, self.dtype, self.generator.style, self.generator.trust_remote_code)

        recipe = self.recipe()
        given = None
        if self.task.contexts:
            is_qa = self.task.family == "extractive-qa"
            find = candidate_finder(recipe.prompt_set.candidates) if is_qa else None
            given = RealContexts(self.real.contexts().text, self.seed, find)
        synthesis = Synthesis(recipe, load, io.blocks, given)
        rows = []
        start = time.perf_counter()
        for row in synthesis.rows(self.rows):
            rows.append(row)
            if len(rows) % 32 == 0 or len(rows) == self.rows:
                rate = synthesis.account.generated_tokens / max(time.perf_counter() - start, 1e-9)
                io.progress.update(len(rows), self.rows, "rows", f"{rate:,.0f} tokens/s")
        columns: dict[str, list[Any]] = {
            **_family_columns(rows, self.task.family),
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
            "prompt set": recipe.prompt_set.source,
            "seed": str(self.seed),
        }
        how["cleaning"] = f"at least {recipe.prompt_set.min_words} words" + (
            f", cut after '{recipe.prompt_set.cut_after}'" if recipe.prompt_set.cut_after else ""
        )
        if debiasing := recipe.prompt_set.self_debiasing:
            how["self-debiasing"] = f"decay {debiasing.decay:g}, epsilon {debiasing.epsilon:g}"
        gold = []
        if self.task.contexts:
            how["contexts"] = self.real.contexts().origin
            gold = [f"{self.task.name}/test: texts without labels, to leave them out of the contexts"]
        if self.task.family == "extractive-qa":
            how["candidates"] = finder_version(recipe.prompt_set.candidates)
        title = f"{self.task.title}, by {self.generator.title or self.generator.name}"
        _write(io.out, columns, self.task, title, how, self.generator.license, synthesis.account)
        return Record(gold=gold, details={"account": _account_dict(synthesis.account)})


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
    examples: Examples
    rows: int
    seed: int

    @property
    def title(self) -> str:
        return f"replay {self.rows:,} rows of {self.generator.name} for {self.task.name}, seed {self.seed}"

    def identity(self) -> dict[str, Any]:
        return {
            "family": self.task.family,
            "labels": list(self.task.labels),
            "data": self.examples.content_hash,
            "rows": self.rows,
            "seed": self.seed,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        order = hash_order(len(self.examples), "replay", self.seed)[: self.rows]
        columns: dict[str, list[Any]] = {
            **_plain_columns(self.examples.take(order)),
            "row": list(range(self.rows)),
            "seed": [self.seed] * self.rows,
            "source_row": order,
        }
        content = self.examples.content_hash
        how = {"file": self.path.name, "content": content, "seed of the order": str(self.seed)}
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


def _family_columns(rows: list[Row], family: Family) -> dict[str, list[Any]]:
    """The family's columns first, as its real data have them, then what a text was written about."""
    text, label, context = ([getattr(row, name) for row in rows] for name in ("text", "label", "context"))
    if family == "text-classification":
        return {"text": text, "label": label, "context": context}
    if family == "text-pair-classification":
        return {"text": context, "text_pair": text, "label": label}
    answers = [{"text": [row.answer], "answer_start": [row.answer_start]} for row in rows]
    return {"id": [str(index) for index in range(len(rows))], "context": context, "question": text, "answers": answers}


def _plain_columns(examples: Examples) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: list(column) for name, column in examples.columns().items()}
    if examples.answers:
        columns["answers"] = [
            {"text": [answer.text for answer in row], "answer_start": [answer.start for answer in row]}
            for row in examples.answers
        ]
    return columns


def read_replay(generator: ReplayGenerator, path: Path, task: Task) -> Examples:
    """The rows of a dataset somebody generated.

    Format `zerogen` is that of the paper's authors: C the context, X the text that was written, Y the label. The text
    of a single-text task is in X, or in C where X is null; a pair is C and X; a question X has Y as its answer, which
    is taken where it first stands in C.

    Raises:
        HarnessError: the file is damaged, lacks a column, holds a label that is not mapped to one of the task's, or an
            answer that is not where it should be.
    """
    place = str(path)
    if generator.format == "zerogen":
        raw = read_columns(path, ["C", "X", "Y"])
        return examples_from(_from_zerogen(raw, task.family, place), task.family, task.labels, generator.labels, place)
    wanted = {column: generator.columns.get(column, column) for column in FAMILY_COLUMNS[task.family]}
    found = read_columns(path, list(wanted.values()))
    columns = {ours: found[theirs] for ours, theirs in wanted.items()}
    return examples_from(columns, task.family, task.labels, generator.labels, place)


def _from_zerogen(raw: dict[str, list[Any]], family: Family, place: str) -> dict[Column, list[Any]]:
    contexts, texts, answers = raw["C"], raw["X"], raw["Y"]
    if family == "text-classification":
        return {"text": [c if x is None else x for c, x in zip(contexts, texts, strict=True)], "label": answers}
    if family == "text-pair-classification":
        return {"text": contexts, "text_pair": texts, "label": answers}
    spans = []
    for row, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
        if not (isinstance(context, str) and isinstance(answer, str) and answer and answer in context):
            raise HarnessError(f"{place}: row {row}: the answer Y {shown(answer)} is not in its context C")
        spans.append({"text": [answer], "answer_start": [context.index(answer)]})
    return {"context": contexts, "question": texts, "answers": spans}


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
    counts = Counter(columns.get("label"))
    n_rows = len(columns["row"])
    by_label = {label: counts[label] for label in task.labels}
    about = CardFacts(title, task.language, task.family, license_name, n_rows, by_label)
    card = dataset_card(about, how, _account_dict(account) if account else None, __version__)
    write_atomic(out / "README.md", card.encode())
    write_values(out, _values(n_rows, account))


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
