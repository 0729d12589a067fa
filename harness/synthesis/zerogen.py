"""ZeroGen's synthesis (Ye et al., EMNLP 2022): a context, then a text per label, or a question per answer.

What is made are tries, numbered within their stream: of contexts, of a label's texts, or of questions. A try's prompt
and its random numbers come from (seed, task, stream, number) alone, so tries can be made in any order, in any company
and by any process, and are kept one by one. A dataset is then read off them row by row, labels in turn, which makes the
dataset of n rows the first part of every larger one.

    contexts : text classification: the PLM writes them from label-free prompts (if the prompt set has such a stage);
               text pairs: real texts; extractive QA: real texts, each with one of its candidates as the answer
    text try : a prompt of one label + <C>, or of a question + <C> + <Y>  -> a text, cleaned, or why it was dropped
    dataset  : row i takes label i mod k, and the next text of that label that no earlier row has
"""

import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.generators.base import Completion, Request, TextGenerator
from harness.seeds import derive_seed
from harness.synthesis.cleaning import clean
from harness.synthesis.contexts import Given, RealContexts
from harness.synthesis.prompts import fill
from harness.synthesis.recipe import CONTEXT, Account, Recipe, Row, Try
from harness.synthesis.spent import Spent, forget_this_process, measured, total

HOPELESS_TRIES = 2048
HOPELESS_SHARE = 0.005

_FIRST_TRIES, _MOST_TRIES = 256, 16_384
"""Of a stream, made at once: few until it is known how many of them are usable."""

_KEEP_SECONDS = 5.0
"""How often it is kept what was spent; a kill loses the time, but not the texts, since then."""


class Journal(Protocol):
    """Keeps what was made between attempts at the same dataset, and for larger ones."""

    def entries(self) -> Iterator[dict[str, Any]]:
        """All that was kept, in order."""
        ...

    def append(self, entry: Mapping[str, Any]) -> None: ...


@dataclass
class Synthesis:
    """Makes the rows of a recipe, loading the PLM only when a try is missing.

    `given`: the real contexts. `report` is told how many usable rows there are, and tokens written per second.
    """

    recipe: Recipe
    load: Callable[[], TextGenerator]
    journal: Journal
    given: RealContexts | None = None
    report: Callable[[int, float], None] = lambda rows, rate: None
    account: Account = field(default_factory=Account)
    _tries: dict[str, dict[int, Try]] = field(default_factory=lambda: defaultdict(dict))
    _spent: list[Spent] = field(default_factory=list)
    _kept: Counter[str] = field(default_factory=Counter)
    _count: int = 0
    _generator: TextGenerator | None = None

    def rows(self, count: int) -> list[Row]:
        """The first `count` rows of the dataset; `account` is then what they cost.

        Raises:
            HarnessError: hardly any of what the PLM writes is usable, or it cannot read a prompt.
        """
        self._tries.clear()
        self._spent.clear()
        for entry in self.journal.entries():
            if "spent" in entry:
                self._spent.append(Spent(**entry["spent"]))
            else:
                self._tries[entry["stream"]][entry["number"]] = Try(**entry["try"])
        self._count = count
        for stream, tries in self._tries.items():
            self._kept[stream] = sum(one.text is not None for one in tries.values())
        while True:
            contexts = self._written_contexts()
            reading = _Reading(
                self.recipe, self._tries, partial(self._about, contexts=contexts), self.given is not None
            )
            rows = reading.rows(count)
            if rows is not None:
                self.account = reading.account
                return rows
            self._make(reading.wanted)

    def spent(self) -> Spent:
        """The share that the dataset has in what all tries of its series took, which were made together: by tokens
        written or, where a server does not tell them, by tries."""
        whole = total(self._spent)
        made = [one for tries in self._tries.values() for one in tries.values()]
        written = sum(one.generated_tokens for one in made)
        share = self.account.generated_tokens / written if written else self.account.tried / max(1, len(made))
        whole.seconds *= share
        if whole.joules is not None:
            whole.joules = {source: joules * share for source, joules in whole.joules.items()}
        return whole

    def _written_contexts(self) -> list[str]:
        """The usable contexts that the PLM wrote so far, none of them twice, in the order of the tries."""
        return list(dict.fromkeys(one.text for one in _without_gaps(self._tries[CONTEXT]) if one.text is not None))

    def _about(self, number: int, contexts: Sequence[str]) -> Given | None:
        """What the text tries of that number are about; None: their context is still to be written.

        Raises:
            HarnessError: the real contexts have no answers.
        """
        if self.given is not None:
            found = self.given.at(number)
            if found is None:
                raise HarnessError(
                    f"task '{self.recipe.task}': none of its {len(self.given.text):,} contexts has a candidate answer; "
                    "look at its 'contexts', or set other 'candidates'"
                )
            return found
        if not self.recipe.prompts.context:
            return Given()
        place = self.recipe.context_of(number)
        return Given(contexts[place]) if place < len(contexts) else None

    def _make(self, wanted: Mapping[str, int]) -> None:
        """Make the tries of each stream below the wanted numbers, as far as they are missing."""
        wanted = {stream: self._whole_blocks(most) for stream, most in wanted.items()}
        if self.recipe.prompts.context:
            self._make_contexts(1 + max(self.recipe.context_of(number) for number in range(max(wanted.values()))))
        contexts = self._written_contexts()
        missing = [(number, stream) for stream, most in wanted.items() for number in self._missing(stream, most)]
        # Those of one number are about the same context, whatever the label: together they begin alike.
        about = [(stream, number, self._about(number, contexts)) for number, stream in sorted(missing)]
        self._write_all([(stream, number, given) for stream, number, given in about if given is not None])

    def _make_contexts(self, count: int) -> None:
        tries = self._tries[CONTEXT]
        while (missing := count - len(found := self._written_contexts())) > 0:
            # What stands behind a gap that a kill left counts for nothing yet: first the gap.
            if gaps := self._missing(CONTEXT, max(tries, default=-1) + 1):
                self._write_all([(CONTEXT, number, Given()) for number in gaps])
                continue
            if len(tries) >= HOPELESS_TRIES and len(found) <= HOPELESS_SHARE * len(tries):
                account = Account()
                for one in tries.values():
                    account.add(one)
                raise _hopeless(self.recipe, "contexts", len(found), account)
            most = self._whole_blocks(len(tries) + _more_tries(missing, len(found), len(tries)))
            self._write_all([(CONTEXT, number, Given()) for number in self._missing(CONTEXT, most)])

    def _whole_blocks(self, tries: int) -> int:
        rows = self.recipe.strict_rows or 1
        return -(-tries // rows) * rows

    def _missing(self, stream: str, most: int) -> list[int]:
        """The numbers to be made; of a strict block all, where any is missing."""
        rows = self.recipe.strict_rows or 1
        blocks = dict.fromkeys(number // rows for number in range(most) if number not in self._tries[stream])
        return [number for block in blocks for number in range(block * rows, (block + 1) * rows)]

    def _write_all(self, wanted: "Sequence[_Wanted]") -> None:
        """Have the PLM write, strict blocks one by one, and keep each try as soon as it is there."""
        rows = self.recipe.strict_rows
        parts = defaultdict(list)
        for one in wanted:
            parts[rows and (one[0], one[1] // rows)].append(one)
        for part in parts.values():
            requests = [self._request(*one) for one in part]
            if self._generator is None:
                self._generator = self.load()
            completions = self._generator.generate(requests, self.recipe.decoding_of(part[0][0]))
            if rows is not None:
                completions = _all_at_once(completions)
            while self._keep_some(part, completions):
                pass

    def _keep_some(self, part: "Sequence[_Wanted]", completions: Iterator[tuple[int, Completion]]) -> bool:
        """Keep completions for some seconds, and what they took; False when there are no more."""
        tokens, begin, goes_on = 0, time.perf_counter(), False
        try:
            with measured() as spent:
                for place, completion in completions:
                    stream, number, given = part[place]
                    self._tries[stream][number] = one = self._judged(stream, completion, given)
                    self.journal.append({"stream": stream, "number": number, "try": asdict(one)})
                    tokens += completion.generated_tokens
                    seconds = time.perf_counter() - begin
                    self._kept[stream] += one.text is not None
                    self.report(self._usable(), tokens / max(seconds, 1e-9))
                    if seconds > _KEEP_SECONDS:
                        goes_on = True
                        break
        finally:
            if self._generator is not None:
                spent.provenance = dict(self._generator.provenance())
                if (where := spent.provenance.get("runs in", "this process")) != "this process":
                    forget_this_process(spent, str(where))
            self._spent.append(spent)
            self.journal.append({"spent": asdict(spent)})
        return goes_on

    def _usable(self) -> int:
        """Rows of the dataset that there are, repeats not looked for."""
        per_stream = -(-self._count // len(self.recipe.streams))
        return min(self._count, sum(min(self._kept[stream], per_stream) for stream in self.recipe.streams))

    def _request(self, stream: str, number: int, given: Given) -> Request:
        """The prompt of a try and, for self-debiasing, those of the other labels."""
        recipe = self.recipe
        against = stream != CONTEXT and recipe.prompt_set.self_debiasing
        others = [one for one in recipe.labels if one != stream] if against else []
        answer = given.answer.text if given.answer else None
        prompts = []
        for one in (stream, *others):
            template = recipe.templates(one)[recipe.template_of(one, number)]
            prompts.append(template if one == CONTEXT else fill(template, context=given.context, answer=answer))
        return Request(prompts[0], derive_seed(recipe.seed, recipe.task, stream, number), tuple(prompts[1:]))

    def _judged(self, stream: str, completion: Completion, given: Given) -> Try:
        """A completion, cleaned.

        Raises:
            HarnessError: the PLM cannot read a prompt that holds no real text.
        """
        if completion.finish_reason == "unread":
            if self.given is None:
                length = f" of {completion.prompt_tokens} tokens" if completion.prompt_tokens else ""
                raise HarnessError(
                    f"task '{self.recipe.task}': a prompt{length}, and the new tokens that the prompt set allows, are "
                    "more than this PLM reads; shorten it or lower 'max_new_tokens'"
                )
            return Try(None, "context too long", "unread", 0, 0, None)
        chosen, is_context = self.recipe.prompt_set, stream == CONTEXT
        text = completion.text
        if self.recipe.style == "chat" and chosen.stop:
            text = text.lstrip().removeprefix(chosen.stop)
        cleaned = clean(
            text,
            stop=chosen.stop,
            finished=completion.finish_reason == "eos",
            min_words=1 if is_context else chosen.min_words,
            context=given.context,
            cut_after=None if is_context else chosen.cut_after,
            answer=given.answer.text if given.answer else None,
        )
        return Try(
            cleaned.text,
            cleaned.dropped,
            completion.finish_reason,
            completion.prompt_tokens,
            completion.generated_tokens,
            completion.log_probability,
        )


_Wanted = tuple[str, int, Given]
"""Stream, number, and what the try is about."""


@dataclass
class _Reading:
    """One reading of a dataset off the tries that there are. `about`: what the text tries of a number are about."""

    recipe: Recipe
    tries: Mapping[str, Mapping[int, Try]]
    about: Callable[[int], Given | None]
    about_real: bool
    account: Account = field(default_factory=Account)
    wanted: dict[str, int] = field(default_factory=dict)
    _by_stream: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    _rows: Counter[str] = field(default_factory=Counter)
    _seen: set[tuple[str | None, str]] = field(default_factory=set)

    def rows(self, count: int) -> list[Row] | None:
        """The rows, and what they cost in `account`; or None, and below which number in `wanted` each stream needs
        tries."""
        streams, rows = self.recipe.streams, list[Row]()
        for index in range(count):
            row = self._next(streams[index % len(streams)])
            if row is None:
                self._plan(count)
                return None
            rows.append(row)
        if self.recipe.prompts.context:
            self._by_stream[CONTEXT] = self._of_contexts(1 + max(self.recipe.context_of(row.attempt) for row in rows))
        for account in self._by_stream.values():
            self.account.include(account)
        return rows

    def _next(self, stream: str) -> Row | None:
        """The label's next text that no earlier row has (about the same real context); None: it is not there yet."""
        account = self._by_stream[stream]
        while (one := self.tries[stream].get(account.tried)) is not None:
            number, given = account.tried, self.about(account.tried)
            account.add(one)
            if one.text is not None and given is not None:
                key = (given.context if self.about_real else None, one.text)
                if key not in self._seen:
                    self._seen.add(key)
                    self._rows[stream] += 1
                    return self._row(stream, number, one, one.text, given)
                account.dropped["repeat"] += 1
            written = account.tried - account.dropped["context too long"]
            enough = (written >= HOPELESS_TRIES or not written) and account.tried >= HOPELESS_TRIES
            if enough and self._rows[stream] <= HOPELESS_SHARE * written:
                what = f"label '{stream}'" if self.recipe.labels else "questions"
                raise _hopeless(self.recipe, what, self._rows[stream], account)
        return None

    def _row(self, stream: str, number: int, one: Try, text: str, given: Given) -> Row:
        return Row(
            text=text,
            label=stream if self.recipe.labels else "",
            context=given.context,
            prompt=self.recipe.template_of(stream, number),
            attempt=number,
            finish_reason=one.finish_reason,
            prompt_tokens=one.prompt_tokens,
            generated_tokens=one.generated_tokens,
            log_probability=one.log_probability,
            answer=given.answer.text if given.answer else None,
            answer_start=given.answer.start if given.answer else None,
        )

    def _plan(self, count: int) -> None:
        streams = self.recipe.streams
        for place, stream in enumerate(streams):
            tries = self.tries[stream]
            read = self._by_stream[stream].tried
            kept = self._rows[stream] + sum(one.text is not None for number, one in tries.items() if number >= read)
            missing = len(range(place, count, len(streams))) - kept
            more = _more_tries(missing, kept, len(tries)) if missing > 0 else 0
            self.wanted[stream] = max(tries, default=-1) + 1 + more

    def _of_contexts(self, count: int) -> Account:
        """What the first `count` written contexts cost."""
        account, found = Account(), set[str]()
        for one in _without_gaps(self.tries[CONTEXT]):
            if len(found) == count:
                break
            account.add(one)
            if one.text is not None:
                if one.text in found:
                    account.dropped["repeat"] += 1
                found.add(one.text)
        return account


def _all_at_once(completions: Iterator[tuple[int, Completion]]) -> Iterator[tuple[int, Completion]]:
    """None before all are there: a block that a kill breaks off is made whole again."""
    yield from list(completions)


def _without_gaps(tries: Mapping[int, Try]) -> Iterator[Try]:
    """The tries in order, up to the first that is missing."""
    for number in itertools.count():
        if number not in tries:
            return
        yield tries[number]


def _more_tries(missing: int, usable: int, tried: int) -> int:
    """How many tries to make for the rows that are missing: about as many as will do, judging by those so far."""
    if tried < _FIRST_TRIES:
        return min(_FIRST_TRIES, missing + 8)
    if not usable:
        return tried
    rate = usable / tried
    expected = missing / rate
    return min(_MOST_TRIES, math.ceil(expected + 2 * math.sqrt(expected * (1 - rate))))


def _hopeless(recipe: Recipe, what: str, usable: int, account: Account) -> HarnessError:
    return HarnessError(
        f"task '{recipe.task}', {what}: {usable:,} usable texts in {account.tried:,} tries ({account.reasons()}); is "
        "the prompt set meant for this PLM, and 'stop' and 'min_words' for these prompts?"
    )
