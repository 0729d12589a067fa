"""ZeroGen's two-stage synthesis for text classification (Ye et al., EMNLP 2022): a context, then a text per label.

Rows are made in blocks of fixed composition. A block's randomness comes from (seed, task, stage or label, block)
alone, so blocks can be made in any order, by any process, and kept; a dataset is then read off the blocks row by row,
labels in turn, which makes the dataset of n rows the first part of every larger one.

    context block  : label-free prompts          -> contexts  (only if the prompt set has a context stage)
    text block     : prompts of one label + <C>  -> texts, cleaned
    dataset        : row i takes label i mod k, and the next text of that label that no earlier row has
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, TextGenerator
from harness.seeds import derive_seed
from harness.spec import Prompts, PromptSet
from harness.synthesis.cleaning import clean
from harness.synthesis.prompts import fill

HOPELESS_BLOCKS = 8
HOPELESS_SHARE = 0.02


@dataclass(frozen=True)
class Recipe:
    """All that fixes the rows of a synthetic dataset, but for the PLM itself."""

    task: str
    labels: tuple[str, ...]
    prompt_set: PromptSet
    prompts: Prompts
    top_p: float
    top_k: int
    temperature: float
    block_rows: int
    seed: int

    def decoding(self, max_new_tokens: int) -> Decoding:
        stop = () if self.prompt_set.stop is None else (self.prompt_set.stop,)
        return Decoding(max_new_tokens, self.top_p, self.top_k, self.temperature, stop)


@dataclass(frozen=True, slots=True)
class Row:
    """One synthetic row with its provenance. `log_probability`: sum over its tokens, nats."""

    text: str
    label: str
    context: str | None
    prompt: int
    block: int
    finish_reason: str
    prompt_tokens: int
    generated_tokens: int
    log_probability: float


@dataclass
class Account:
    """What a block, or a dataset, cost: rows tried, rows dropped by reason, tokens, seconds of generation."""

    tried: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    generate_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        # Not `asdict`, which cannot copy a Counter.
        return {**vars(self), "dropped": dict(sorted(self.dropped.items()))}

    def add(self, other: "Account") -> None:
        self.tried += other.tried
        self.dropped.update(other.dropped)
        self.prompt_tokens += other.prompt_tokens
        self.generated_tokens += other.generated_tokens
        self.generate_seconds += other.generate_seconds


@dataclass
class Block:
    """The usable rows of one block (of contexts: texts without label) and what it cost."""

    rows: list[Row]
    account: Account

    def to_json(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "account": self.account.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Block":
        account = Account(**{**data["account"], "dropped": Counter(data["account"]["dropped"])})
        return cls([Row(**row) for row in data["rows"]], account)


class BlockKeeper(Protocol):
    """Keeps finished blocks between attempts at the same dataset, and for larger ones."""

    def load(self, name: str) -> dict[str, Any] | None: ...

    def save(self, name: str, data: dict[str, Any]) -> None: ...


@dataclass
class Synthesis:
    """Makes the rows of a recipe, loading the PLM only when a block is missing."""

    recipe: Recipe
    load: Callable[[], TextGenerator]
    keeper: BlockKeeper
    account: Account = field(default_factory=Account)
    _generator: TextGenerator | None = None
    _counted: set[str] = field(default_factory=set)

    def rows(self, count: int) -> Iterator[Row]:
        """The first `count` rows of the dataset.

        Raises:
            HarnessError: hardly any of what the PLM writes is usable.
        """
        seen: set[str] = set()
        streams = [self._stream(label, seen) for label in self.recipe.labels]
        for index in range(count):
            yield next(streams[index % len(streams)])

    def _stream(self, label: str, seen: set[str]) -> Iterator[Row]:
        """The label's rows, block after block, without texts that any label has `seen`."""
        usable = 0
        spent = Account()
        for block in itertools.count():
            contexts = self._contexts(block)
            made = self._block(f"text-{label}-{block:06d}", partial(self._make_texts, label, block, contexts))
            spent.add(made.account)
            if contexts is not None and block % self.recipe.prompt_set.samples_per_context == 0:
                spent.add(contexts.account)
            for row in made.rows:
                if row.text in seen:
                    self.account.dropped["repeat"] += 1
                    spent.dropped["repeat"] += 1
                    continue
                seen.add(row.text)
                usable += 1
                yield row
            if spent.tried >= HOPELESS_BLOCKS * self.recipe.block_rows and usable <= HOPELESS_SHARE * spent.tried:
                reasons = ", ".join(f"{number:,} {reason}" for reason, number in spent.dropped.most_common())
                raise HarnessError(
                    f"task '{self.recipe.task}', label '{label}': {usable:,} usable texts in {spent.tried:,} tries "
                    f"({reasons}); is the prompt set meant for this PLM, and 'stop' and 'min_words' for these prompts?"
                )

    def _contexts(self, block: int) -> Block | None:
        """The contexts of a text block, kept or made; None: the prompt set has no context stage.

        A context serves every label and `samples_per_context` blocks in turn, so that its samples lie far apart and
        the first rows of a dataset are as varied as any others.
        """
        if not self.recipe.prompts.context:
            return None
        number = block // self.recipe.prompt_set.samples_per_context
        return self._block(f"context-{number:06d}", partial(self._make_contexts, number))

    def _block(self, name: str, make: Callable[[], Block]) -> Block:
        data = self.keeper.load(name)
        block = Block.from_json(data) if data is not None else make()
        if data is None:
            self.keeper.save(name, block.to_json())
        if name not in self._counted:  # a context block serves every label, and is paid for once
            self._counted.add(name)
            self.account.add(block.account)
        return block

    def _make_contexts(self, block: int) -> Block:
        recipe = self.recipe
        templates = [recipe.prompts.context[i % len(recipe.prompts.context)] for i in range(recipe.block_rows)]
        decoding = recipe.decoding(recipe.prompt_set.context_max_new_tokens)
        completions, account = self._generate(templates, decoding, derive_seed(recipe.seed, recipe.task, "<C>", block))
        rows: dict[str, Row] = {}
        for index, completion in enumerate(completions):
            kept = self._keep(completion, account, 1, None)
            if kept is not None and kept in rows:
                account.dropped["repeat"] += 1
            elif kept is not None:
                rows[kept] = _row(completion, kept, "", None, index % len(recipe.prompts.context), block)
        return Block(list(rows.values()), account)

    def _make_texts(self, label: str, block: int, made: Block | None) -> Block:
        recipe = self.recipe
        templates = recipe.prompts.text[label]
        contexts = [None] * recipe.block_rows if made is None else [row.text for row in made.rows]
        prompts = [fill(templates[i % len(templates)], context=context) for i, context in enumerate(contexts)]
        decoding = recipe.decoding(recipe.prompt_set.max_new_tokens)
        completions, account = self._generate(prompts, decoding, derive_seed(recipe.seed, recipe.task, label, block))
        rows = []
        for index, (completion, context) in enumerate(zip(completions, contexts, strict=True)):
            kept = self._keep(completion, account, recipe.prompt_set.min_words, context)
            if kept is not None:
                rows.append(_row(completion, kept, label, context, index % len(templates), block))
        return Block(rows, account)

    def _generate(self, prompts: list[str], decoding: Decoding, seed: int) -> tuple[list[Completion], Account]:
        if self._generator is None:
            self._generator = self.load()
        start = time.perf_counter()
        completions = self._generator.generate(prompts, decoding, seed) if prompts else []
        return completions, Account(
            tried=len(prompts),
            prompt_tokens=sum(completion.prompt_tokens for completion in completions),
            generated_tokens=sum(completion.generated_tokens for completion in completions),
            generate_seconds=time.perf_counter() - start,
        )

    def _keep(self, completion: Completion, account: Account, min_words: int, context: str | None) -> str | None:
        cleaned = clean(
            completion.text,
            stop=self.recipe.prompt_set.stop,
            finished=completion.finish_reason == "eos",
            min_words=min_words,
            context=context,
        )
        if cleaned.dropped is not None:
            account.dropped[cleaned.dropped] += 1
        return cleaned.text


def _row(completion: Completion, text: str, label: str, context: str | None, prompt: int, block: int) -> Row:
    return Row(
        text=text,
        label=label,
        context=context,
        prompt=prompt,
        block=block,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        generated_tokens=completion.generated_tokens,
        log_probability=completion.log_probability,
    )
