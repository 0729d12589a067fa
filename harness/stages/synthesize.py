"""Stage `synthesize`: a synthetic dataset as Parquet with a dataset card, written by a PLM or replayed from a file."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import __version__
from harness.data.examples import Answer, Examples
from harness.data.files import check_texts, read_columns
from harness.data.real import FAMILY_COLUMNS, RealTask, examples_from
from harness.errors import HarnessError, shown
from harness.files import write_atomic
from harness.generators.base import TextGenerator
from harness.generators.locate import ModelPlace
from harness.seeds import hash_order
from harness.spec import (
    Column,
    Dtype,
    Family,
    OpenAIGenerator,
    Prices,
    ReplayGenerator,
    Task,
    TransformersGenerator,
    WritingSpec,
)
from harness.stages.base import Record, StageIO, write_values
from harness.synthesis.answers import candidate_finder, finder_version
from harness.synthesis.card import CardFacts, dataset_card
from harness.synthesis.contexts import RealContexts
from harness.synthesis.prompts import prompts_in_style
from harness.synthesis.recipe import DRAWING, Account, Recipe, Row, decoding_of
from harness.synthesis.spent import Spent
from harness.synthesis.zerogen import Synthesis
from harness.values import Value

DATA = "data.parquet"


def read_synthetic(folder: Path, family: Family, *, labelled: bool = True) -> Examples:
    """What students and measures read of a synthetic dataset; one that is only measured may have no labels."""
    wanted = [name for name in FAMILY_COLUMNS[family] if labelled or name != "label"]
    columns = read_columns(folder / DATA, wanted)
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
    generator: WritingSpec
    place: ModelPlace
    dtype: Dtype | None
    rows: int
    seed: int

    @property
    def task(self) -> Task:
        return self.real.spec

    @property
    def title(self) -> str:
        return f"{self.generator.name} writes {self.rows:,} rows of {self.task.name}, seed {self.seed}"

    def series_identity(self) -> dict[str, Any]:
        """What the tries depend on: all but the number of rows."""
        chosen, prompts = prompts_in_style(self.task, self.generator.prompts, self.generator.style)
        is_qa = self.task.family == "extractive-qa"
        unread = {"completion", "chat", "source", "classify_loss", "answer_max_new_tokens", "candidates"}
        unread |= {"samples_per_context"} if self.task.contexts else set()
        unread |= set() if is_qa else {"answers_in_turn"}
        settings = chosen.model_dump(exclude=unread)
        drawing = decoding_of(self.generator)
        return {
            "task": self.task.name,
            "labels": list(self.task.labels),
            "family": self.task.family,
            "backend": self.generator.backend,
            "model": self.place.identity,
            "dtype": self.dtype,
            "style": self.generator.style,
            "prompts": prompts.model_dump(mode="json", include={"context", "text", "question"}),
            "settings": settings,
            "contexts": self.real.contexts().content_hash if self.task.contexts else None,
            "candidates": finder_version(chosen.candidates) if is_qa else None,
            "seeded": getattr(self.generator, "seeded", True),
            "drawing": {name: getattr(drawing, name) for name in DRAWING},
            "strict_rows": self._strict_rows,
            "seed": self.seed,
            "version": self.version,
        }

    @property
    def _strict_rows(self) -> int | None:
        spec = self.generator
        return spec.block_rows if isinstance(spec, TransformersGenerator) and spec.strict else None

    def identity(self) -> dict[str, Any]:
        # What was charged is among the values. Those of other generators have no such part in their keys.
        prices = {"prices": self._prices.model_dump(mode="json")} if self._prices else {}
        return {**self.series_identity(), "rows": self.rows, **prices}

    def recipe(self) -> Recipe:
        chosen, prompts = prompts_in_style(self.task, self.generator.prompts, self.generator.style)
        return Recipe(
            task=self.task.name,
            labels=self.task.labels,
            prompt_set=chosen,
            prompts=prompts,
            decoding=decoding_of(self.generator),
            seed=self.seed,
            style=self.generator.style,
            strict_rows=self._strict_rows,
        )

    def run(self, io: StageIO) -> Record:
        def load() -> TextGenerator:
            io.progress.update(0, self.rows, "rows", "loading the PLM")
            return io.generators.load(self.generator, self.place, self.dtype)

        def report(rows: int, rate: float) -> None:
            io.progress.update(rows, self.rows, "rows", f"{rate:,.0f} tokens/s")

        recipe = self.recipe()
        given = None
        if self.task.contexts:
            is_qa = self.task.family == "extractive-qa"
            find = candidate_finder(recipe.prompt_set.candidates) if is_qa else None
            given = RealContexts(self.real.contexts().text, self.seed, find, recipe.prompt_set.answers_in_turn)
        synthesis = Synthesis(recipe, load, io.journal, given, report)
        rows = synthesis.rows(self.rows)
        columns: dict[str, list[Any]] = {
            **_family_columns(rows, self.task.family),
            "row": list(range(len(rows))),
            "seed": [self.seed] * len(rows),
            "prompt": [row.prompt for row in rows],
            "attempt": [row.attempt for row in rows],
            "finish_reason": [row.finish_reason for row in rows],
            "prompt_tokens": [row.prompt_tokens for row in rows],
            "generated_tokens": [row.generated_tokens for row in rows],
            "log_probability": [row.log_probability for row in rows],
        }
        how = self._how(recipe)
        gold = []
        if self.task.contexts:
            how["contexts"] = self.real.contexts().origin
            gold = [f"{self.task.name}/test: texts without labels, to leave them out of the contexts"]
        title = f"{self.task.title}, by {self.generator.title or self.generator.name}"
        account, spent = synthesis.account, synthesis.spent()
        _write(io.out, columns, self.task, title, how, self.generator.license, account)
        write_values(io.out, [*_counts(len(rows), account), *costs(len(rows), account, spent, self._prices)])
        return Record(gold=gold, details={"account": account.to_json(), "spent": asdict(spent)})

    @property
    def _prices(self) -> Prices | None:
        return self.generator.prices if isinstance(self.generator, OpenAIGenerator) else None

    def _how(self, recipe: Recipe) -> dict[str, str]:
        """How the rows were made, for the card."""
        chosen, drawing = recipe.prompt_set, recipe.decoding
        how = {
            "generator": self.generator.name,
            "model": self.generator.model,
            "model identity": self.place.identity,
            "backend": self.generator.backend,
            "dtype": self.dtype or "the server's",
            "decoding": f"top-p {drawing.top_p}, top-k {drawing.top_k}, temperature {drawing.temperature}",
            "style": self.generator.style,
            "prompt set": chosen.source,
            "seed": str(self.seed),
        }
        if drawing.repetition_penalty != 1.0:
            how["decoding"] += f", repetition penalty {drawing.repetition_penalty}"
        if drawing.no_repeat_ngram_size:
            how["decoding"] += f", no {drawing.no_repeat_ngram_size}-gram twice"
        if drawing.min_new_tokens:
            how["decoding"] += f", at least {drawing.min_new_tokens} tokens"
        if recipe.strict_rows:
            how["blocks"] = f"strict, of {recipe.strict_rows} rows"
        how["cleaning"] = f"at least {chosen.min_words} words" + (
            f", cut after '{chosen.cut_after}'" if chosen.cut_after else ""
        )
        if debiasing := chosen.self_debiasing:
            how["self-debiasing"] = f"decay {debiasing.decay:g}, epsilon {debiasing.epsilon:g}"
        if self.task.family == "extractive-qa":
            how["candidates"] = finder_version(chosen.candidates)
        return how


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
        write_values(io.out, _counts(self.rows, None))
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
    if task.family == "text-classification" and not task.labels:  # a file that is only measured
        name = generator.columns.get("text", "text")
        return Examples(text=check_texts(read_columns(path, [name])[name], place))
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
    card = dataset_card(about, how, account.to_json() if account else None, __version__)
    write_atomic(out / "README.md", card.encode())


def _counts(rows: int, account: Account | None) -> list[Value]:
    values = [Value("rows", rows, "rows", "accounting")]
    if account is not None:
        values += [
            Value("rows_tried", account.tried, "rows", "accounting"),
            *(
                Value(f"dropped.{why.replace(' ', '_')}", n, "rows", "accounting")
                for why, n in sorted(account.dropped.items())
            ),
        ]
        if not account.uncounted:
            values += [
                Value("prompt_tokens", account.prompt_tokens, "tokens", "accounting"),
                Value("generated_tokens", account.generated_tokens, "tokens", "accounting"),
            ]
    return values


def costs(rows: int, account: Account, spent: Spent, prices: "Prices | None") -> list[Value]:
    """What a dataset took; without what the machine or the server does not tell."""
    values = [Value("generate_seconds", spent.seconds, "seconds", "machine")]
    if spent.seconds > 0:
        values.append(Value("usable_rows_per_second", rows / spent.seconds, "rows/s", "machine"))
        if not account.uncounted:
            rate = account.generated_tokens / spent.seconds
            values.append(Value("generated_tokens_per_second", rate, "tokens/s", "machine"))
    if spent.peak_memory_bytes is not None:
        values.append(Value("peak_memory", spent.peak_memory_bytes, "bytes", "machine"))
    if spent.peak_gpu_memory_bytes is not None:
        values.append(Value("peak_gpu_memory", spent.peak_gpu_memory_bytes, "bytes", "machine"))
    for source, joules in (spent.joules or {}).items():
        values.append(Value(f"energy.{source}", joules, "joules", "machine"))
    if prices is not None and not account.uncounted:
        price = prices.of(account.prompt_tokens, account.generated_tokens)
        values.append(Value("price", price, prices.currency, "accounting"))
    return values
