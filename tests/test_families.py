"""Text pairs and extractive QA: their real rows, the rows a PLM writes for them, and the mistakes people make."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from harness.catalogue import load_task
from harness.cli import main
from harness.data.examples import Answer, Examples
from harness.data.real import RealTask
from harness.data.sentences import sentences
from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, Request, SelfDebiasing
from harness.spec import ReplayGenerator, Style
from harness.stages.synthesize import read_replay
from harness.synthesis.cleaning import clean
from harness.synthesis.contexts import Given, RealContexts
from harness.synthesis.prompts import prompts_in_style
from harness.synthesis.recipe import Account, Recipe, Row
from harness.synthesis.zerogen import HOPELESS_TRIES, Synthesis

PARAGRAPH = "The café Ida opened in Oslo in 1907."
PAIR_ROWS = [
    {"text": "It rains.", "text_pair": "It is wet.", "label": "yes"},
    {"text": "It snows.", "text_pair": "It is hot.", "label": "no"},
]
QA_ROWS = [
    {
        "context": PARAGRAPH,
        "question": "Where?",
        "answers": {"text": ["Oslo"], "answer_start": [PARAGRAPH.index("Oslo")]},
    }
]
CONTEXTS = [{"text": f"This is the real text number {number} of them all."} for number in range(7)]


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pair_task(**fields: Any) -> dict[str, Any]:
    text = {"yes": ["<C> So:", "<C> Thus:"], "no": ["<C> Never:", "<C> Not:"]}
    classify = {"yes": ["<C> So: <X>"], "no": ["<C> Never: <X>"]}
    return {
        "name": "pairs",
        "title": "Pairs",
        "family": "text-pair-classification",
        "labels": ["yes", "no"],
        "splits": {"test": {"file": "test.jsonl"}},
        "contexts": [{"file": "contexts.jsonl"}],
        "prompts": {"plain": {"source": "x", "min_words": 3, "completion": {"text": text, "classify": classify}}},
        **fields,
    }


def qa_task(**fields: Any) -> dict[str, Any]:
    prompts = {"question": ["<C> It is <Y>:"], "answer": "<C> <X> It is"}
    return {
        "name": "questions",
        "title": "Questions",
        "family": "extractive-qa",
        "splits": {"test": {"file": "test.jsonl"}},
        "contexts": [{"file": "contexts.jsonl"}],
        "prompts": {"plain": {"source": "x", "min_words": 2, "cut_after": "?", "completion": prompts}},
        **fields,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "contexts.jsonl", CONTEXTS)
    return tmp_path


def real(folder: Path, task: dict[str, Any], rows: Sequence[Any], test_rows: int | None = None) -> RealTask:
    write_rows(folder / "test.jsonl", rows)
    (folder / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    loaded = load_task(str(folder / "task.yaml"))
    return RealTask(loaded.spec, folder, None, test_rows)


# --- real rows


def test_the_rows_of_a_pair_and_of_a_question_are_read_with_all_that_belongs_to_them(folder: Path) -> None:
    pairs = real(folder, pair_task(), PAIR_ROWS).split("test")
    assert pairs.take([1]) == Examples(text=["It snows."], text_pair=["It is hot."], label=["no"])
    questions = real(folder, qa_task(), QA_ROWS).split("test")
    assert questions.answers == [(Answer("Oslo", PARAGRAPH.index("Oslo")),)]
    assert (list(questions.question), list(questions.context), list(questions.id)) == (["Where?"], [PARAGRAPH], ["0"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": {"text": ["Bergen"], "answer_start": [3]}}, "row 0: the answer 'Bergen' is not in its context"),
        (
            {"answers": {"text": ["Oslo"], "answer_start": [24]}},
            "row 0: the answer 'Oslo' does not begin at character 24 of its context, but at 23",
        ),
        ({"answers": {"text": ["Oslo"], "answer_start": []}}, "expected as many of each"),
        ({"answers": {"text": [], "answer_start": []}}, "at least one of"),
        ({"answers": "Oslo"}, "row 0: 'answers': expected"),
        ({"answers": {"text": ["Oslo"], "answer_start": ["23"]}}, "expected an answer and its start"),
        ({"answers": {"text": [""], "answer_start": [3]}}, "expected an answer and its start"),
        ({"answers": {"text": ["Oslo"], "answer_start": [-1]}}, "expected an answer and its start"),
        ({"question": None}, "row 0: expected a text, found None"),
    ],
)
def test_an_answer_that_does_not_stand_where_it_should_is_told_with_its_row(
    change: dict[str, Any], message: str, folder: Path
) -> None:
    task = real(folder, qa_task(), [{**QA_ROWS[0], **change}])
    with pytest.raises(HarnessError) as error:
        task.split("test")
    assert message in str(error.value)


def test_starts_are_counted_in_characters_not_in_bytes(folder: Path) -> None:
    start = PARAGRAPH.index("Ida")
    assert start == 9, "the accented letter is one character"
    row = {**QA_ROWS[0], "answers": {"text": ["Ida"], "answer_start": [start]}}
    assert real(folder, qa_task(), [row]).split("test").answers[0][0].start == 9


def test_a_pair_task_given_single_texts_names_the_column_that_is_missing(folder: Path) -> None:
    task = real(folder, pair_task(), [{"text": "It rains.", "label": "yes"}])
    with pytest.raises(HarnessError, match=r"expected a column 'text_pair', found label, text.*map it with 'columns'"):
        task.split("test")


def test_the_content_hash_sees_every_column_but_the_ids() -> None:
    base = Examples(id=["1"], context=["a b"], question=["q"], answers=[(Answer("a", 0),)])
    same = Examples(id=["2"], context=["a b"], question=["q"], answers=[(Answer("a", 0),)])
    others = [
        Examples(context=["a  b"], question=["q"], answers=[(Answer("a", 0),)]),
        Examples(context=["a b"], question=["r"], answers=[(Answer("a", 0),)]),
        Examples(context=["a b"], question=["q"], answers=[(Answer("b", 2),)]),
        Examples(context=["a b"], question=["q"], answers=[(Answer("a", 0), Answer("b", 2))]),
        Examples(text=["a b"], text_pair=["q"]),
        Examples(text=["a b"], label=["q"]),
    ]
    assert base.content_hash == same.content_hash
    assert len({one.content_hash for one in [base, *others]}) == 1 + len(others)


def test_a_cap_on_the_questions_is_a_fixed_sample_of_them(folder: Path) -> None:
    rows = [{**QA_ROWS[0], "question": f"Where {n}?"} for n in range(20)]
    whole = real(folder, qa_task(), rows).split("test")
    few = [list(real(folder, qa_task(), rows, n).split("test").question) for n in (4, 4, 8)]
    assert few[0] == few[1]
    assert len(few[0]) == 4
    assert set(few[0]) < set(few[2]) < set(whole.question)


WORDS: list[Any] = [
    None,
    True,
    0,
    -1,
    23,
    2**63,
    1.5,
    float("nan"),
    "",
    "Oslo",
    "x" * 2_000_000,
    "\ud800",
    [],
    [[]],
    {},
]


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_no_damage_to_questions_and_answers_ends_in_anything_but_an_error_that_names_the_task(
    kind: str, folder: Path
) -> None:
    edits: list[dict[str, Any]] = [{column: value} for column in QA_ROWS[0] for value in WORDS]
    edits += [{"answers": {"text": text, "answer_start": start}} for text in WORDS for start in ([23], [], None)]
    edits += [{"answers": {"text": ["Oslo"], "answer_start": [start]}} for start in WORDS]
    edits += [{"answers": {"text": [text], "answer_start": [23]}} for text in WORDS]
    edits += [{"answers": {"text": ["Oslo"] * 2000, "answer_start": [23] * 2000}}, {"answers": {"text": ["Oslo"]}}]
    task = qa_task(splits={"test": {"file": f"test{kind}"}})
    failed = tried = 0
    for edit in edits:
        loaded = real(folder, task, [])
        rows = [QA_ROWS[0], {**QA_ROWS[0], **edit}]
        try:
            if kind == ".jsonl":
                write_rows(folder / "test.jsonl", rows)
            else:
                pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            continue  # no such file can be written
        tried += 1
        try:
            loaded.split("test")
        except HarnessError as error:
            failed += 1
            assert "questions" in str(error) or "test" in str(error)
            assert len(str(error)) < 1000
    assert tried >= (60 if kind == ".jsonl" else 25)
    assert failed >= tried - 8, "a few values are what they should be"


# --- contexts


def test_contexts_never_stand_in_the_test_split_even_in_other_dress_or_outside_its_sample(folder: Path) -> None:
    leaked = [
        {"text": CONTEXTS[n]["text"].upper(), "text_pair": "x", "label": label}
        for n in (0, 1)
        for label in ("yes", "no")
    ]
    for cap in (None, 2):
        contexts = real(folder, pair_task(), leaked, cap).contexts()
        assert contexts.text == [row["text"] for row in CONTEXTS[2:]]
    write_rows(folder / "contexts.jsonl", [{"text": PARAGRAPH}])
    with pytest.raises(HarnessError, match="no text that is not in the test split"):
        real(folder, qa_task(), QA_ROWS).contexts()


def test_the_first_source_of_contexts_that_is_in_reach_is_used_and_named(folder: Path) -> None:
    away = {"hub": "org/away", "split": "train"}
    paragraphs = [{"context": "First things come first here. Then comes Dr. Adams with the second thing! No."}] * 2
    write_rows(folder / "paragraphs.jsonl", paragraphs)
    near = {"file": "paragraphs.jsonl", "columns": {"text": "context"}, "unit": "sentence"}
    task = real(folder, pair_task(contexts=[away, near, {"file": "contexts.jsonl"}]), PAIR_ROWS)
    assert task.contexts().text == ["First things come first here.", "Then comes Dr. Adams with the second thing!"]
    assert task.contexts().origin == "paragraphs.jsonl"
    with pytest.raises(HarnessError, match="org/away"):
        real(folder, pair_task(contexts=[away]), PAIR_ROWS).contexts()
    (folder / "paragraphs.jsonl").write_text("{")
    with pytest.raises(HarnessError, match=r"paragraphs.jsonl:1: not a JSON object"):  # not passed over in silence
        real(folder, pair_task(contexts=[near, {"file": "contexts.jsonl"}]), PAIR_ROWS).contexts()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("Mr. J. Smith met Dr. Jones at 5 p.m. on Jan. 3.", ["Mr. J. Smith met Dr. Jones at 5 p.m. on Jan. 3."]),
        ("It cost 3.5 million. In 1990 it fell.", ["It cost 3.5 million.", "In 1990 it fell."]),
        ("The U.S. Army came. (It left.) Then…  Well.", ["The U.S. Army came.", "(It left.)", "Then…", "Well."]),
        ("no end at all", ["no end at all"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def given_by(contexts: RealContexts, numbers: Sequence[int]) -> list[Given]:
    found = [contexts.at(number) for number in numbers]
    assert None not in found
    return [one for one in found if one is not None]


def test_real_contexts_come_round_in_one_order_whichever_is_asked_for_first() -> None:
    texts = [str(number) for number in range(10)]
    ordered = [given.context for given in given_by(RealContexts(texts, 13), range(25))]
    assert sorted(map(str, ordered[:10])) == sorted(texts)
    assert ordered[10:20] == ordered[:10]
    later = RealContexts(texts, 13)
    assert [given.context for given in given_by(later, [24, 5, 5, 0])] == [ordered[n] for n in (24, 5, 5, 0)]
    assert [given.context for given in given_by(RealContexts(texts, 14), range(10))] != ordered[:10]


ANSWERS = {
    "a": [Answer("a", 0)],
    "b": [Answer("b", 0), Answer("B", 1), Answer("β", 2)],
    "c": [],
    "d": [Answer(str(n), n) for n in range(5)],
}


def test_every_context_is_asked_about_once_before_any_is_asked_about_again() -> None:
    given = given_by(RealContexts(list(ANSWERS), 13, ANSWERS.__getitem__), range(18))
    first, second = given[:9], given[9:]
    assert {one.context for one in first[:3]} == {"a", "b", "d"}
    assert [one.context for one in first[5:]] in (["b", "d", "d", "d"], ["d", "b", "d", "d"])
    for context, answers in ANSWERS.items():
        assert Counter(one.answer for one in first if one.context == context) == Counter(answers)
    assert second == first, "when every answer has had its turn, all begins anew"
    assert RealContexts(["c"], 13, ANSWERS.__getitem__).at(0) is None


def test_answers_in_turn_are_so_many_questions_about_one_context_before_the_next() -> None:
    given = given_by(RealContexts(list(ANSWERS), 13, ANSWERS.__getitem__, answers_in_turn=2), range(18))
    order = dict.fromkeys(one.context for one in given[:5])
    assert set(order) == {"a", "b", "d"}
    rounds = [context for first in (0, 2, 4) for context in order for _ in ANSWERS[str(context)][first : first + 2]]
    assert [one.context for one in given[:9]] == rounds
    for context, answers in ANSWERS.items():
        assert Counter(one.answer for one in given[:9] if one.context == context) == Counter(answers)
    assert given[9:] == given[:9]
    by_context = [
        [one.answer for one in given_by(RealContexts(["d"], 13, ANSWERS.__getitem__, turn), range(5))]
        for turn in (1, 2, 5)
    ]
    assert by_context[0] == by_context[1] == by_context[2] != list(ANSWERS["d"]), "in an order of their own"


# --- synthesis


class Plm:
    """Writes what it is told to for a prompt; reads at most 30 words."""

    def __init__(self, write: Callable[[str, int], str]) -> None:
        self.write = write
        self.calls: list[tuple[list[Request], Decoding]] = []

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        self.calls.append((list(requests), decoding))
        for number, request in reversed(list(enumerate(requests))):
            if len(request.prompt.split()) > 30:
                yield number, Completion("", "unread", len(request.prompt.split()), 0, 0.0)
            else:
                yield number, Completion(self.write(request.prompt, request.seed), "stop", 1, 1, -1.0)

    def provenance(self) -> dict[str, str | int]:
        return {}

    @property
    def asked(self) -> list[Request]:
        return [request for requests, _ in self.calls for request in requests]


class Journal:
    """In memory, of JSON as on a disk. `most`: the entries before the one that a kill prevents."""

    def __init__(self, most: int | None = None) -> None:
        self.lines: list[str] = []
        self.most = most

    def entries(self) -> Iterator[dict[str, Any]]:
        return iter([json.loads(line) for line in self.lines])

    def append(self, entry: Mapping[str, Any]) -> None:
        if self.most is not None and len(self.lines) >= self.most:
            raise KeyboardInterrupt
        self.lines.append(json.dumps(entry))


def recipe_of(task: RealTask, style: Style = "completion") -> Recipe:
    chosen, prompts = prompts_in_style(task.spec, None, "completion")
    return Recipe(task.name, task.spec.labels, chosen, prompts, Decoding(1, top_p=0.9), 13, style)


def synthesized(task: RealTask, plm: Plm, given: RealContexts, rows: int) -> list[Row]:
    return Synthesis(recipe_of(task), lambda: plm, Journal(), given).rows(rows)


def test_a_pair_is_a_real_text_and_what_the_plm_wrote_about_it(folder: Path) -> None:
    task = real(folder, pair_task(), PAIR_ROWS)
    plm = Plm(lambda prompt, seed: f'this is text {seed}"')
    rows = synthesized(task, plm, RealContexts(task.contexts().text, 13), 20)
    assert [row.label for row in rows] == ["yes", "no"] * 10
    assert {row.context for row in rows} <= {row["text"] for row in CONTEXTS}
    assert all(row.text.startswith("this is text") for row in rows)
    asked = {request.prompt for request in plm.asked}
    assert {prompt.rsplit(" ", 1)[1] for prompt in asked} == {"So:", "Thus:", "Never:", "Not:"}


def test_the_same_text_may_be_written_about_two_contexts_but_not_twice_about_one(folder: Path) -> None:
    task = real(folder, pair_task(), PAIR_ROWS)
    plm = Plm(lambda prompt, seed: f'always the same {seed % 2}"')
    rows = synthesized(task, plm, RealContexts(task.contexts().text, 13), 10)
    assert len({(row.context, row.text) for row in rows}) == 10
    assert len({row.text for row in rows}) == 2


def test_self_debiasing_runs_the_other_labels_prompts_with_the_same_context(folder: Path) -> None:
    plain = pair_task()
    plain["prompts"]["plain"]["self_debiasing"] = {"decay": 50, "epsilon": 0.1}
    task = real(folder, plain, PAIR_ROWS)
    plm = Plm(lambda prompt, seed: f'this is text {seed}"')
    synthesized(task, plm, RealContexts(task.contexts().text, 13), 8)
    other = {"So:": "Never:", "Thus:": "Not:", "Never:": "So:", "Not:": "Thus:"}
    for requests, decoding in plm.calls:
        assert decoding.self_debiasing == SelfDebiasing(50, 0.1)
        for request in requests:
            context, _, end = request.prompt.rpartition(" ")
            assert request.counter_prompts == (f"{context} {other[end]}",)


def test_a_context_the_plm_cannot_read_is_left_out_and_counted(folder: Path) -> None:
    task = real(folder, pair_task(), PAIR_ROWS)
    texts = ["long " * 40, "a short one", "another short one", "a third one"]
    plm = Plm(lambda prompt, seed: f'this is text {seed}"')
    synthesis = Synthesis(recipe_of(task), lambda: plm, Journal(), RealContexts(texts, 13))
    rows = synthesis.rows(16)
    assert {row.context for row in rows} == set(texts[1:])
    last = [max(row.attempt for row in rows[place::2]) for place in (0, 1)]
    assert synthesis.account.tried == sum(last) + 2
    assert synthesis.account.dropped == {"context too long": sum(last) + 2 - 16}
    assert 4 <= sum(last) + 2 - 16 <= 6, "one of four"


def test_a_plm_that_can_read_no_context_is_a_clear_error_in_bounded_tries(folder: Path) -> None:
    task, plm = real(folder, pair_task(), PAIR_ROWS), Plm(lambda prompt, seed: 'this is text"')
    with pytest.raises(HarnessError, match=r"0 usable texts in 2,048 tries \(2,048 context too long\)"):
        synthesized(task, plm, RealContexts(["long " * 40], 13), 16)
    assert len(plm.asked) <= 4 * HOPELESS_TRIES


def test_a_question_has_an_answer_that_stands_in_its_context_and_not_in_the_question(folder: Path) -> None:
    task = real(folder, qa_task(), QA_ROWS)

    def write(prompt: str, seed: int) -> str:
        answer = prompt.rpartition(" It is ")[2].removesuffix(":")
        return (
            f"Is it {answer} {seed}? Yes"
            if seed % 3 == 0
            else f"What is thing {seed}? It is"
            if seed % 3 == 1
            else "No"
        )

    def find(context: str) -> list[Answer]:
        number = context.split()[5]
        return [Answer(number, context.index(number)), Answer("real", context.index("real"))]

    plm = Plm(write)
    given = RealContexts(task.contexts().text, 13, find)
    rows = synthesized(task, plm, given, 4)
    for row in rows:
        assert row.context is not None and row.answer is not None and row.answer_start is not None
        assert row.context[row.answer_start :].startswith(row.answer)
        assert row.text.startswith("What is thing") and row.text.endswith("?")
        assert row.label == ""
    assert all(decoding.stop == ('"', "?") for _, decoding in plm.calls)
    with pytest.raises(HarnessError, match="none of its 7 contexts has a candidate answer"):
        synthesized(task, plm, RealContexts(task.contexts().text, 13, lambda context: []), 1)


@pytest.mark.parametrize(
    ("text", "kept", "dropped"),
    [
        ('Who wrote it? He did"', "Who wrote it?", None),
        ('Who wrote it" and why?', None, "no end"),
        ("Who wrote it\nand why?", None, "no end"),
        ("Who wrote it all", None, "no end"),
        ("Was it OSLO or Bergen?", None, "holds its answer"),
        ("Why?", None, "too short"),
    ],
)
def test_a_question_ends_at_its_first_question_mark(text: str, kept: str | None, dropped: str | None) -> None:
    cleaned = clean(text, stop='"', finished=True, min_words=3, context="c", cut_after="?", answer="Oslo")
    assert (cleaned.text, cleaned.dropped) == (kept, dropped)


@pytest.mark.parametrize("family", ["pairs", "questions"])
def test_rows_about_real_contexts_are_the_same_resumed_or_not_and_few_are_the_first_of_many(
    family: str, folder: Path
) -> None:
    task = real(folder, *((pair_task(), PAIR_ROWS) if family == "pairs" else (qa_task(), QA_ROWS)))
    texts = ["long " * 40, *task.contexts().text]

    def find(context: str) -> list[Answer]:
        return [Answer(word, context.index(word)) for word in ("real", "long", "number") if word in context]

    def rows(count: int, journal: Journal) -> tuple[tuple[list[Row], Account], int]:
        given = RealContexts(texts, 13, None if task.spec.labels else find, answers_in_turn=2)
        plm = Plm(lambda prompt, seed: f"Is it {seed}? Yes" if seed % 3 else "No")
        synthesis = Synthesis(recipe_of(task), lambda: plm, journal, given)
        made = synthesis.rows(count)
        return (made, synthesis.account), len(plm.asked)

    whole, _ = rows(60, Journal())
    kept = Journal()
    assert rows(10, kept)[0][0] == whole[0][:10]
    n_kept = len(kept.lines)
    grown, asked = rows(60, kept)
    assert grown == whole
    places = [(one["stream"], one["number"]) for one in kept.entries() if "try" in one]
    assert len(set(places)) == len(places)
    assert 0 < asked < len(places), "not those of the first ten rows"
    assert len(kept.lines) > n_kept
    assert rows(60, kept) == (whole, 0), "all tries kept"
    assert whole[1].dropped["context too long"] > 0
    for most in (0, 1, 17, 40):
        killed = Journal(most)
        with pytest.raises(KeyboardInterrupt):
            rows(60, killed)
        killed.most = None
        assert rows(60, killed)[0] == whole
        places = [(one["stream"], one["number"]) for one in killed.entries() if "try" in one]
        assert len(set(places)) == len(places)


def test_the_first_rows_are_about_as_many_real_contexts_as_there_are(folder: Path) -> None:
    task = real(folder, pair_task(), PAIR_ROWS)
    plm = Plm(lambda prompt, seed: f'this is text {seed}"')
    rows = synthesized(task, plm, RealContexts([f"premise {n}" for n in range(100)], 13), 200)
    assert len({row.context for row in rows}) == 100
    assert len({row.context for row in rows[:100]}) == 50, "a row of each label for each"


def test_a_chat_reply_may_stand_in_quotes(folder: Path) -> None:
    task = real(folder, qa_task(), QA_ROWS)
    plm = Plm(lambda prompt, seed: f' "Is it number {seed}?" I ask.')
    given = RealContexts([row["text"] for row in CONTEXTS], 13, lambda context: [Answer("real", context.index("real"))])
    rows = Synthesis(recipe_of(task, "chat"), lambda: plm, Journal(), given).rows(5)
    assert all(row.text.startswith("Is it number") and row.text.endswith("?") for row in rows)
    assert plm.calls[0][1].stop == ()


# --- replay


def test_the_authors_format_is_read_as_pairs_and_as_questions(folder: Path) -> None:
    path = folder / "theirs.jsonl"
    generator = ReplayGenerator(name="x", backend="replay", data="x", format="zerogen", labels={0: "yes", 1: "no"})
    write_rows(path, [{"C": "It rains.", "X": "It is wet.", "Y": 0}])
    assert read_replay(generator, path, real(folder, pair_task(), PAIR_ROWS).spec) == Examples(
        text=["It rains."], text_pair=["It is wet."], label=["yes"]
    )
    write_rows(path, [{"C": PARAGRAPH, "X": "Where?", "Y": "Oslo"}])
    questions = read_replay(generator, path, real(folder, qa_task(), QA_ROWS).spec)
    assert questions.answers == [(Answer("Oslo", 23),)]
    write_rows(path, [{"C": PARAGRAPH, "X": "Where?", "Y": "Rome"}])
    with pytest.raises(HarnessError, match="row 0: the answer Y 'Rome' is not in its context C"):
        read_replay(generator, path, real(folder, qa_task(), QA_ROWS).spec)


# --- mistakes, told by validate


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (qa_task(labels=["a", "b"]), "extractive-qa has no labels"),
        (
            qa_task(prompts={"p": {"source": "x", "self_debiasing": {}, "completion": {"question": ["<C> <Y>"]}}}),
            "prompts.p.self_debiasing: extractive-qa has no other labels to debias against",
        ),
        (
            qa_task(prompts={"p": {"source": "x", "candidates": "spacy:no_such", "completion": {"question": ["<C>"]}}}),
            "expected <C> and, once, <Y>",
        ),
        (qa_task(metric="accuracy"), "the metric of extractive-qa is exact_match or f1, found 'accuracy'"),
        (pair_task(metric="f1"), "the metric of text-pair-classification is accuracy or macro_f1, found 'f1'"),
        (pair_task(contexts=[]), "text-pair-classification needs 'contexts'"),
        (
            pair_task(splits={"test": {"file": "test.jsonl", "columns": {"question": "q"}}}),
            "its rows have no 'question', but label, text, text_pair",
        ),
        (
            pair_task(prompts={"p": {"source": "x", "completion": {"text": {"yes": ["So:"], "no": ["<C> no:"]}}}}),
            "prompts.p.completion.text.yes[0]: expected <C>, where the first text of the pair stands",
        ),
        (
            qa_task(prompts={"p": {"source": "x", "completion": {"question": ["<C> And:"]}}}),
            "prompts.p.completion.question[0]: expected <C> and, once, <Y>",
        ),
        (
            qa_task(prompts={"p": {"source": "x", "completion": {"text": {"yes": ["<C>"]}}}}),
            "extractive-qa has no 'text' prompts",
        ),
        (
            qa_task(prompts={"p": {"source": "x", "completion": {"question": ["<C> <Y>"], "answer": "<X>"}}}),
            "prompts.p.completion.answer: expected <C> once and <X> (the question) once",
        ),
        (
            pair_task(prompts={"p": {"source": "x", "completion": {"text": {"yes": ["<C> a"], "no": ["<C> b"]},
             "classify": {"yes": ["<X>"], "no": ["<C> <X>"]}}}}),
            "prompts.p.completion.classify.yes[0]: expected <X> once, where the text to classify stands, and <C> once",
        ),
    ],
)  # fmt: skip
def test_validate_tells_what_does_not_fit_the_family(
    task: dict[str, Any], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(folder / "test.jsonl", PAIR_ROWS)
    (folder / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    assert message in told(capsys, "validate", str(folder / "task.yaml"))


def board(folder: Path, tasks: list[str], students: list[Any]) -> str:
    generators = [{"name": "tiny", "model": "embedded:review-gpt-06m"}]
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump({"name": "b", "tasks": tasks, "generators": generators, "students": students}))
    return str(path)


def test_a_student_that_can_learn_none_of_the_tasks_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = told(capsys, "validate", board(folder, ["toy-nli"], ["pair_bilstm", "bidaf"]))
    assert (
        "students[1]: student 'bidaf' learns extractive-qa; the board's tasks are text-pair-classification" in message
    )


def test_a_task_that_no_student_can_learn_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = told(capsys, "validate", board(folder, ["toy-nli", "toy-qa"], ["pair_bilstm"]))
    assert "tasks[1]: no student of the board learns extractive-qa, the family of 'toy-qa'" in message


def test_a_spacy_pipeline_that_is_not_here_is_told_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = qa_task()
    task["prompts"]["plain"]["candidates"] = "spacy:no_such_pipeline"
    write_rows(folder / "test.jsonl", QA_ROWS)
    (folder / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    message = told(capsys, "validate", board(folder, ["task.yaml"], ["bidaf"]))
    assert "generators[0]: the spaCy pipeline 'no_such_pipeline' is not installed" in message


def test_a_selection_that_leaves_a_task_without_a_student_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    message = told(capsys, "run", "smoke", "--task", "toy-qa", "--student", "linear", "--dry-run")
    assert "none of the chosen students learns extractive-qa, the family of 'toy-qa'" in message


def test_validate_tells_of_an_answer_out_of_place_and_of_single_texts_for_pairs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(folder / "test.jsonl", [{**QA_ROWS[0], "answers": {"text": ["Oslo"], "answer_start": [22]}}])
    (folder / "task.yaml").write_text(yaml.safe_dump(qa_task()))
    assert "does not begin at character 22 of its context, but at 23" in told(
        capsys, "validate", str(folder / "task.yaml")
    )
    write_rows(folder / "test.jsonl", [{"text": "It rains.", "label": "yes"}])
    (folder / "task.yaml").write_text(yaml.safe_dump(pair_task()))
    assert "expected a column 'text_pair'" in told(capsys, "validate", str(folder / "task.yaml"))


@pytest.mark.parametrize("name", ["toy-nli", "toy-qa"])
def test_show_prints_rows_contexts_and_prompts_of_every_family(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "task", name]) == 0
    shown = capsys.readouterr().out
    assert "contexts: 12 texts from" in shown
    assert ("The film was shot in Lisbon" in shown) == (name == "toy-nli")
    assert ("answer: Bergen" in shown) == (name == "toy-qa")
    assert "[a context]" in shown
    assert ("[an answer]" in shown) == (name == "toy-qa")
    assert ("candidates: rules: " in shown and "of the first 18 test questions" in shown) == (name == "toy-qa")
