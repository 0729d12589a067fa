"""ZeroGen's synthesis (Ye et al., EMNLP 2022): a context, then a text per label, or a question per answer.

Rows are made in blocks of fixed composition. A block's randomness comes from (seed, task, stage or label, block)
alone, so blocks can be made in any order, by any process, and kept; a dataset is then read off the blocks row by row,
labels in turn, which makes the dataset of n rows the first part of every larger one.

    contexts    : text classification: the PLM writes them from label-free prompts (if the prompt set has such a stage);
                  text pairs: real texts; extractive QA: real texts, each with one of its candidates as the answer
    text block  : prompts of one label + <C>, or of a question + <C> + <Y>  -> texts, cleaned
    dataset     : row i takes label i mod k, and the next text of that label that no earlier row has
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, SelfDebiasing, TextGenerator
from harness.seeds import derive_seed
from harness.spec import Prompts, PromptSet, Style
from harness.synthesis.cleaning import clean
from harness.synthesis.contexts import Given, RealContexts
from harness.synthesis.prompts import fill

QUESTION = "question"
HOPELESS_BLOCKS = 8
HOPELESS_SHARE = 0.005


@dataclass(frozen=True)
class Recipe:
    """All that fixes the rows of a synthetic dataset, but for the PLM itself and the real contexts."""

    task: str
    labels: tuple[str, ...]
    prompt_set: PromptSet
    prompts: Prompts
    top_p: float
    top_k: int
    temperature: float
    block_rows: int
    seed: int
    style: Style = "completion"

    @property
    def streams(self) -> tuple[str, ...]:
        """What rows are made of in turn: the labels, or questions."""
        return self.labels or (QUESTION,)

    def context_decoding(self) -> Decoding:
        return Decoding(self.prompt_set.context_max_new_tokens, self.top_p, self.top_k, self.temperature, self._stop())

    def text_decoding(self) -> Decoding:
        """A row that has come to the end of its question has no use for another token."""
        chosen = self.prompt_set
        after = (chosen.cut_after,) if chosen.cut_after and self.style == "completion" else ()
        debiasing = SelfDebiasing(**chosen.self_debiasing.model_dump()) if chosen.self_debiasing else None
        stop = (*self._stop(), *after)
        return Decoding(chosen.max_new_tokens, self.top_p, self.top_k, self.temperature, stop, debiasing)

    def _stop(self) -> tuple[str, ...]:
        """A completion prompt has opened the quotes; a chat reply may open them itself, and ends by itself."""
        return (self.prompt_set.stop,) if self.prompt_set.stop and self.style == "completion" else ()


@dataclass(frozen=True, slots=True)
class Row:
    """One synthetic row with its provenance. `text` is what the PLM wrote; `label` is empty for a question, which has
    an `answer` and its start in the context instead. `log_probability`: sum over its tokens, nats."""

    text: str
    label: str
    context: str | None
    prompt: int
    block: int
    finish_reason: str
    prompt_tokens: int
    generated_tokens: int
    log_probability: float
    answer: str | None = None
    answer_start: int | None = None


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
    """Makes the rows of a recipe, loading the PLM only when a block is missing. `given`: the real contexts."""

    recipe: Recipe
    load: Callable[[], TextGenerator]
    keeper: BlockKeeper
    given: RealContexts | None = None
    account: Account = field(default_factory=Account)
    _generator: TextGenerator | None = None
    _counted: set[str] = field(default_factory=set)

    def rows(self, count: int) -> Iterator[Row]:
        """The first `count` rows of the dataset.

        Raises:
            HarnessError: hardly any of what the PLM writes is usable.
        """
        seen: set[tuple[str | None, str]] = set()
        streams = [self._stream(label, seen) for label in self.recipe.streams]
        for index in range(count):
            yield next(streams[index % len(streams)])

    def _stream(self, label: str, seen: set[tuple[str | None, str]]) -> Iterator[Row]:
        """The label's rows, block after block, without texts (about the same real context) any label has `seen`."""
        usable = 0
        spent = Account()
        for block in itertools.count():
            contexts = self._contexts(block)
            made = self._block(f"text-{label}-{block:06d}", partial(self._make_texts, label, block, contexts))
            spent.add(made.account)
            if contexts is not None and block % self.recipe.prompt_set.samples_per_context == 0:
                spent.add(contexts.account)
            for row in made.rows:
                key = (row.context if self.given else None, row.text)
                if key in seen:
                    self.account.dropped["repeat"] += 1
                    spent.dropped["repeat"] += 1
                    continue
                seen.add(key)
                usable += 1
                yield row
            written = spent.tried - spent.dropped["context too long"]
            enough = HOPELESS_BLOCKS * self.recipe.block_rows
            if (written >= enough or not written) and spent.tried >= enough and usable <= HOPELESS_SHARE * written:
                what = f"label '{label}'" if self.recipe.labels else "questions"
                raise HarnessError(
                    f"task '{self.recipe.task}', {what}: {usable:,} usable texts in {spent.tried:,} tries "
                    f"({_reasons(spent)}); is the prompt set meant for this PLM, and 'stop' and 'min_words' for these "
                    "prompts?"
                )

    def _contexts(self, block: int) -> Block | None:
        """The contexts that the PLM wrote for a text block, kept or made; None: the prompt set has no such stage.

        A context serves every label and `samples_per_context` blocks in turn, so that its samples lie far apart and
        the first rows of a dataset are as varied as any others.
        """
        if not self.recipe.prompts.context:
            return None
        number = block // self.recipe.prompt_set.samples_per_context
        return self._block(f"context-{number:06d}", partial(self._make_contexts, number))

    def _given(self, block: int, contexts: Block | None) -> list[Given]:
        """What the texts of a block are about.

        Raises:
            HarnessError: the real contexts have no answers.
        """
        if contexts is not None:
            return [Given(row.text) for row in contexts.rows]
        if self.given is None:
            return [Given()] * self.recipe.block_rows
        found = self.given.block(block, self.recipe.block_rows)
        if not found:
            raise HarnessError(
                f"task '{self.recipe.task}': none of its {len(self.given.text):,} contexts has a candidate answer; "
                "look at its 'contexts', or set other 'candidates'"
            )
        return found

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
        seed = derive_seed(recipe.seed, recipe.task, "<C>", block)
        completions, account = self._generate(templates, recipe.context_decoding(), seed)
        rows: dict[str, Row] = {}
        for index, completion in enumerate(completions):
            kept = self._keep(completion, account, Given(), min_words=1, cut_after=None)
            if kept is not None and kept in rows:
                account.dropped["repeat"] += 1
            elif kept is not None:
                rows[kept] = _row(completion, kept, "", Given(), index % len(recipe.prompts.context), block)
        return Block(list(rows.values()), account)

    def _make_texts(self, label: str, block: int, contexts: Block | None) -> Block:
        recipe = self.recipe
        decoding = recipe.text_decoding()
        asked, places, too_long = [], [], 0
        for index, given in enumerate(self._given(block, contexts)):
            prompts = self._prompts(label, index, given)
            # A context the PLM wrote is short; a real one may be longer than what it can read.
            if self.given is None or all(self._plm().fits(one, decoding.max_new_tokens) for one in prompts):
                asked.append(prompts)
                places.append((index, given))
            else:
                too_long += 1
        counters = [prompts[1:] for prompts in asked] if decoding.self_debiasing else ()
        seed = derive_seed(recipe.seed, recipe.task, label, block)
        completions, account = self._generate([prompts[0] for prompts in asked], decoding, seed, counters)
        if too_long:
            account.tried += too_long
            account.dropped["context too long"] += too_long
        rows = []
        n_templates = len(self._templates(label))
        for completion, (index, given) in zip(completions, places, strict=True):
            kept = self._keep(completion, account, given, recipe.prompt_set.min_words, recipe.prompt_set.cut_after)
            if kept is not None:
                rows.append(_row(completion, kept, label if recipe.labels else "", given, index % n_templates, block))
        return Block(rows, account)

    def _templates(self, label: str) -> tuple[str, ...]:
        return self.recipe.prompts.text[label] if self.recipe.labels else self.recipe.prompts.question

    def _prompts(self, label: str, index: int, given: Given) -> list[str]:
        """The prompt of a row and, for self-debiasing, those of the other labels."""
        others = [one for one in self.recipe.labels if one != label] if self.recipe.prompt_set.self_debiasing else []
        answer = given.answer.text if given.answer else None
        found = []
        for one in (label, *others):
            templates = self._templates(one)
            found.append(fill(templates[index % len(templates)], context=given.context, answer=answer))
        return found

    def _plm(self) -> TextGenerator:
        if self._generator is None:
            self._generator = self.load()
        return self._generator

    def _generate(
        self, prompts: list[str], decoding: Decoding, seed: int, counter_prompts: Sequence[Sequence[str]] = ()
    ) -> tuple[list[Completion], Account]:
        plm = self._plm()
        start = time.perf_counter()
        completions = plm.generate(prompts, decoding, seed, counter_prompts) if prompts else []
        return completions, Account(
            tried=len(prompts),
            prompt_tokens=sum(completion.prompt_tokens for completion in completions),
            generated_tokens=sum(completion.generated_tokens for completion in completions),
            generate_seconds=time.perf_counter() - start,
        )

    def _keep(
        self, completion: Completion, account: Account, given: Given, min_words: int, cut_after: str | None
    ) -> str | None:
        text = completion.text
        if self.recipe.style == "chat" and self.recipe.prompt_set.stop:
            text = text.lstrip().removeprefix(self.recipe.prompt_set.stop)
        cleaned = clean(
            text,
            stop=self.recipe.prompt_set.stop,
            finished=completion.finish_reason == "eos",
            min_words=min_words,
            context=given.context,
            cut_after=cut_after,
            answer=given.answer.text if given.answer else None,
        )
        if cleaned.dropped is not None:
            account.dropped[cleaned.dropped] += 1
        return cleaned.text


def _reasons(account: Account) -> str:
    """Why rows were dropped, the most frequent reason first."""
    return ", ".join(f"{number:,} {reason}" for reason, number in account.dropped.most_common()) or "none dropped"


def _row(completion: Completion, text: str, label: str, given: Given, prompt: int, block: int) -> Row:
    return Row(
        text=text,
        label=label,
        context=given.context,
        prompt=prompt,
        block=block,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        generated_tokens=completion.generated_tokens,
        log_probability=completion.log_probability,
        answer=given.answer.text if given.answer else None,
        answer_start=given.answer.start if given.answer else None,
    )
