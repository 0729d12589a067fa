"""Synthesis: nested sizes, resumption, repeats, two stages, and an account of what it cost that adds up."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.catalogue import load_task
from harness.data.real import RealTask
from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, Request, TextGenerator
from harness.generators.cache import GeneratorCache
from harness.generators.locate import locate_model
from harness.spec import Prompts, PromptSet, TransformersGenerator
from harness.stages.base import StageIO, read_values
from harness.stages.synthesize import Synthesize
from harness.store import JournalFile
from harness.synthesis import recipe as recipes
from harness.synthesis import zerogen
from harness.synthesis.recipe import CONTEXT, Account, Recipe, Row
from harness.synthesis.spent import Spent, measured, total
from harness.synthesis.zerogen import HOPELESS_TRIES, Synthesis

LABELS = ("negative", "positive")
Write = Callable[[str, int], str]
"""What the fake PLM writes after a prompt, by the request's seed."""
Place = tuple[str, int]
"""Stream and number of a try."""


@dataclass
class FakePlm:
    """Writes what it is told to, a try at a time, in an order of its own; remembers what it was asked."""

    write: Write
    shuffled_by: int | None = None
    calls: list[tuple[list[Request], Decoding]] = field(default_factory=list)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        self.calls.append((list(requests), decoding))
        order = list(range(len(requests)))
        if self.shuffled_by is not None:
            random.Random(f"{self.shuffled_by} {len(self.calls)}").shuffle(order)
        for number in order:
            prompt, seed = requests[number].prompt, requests[number].seed
            tokens = 5 + seed % 5
            yield number, Completion(self.write(prompt, seed), "stop", len(prompt.split()), tokens, -seed % 7)

    def provenance(self) -> dict[str, str | int]:
        return {"calls": len(self.calls)}

    @property
    def asked(self) -> list[Request]:
        return [request for requests, _ in self.calls for request in requests]


def numbered(_: str, seed: int) -> str:
    """Another text for every seed; one in four has no end."""
    return f"{seed} is what I would say here" + ("" if seed % 4 == 0 else '"')


@dataclass
class Kept:
    """A journal in memory, of JSON as on a disk. `most`: the entries before the one that a kill prevents."""

    lines: list[str] = field(default_factory=list)
    most: int | None = None

    def entries(self) -> Iterator[dict[str, Any]]:
        return iter([json.loads(line) for line in self.lines])

    def append(self, entry: Mapping[str, Any]) -> None:
        if self.most is not None and len(self.lines) >= self.most:
            raise KeyboardInterrupt
        self.lines.append(json.dumps(entry))

    @property
    def tries(self) -> list[Place]:
        return [(entry["stream"], entry["number"]) for entry in self.entries() if "try" in entry]

    def texts(self, stream: str) -> dict[int, str | None]:
        """By number."""
        of_stream = [entry for entry in self.entries() if entry.get("stream") == stream]
        return {entry["number"]: entry["try"]["text"] for entry in of_stream}


def recipe(context: bool = False, strict_rows: int | None = None, **settings: Any) -> Recipe:
    blank = ' "<C>": "' if context else ': "'
    prompts = Prompts(
        context=('Movie: "', 'Film: "') if context else (),
        text={label: (f"One {label}{blank}", f"Two {label}{blank}") for label in LABELS},
    )
    options = {"max_new_tokens": 40, "min_words": 5, "samples_per_context": 3, **settings}
    prompt_set = PromptSet(source="test", completion=prompts, **options)
    return Recipe("reviews", LABELS, prompt_set, prompts, Decoding(1, top_p=0.9), 13, strict_rows=strict_rows)


def synthesize(one: Recipe, plm: FakePlm, kept: Kept, count: int) -> tuple[list[Row], Account]:
    synthesis = Synthesis(one, lambda: plm, kept)
    return synthesis.rows(count), synthesis.account


def needed(rows: Sequence[Row], streams: Sequence[str] = LABELS) -> int:
    """How many text tries a dataset is read off: of each stream those up to its last row."""
    return sum(1 + max(row.attempt for row in rows[place :: len(streams)]) for place in range(len(streams)))


@pytest.fixture
def few_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small numbers of contexts have their texts in turn, and of tries are made at once."""
    monkeypatch.setattr(recipes, "CONTEXTS_IN_TURN", 4)
    monkeypatch.setattr(zerogen, "_FIRST_TRIES", 12)


KINDS = {
    "one stage": recipe(),
    "two stages": recipe(context=True),
    "strict": recipe(strict_rows=16),
    "strict, two stages": recipe(context=True, strict_rows=16),
}
all_kinds = pytest.mark.parametrize("one", KINDS.values(), ids=KINDS.keys())
both_kinds = pytest.mark.parametrize("one", list(KINDS.values())[:2], ids=list(KINDS)[:2])


@all_kinds
def test_a_smaller_dataset_is_the_first_part_of_a_larger_one(one: Recipe) -> None:
    largest, _ = synthesize(one, FakePlm(numbered), Kept(), 2000)
    assert len({row.text for row in largest}) == 2000
    for count in (1, 15, 1000):
        rows, _ = synthesize(one, FakePlm(numbered), Kept(), count)
        assert rows == largest[:count]


@both_kinds
def test_labels_take_turns_and_every_row_says_where_it_comes_from(one: Recipe) -> None:
    kept, plm = Kept(), FakePlm(numbered)
    rows, _ = synthesize(one, plm, kept, 101)
    assert [row.label for row in rows] == [LABELS[index % 2] for index in range(101)]
    by_seed = {request.seed: request.prompt for request in plm.asked}
    for row in rows:
        seed = int(row.text.split()[0])
        assert (row.finish_reason, row.generated_tokens, row.log_probability) == ("stop", 5 + seed % 5, -seed % 7)
        template = one.templates(row.label)[row.prompt]
        assert by_seed[seed] == template.replace("<C>", row.context or "")
        assert row.prompt_tokens == len(by_seed[seed].split())
        assert kept.texts(row.label)[row.attempt] == row.text
        assert (row.context is None) == (not one.prompts.context)
    for label in LABELS:
        attempts = [row.attempt for row in rows if row.label == label]
        usable = [number for number, text in sorted(kept.texts(label).items()) if text is not None]
        assert attempts == usable[: len(attempts)]


@all_kinds
def test_the_order_in_which_completions_come_back_changes_nothing(one: Recipe, few_in_turn: None) -> None:
    in_order = synthesize(one, FakePlm(numbered), Kept(), 100)
    for shuffled_by in (1, 2, 3):
        assert synthesize(one, FakePlm(numbered, shuffled_by), Kept(), 100) == in_order


# --- carrying on


@both_kinds
@pytest.mark.parametrize("entries", [0, 1, 2, 5, 11, 13, 14, 20, 40, 41, 60])
def test_a_resumed_dataset_is_the_undisturbed_one_and_asks_for_no_kept_try_again(
    entries: int, one: Recipe, few_in_turn: None
) -> None:
    undisturbed, account = synthesize(one, FakePlm(numbered, 1), Kept(), 80)
    kept = Kept(most=entries)
    with pytest.raises(KeyboardInterrupt):
        synthesize(one, FakePlm(numbered, 2), kept, 80)
    assert len(kept.lines) == entries
    kept.most, had, plm = None, kept.tries, FakePlm(numbered, 3)
    resumed, account_again = synthesize(one, plm, kept, 80)
    assert resumed == undisturbed
    assert account_again == account
    assert len(set(kept.tries)) == len(kept.tries) == len(had) + len(plm.asked), "none was made twice"


@both_kinds
def test_a_dataset_killed_again_and_again_is_the_undisturbed_one_and_pays_nothing_twice(
    one: Recipe, few_in_turn: None
) -> None:
    undisturbed = synthesize(one, FakePlm(numbered), Kept(), 30)
    kept = Kept(most=0)
    kills = 0
    while True:
        kept.most = len(kept.lines) + 7
        try:
            resumed = synthesize(one, FakePlm(numbered, kills), kept, 30)
        except KeyboardInterrupt:
            kills += 1
        else:
            break
    assert kills >= 5
    assert resumed == undisturbed
    assert len(set(kept.tries)) == len(kept.tries)


def test_contexts_behind_the_gap_that_a_kill_left_are_no_reason_to_give_up_or_to_ask_for_more() -> None:
    one, kept = recipe(context=True, samples_per_context=1), Kept()
    whole = synthesize(one, FakePlm(numbered), Kept(), 2000)
    Synthesis(one, lambda: FakePlm(numbered), kept)._make_contexts(HOPELESS_TRIES)
    kept.lines = [line for line in kept.lines if json.loads(line).get("number") != 0]
    assert len(kept.tries) > HOPELESS_TRIES, "none of which counts as long as the first is not there"
    plm = FakePlm(numbered)
    assert synthesize(one, plm, kept, 2000) == whole
    asked = [request.prompt for request in plm.asked if request.prompt in one.prompts.context]
    assert asked == ['Movie: "']


@all_kinds
def test_a_dataset_whose_tries_are_all_there_needs_no_plm_and_costs_the_same(one: Recipe) -> None:
    kept = Kept()
    rows, account = synthesize(one, FakePlm(numbered), kept, 100)

    def load() -> TextGenerator:
        pytest.fail("the PLM was loaded for nothing")

    again = Synthesis(one, load, kept)
    assert again.rows(100) == rows
    assert again.account == account
    assert again.rows(40) == rows[:40]


@both_kinds
def test_a_larger_dataset_asks_only_for_tries_that_a_smaller_one_lacks(one: Recipe) -> None:
    kept, plm = Kept(), FakePlm(numbered, 1)
    synthesize(one, FakePlm(numbered, 2), kept, 100)
    before = kept.tries
    found = synthesize(one, plm, kept, 200)
    assert len(set(kept.tries)) == len(kept.tries) == len(before) + len(plm.asked)
    assert plm.asked
    assert found == synthesize(one, FakePlm(numbered), Kept(), 200)


def test_the_plm_is_loaded_once_and_only_when_a_try_is_missing() -> None:
    loaded: list[FakePlm] = []

    def load() -> TextGenerator:
        loaded.append(FakePlm(numbered))
        return loaded[-1]

    synthesis = Synthesis(recipe(context=True), load, Kept())
    assert loaded == []
    assert len(synthesis.rows(1000)) == 1000
    assert len(loaded) == 1
    assert len(loaded[0].calls) > 2


def test_every_try_has_a_seed_of_its_own_and_every_seed_and_task_others() -> None:
    seeds: list[int] = []
    one = recipe(context=True)
    for other in (one, replace(one, seed=21), replace(one, task="other")):
        plm = FakePlm(numbered)
        synthesize(other, plm, Kept(), 100)
        seeds += [request.seed for request in plm.asked]
    assert len(seeds) > 600
    assert len(set(seeds)) == len(seeds)


def test_a_trys_seed_does_not_hang_on_its_company_or_the_size_of_the_dataset() -> None:
    plms = [FakePlm(numbered), FakePlm(numbered)]
    for plm, count in zip(plms, (10, 300), strict=True):
        synthesize(recipe(), plm, Kept(), count)
    few, many = ({request.seed: request.prompt for request in plm.asked} for plm in plms)
    assert few.items() < many.items()


def test_the_recipes_decoding_reaches_the_plm() -> None:
    drawing = Decoding(1, top_p=0.5, top_k=7, temperature=0.3, min_new_tokens=2, repetition_penalty=1.2,
                       no_repeat_ngram_size=4)  # fmt: skip
    plm = FakePlm(numbered)
    synthesize(replace(recipe(context=True), decoding=drawing), plm, Kept(), 10)
    asked = {("Movie" in requests[0].prompt, decoding) for requests, decoding in plm.calls}
    assert asked == {
        (True, replace(drawing, max_new_tokens=10, stop=('"',))),
        (False, replace(drawing, max_new_tokens=40, stop=('"',))),
    }


# --- strict


def blocks_of(plm: FakePlm, kept: Kept) -> list[list[Place]]:
    """What each call asked for, told by what was kept of it: a block is kept in the order in which it was asked."""
    places, at = kept.tries[-len(plm.asked) :], 0
    blocks = []
    for requests, _ in plm.calls:
        blocks.append(places[at : at + len(requests)])
        at += len(requests)
    return blocks


@pytest.mark.parametrize("context", [False, True], ids=["one stage", "two stages"])
def test_strict_tries_are_asked_for_in_whole_blocks_of_one_stream(context: bool) -> None:
    kept, plm = Kept(), FakePlm(numbered)
    synthesize(recipe(context, strict_rows=16), plm, kept, 160)
    blocks = blocks_of(plm, kept)
    assert len(blocks) > 8
    for block in blocks:
        (stream,) = {stream for stream, _ in block}
        first = block[0][1]
        assert first % 16 == 0
        assert block == [(stream, number) for number in range(first, first + 16)]
    assert {block[0][0] for block in blocks} == {*LABELS, *([CONTEXT] if context else [])}


@pytest.mark.parametrize("context", [False, True], ids=["one stage", "two stages"])
@pytest.mark.parametrize("entries", [0, 1, 16, 17, 25, 34, 60, 100])
def test_a_resumed_strict_dataset_makes_whole_blocks_and_only_those_that_are_not_whole(
    entries: int, context: bool
) -> None:
    one = recipe(context, strict_rows=16)
    undisturbed = Kept()
    whole = synthesize(one, FakePlm(numbered), undisturbed, 160)
    kept = Kept(most=entries)
    with pytest.raises(KeyboardInterrupt):
        synthesize(one, FakePlm(numbered), kept, 160)
    kept.most, plm = None, FakePlm(numbered)
    n_whole = len([block for block, n in Counter((s, n // 16) for s, n in kept.tries).items() if n == 16])
    assert synthesize(one, plm, kept, 160) == whole
    assert {len(requests) for requests, _ in plm.calls} == {16}
    assert len(plm.calls) == len(undisturbed.tries) // 16 - n_whole


def test_a_strict_block_that_is_broken_off_leaves_nothing() -> None:
    class BrokenOff(FakePlm):
        def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
            for number, completion in super().generate(requests, decoding):
                if len(self.calls) == 2 and number == 9:
                    raise KeyboardInterrupt
                yield number, completion

    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        synthesize(recipe(strict_rows=16), BrokenOff(numbered), kept, 100)
    assert len(kept.tries) == 16
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        synthesize(recipe(), BrokenOff(numbered), kept, 10_000)
    assert len(kept.tries) > 256, "what is not strict is kept at once"


# --- what is dropped


def test_a_text_that_any_label_has_already_is_dropped_and_counted() -> None:
    def write(prompt: str, seed: int) -> str:
        own = "negative" if "negative" in prompt else "positive"
        return f'a text that both labels have {seed % 5}"' if seed % 2 else f'a {own} text of {seed}"'

    rows, account = synthesize(recipe(), FakePlm(write), Kept(), 60)
    assert len({row.text for row in rows}) == 60
    shared = [row for row in rows if "both labels" in row.text]
    assert len(shared) == 5
    assert {row.label for row in shared} == set(LABELS)  # whoever comes first keeps it
    assert account.dropped["repeat"] > 20


@all_kinds
def test_an_account_adds_up(one: Recipe, few_in_turn: None) -> None:
    def write(_: str, seed: int) -> str:
        texts = ['short"', "no end here at all", f'{seed} is a good text"', 'always the same five words"']
        return texts[seed % 4]

    kept, plm = Kept(), FakePlm(write)
    rows, account = synthesize(one, plm, kept, 30)
    tries = {(entry["stream"], entry["number"]): entry["try"] for entry in kept.entries() if "try" in entry}
    last = {label: max(row.attempt for row in rows if row.label == label) for label in LABELS}
    counted = [tries[label, number] for label in LABELS for number in range(last[label] + 1)]
    n_contexts = 0
    if one.prompts.context:
        n_contexts = 1 + max(one.context_of(row.attempt) for row in rows)
        found: set[str] = set()
        for number in range(len(kept.texts(CONTEXT))):
            if len(found) < n_contexts:
                counted.append(tries[CONTEXT, number])
                found |= {tries[CONTEXT, number]["text"]} - {None}
    assert account.tried == len(counted) <= len(plm.asked)
    assert account.prompt_tokens == sum(one["prompt_tokens"] for one in counted) > 0
    assert account.generated_tokens == sum(one["generated_tokens"] for one in counted) > 0
    assert account.tried == len(rows) + n_contexts + account.dropped.total()
    assert set(account.dropped) == {"no end", "too short", "repeat", *(["same as context"] if n_contexts else [])}
    assert account.to_json()["dropped"] == dict(account.dropped)


@both_kinds
def test_a_reason_for_which_nothing_was_dropped_is_not_in_the_account(one: Recipe) -> None:
    plm = FakePlm(lambda prompt, seed: f'{seed} is a good text"')
    assert synthesize(one, plm, Kept(), 30)[1].dropped == {}


def test_a_text_that_repeats_its_context_is_dropped() -> None:
    def write(prompt: str, seed: int) -> str:
        if prompt in ('Movie: "', 'Film: "'):
            return f'the long night number {seed}"'
        asked = prompt.partition(' "')[2].partition('"')[0]
        return f'{asked.upper()}"' if seed % 2 else f'I saw {asked} {seed} once"'

    rows, account = synthesize(recipe(context=True), FakePlm(write), Kept(), 100)
    assert account.dropped["same as context"] >= 40
    assert all(row.text.startswith("I saw") for row in rows)


# --- two stages


def test_contexts_have_their_texts_in_turn_each_time_after_another_template(few_in_turn: None) -> None:
    plm, kept, one = FakePlm(numbered), Kept(), recipe(context=True)
    rows, _ = synthesize(one, plm, kept, 60)
    written = [text for _, text in sorted(kept.texts(CONTEXT).items()) if text is not None]
    assert len(written) < len(kept.texts(CONTEXT)), "some have no end and are no contexts"
    for row in rows:
        turn, place = divmod(row.attempt, 4 * 3)  # four contexts in turn, three samples of each
        assert row.context == written[4 * turn + place % 4]
        assert row.prompt == (row.attempt + row.attempt // 4) % 2
    assert max(row.attempt for row in rows) > 24
    for label in LABELS:
        asked = [request.prompt for request in plm.asked if label in request.prompt]
        of_first = [prompt.partition(" ")[0] for prompt in asked if written[0] in prompt]
        assert of_first == ["One", "Two", "One"]


def test_a_context_is_asked_about_for_every_label_and_no_more_than_its_samples(few_in_turn: None) -> None:
    plm = FakePlm(numbered)
    synthesize(recipe(context=True), plm, Kept(), 100)
    texts = [request.prompt for request in plm.asked if '": "' in request.prompt]
    uses = Counter(prompt.partition('"')[2].partition('"')[0] for prompt in texts)
    assert max(uses.values()) == 2 * 3  # labels x samples_per_context
    full = [context for context, n in uses.items() if n == 6]
    assert len(full) >= 16


def test_the_first_rows_are_about_as_many_contexts_as_there_are_in_turn() -> None:
    one = recipe(context=True)
    rows, _ = synthesize(one, FakePlm(lambda prompt, seed: f'{seed} is a good text"'), Kept(), 1200)
    assert len({row.context for row in rows[:512]}) == recipes.CONTEXTS_IN_TURN
    assert len({row.context for row in rows}) == recipes.CONTEXTS_IN_TURN, "the second and third samples of the same"


def test_a_context_written_twice_is_one_context(few_in_turn: None) -> None:
    def write(prompt: str, seed: int) -> str:
        return f'title {seed % 9}"' if prompt.startswith(("Movie", "Film")) else f'{seed} is a good text"'

    kept = Kept()
    rows, account = synthesize(recipe(context=True), FakePlm(write), kept, 40)
    by_try = [str(text) for _, text in sorted(kept.texts(CONTEXT).items())]
    distinct = list(dict.fromkeys(by_try))
    assert list(dict.fromkeys(row.context for row in rows[::2])) == distinct[:8]
    assert account.dropped == {"repeat": by_try.index(distinct[7]) + 1 - 8} != {"repeat": 0}


def test_a_context_with_a_placeholder_in_it_is_not_filled_again() -> None:
    def write(prompt: str, seed: int) -> str:
        return f'<C> and <X> {seed}"' if prompt.startswith(("Movie", "Film")) else numbered(prompt, seed)

    plm = FakePlm(write)
    rows, _ = synthesize(recipe(context=True), plm, Kept(), 4)
    assert all(str(row.context).startswith("<C> and <X> ") for row in rows)
    assert f'One negative "{rows[0].context}": "' in [request.prompt for request in plm.asked]


# --- PLMs that are no use


@pytest.mark.parametrize(
    ("one", "what"),
    [(recipe(), "label 'negative'"), (recipe(context=True), "contexts"), (recipe(strict_rows=16), "label 'negative'")],
    ids=["one stage", "two stages", "strict"],
)
def test_a_plm_that_writes_nothing_usable_is_a_clear_error_in_bounded_tries(one: Recipe, what: str) -> None:
    plm = FakePlm(lambda prompt, seed: "there is never an end")
    with pytest.raises(HarnessError) as caught:
        synthesize(one, plm, Kept(), 10)
    assert f"task 'reviews', {what}: 0 usable texts in " in str(caught.value)
    assert " no end); is the prompt set meant for this PLM" in str(caught.value)
    assert HOPELESS_TRIES <= len(plm.asked) <= 2 * len(LABELS) * HOPELESS_TRIES


def test_a_plm_that_writes_usable_contexts_and_no_usable_text_is_a_clear_error() -> None:
    def write(prompt: str, seed: int) -> str:
        return f'title {seed}"' if prompt.startswith(("Movie", "Film")) else 'too short"'

    plm = FakePlm(write)
    with pytest.raises(HarnessError, match=r"0 usable texts in 2,048 tries \(2,048 too short\)"):
        synthesize(recipe(context=True), plm, Kept(), 10)
    assert len(plm.asked) <= 4 * len(LABELS) * HOPELESS_TRIES


def test_a_plm_that_repeats_itself_is_a_clear_error_and_no_endless_loop() -> None:
    plm = FakePlm(lambda prompt, seed: 'always the same good text"')
    with pytest.raises(HarnessError, match=r"label 'positive': 0 usable texts in 2,048 tries \(2,048 repeat\)"):
        synthesize(recipe(), plm, Kept(), 10)
    assert len(plm.asked) <= 4 * len(LABELS) * HOPELESS_TRIES


def test_a_plm_with_few_texts_is_a_clear_error_whatever_was_kept_before() -> None:
    plm, kept = FakePlm(lambda prompt, seed: f'there are only {seed % 12} of these"'), Kept()
    messages = []
    for _ in range(2):  # as told anew as from what was kept
        with pytest.raises(HarnessError, match="usable texts in 2,048 tries") as caught:
            synthesize(recipe(), plm, kept, 40)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_plm_that_is_seldom_usable_is_used_with_patience() -> None:
    def write(prompt: str, seed: int) -> str:
        return f'a good text {seed} indeed"' if seed % 50 == 3 else "no end"

    kept, plm = Kept(), FakePlm(write)
    rows, account = synthesize(recipe(), plm, kept, 200)
    assert len(rows) == 200
    assert account.tried == needed(rows) == 200 + account.dropped["no end"]
    assert account.tried > 200 * 40
    assert len(plm.asked) < 1.5 * account.tried, "about as many as will do"


def test_a_prompt_that_the_plm_cannot_read_is_a_clear_error_without_real_contexts() -> None:
    @dataclass
    class Blind(FakePlm):
        tokens: int = 0

        def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
            for number, _ in super().generate(requests, decoding):
                yield number, Completion("", "unread", self.tokens, 0, None)

    for plm, told in (
        (Blind(numbered, tokens=1500), "a prompt of 1500 tokens, and"),
        (Blind(numbered), "a prompt, and"),
    ):
        with pytest.raises(HarnessError, match=f"task 'reviews': {told} .* more than this PLM reads"):
            synthesize(recipe(), plm, Kept(), 10)


# --- what it took


@dataclass
class Clock:
    """Every measured block takes ten seconds, a hundred joules where there is a meter, and ever more memory."""

    joules: bool = True
    blocks: int = 0

    @contextmanager
    def measured(self) -> Iterator[Spent]:
        spent = Spent()
        yield spent
        self.blocks += 1
        spent.seconds, spent.peak_memory_bytes = 10.0, 1000 * self.blocks
        spent.joules, spent.unavailable = ({"nvml": 100.0}, {}) if self.joules else (None, {"nvml": "no GPU"})


def test_a_dataset_has_its_share_by_tokens_of_what_its_series_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(zerogen, "measured", clock.measured)
    kept = Kept()
    small = Synthesis(recipe(), lambda: FakePlm(numbered), kept)
    small.rows(20)
    large = Synthesis(recipe(), lambda: FakePlm(numbered), kept)
    large.rows(400)
    again = Synthesis(recipe(), lambda: FakePlm(numbered), kept)
    again.rows(20)
    tokens = sum(entry["try"]["generated_tokens"] for entry in kept.entries() if "try" in entry)
    for synthesis in (large, again):
        share = synthesis.account.generated_tokens / tokens
        assert 0 < share < 1
        spent = synthesis.spent()
        assert spent.seconds == pytest.approx(10 * clock.blocks * share)
        assert spent.joules is not None
        assert list(spent.joules) == ["nvml"]
        assert spent.joules["nvml"] == pytest.approx(100 * clock.blocks * share)
        assert spent.peak_memory_bytes == 1000 * clock.blocks, "the most, not a share"
        assert spent.peak_gpu_memory_bytes is None
    assert again.account == small.account
    assert again.spent().seconds < large.spent().seconds


def test_without_a_meter_there_are_no_joules_and_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(joules=False)
    monkeypatch.setattr(zerogen, "measured", clock.measured)
    kept = Kept()
    synthesis = Synthesis(recipe(), lambda: FakePlm(numbered), kept)
    synthesis.rows(20)
    assert (synthesis.spent().joules, synthesis.spent().unavailable) == (None, {"nvml": "no GPU"})
    clock.joules = True  # one machine had one, the other had none: what is told would be taken for all
    synthesis = Synthesis(recipe(), lambda: FakePlm(numbered), kept)
    synthesis.rows(400)
    assert synthesis.spent().joules is None


def test_without_counts_of_tokens_the_share_is_by_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(FakePlm):
        def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
            for number, completion in super().generate(requests, decoding):
                yield number, replace(completion, prompt_tokens=0, generated_tokens=0)

    clock, kept = Clock(), Kept()
    monkeypatch.setattr(zerogen, "measured", clock.measured)
    synthesis = Synthesis(recipe(), lambda: Silent(numbered), kept)
    synthesis.rows(20)
    share = synthesis.account.tried / len(kept.tries)
    assert synthesis.spent().seconds == pytest.approx(10 * clock.blocks * share)


@pytest.mark.parametrize("strict_rows", [None, 16])
def test_all_that_the_plm_does_is_within_what_is_measured(
    strict_rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = False

    @contextmanager
    def watched() -> Iterator[Spent]:
        nonlocal inside
        inside = True
        try:
            with measured() as spent:
                yield spent
        finally:
            inside = False

    def write(prompt: str, seed: int) -> str:
        assert inside
        return numbered(prompt, seed)

    monkeypatch.setattr(zerogen, "measured", watched)
    synthesis = Synthesis(recipe(strict_rows=strict_rows), lambda: FakePlm(write), Kept())
    synthesis.rows(100)
    assert synthesis.spent().seconds > 0
    assert (synthesis.spent().peak_memory_bytes or 0) > 1 << 20


@all_kinds
def test_what_was_spent_is_kept_every_while_and_nothing_is_lost_thereby(
    one: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, kept = synthesize(one, FakePlm(numbered), Kept(), 100), Kept()
    monkeypatch.setattr(zerogen, "_KEEP_SECONDS", -1.0)  # after every try
    assert synthesize(one, FakePlm(numbered), kept, 100) == expected
    spent = [entry["spent"] for entry in kept.entries() if "spent" in entry]
    assert len(spent) > len(kept.tries)
    assert len(set(kept.tries)) == len(kept.tries)
    assert spent[-1]["provenance"]["calls"] > 1, "how the PLM was run so far"


def test_parts_that_were_spent_add_up() -> None:
    one = Spent(1.0, {"nvml": 5.0, "rapl": 1.0}, {}, 100, 7, {"device": "a"})
    two = Spent(2.0, {"rapl": 3.0}, {"nvml": "no GPU"}, 50, None, {"device": "b"})
    assert total([one, two]) == Spent(3.0, {"rapl": 4.0}, {"nvml": "no GPU"}, 100, 7, {"device": "b"})
    assert total([one, replace(two, joules=None, unavailable={"nvml": "x", "rapl": "y"})]).joules is None
    assert total([]) == Spent(unavailable={})


# --- the stage, with a real PLM


@pytest.mark.parametrize("strict", [False, True])
def test_a_written_dataset_loads_with_datasets_and_says_where_each_row_comes_from(strict: bool, tmp_path: Path) -> None:
    import datasets

    loaded = load_task("film-reviews")
    task = RealTask(loaded.spec, loaded.path.parent, None)
    options = {"prompts": "continuation", "block_rows": 8, "strict": strict}
    spec = TransformersGenerator(name="tiny", model="embedded:review-gpt-06m", **options)
    place = locate_model(spec.model, None, None)
    stage = Synthesize(task, spec, place, "float32", 24, 13)
    path, progress, records = tmp_path / "journal.jsonl", Progress(), []
    generators = GeneratorCache()
    for name in ("data", "again"):
        (tmp_path / name).mkdir()
        records.append(stage.run(StageIO({}, tmp_path / name, JournalFile(path), progress, generators)))
    rows = datasets.load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == [
        *("text", "label", "context", "row", "seed", "prompt", "attempt"),
        *("finish_reason", "prompt_tokens", "generated_tokens", "log_probability"),
    ]
    assert len(rows) == 24
    assert rows["row"][:] == list(range(24))
    assert set(rows["seed"]) == {13}
    assert Counter(rows["label"]) == {"negative": 12, "positive": 12}
    assert all(len(row["text"].split()) >= 5 and row["log_probability"] < 0 for row in rows)
    assert set(rows["finish_reason"]) <= {"stop", "eos", "length"}
    assert (tmp_path / "data" / "data.parquet").read_bytes() == (tmp_path / "again" / "data.parquet").read_bytes()
    values = {value.measure: value.value for value in read_values(tmp_path / "data")}
    assert values["rows"] == 24
    account, spent = records[0].details["account"], records[0].details["spent"]
    tries = {(one["stream"], one["number"]): one["try"] for one in JournalFile(path).entries() if "try" in one}
    for row in rows:
        kept = tries[row["label"], row["attempt"]]
        assert {name: row[name] for name in kept if name in row} == {
            name: value for name, value in kept.items() if name in row
        }
    if strict:
        assert set(Counter((stream, number // 8) for stream, number in tries).values()) == {8}
    assert values["rows_tried"] == account["tried"] <= len(tries)
    assert values["generated_tokens"] == account["generated_tokens"] > 24 * 5
    assert values["generate_seconds"] == spent["seconds"] > 0
    assert values["peak_memory"] == spent["peak_memory_bytes"] > 1 << 20
    assert spent["provenance"]["dtype"] == "float32"
    assert {name for name in values if name.startswith("energy.")} == {f"energy.{one}" for one in spent["joules"] or ()}
    assert records[1].details == records[0].details
    assert progress.last == (24, 24, "rows")


@dataclass
class Progress:
    last: tuple[float, float | None, str] | None = None

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.last = (done, total, unit)


def test_a_row_and_a_try_survive_their_way_through_json() -> None:
    one = recipes.Try("naïve", None, "stop", 3, 4, -1.2345678901234567)
    assert recipes.Try(**json.loads(json.dumps(asdict(one)))) == one
