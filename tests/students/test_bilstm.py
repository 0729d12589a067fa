"""The LSTM student: the same function as torch's own, and a training that selects on rows it never learns from."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from students import linear
from students.bilstm import Settings, Student
from students.networks import BiLstmClassifier
from students.protocol import Examples, History, Probabilities, Target
from students.words import pad

LABELS = ["first", "second"]
TARGET = Target("text-classification", tuple(LABELS))
TOLERANCE = 1e-5
SMALL = Settings(embedding=8, hidden=8, learning_rate=1e-2, epochs=3)
LENGTHS = [1, 400, 3, 57, 2, 400, 199]


class PackedBiLstm(nn.Module):
    """The network as one writes it with torch's own parts: a bidirectional LSTM over packed rows."""

    def __init__(self, like: BiLstmClassifier) -> None:
        super().__init__()
        embedding, hidden = like.embedding.embedding_dim, like.forwards.hidden_size
        self.embedding = like.embedding
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.output = like.output
        backwards = {f"{name}_reverse": value for name, value in like.backwards.state_dict().items()}
        self.lstm.load_state_dict({**like.forwards.state_dict(), **backwards})

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        _, (states, _) = self.lstm(packed)
        logits: torch.Tensor = self.output(torch.cat([states[0], states[1]], dim=1))
        return logits


def network(seed: int = 1) -> BiLstmClassifier:
    torch.manual_seed(seed)
    return BiLstmClassifier(vocabulary=60, embedding=12, hidden=10, labels=3, dropout=0.5).eval()


def id_rows(lengths: list[int]) -> list[list[int]]:
    stream = np.random.default_rng(5)
    return [stream.integers(1, 60, length).tolist() for length in lengths]


def logits_of(model: nn.Module, rows: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(torch.from_numpy(pad(rows)), torch.tensor([len(row) for row in rows]))
    return result


@pytest.mark.parametrize("lengths", [LENGTHS, [1], [1, 1], [50, 50], [2, 1]])
def test_the_network_is_torchs_bidirectional_lstm_over_packed_rows(lengths: list[int]) -> None:
    ours, rows = network(), id_rows(lengths)
    torch.testing.assert_close(logits_of(ours, rows), logits_of(PackedBiLstm(ours), rows), rtol=0, atol=TOLERANCE)


def test_its_gradients_are_those_of_the_packed_lstm_too() -> None:
    ours, rows = network(), id_rows([1, 40, 7])
    packed = PackedBiLstm(copy.deepcopy(ours))
    ids, lengths, targets = torch.from_numpy(pad(rows)), torch.tensor([1, 40, 7]), torch.tensor([0, 2, 1])
    for model in (ours, packed):
        nn.functional.cross_entropy(model(ids, lengths), targets).backward()  # type: ignore[no-untyped-call]
    for name, value in ours.named_parameters():
        part, _, weight = name.partition(".")
        same = {"forwards": f"lstm.{weight}", "backwards": f"lstm.{weight}_reverse"}.get(part, name)
        torch.testing.assert_close(value.grad, packed.get_parameter(same).grad, rtol=0, atol=TOLERANCE)


def test_a_row_gets_the_same_output_alone_and_padded_among_longer_ones() -> None:
    rows = id_rows(LENGTHS)
    alone = torch.cat([logits_of(network(), [row]) for row in rows])
    torch.testing.assert_close(logits_of(network(), rows), alone, rtol=0, atol=1e-6)


def test_the_embedding_of_the_padding_is_never_read() -> None:
    rows, before, changed = id_rows(LENGTHS), network(), network()
    with torch.no_grad():
        changed.embedding.weight[0] = 1e3
    assert torch.equal(logits_of(before, rows), logits_of(changed, rows))


def order_rows(count: int, seed: int) -> Examples:
    """`alpha` before `beta` is one label, after it the other; words of no meaning between them and around."""
    stream = np.random.default_rng(seed)
    fillers = [f"word{number}" for number in range(10)]
    texts, labels = [], []
    for number in range(count):
        pair = ("alpha", "beta") if number % 2 == 0 else ("beta", "alpha")
        around, between, after = (stream.choice(fillers, size).tolist() for size in stream.integers(2, 5, 3))
        texts.append(" ".join([*around, pair[0], *between, pair[1], *after]))
        labels.append(LABELS[number % 2])
    return Examples(texts, labels)


def marked_rows(count: int) -> Examples:
    """Easy rows, a fifth of them mislabelled, each with a word of its own by which a student can overfit."""
    stream = np.random.default_rng(1)
    labels = [LABELS[(number % 2) ^ int(stream.random() < 0.2)] for number in range(count)]
    return Examples([f"mark{number} sign{number % 2}" for number in range(count)], labels)


def train(examples: Examples, settings: Settings = SMALL, seed: int = 13) -> tuple[Student, History]:
    student = Student(settings, TARGET)
    return student, student.fit(examples, seed, lambda done, total, note: None)


def held_out_rows(student: Student, folder: Path, count: int) -> list[int]:
    """The marked rows whose words the student does not know, as its file tells."""
    student.save(folder)
    (described,) = folder.glob("*.json")
    known = set(json.loads(described.read_text())["words"])
    return [number for number in range(count) if f"mark{number}" not in known]


def right(predicted: Probabilities, examples: Examples) -> float:
    return float(
        np.mean([LABELS[column] == gold for column, gold in zip(predicted.argmax(1), examples.label, strict=True)])
    )


def test_the_defaults_are_the_papers_recipe() -> None:
    assert Settings().model_dump() == {
        "embedding": 100,
        "hidden": 150,
        "dropout": 0.5,
        "vocabulary": 50_000,
        "max_words": 400,
        "learning_rate": 1e-4,
        "batch_size": 32,
        "epochs": 20,
        "patience": 5,
        "gradient_clip": 10.0,
        "held_out": 0.1,
    }


def test_it_learns_what_only_the_order_of_the_words_tells() -> None:
    examples, unseen = order_rows(1000, seed=1), order_rows(300, seed=2)
    student, _ = train(examples, Settings(embedding=16, hidden=16, learning_rate=1e-2, epochs=12, dropout=0.1))
    assert right(student.predict_proba(unseen), unseen) > 0.95
    bag = linear.Student(linear.Settings(ngrams=1), TARGET)
    bag.fit(examples, 13, lambda done, total, note: None)
    assert right(bag.predict_proba(unseen), unseen) < 0.6  # otherwise the task would show nothing


def test_a_seed_fixes_the_weights_and_another_gives_others(tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((13, 13, 21)):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.manual_seed(number)  # what stands in the global generator must not matter
        train(order_rows(100, seed=1), seed=seed)[0].save(folder)
        weights.append((folder / "bilstm.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_training_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    train(order_rows(20, seed=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_student_predicts_exactly_what_it_predicted_before(tmp_path: Path) -> None:
    student, _ = train(order_rows(100, seed=1))
    student.save(tmp_path)
    loaded = Student.load(tmp_path)
    unseen = order_rows(300, seed=2)
    assert loaded.predict_proba(unseen).tobytes() == student.predict_proba(unseen).tobytes()
    assert loaded.parameters() == student.parameters()
    assert loaded.labels == LABELS


def test_a_saved_student_is_safetensors_and_json_for_pickles_run_code(tmp_path: Path) -> None:
    train(order_rows(20, seed=1))[0].save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bilstm.json", "bilstm.safetensors"]
    assert json.loads((tmp_path / "bilstm.json").read_text())["settings"] == SMALL.model_dump()
    assert "embedding.weight" in load_file(tmp_path / "bilstm.safetensors")


def test_the_vocabulary_is_that_of_the_rows_it_trains_on(tmp_path: Path) -> None:
    student, history = train(marked_rows(200))
    assert len(held_out_rows(student, tmp_path, 200)) == history.chosen["held_out_rows"] == 20


def test_what_held_out_rows_say_never_reaches_the_weights(tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"epochs": 1})
    examples = marked_rows(200)
    student, history = train(examples, settings)
    held = held_out_rows(student, tmp_path, 200)
    text, label = list(examples.text), list(examples.label)
    for number in held:
        text[number] = f"another text {number}"
        label[number] = LABELS[1 - LABELS.index(label[number])]
    before = (tmp_path / "bilstm.safetensors").read_bytes()
    changed, changed_history = train(Examples(text, label), settings)
    changed.save(tmp_path)
    assert (tmp_path / "bilstm.safetensors").read_bytes() == before
    assert changed_history.epochs[0]["loss"] == history.epochs[0]["loss"]
    assert changed_history.epochs[0]["held_out_loss"] != history.epochs[0]["held_out_loss"]


def test_the_epoch_with_the_lowest_held_out_loss_is_the_one_kept(tmp_path: Path) -> None:
    examples = marked_rows(200)
    student, history = train(examples, SMALL.model_copy(update={"epochs": 12, "patience": 12, "learning_rate": 2e-2}))
    losses = [epoch["held_out_loss"] for epoch in history.epochs]
    best = min(range(12), key=losses.__getitem__)
    assert 0 < best < 11, "the rows must be such that neither the first nor the last epoch is the best"
    assert history.chosen["epoch"] == best + 1
    held = examples.take(held_out_rows(student, tmp_path, 200))
    predicted = student.predict_proba(held)
    loss = -np.mean([math.log(row[LABELS.index(gold)]) for row, gold in zip(predicted, held.label, strict=True)])
    assert loss == pytest.approx(losses[best], rel=1e-5)
    assert right(predicted, held) == pytest.approx(history.epochs[best]["held_out_accuracy"])


def test_training_ends_after_as_many_epochs_without_a_better_one_as_patience_says() -> None:
    settings = SMALL.model_copy(update={"epochs": 100, "patience": 3, "learning_rate": 2e-2})
    _, history = train(marked_rows(200), settings)
    assert len(history.epochs) == history.chosen["epoch"] + 3 < 100


def test_without_early_stopping_every_epoch_is_reported() -> None:
    reports: list[tuple[float, float, str]] = []
    Student(SMALL, TARGET).fit(order_rows(100, seed=1), 13, lambda *report: reports.append(report))
    assert [done for done, _, _ in reports][-1] == reports[0][1] == 3 * 90
    assert {note for _, _, note in reports} == {"epoch 1", "epoch 2", "epoch 3"}


def test_empty_texts_and_unknown_words_are_predicted_as_one_unknown_word() -> None:
    student, _ = train(Examples([*order_rows(100, seed=1).text, ""], [*order_rows(100, seed=1).label, LABELS[0]]))
    predicted = student.predict_proba(Examples(["", "unheard", "ALPHA beta", "alpha beta"]))
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    np.testing.assert_allclose(predicted[0], predicted[1], atol=1e-6)
    np.testing.assert_allclose(predicted[2], predicted[3], atol=1e-6)
    assert np.abs(predicted[0] - predicted[2]).max() > 1e-4


def test_predictions_stand_in_the_order_of_the_rows_whatever_their_lengths() -> None:
    student, _ = train(order_rows(100, seed=1))
    texts = [" ".join(["alpha beta word1"] * size) for size in (9, 1, 30, 2, 9)]
    together = student.predict_proba(Examples(texts))
    one_by_one = np.concatenate([student.predict_proba(Examples([text])) for text in texts])
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)
    assert student.predict_proba(Examples([])).shape == (0, 2)


def test_words_beyond_max_words_do_not_count() -> None:
    student, _ = train(order_rows(100, seed=1), SMALL.model_copy(update={"max_words": 4}))
    predicted = student.predict_proba(Examples(["alpha word1 beta word2", "alpha word1 beta word2 beta beta alpha"]))
    np.testing.assert_array_equal(predicted[0], predicted[1])


def test_parameters_are_those_of_the_layers() -> None:
    student, history = train(order_rows(100, seed=1))
    words = history.chosen["words"]
    one_direction = 4 * 8 * (8 + 8 + 2)  # four gates: weights on the input and on the state, and two biases
    without = 2 * one_direction + 2 * (2 * 8 + 1)
    assert student.parameters() == {"total": without + 8 * words, "without_embedding": without}


@pytest.mark.parametrize("held_out", [0.01, 0.99])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_some_rows_are_held_out_and_some_are_not_however_few_there_are(count: int, held_out: float) -> None:
    _, history = train(order_rows(count, seed=1), SMALL.model_copy(update={"held_out": held_out}))
    assert 1 <= history.chosen["held_out_rows"] < count


def test_rows_of_a_single_label_are_an_error_for_they_teach_nothing() -> None:
    with pytest.raises(ValueError, match="at least two labels"):
        train(order_rows(1, seed=1))
