"""Synthesis: nested sizes, resumption, repeats, two stages, and an account of what it cost that adds up."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.catalogue import load_task
from harness.data.real import RealTask
from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, TextGenerator
from harness.generators.cache import GeneratorCache
from harness.generators.locate import locate_model
from harness.seeds import derive_seed
from harness.spec import Prompts, PromptSet, TransformersGenerator
from harness.stages.base import StageIO, read_values
from harness.stages.synthesize import Synthesize
from harness.store import BlockFolder
from harness.synthesis.zerogen import Account, Recipe, Row, Synthesis

LABELS = ("negative", "positive")
Write = Callable[[str, int, int], str]
"""What the fake PLM writes after a prompt, by the call's seed and the place of the row in the call."""


@dataclass
class FakePlm:
    """Writes what it is told to; remembers what it was asked."""

    write: Write
    calls: list[tuple[list[str], Decoding, int]] = field(default_factory=list)

    def generate(
        self, prompts: Sequence[str], decoding: Decoding, seed: int, counter_prompts: Sequence[Sequence[str]] = ()
    ) -> list[Completion]:
        self.calls.append((list(prompts), decoding, seed))
        return [
            Completion(self.write(prompt, seed, place), "stop", len(prompt.split()), 7, -1.5 * place)
            for place, prompt in enumerate(prompts)
        ]

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return len(prompt.split()) + max_new_tokens <= 100


def numbered(prompt: str, seed: int, place: int) -> str:
    """Another text for every row of every call; one in four has no end."""
    end = "" if derive_seed(seed, place) % 4 == 0 else '"'
    return f"{seed} {place} is what I would say here{end}"


@dataclass
class Kept:
    """A keeper in memory, of JSON as on a disk. `fail_after`: the block whose saving a kill prevents."""

    blocks: dict[str, str] = field(default_factory=dict)
    fail_after: int | None = None

    def load(self, name: str) -> dict[str, Any] | None:
        return json.loads(self.blocks[name]) if name in self.blocks else None

    def save(self, name: str, data: dict[str, Any]) -> None:
        if self.fail_after is not None and len(self.blocks) >= self.fail_after:
            raise KeyboardInterrupt
        self.blocks[name] = json.dumps(data)


def recipe(context: bool = False, **settings: Any) -> Recipe:
    blank = ' "<C>": "' if context else ': "'
    prompts = Prompts(
        context=('Movie: "', 'Film: "') if context else (),
        text={label: (f"One {label}{blank}", f"Two {label}{blank}") for label in LABELS},
    )
    options = {"max_new_tokens": 40, "min_words": 5, "samples_per_context": 3, **settings}
    prompt_set = PromptSet(source="test", completion=prompts, **options)
    return Recipe("reviews", LABELS, prompt_set, prompts, 0.9, 0, 1.0, block_rows=16, seed=13)


def synthesize(one: Recipe, plm: FakePlm, kept: Kept, count: int) -> tuple[list[Row], Account]:
    synthesis = Synthesis(one, lambda: plm, kept)
    return list(synthesis.rows(count)), synthesis.account


def costs(account: Account) -> dict[str, Any]:
    """An account without the time that it took."""
    return {name: value for name, value in account.to_json().items() if name != "generate_seconds"}


both_kinds = pytest.mark.parametrize("one", [recipe(), recipe(context=True)], ids=["one stage", "two stages"])


@both_kinds
def test_a_smaller_dataset_is_the_first_part_of_a_larger_one(one: Recipe) -> None:
    largest, _ = synthesize(one, FakePlm(numbered), Kept(), 2000)
    assert len({row.text for row in largest}) == 2000
    for count in (1, 15, 1000):
        rows, _ = synthesize(one, FakePlm(numbered), Kept(), count)
        assert rows == largest[:count]


@both_kinds
def test_labels_take_turns_and_every_row_says_where_it_comes_from(one: Recipe) -> None:
    rows, _ = synthesize(one, FakePlm(numbered), Kept(), 101)
    assert [row.label for row in rows] == [LABELS[index % 2] for index in range(101)]
    for row in rows:
        assert (row.finish_reason, row.generated_tokens) == ("stop", 7)
        assert row.prompt in (0, 1)
        assert (row.context is None) == (not one.prompts.context)
    by_label = [[row.block for row in rows if row.label == label] for label in LABELS]
    assert all(blocks == sorted(blocks) and len(set(blocks)) > 3 for blocks in by_label)


@both_kinds
@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 5, 8])
def test_a_resumed_dataset_is_the_undisturbed_one_and_costs_the_same(blocks: int, one: Recipe) -> None:
    undisturbed, account = synthesize(one, FakePlm(numbered), Kept(), 100)
    kept = Kept(fail_after=blocks)
    with pytest.raises(KeyboardInterrupt):
        synthesize(one, FakePlm(numbered), kept, 100)
    assert len(kept.blocks) == blocks
    kept.fail_after = None
    resumed, account_again = synthesize(one, FakePlm(numbered), kept, 100)
    assert resumed == undisturbed
    assert costs(account_again) == costs(account)


@both_kinds
def test_a_dataset_whose_blocks_are_all_there_needs_no_plm_and_costs_the_same(one: Recipe) -> None:
    kept = Kept()
    rows, account = synthesize(one, FakePlm(numbered), kept, 100)

    def load() -> TextGenerator:
        pytest.fail("the PLM was loaded for nothing")

    again = Synthesis(one, load, kept)
    assert list(again.rows(100)) == rows
    assert again.account.to_json() == account.to_json()


@both_kinds
def test_a_larger_dataset_makes_only_the_blocks_that_a_smaller_one_did_not(one: Recipe) -> None:
    kept, plm = Kept(), FakePlm(numbered)
    synthesize(one, FakePlm(numbered), kept, 100)
    before = set(kept.blocks)
    rows, account = synthesize(one, plm, kept, 200)
    assert len(plm.calls) == len(kept.blocks) - len(before)
    alone, account_alone = synthesize(one, FakePlm(numbered), Kept(), 200)
    assert rows == alone
    assert costs(account) == costs(account_alone)


def test_the_plm_is_loaded_once_and_only_when_a_block_is_missing() -> None:
    loaded: list[FakePlm] = []

    def load() -> TextGenerator:
        loaded.append(FakePlm(numbered))
        return loaded[-1]

    rows = Synthesis(recipe(), load, Kept()).rows(100)
    assert loaded == []
    assert len(list(rows)) == 100
    assert len(loaded) == 1


def test_every_block_has_its_own_random_stream_and_every_seed_and_task_others() -> None:
    seeds: list[int] = []
    for one in (
        recipe(context=True),
        replace(recipe(context=True), seed=21),
        replace(recipe(context=True), task="other"),
    ):
        plm = FakePlm(numbered)
        synthesize(one, plm, Kept(), 100)
        seeds += [seed for _, _, seed in plm.calls]
    assert len(seeds) > 30
    assert len(set(seeds)) == len(seeds)


def test_the_recipes_decoding_reaches_the_plm() -> None:
    plm = FakePlm(numbered)
    synthesize(replace(recipe(context=True), top_p=0.5, top_k=7, temperature=0.3), plm, Kept(), 10)
    asked = {("Movie" in prompts[0], decoding) for prompts, decoding, _ in plm.calls}
    assert asked == {(True, Decoding(10, 0.5, 7, 0.3, ('"',))), (False, Decoding(40, 0.5, 7, 0.3, ('"',)))}


# --- what is dropped


def test_a_text_that_any_label_has_already_is_dropped_and_counted() -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        own = "negative" if "negative" in prompt else "positive"
        return (
            f"a text that both labels have {place % 5}" + '"' if place % 2 else f"a {own} text of {seed} {place}" + '"'
        )

    rows, account = synthesize(recipe(), FakePlm(write), Kept(), 60)
    assert len({row.text for row in rows}) == 60
    shared = [row for row in rows if "both labels" in row.text]
    assert len(shared) == 5
    assert {row.label for row in shared} == set(LABELS)  # whoever comes first keeps it
    assert account.dropped["repeat"] > 20


@both_kinds
def test_an_account_adds_up(one: Recipe) -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        texts = ['short"', "no end here at all", f'{seed} {place} is a good text"', 'always the same five words"']
        return texts[(place + seed) % 4]

    kept, plm = Kept(), FakePlm(write)
    rows, account = synthesize(one, plm, kept, 30)
    asked = [prompt for prompts, _, _ in plm.calls for prompt in prompts]
    assert account.tried == len(asked)
    assert account.prompt_tokens == sum(len(prompt.split()) for prompt in asked)
    assert account.generated_tokens == 7 * len(asked)
    usable = Counter(name.partition("-")[0] for name, block in kept.blocks.items() for _ in json.loads(block)["rows"])
    assert (usable["context"] > 0) == bool(one.prompts.context)
    used = len(rows) + usable["context"]
    left_over = account.tried - account.dropped.total() - used
    assert 0 <= left_over <= 2 * 15, "at most what the last block of each label has beyond the dataset"


def test_a_text_that_repeats_its_context_is_dropped() -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        if "<C>" not in prompt and prompt in ('Movie: "', 'Film: "'):
            return f'the long night number {place}"'
        asked = prompt.partition(' "')[2].partition('"')[0]
        return f'{asked.upper()}"' if place % 2 else f'I saw {asked} {seed} {place} once"'

    rows, account = synthesize(recipe(context=True), FakePlm(write), Kept(), 40)
    assert account.dropped["same as context"] >= 40
    assert all(row.text.startswith("I saw") for row in rows)


# --- two stages


def test_contexts_stand_in_the_prompts_and_serve_every_label_and_several_blocks() -> None:
    plm = FakePlm(numbered)
    one = recipe(context=True)
    kept = Kept()
    rows, _ = synthesize(one, plm, kept, 120)
    contexts = {
        number: [row["text"] for row in json.loads(kept.blocks[f"context-{number:06d}"])["rows"]] for number in range(3)
    }
    assert set(contexts[0]).isdisjoint(contexts[1])
    assert len(contexts[0]) < 16  # some have no end and are no contexts
    for row in rows:
        place = contexts[row.block // 3].index(str(row.context))
        assert row.prompt == place % 2
    uses = Counter(row.context for row in rows if row.block < 3)
    assert max(uses.values()) <= 2 * 3  # labels x samples_per_context
    asked = [prompts for prompts, _, _ in plm.calls if "negative" in prompts[0]]
    assert asked[0] == asked[1] == asked[2] != asked[3]
    assert asked[0] == [f'{("One", "Two")[i % 2]} negative "{text}": "' for i, text in enumerate(contexts[0])]


def test_a_context_with_a_placeholder_in_it_is_not_filled_again() -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        return '<C> and <X>"' if prompt.startswith(("Movie", "Film")) else numbered(prompt, seed, place)

    plm = FakePlm(write)
    rows, _ = synthesize(recipe(context=True), plm, Kept(), 4)
    assert {row.context for row in rows} == {"<C> and <X>"}
    assert 'One negative "<C> and <X>": "' in [prompt for prompts, _, _ in plm.calls for prompt in prompts]


def test_one_block_without_a_usable_context_is_passed_over() -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        if not prompt.startswith(("Movie", "Film")):
            return numbered(prompt, seed, place)
        return "no end here" if seed == first_seed else numbered(prompt, seed, place)

    probe = FakePlm(numbered)
    synthesize(recipe(context=True), probe, Kept(), 1)
    first_seed = probe.calls[0][2]
    rows, account = synthesize(recipe(context=True), FakePlm(write), Kept(), 20)
    assert min(row.block for row in rows) == 3
    assert account.dropped["no end"] >= 16


# --- PLMs that are no use


@pytest.mark.parametrize("context", [False, True], ids=["one stage", "two stages"])
def test_a_plm_that_writes_nothing_usable_is_a_clear_error(context: bool) -> None:
    plm = FakePlm(lambda prompt, seed, place: "there is never an end")
    with pytest.raises(HarnessError, match=r"'reviews', label 'negative': 0 usable texts in 128 tries \(128 no end\)"):
        synthesize(recipe(context=context), plm, Kept(), 10)


def test_a_plm_that_writes_usable_contexts_and_no_usable_text_is_a_clear_error() -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        return f'title {seed} {place}"' if prompt.startswith(("Movie", "Film")) else 'too short"'

    with pytest.raises(HarnessError, match=r"0 usable texts in \d+ tries \(\d+ too short\)"):
        synthesize(recipe(context=True), FakePlm(write), Kept(), 10)


def test_a_plm_that_repeats_itself_is_a_clear_error_and_no_endless_loop() -> None:
    plm = FakePlm(lambda prompt, seed, place: 'always the same good text"')
    with pytest.raises(HarnessError, match=r"label 'positive': 0 usable texts in 128 tries \(128 repeat\)"):
        synthesize(recipe(), plm, Kept(), 10)


def test_a_plm_that_is_seldom_usable_is_used_with_patience() -> None:
    def write(prompt: str, seed: int, place: int) -> str:
        return f'a good text {seed} indeed"' if place == 3 else "no end"

    rows, account = synthesize(recipe(), FakePlm(write), Kept(), 40)  # one row in sixteen
    assert len(rows) == 40
    assert account.tried == 40 * 16


# --- the stage, with a real PLM


def test_a_written_dataset_loads_with_datasets_and_says_where_each_row_comes_from(tmp_path: Path) -> None:
    import datasets

    loaded = load_task("film-reviews")
    task = RealTask(loaded.spec, loaded.path.parent, None)
    spec = TransformersGenerator(name="tiny", model="embedded:review-gpt-06m", prompts="continuation", block_rows=8)
    place = locate_model(spec.model, None, None)
    stage = Synthesize(task, spec, place, "float32", 24, 13)
    kept, progress = BlockFolder(tmp_path / "blocks"), Progress()
    generators = GeneratorCache()
    for name in ("data", "again"):
        (tmp_path / name).mkdir()
        record = stage.run(StageIO({}, tmp_path / name, kept, progress, generators))
    rows = datasets.load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == [
        *("text", "label", "context", "row", "seed", "prompt", "block"),
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
    account = record.details["account"]
    assert values["rows_tried"] == account["tried"] == 8 * len(list(kept.folder.iterdir()))
    assert values["generated_tokens"] == account["generated_tokens"] > 24 * 5
    assert progress.last == (24, 24, "rows")


@dataclass
class Progress:
    last: tuple[float, float | None, str] | None = None

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.last = (done, total, unit)
