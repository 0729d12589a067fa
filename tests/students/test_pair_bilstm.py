"""The LSTM for pairs: the same function as torch's own layers, and a relation that neither text tells alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from students.networks import PairBiLstmClassifier
from students.pair_bilstm import Settings, Student
from students.protocol import Examples, History, Probabilities, Target
from students.words import pad

LABELS = ["same", "other"]
TARGET = Target("text-pair-classification", tuple(LABELS))
SMALL = Settings(embedding=8, hidden=8, learning_rate=1e-2, epochs=3)
LENGTHS = [[1, 40], [40, 1], [3, 3], [57, 2], [1, 1]]


def network() -> PairBiLstmClassifier:
    torch.manual_seed(1)
    return PairBiLstmClassifier(vocabulary=60, embedding=12, hidden=10, layers=2, labels=3, dropout=0.5).eval()


def id_rows(lengths: list[list[int]]) -> list[list[list[int]]]:
    stream = np.random.default_rng(5)
    return [[stream.integers(1, 60, length).tolist() for length in row] for row in lengths]


def logits_of(model: nn.Module, rows: list[list[list[int]]]) -> torch.Tensor:
    texts = [row[column] for column in range(2) for row in rows]
    with torch.inference_mode():
        result: torch.Tensor = model(torch.from_numpy(pad(texts)), torch.tensor([len(text) for text in texts]))
    return result


def plain_logits(ours: PairBiLstmClassifier, row: list[list[int]]) -> torch.Tensor:
    """One row with torch's bidirectional LSTM of two layers over packed rows, and the formula of the features."""
    lstm = nn.LSTM(12, 10, num_layers=2, batch_first=True, bidirectional=True)
    lstm.load_state_dict(
        {
            name.replace("_l0", f"_l{layer}") + suffix: value
            for suffix, direction in (("", ours.lstm.forwards), ("_reverse", ours.lstm.backwards))
            for layer, part in enumerate(direction)
            for name, value in part.state_dict().items()
        }
    )
    with torch.inference_mode():
        lengths = torch.tensor([len(text) for text in row])
        embedded = ours.embedding(torch.from_numpy(pad(row)))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True)
        a, b = (states[text, :length].sum(0) / length for text, length in enumerate(lengths))
        hidden, output = (part for part in ours.mlp if isinstance(part, nn.Linear))
        result: torch.Tensor = output(hidden(torch.cat([a, b, abs(a - b), a * b])).relu())
    return result


def test_each_row_gets_what_torchs_lstm_and_the_formula_give_it_alone() -> None:
    ours, rows = network(), id_rows(LENGTHS)
    expected = torch.stack([plain_logits(ours, row) for row in rows])
    torch.testing.assert_close(logits_of(ours, rows), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.cat([logits_of(ours, [row]) for row in rows]), expected, rtol=0, atol=1e-6)


def test_the_embedding_of_the_padding_is_never_read() -> None:
    rows, before, changed = id_rows(LENGTHS), network(), network()
    with torch.no_grad():
        changed.embedding.weight[0] = 1e3
    assert torch.equal(logits_of(before, rows), logits_of(changed, rows))


def relation_rows(count: int, seed: int) -> Examples:
    """Both texts hold one of four keys among fillers; the label says whether it is the same one."""
    stream = np.random.default_rng(seed)
    texts: list[list[str]] = [[], []]
    for number in range(count):
        key, shift = int(stream.integers(4)), int(stream.integers(1, 4))
        for column, held in enumerate((key, key if number % 2 == 0 else (key + shift) % 4)):
            words = [f"word{filler}" for filler in stream.integers(0, 10, int(stream.integers(1, 5)))]
            words.insert(int(stream.integers(len(words) + 1)), f"key{held}")
            texts[column].append(" ".join(words))
    return Examples(text=texts[0], text_pair=texts[1], label=[LABELS[number % 2] for number in range(count)])


def train(examples: Examples, settings: Settings = SMALL, seed: int = 13) -> tuple[Student, History]:
    student = Student(settings, TARGET)
    return student, student.fit(examples, seed, lambda done, total, note: None)


def right(predicted: Probabilities, labels: list[str]) -> float:
    return float(np.mean([LABELS[column] == label for column, label in zip(predicted.argmax(1), labels, strict=True)]))


def test_it_learns_what_only_the_two_texts_together_tell() -> None:
    settings = Settings(embedding=16, hidden=16, learning_rate=2e-2, epochs=8, dropout=0.1)
    student, _ = train(relation_rows(600, seed=1), settings)
    unseen = relation_rows(300, seed=2)
    assert right(student.predict_proba(unseen.without_gold()), list(unseen.label)) > 0.95
    shuffled = Examples(text=unseen.text, text_pair=[*unseen.text_pair[1:], unseen.text_pair[0]])
    same = [
        LABELS[0] if {w for w in a.split() if "key" in w} == {w for w in b.split() if "key" in w} else LABELS[1]
        for a, b in zip(shuffled.text, shuffled.text_pair, strict=True)
    ]
    assert right(student.predict_proba(shuffled), same) > 0.95


def test_the_same_seed_gives_the_same_student_and_saving_changes_nothing(tmp_path: Path) -> None:
    examples, unseen = relation_rows(100, seed=1), relation_rows(50, seed=2).without_gold()
    student, _ = train(examples)
    torch.manual_seed(5)
    again, _ = train(examples)
    other, _ = train(examples, seed=21)
    student.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair_bilstm.json", "pair_bilstm.safetensors"]
    loaded = Student.load(tmp_path)
    predicted = student.predict_proba(unseen)
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    assert predicted.tobytes() == again.predict_proba(unseen).tobytes() == loaded.predict_proba(unseen).tobytes()
    assert np.abs(predicted - other.predict_proba(unseen)).max() > 1e-4
    assert (loaded.labels, loaded.settings, loaded.parameters()) == (LABELS, SMALL, student.parameters())


def test_words_of_both_texts_are_known_and_either_may_be_empty(tmp_path: Path) -> None:
    student, history = train(Examples(["left"] * 4, ["same", "other"] * 2, ["right"] * 4))
    student.save(tmp_path)
    assert json.loads((tmp_path / "pair_bilstm.json").read_text())["words"] == ["left", "right"]
    assert history.chosen["held_out_rows"] == 1
    assert student.predict_proba(Examples(text=["", "left", ""], text_pair=["right", "", ""])).shape == (3, 2)
    assert student.predict_proba(Examples()).shape == (0, 2)


def test_parameters_are_those_of_the_layers() -> None:
    student, history = train(relation_rows(20, seed=1))
    layers = [4 * 8 * (inputs + 8 + 2) for inputs in (8, 16)]  # four gates: weights on input and state, two biases
    without = 2 * sum(layers) + (8 * 8 * 8 + 8) + (2 * 8 + 2)
    total = without + 8 * history.chosen["words"]
    assert student.parameters() == {"total": total, "without_embedding": without}


def test_the_defaults_are_the_papers_recipe() -> None:
    found = Settings().model_dump()
    expected = {"embedding": 100, "hidden": 300, "layers": 2, "dropout": 0.5, "batch_size": 32}
    assert {name: found[name] for name in expected} == expected


def test_rows_of_a_single_label_are_an_error_for_they_teach_nothing() -> None:
    with pytest.raises(ValueError, match="at least two labels"):
        train(Examples(["a"] * 3, ["same"] * 3, ["b"] * 3))
