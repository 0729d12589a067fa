"""The encoder student, on an embedded causal LM and on a tiny BERT of random weights: all families, all offline."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from harness.generators.locate import ModelPlace, locate_model
from students.encoder import Settings, Student
from students.protocol import Answer, Examples, Family, History, Target
from students.tokens import token_rows, windows
from tests.students.tiny_bert import save_bert

LABELS = ("first", "second")
WORDS = [*"abcdefghij", "alpha", "beta", "who", "what", "x1", "x2", "x3", "x4", "x5", "."]
FAMILIES: tuple[Family, ...] = ("text-classification", "text-pair-classification", "extractive-qa")
QUICK = Settings(learning_rate=3e-3, batch_size=16, epochs=8, held_out=0.1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelPlace:
    """A BERT of two layers, random weights and one WordPiece token for each of WORDS."""
    folder = tmp_path_factory.mktemp("bert")
    save_bert(folder, WORDS)
    return locate_model(str(folder), None, None)


@pytest.fixture(scope="session")
def gpt() -> ModelPlace:
    return locate_model("embedded:review-gpt-06m", None, None)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> ModelPlace:
    found: ModelPlace = request.getfixturevalue(request.param)
    return found


both = pytest.mark.parametrize("place", ["bert", "gpt"], indirect=True)


def target_of(family: Family, place: ModelPlace) -> Target:
    return Target(family, () if family == "extractive-qa" else LABELS, place)


def fillers(stream: np.random.Generator, low: int, high: int) -> list[str]:
    return [str(word) for word in stream.choice(list("abcdefghij"), int(stream.integers(low, high)))]


def toy(family: Family, count: int, seed: int = 1) -> Examples:
    """Which of two words a text has; which the second text has, either being in the first; the word after alpha."""
    stream = np.random.default_rng(seed)
    texts, pairs, labels, answers = list[str](), list[str](), list[str](), list[tuple[Answer, ...]]()
    for number in range(count):
        asked = ("alpha", "beta")[number % 2]
        before, after = fillers(stream, 1, 6), fillers(stream, 2, 6)
        if family == "text-classification":
            texts.append(" ".join([*before, asked, *after]))
            labels.append(LABELS[number % 2])
        elif family == "text-pair-classification":
            texts.append(" ".join([*before, ("alpha", "beta")[stream.integers(2)]]))
            pairs.append(" ".join([*after, asked]))
            labels.append(LABELS[number % 2])
        else:
            answer = f"x{stream.integers(1, 6)}"
            texts.append(" ".join([*before, "alpha", answer, *after]))
            pairs.append("who ?")
            answers.append((Answer(answer, texts[-1].index(answer)),))
    if family == "extractive-qa":
        return Examples(id=[f"q{i}" for i in range(count)], context=texts, question=pairs, answers=answers)
    return Examples(text=texts, text_pair=pairs, label=labels)


def silent(done: float, total: float, note: str) -> None:
    assert 0 < done <= total


def train(
    family: Family, place: ModelPlace, count: int = 160, settings: Settings = QUICK, seed: int = 13
) -> tuple[Student, History]:
    student = Student(settings, target_of(family, place))
    return student, student.fit(toy(family, count), seed, silent)


def predictions(student: Student, examples: Examples) -> Any:
    if examples.question:
        return student.predict_answers(examples.without_gold())
    return student.predict_proba(examples.without_gold())


def right(student: Student, examples: Examples) -> float:
    found = predictions(student, examples)
    if examples.question:
        return float(np.mean([text == gold[0].text for text, gold in zip(found, examples.answers, strict=True)]))
    return float(np.mean([LABELS[i] == gold for i, gold in zip(found.argmax(1), examples.label, strict=True)]))


def test_the_defaults_are_the_papers_recipe() -> None:
    assert Settings().model_dump() == {
        "model": "distilbert/distilbert-base-uncased",
        "revision": "12040accade4e8a0f71eabdb258fecc2e7e948be",
        "batch_size": 32,
        "dtype": "auto",
        "epochs": 3,
        "patience": 5,
        "gradient_clip": 1.0,
        "pooling": "head",
        "held_out": 0.1,
        "learning_rate": 2e-5,
        "weight_decay": 0.01,
        "warmup": 0.0,
        "max_tokens": 128,
        "window": 384,
        "overlap": 128,
    }
    assert Settings(model="org/other").revision is None, "a commit of one model is none of another"


@both
@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_keeps_its_best_epoch_and_is_the_same_after_a_round_trip(
    family: Family, place: ModelPlace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place.source, tmp_path / "model")
    student, history = train(family, locate_model(str(tmp_path / "model"), None, None))
    test = toy(family, 60, seed=2)
    assert right(student, test) > 0.95
    ranked = [(epoch["held_out_accuracy"], -epoch["held_out_loss"]) for epoch in history.epochs]
    chosen = {name: history.chosen[name] for name in ("epoch", "held_out_rows")}
    assert chosen == {"epoch": 1 + ranked.index(max(ranked)), "held_out_rows": 16}
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "saved").mkdir()
    student.save(tmp_path / "saved")
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "saved").glob("*.json"))
    loaded = Student.load(tmp_path / "saved")
    assert np.array_equal(predictions(loaded, test), predictions(student, test))
    assert loaded.parameters() == student.parameters()
    assert capfd.readouterr() == ("", "")


@both
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_student_and_another_one_another(family: Family, place: ModelPlace) -> None:
    short = QUICK.model_copy(update={"epochs": 1})
    drawn = torch.random.get_rng_state()
    one, same, other = (train(family, place, 40, short, seed)[0]._network.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@both
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_gets_the_same_scores_alone_and_among_longer_ones(family: Family, place: ModelPlace) -> None:
    student, _ = train(family, place, 40, QUICK.model_copy(update={"epochs": 1}))
    long = toy(family, 12)
    rows = student._windows(long).rows if family == "extractive-qa" else student._token_rows(long)
    together, alone = list[torch.Tensor](), list[torch.Tensor]()
    with torch.inference_mode():
        for row, scores in enumerate(student._scores(rows)):
            together.append(scores[:, : len(rows.ids[row])])
            alone.append(student._scores(rows.take([row]))[0])
            if family == "extractive-qa":
                assert torch.all(scores[:, len(rows.ids[row]) :] == -torch.inf)
    for mixed, single in zip(together, alone, strict=True):
        torch.testing.assert_close(mixed, single, rtol=0, atol=1e-5)


@both
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_one_that_transformers_computes(family: Family, place: ModelPlace) -> None:
    from students.encoder import _cross_entropy

    student, _ = train(family, place, 40, QUICK.model_copy(update={"epochs": 1}))
    encode = student._encode_spans if family == "extractive-qa" else student._encode_labelled
    rows, targets = encode(toy(family, 40), range(40))
    length = rows.lengths()[0]
    same = [row for row, found in enumerate(rows.lengths()) if found == length]
    assert len(same) > 1, "without padding, which transformers counts among the places of an answer"
    batch = {name: torch.from_numpy(array) for name, array in rows.take(same).batch(0).items()}
    columns = ("start_positions", "end_positions") if family == "extractive-qa" else ("labels",)
    batch |= {name: targets[same, column] for column, name in enumerate(columns)}
    with torch.inference_mode():
        torch.testing.assert_close(
            _cross_entropy(student._scores(rows.take(same)), targets[same]), student._network(**batch).loss
        )


@both
@pytest.mark.parametrize("family", FAMILIES[:2])
def test_with_mean_pooling_the_head_is_linear_in_the_mean_of_the_tokens_states(
    family: Family, place: ModelPlace, tmp_path: Path
) -> None:
    student, _ = train(family, place, settings=QUICK.model_copy(update={"pooling": "mean"}))
    test = toy(family, 40, seed=2)
    assert right(student, test) > 0.9
    student.save(tmp_path)
    loaded = Student.load(tmp_path)
    assert np.array_equal(predictions(loaded, test), predictions(student, test))
    assert loaded.parameters() == student.parameters()
    # One row by itself, without padding, by the definition.
    rows = student._token_rows(test.take([3]).without_gold())
    inputs = {name: torch.from_numpy(array) for name, array in rows.batch(0).items()}
    with torch.inference_mode():
        states = student._network.encoder(**inputs).last_hidden_state[0].double().mean(0)
        head = student._network.classifier
        by_hand = (head.weight.double() @ states + head.bias.double()).softmax(0).numpy()
    assert predictions(student, test)[3] == pytest.approx(by_hand, abs=1e-5)


def test_parameters_without_the_tables_are_what_is_left_of_a_model_of_no_vocabulary(bert: ModelPlace) -> None:
    student, _ = train("text-classification", bert, 20, QUICK.model_copy(update={"epochs": 1}))
    tables = (5 + len(WORDS) + 64 + 2) * 32
    counted = student.parameters()
    assert counted["total"] - counted["without_embedding"] == tables
    assert counted["total"] == sum(value.numel() for value in student._network.state_dict().values())


def test_steps_shrink_linearly_to_none_after_the_warm_up() -> None:
    from students.encoder import _optimizer

    network = torch.nn.Linear(2, 2)
    settings = Settings(learning_rate=0.5, warmup=0.2)
    optimizer, schedule = _optimizer(network, settings, steps=10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates, [0, 0.25, *np.linspace(0.5, 0, 9)[:-1]])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert [[value.ndim for value in group["params"]] for group in optimizer.param_groups] == [[2], [1]]


@both
def test_a_pair_is_told_apart_and_its_longer_text_cut(place: ModelPlace) -> None:
    student, _ = train("text-pair-classification", place, 20, QUICK.model_copy(update={"epochs": 1}))
    tokenizer = student._tokenizer
    rows = token_rows(tokenizer, [["a b", " ".join("a" * 40)], ["c d", "b c"]], 12)
    assert rows.lengths()[1] == 12
    assert tokenizer.decode(rows.ids[1], skip_special_tokens=True).replace(" ", "").endswith("bc")
    other = token_rows(tokenizer, [["a b c"], ["d"]], 12)
    assert other.ids[0].tolist() != rows.ids[0].tolist(), "where the first text ends changes what the model reads"
    if tokenizer.cls_token is not None:
        assert rows.types[0].tolist() == [0, 0, 0, 0, 1, 1, 1]


LONG = " ".join(f"{'abcdefghij'[i % 10]}{'  ' if i % 7 == 0 else ''}" for i in range(200)) + " alpha x3 ."


@both
def test_windows_cover_a_context_and_overlap(place: ModelPlace) -> None:
    tokenizer = tokenizer_of(place)
    found = windows(tokenizer, ["who ?", "what"], [LONG, "a  alpha\n x1 "], 48, 16)
    assert found.question == [0] * (len(found.question) - 1) + [1]
    assert max(found.rows.lengths()) == 48
    covered = set[int]()
    for window in range(len(found.question) - 1):
        for begin, end in zip(found.start[window], found.end[window], strict=True):
            covered.update(range(begin, end))
            assert begin >= end or LONG[begin:end] == LONG[begin:end].strip() != ""
    assert covered == {index for index, character in enumerate(LONG) if not character.isspace()}
    for one, next_one in pairwise(range(len(found.question) - 1)):
        assert found.start[one][-16:].tolist() == found.start[next_one][:16].tolist()


@both
def test_the_span_of_an_answer_is_what_brute_force_finds(place: ModelPlace) -> None:
    context = LONG[-160:]
    found = windows(tokenizer_of(place), ["who ?"], [context], 48, 16)
    assert len(found.question) > 1
    for window in range(len(found.question)):
        first, starts, ends = found.first[window], found.start[window], found.end[window]
        for begin in range(0, len(context), 3):
            for end in range(begin + 1, min(begin + 12, len(context))):
                answer = Answer(context[begin:end], begin)
                if not answer.text.strip():
                    continue
                letters = [i for i in range(begin, end) if not context[i].isspace()]
                held = [t for t in range(len(starts)) if any(starts[t] <= i < ends[t] for i in letters)]
                seen = {i for t in range(len(starts)) for i in range(starts[t], ends[t])}
                expected = (first + held[0], first + held[-1]) if set(letters) <= seen else None
                assert found.span_of(answer, window) == expected
                if expected:
                    assert answer.text.strip() in context[found.characters(window, *expected)]


def tokenizer_of(place: ModelPlace) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(place.source, local_files_only=True)
    assert tokenizer.is_fast
    return tokenizer


@both
def test_a_window_without_the_answer_points_at_cls_or_is_left_out(place: ModelPlace) -> None:
    student, _ = train("extractive-qa", place, 20, QUICK.model_copy(update={"epochs": 1, "window": 32, "overlap": 8}))
    answer = Answer("x3", LONG.index("x3"))
    examples = Examples(context=[LONG], question=["who ?"], answers=[(answer,)])
    rows, targets = student._encode_spans(examples, [0])
    tokens = [student._tokenizer.decode(ids[a : b + 1]).strip() for ids, (a, b) in zip(rows.ids, targets, strict=True)]
    has_answer = [found == "x3" for found in tokens]
    assert sum(has_answer) == sum("x3" in student._tokenizer.decode(ids) for ids in student._windows(examples).rows.ids)
    if student._tokenizer.cls_token_id is None:
        assert all(has_answer)
    else:
        assert has_answer.count(False) > 5
        assert all(found in ("x3", "[CLS]") for found in tokens)


def test_an_answer_is_found_near_the_end_of_a_context_of_many_windows(bert: ModelPlace) -> None:
    student, _ = train("extractive-qa", bert, settings=QUICK.model_copy(update={"window": 32, "overlap": 8}))
    contexts = [LONG, LONG.replace("x3", "x5")]
    assert len(student._windows(Examples(context=contexts, question=["who ?"] * 2)).question) > 10
    assert student.predict_answers(Examples(context=contexts, question=["who ?"] * 2)) == ["x3", "x5"]


@both
def test_every_question_gets_a_part_of_its_context_whatever_the_others_are(place: ModelPlace) -> None:
    student, _ = train("extractive-qa", place, 20, QUICK.model_copy(update={"epochs": 1}))
    questions = ["who ?", "", " ".join(["who"] * 200), "what"]
    contexts = ["  alpha  x1 \n", LONG, LONG, "?"]
    answers = student.predict_answers(Examples(context=contexts, question=questions))
    for answer, context in zip(answers, contexts, strict=True):
        assert answer and answer == answer.strip() and answer in context
    assert answers == [
        student.predict_answers(Examples(context=[c], question=[q]))[0]
        for c, q in zip(contexts, questions, strict=True)
    ]
    assert student.predict_answers(Examples(context=[""], question=["who ?"])) == [""]


@both
def test_empty_texts_are_rows_like_others(place: ModelPlace) -> None:
    examples = replace(toy("text-classification", 20), text=["", " "] * 10)
    student = Student(QUICK.model_copy(update={"epochs": 1}), target_of("text-classification", place))
    student.fit(examples, 1, silent)
    np.testing.assert_allclose(student.predict_proba(examples).sum(1), 1)


def test_what_cannot_be_learnt_is_refused(bert: ModelPlace) -> None:
    labelled = Student(QUICK, target_of("text-classification", bert))
    with pytest.raises(ValueError, match="at least two labels, found only \\['first'\\]"):
        labelled.fit(Examples(["a", "b"], ["first", "first"]), 1, silent)
    asking = Student(QUICK, target_of("extractive-qa", bert))
    good = toy("extractive-qa", 4)
    wrong = replace(good, answers=[*good.answers[:2], (Answer("x1", 0),), good.answers[3]])
    with pytest.raises(ValueError, match=r"row 2 \(id 'q2'\)"):
        asking.fit(wrong, 1, silent)
    with pytest.raises(ValueError, match="add rows or raise 'window'"):
        asking.fit(good.take([0]), 1, silent)


def test_files_that_are_no_encoder_are_refused(bert: ModelPlace, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bert.source, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    for folder, message in ((broken, "lacks 16 weights of its encoder"), (tmp_path, "cannot be loaded as an encoder")):
        student = Student(QUICK, target_of("text-classification", ModelPlace(str(folder), None, "", None)))
        with pytest.raises(ValueError, match=message):
            student.fit(toy("text-classification", 20), 1, silent)
