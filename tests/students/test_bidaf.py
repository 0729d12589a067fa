"""BiDAF: its parts against plain computations, answers as parts of their contexts, a problem the question decides."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from students.bidaf import Settings, Student, _average
from students.networks import AttentionFlow, BiDaf, Highway
from students.protocol import Answer, Examples, History, Target

TARGET = Target("extractive-qa")
SMALL = Settings(
    embedding=8, filters=8, filter_width=3, hidden=8, batch_size=10, epochs=2, average_decay=0.9, max_words=40
)


def network() -> BiDaf:
    torch.manual_seed(1)
    return BiDaf(vocabulary=40, characters=20, embedding=6, filters=5, width=3, hidden=4, dropout=0.5).eval()


def test_attention_is_the_papers_formulas_computed_row_by_row() -> None:
    torch.manual_seed(2)
    layer = AttentionFlow(6)
    context, question = torch.randn(3, 7, 6), torch.randn(3, 4, 6)
    lengths, asked = [7, 3, 1], [4, 1, 2]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    question_mask = torch.arange(4) < torch.tensor(asked)[:, None]
    with torch.inference_mode():
        found = layer(context, question, mask, question_mask).numpy()
    weight = np.concatenate(
        [value.detach().numpy().ravel() for value in (layer.context.weight, layer.question.weight, layer.product)]
    )
    for row, (words, questions) in enumerate(zip(lengths, asked, strict=True)):
        c, q = context[row, :words].double().numpy(), question[row, :questions].double().numpy()
        similarity = np.array([[weight @ np.concatenate([h, u, h * u]) for u in q] for h in c])
        attended = np.exp(similarity) / np.exp(similarity).sum(axis=1, keepdims=True)
        closest = np.exp(similarity.max(axis=1))
        summary = (closest / closest.sum()) @ c
        expected = [np.concatenate([h, a @ q, h * (a @ q), h * summary]) for h, a in zip(c, attended, strict=True)]
        np.testing.assert_allclose(found[row, :words], expected, rtol=0, atol=1e-5)


def test_the_letters_of_a_word_go_through_the_filters_as_if_it_stood_alone() -> None:
    ours = network()
    spellings = [[3, 4, 5, 6, 7, 8, 9], [5], [7, 7], []]
    assert ours.filters.bias is not None
    with torch.no_grad():
        ours.filters.bias.copy_(torch.tensor([2.0, -2.0, 0.0, 1.0, -1.0]))  # where padding would show
        characters = torch.zeros((4, 9), dtype=torch.long)
        for word, letters in enumerate(spellings):
            characters[word, : len(letters)] = torch.tensor(letters, dtype=torch.long)
        ours.highway = nn.Sequential()
        found = ours.distinct(torch.tensor([2, 3, 4, 1]), characters)[:, 6:].numpy()
    bias = ours.filters.bias.detach().numpy()
    table, weight = ours.characters.weight.detach().numpy(), ours.filters.weight.detach().numpy()
    for word, letters in enumerate(spellings):
        padded = np.concatenate([np.zeros((1, 8)), table[letters].reshape(-1, 8), np.zeros((1, 8))])
        windows = [padded[place : place + 3].T for place in range(len(letters))]
        values = [[(one * window).sum() for one in weight] + bias for window in windows]
        expected = np.maximum(values, 0).max(axis=0) if letters else np.zeros(5)
        np.testing.assert_allclose(found[word], expected, rtol=0, atol=1e-6)


def test_a_highway_carries_its_input_where_the_gate_is_shut() -> None:
    torch.manual_seed(2)
    layer = Highway(11)
    states = torch.randn(4, 11)
    changed, gate = (states @ layer.both.weight.T + layer.both.bias).chunk(2, dim=1)
    expected = gate.sigmoid() * changed.relu() + (1 - gate.sigmoid()) * states
    torch.testing.assert_close(layer(states), expected)


def test_a_row_gets_the_same_scores_alone_and_padded_among_longer_ones() -> None:
    ours, stream = network(), np.random.default_rng(3)
    words, characters = torch.arange(30) + 2, torch.from_numpy(stream.integers(0, 20, (30, 6)))
    contexts = [stream.integers(0, 30, length) for length in (9, 1, 30, 4)]
    questions = [stream.integers(0, 30, length) for length in (2, 6, 1, 3)]

    def padded(rows: list[np.ndarray], filler: int) -> torch.Tensor:
        result = np.full((len(rows), max(map(len, rows))), filler)
        for index, row in enumerate(rows):
            result[index, : len(row)] = row
        return torch.from_numpy(result)

    def scores(rows: list[int], filler: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        context, question = [contexts[row] for row in rows], [questions[row] for row in rows]
        lengths = [torch.tensor([len(text) for text in texts]) for texts in (context, question)]
        with torch.inference_mode():
            result: tuple[torch.Tensor, torch.Tensor] = ours(
                words, characters, padded(context, filler), lengths[0], padded(question, filler), lengths[1]
            )
        return result

    together, other_filler = scores([0, 1, 2, 3]), scores([0, 1, 2, 3], filler=7)
    for row in range(4):
        for half, alone in enumerate(scores([row])):
            length = len(contexts[row])
            torch.testing.assert_close(together[half][row, :length], alone[0], rtol=0, atol=1e-6)
            assert torch.isneginf(together[half][row, length:]).all()
    assert all(map(torch.equal, together, other_filler))


def box_rows(count: int, seed: int, fillers: int = 2) -> Examples:
    """`red w3 . blue w1 w1 .`: two spans, and only the question's colour says which of them is asked for."""
    stream = np.random.default_rng(seed)
    contexts, questions, answers = [], [], []
    for _ in range(count):
        colours = stream.permutation(["red", "blue"]).tolist()
        spans = [" ".join([f"w{stream.integers(6)}"] * int(stream.integers(1, 3))) for _ in colours]
        before = " ".join(["so"] * int(stream.integers(0, fillers + 1)))
        context = before + "".join(f" {colour} {span} ." for colour, span in zip(colours, spans, strict=True))
        asked = int(stream.integers(2))
        contexts.append(context)
        questions.append(f"what is {colours[asked]}?")
        start = context.index(f"{colours[asked]} ") + len(colours[asked]) + 1
        answers.append((Answer(spans[asked], start),))
    return Examples(id=[str(row) for row in range(count)], context=contexts, question=questions, answers=answers)


def train(examples: Examples, settings: Settings = SMALL, seed: int = 13) -> tuple[Student, History]:
    student = Student(settings, TARGET)
    return student, student.fit(examples, seed, lambda done, total, note: None)


@pytest.fixture(scope="module")
def learnt() -> tuple[Student, History]:
    changed = {"epochs": 10, "hidden": 12, "embedding": 12, "dropout": 0.0, "learning_rate": 1.0}
    return train(box_rows(300, seed=1), SMALL.model_copy(update=changed))


def test_it_learns_which_of_two_spans_the_question_asks_for(learnt: tuple[Student, History]) -> None:
    student, history = learnt
    unseen = box_rows(100, seed=2)
    found = student.predict_answers(unseen.without_gold())
    assert np.mean([one == answers[0].text for one, answers in zip(found, unseen.answers, strict=True)]) > 0.9
    best = history.epochs[history.chosen["epoch"] - 1]
    assert best["held_out_f1"] >= best["held_out_exact"] > 0.9
    assert best["held_out_loss"] == min(epoch["held_out_loss"] for epoch in history.epochs)


def test_the_same_seed_gives_the_same_student_and_saving_changes_nothing(tmp_path: Path) -> None:
    examples, unseen = box_rows(60, seed=1), box_rows(30, seed=2).without_gold()
    folders = [tmp_path / name for name in ("first", "again", "other")]
    students = []
    for number, (folder, seed) in enumerate(zip(folders, (13, 13, 21), strict=True)):
        folder.mkdir()
        torch.manual_seed(number)
        students.append(train(examples, seed=seed)[0])
        students[-1].save(folder)
    first, again, other = ((folder / "bidaf.safetensors").read_bytes() for folder in folders)
    assert first == again != other
    assert sorted(path.name for path in folders[0].iterdir()) == ["bidaf.json", "bidaf.safetensors"]
    loaded = Student.load(folders[0])
    assert loaded.predict_answers(unseen) == students[0].predict_answers(unseen)
    assert (loaded.settings, loaded.parameters()) == (SMALL, students[0].parameters())
    loaded.save(folders[2])
    assert (folders[2] / "bidaf.safetensors").read_bytes() == first


def test_answers_do_not_depend_on_the_rows_beside_them_and_stand_in_their_order(
    learnt: tuple[Student, History],
) -> None:
    student, rows = learnt[0], box_rows(20, seed=2, fillers=20).without_gold()
    alone = [student.predict_answers(rows.take([row]))[0] for row in range(len(rows))]
    assert student.predict_answers(rows) == alone
    assert len(set(alone)) > 5


def test_answers_are_parts_of_their_contexts_whatever_the_characters() -> None:
    student, _ = train(box_rows(60, seed=1))
    contexts = ["İstanbul’da 3.5–4 m² (çok!)  büyük…", "  \n«naïve» 東京 🙂🙂\t", "x", "", " \n", "red " * 100]
    found = student.predict_answers(Examples(context=contexts, question=["what is red?", "", "?", "x", "y", "z"]))
    assert all(answer in context for answer, context in zip(found, contexts, strict=True))
    assert found[2:5] == ["x", "", ""]
    assert all(answer == answer.strip() != "" for answer in found[:3])
    assert student.predict_answers(Examples()) == []


class FixedScores:
    """Stands for the network: prefers as first and as last word those whose letters are given."""

    def __init__(self, student: Student, first: str, last: str) -> None:
        self.ids = [student._words.ids()[word] for word in (first, last)]
        self.sizes: list[int] = []

    def eval(self) -> None: ...

    def __call__(
        self, words: torch.Tensor, characters: torch.Tensor, context: torch.Tensor, *others: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        self.sizes.append(context.shape[1])
        inside = torch.arange(context.shape[1]) < others[0][:, None]
        return tuple((words[context] == one).float().masked_fill(~inside, -torch.inf) for one in self.ids)


@pytest.mark.parametrize("place", [0, 39, 40, 41, 60, 79, 100, 117])
def test_an_answer_far_into_a_long_context_is_found_by_a_window(place: int) -> None:
    student, _ = train(box_rows(60, seed=1))
    fixed = FixedScores(student, "red", "blue")
    student._network = fixed  # type: ignore[assignment]
    words = ["so"] * 120
    words[place : place + 3] = ["red", "-", "Blue"]
    assert student.predict_answers(Examples(context=["  ".join(words)], question=["?"])) == ["red  -  Blue"]
    assert max(fixed.sizes) == 40


def test_rows_whose_answer_lies_beyond_the_words_that_are_read_are_left_out_and_counted() -> None:
    rows = box_rows(20, seed=1)
    far = Answer("w1", len("so " * 40 + "red "))
    far_rows = Examples(
        id=[*rows.id, "far"],
        context=[*rows.context, "so " * 40 + "red w1"],
        question=[*rows.question, "what is red?"],
        answers=[*rows.answers, (far,)],
    )
    _, history = train(far_rows)
    assert history.chosen["dropped_rows"] == 1
    assert history.chosen["held_out_rows"] == 2
    with pytest.raises(ValueError, match="first 1 words"):
        train(rows, SMALL.model_copy(update={"max_words": 1}))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((Answer("w1", 3),), r"row 1 \(id 'q1'\).*'w1' at character 3"),
        ((Answer("red", 0), Answer("w1", -2)), "row 1.*character -2"),
        ((Answer(" ", 3),), "row 1.*at least one word"),
        ((), "row 1.*expected an answer"),
    ],
)
def test_an_answer_that_is_not_in_its_context_is_an_error_that_names_the_row(
    answers: tuple[Answer, ...], message: str
) -> None:
    rows = Examples(
        id=["q0", "q1"],
        context=["red w1", "red w1"],
        question=["what?", "what?"],
        answers=[(Answer("w1", 4),), answers],
    )
    with pytest.raises(ValueError, match=message):
        train(rows)


def test_the_average_of_the_weights_looks_back_less_far_in_the_beginning() -> None:
    update, average, expected = _average(0.75), [torch.zeros(2)], 0.0
    for done in range(1, 60):
        update(average, [torch.full((2,), float(done))], torch.tensor(done))
        decay = min(0.75, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * done
    np.testing.assert_allclose(average[0].numpy(), expected, rtol=1e-5)


def test_it_is_the_average_that_is_kept(tmp_path: Path) -> None:
    examples, weights = box_rows(60, seed=1), []
    for decay in (0.0, 0.9):  # 0: the last weights themselves
        student, _ = train(examples, SMALL.model_copy(update={"average_decay": decay, "epochs": 1}))
        assert student._network is not None
        weights.append(student._network.end.weight.detach().clone())
    assert not torch.allclose(weights[0], weights[1])


def test_words_are_lower_cased_and_letters_are_not(tmp_path: Path) -> None:
    rows = Examples(context=["Red w1"] * 4, question=["What"] * 4, answers=[(Answer("w1", 4),)] * 4)
    train(rows)[0].save(tmp_path)
    described = json.loads((tmp_path / "bidaf.json").read_text())
    assert set(described["words"]) == {"red", "w1", "what"}
    assert set(described["characters"]) == set("Redw1What")


def test_parameters_are_those_of_the_layers() -> None:
    student, history = train(box_rows(20, seed=1))
    lstm = {inputs: 2 * 4 * 8 * (inputs + 8 + 2) for inputs in (16, 64)}
    without = (
        8 * history.chosen["characters"]
        + (8 * 8 * 3 + 8)
        + 2 * (16 * 32 + 32)
        + 3 * 16
        + 3 * lstm[16]
        + lstm[64]
        + 2 * (80 + 1)
    )
    total = without + 8 * history.chosen["words"]
    assert student.parameters() == {"total": total, "without_embedding": without}
