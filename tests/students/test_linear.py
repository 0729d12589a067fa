"""The linear student against the scikit-learn pipeline it stands for, and what it leaves on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from students.linear import Settings, Student
from students.protocol import Examples, Target

LABELS = ["negative", "neutral", "positive"]
TOLERANCE = 1e-9


def rows(labels: list[str], count: int = 120, seed: int = 3) -> Examples:
    """Rows of random words, of which a label prefers some. The first row's label is the last of `labels`."""
    stream = np.random.default_rng(seed)
    words = np.array([f"word{number}" for number in range(40)])
    texts, names = [], []
    for index in range(count):
        label = labels[-1 - index % len(labels)]
        weight = np.ones(40)
        weight[labels.index(label) * 5 :][:5] = 4
        texts.append(" ".join(stream.choice(words, 12, p=weight / weight.sum())))
        names.append(label)
    return Examples(texts, names)


def unseen() -> Examples:
    return Examples([*rows(LABELS, 30, seed=4).text, "", "nothing known here", "word1 word1 word2"])


def fitted(examples: Examples, labels: list[str], settings: Settings | None = None) -> Student:
    student = Student(settings or Settings(), Target("text-classification", tuple(labels)))
    student.fit(examples, 13, lambda done, total, note: None)
    return student


@pytest.mark.parametrize("labels", [LABELS[:2], LABELS, LABELS[::-1]], ids=["two", "three", "not alphabetical"])
def test_probabilities_are_those_of_the_scikit_learn_pipeline(labels: list[str]) -> None:
    examples = rows(labels)
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=4, max_iter=1000)
    )
    expected = pipeline.fit(examples.text, examples.label).predict_proba(unseen().text)
    columns = [list(pipeline.classes_).index(label) for label in labels]
    np.testing.assert_allclose(
        fitted(examples, labels).predict_proba(unseen()), expected[:, columns], rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("absent", ["nothing", *LABELS])
def test_a_label_without_a_row_gets_no_probability_and_takes_none_from_the_others(absent: str) -> None:
    labels = [*LABELS[:2], "nothing", LABELS[2]]
    present = [label for label in labels if label != absent]
    examples = rows(present)
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=4, max_iter=1000)
    )
    expected = pipeline.fit(examples.text, examples.label).predict_proba(unseen().text)
    found = fitted(examples, labels).predict_proba(unseen())
    assert not found[:, labels.index(absent)].any()
    for column, label in enumerate(pipeline.classes_):
        np.testing.assert_allclose(found[:, labels.index(label)], expected[:, column], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("present", [LABELS[:2], LABELS[1:], [LABELS[0], LABELS[2]]])
def test_two_labels_of_three_keep_their_own_columns(present: list[str]) -> None:
    examples = rows(present)
    found = fitted(examples, LABELS).predict_proba(Examples(examples.text))
    right = np.mean([LABELS[column] == label for column, label in zip(found.argmax(1), examples.label, strict=True)])
    assert right > 0.9
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_settings_reach_scikit_learn() -> None:
    examples = rows(LABELS)
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 3), min_df=5, sublinear_tf=True), LogisticRegression(C=0.5, max_iter=1000)
    )
    expected = pipeline.fit(examples.text, examples.label).predict_proba(unseen().text)
    student = fitted(examples, LABELS, Settings(ngrams=3, min_rows=5, inverse_regularization=0.5))
    np.testing.assert_allclose(student.predict_proba(unseen()), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("labels", [LABELS[:2], LABELS, [*LABELS, "absent"]])
def test_a_saved_student_predicts_exactly_what_it_predicted_before(labels: list[str], tmp_path: Path) -> None:
    student = fitted(rows([label for label in labels if label != "absent"]), labels)
    student.save(tmp_path)
    loaded = Student.load(tmp_path)
    assert loaded.predict_proba(unseen()).tobytes() == student.predict_proba(unseen()).tobytes()
    assert loaded.labels == labels
    assert loaded.parameters() == student.parameters()


def test_a_saved_student_is_safetensors_and_json_for_pickles_run_code(tmp_path: Path) -> None:
    fitted(rows(LABELS), LABELS).save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    (tensors,) = tmp_path.glob("*.safetensors")
    (described,) = tmp_path.glob("*.json")
    assert {array.dtype for array in load_file(tensors).values()} == {np.dtype("float64")}
    assert json.loads(described.read_text())["labels"] == LABELS


def test_parameters_count_a_weight_per_label_and_term_a_bias_and_the_document_frequencies() -> None:
    examples = rows(LABELS)
    terms = len(TfidfVectorizer(ngram_range=(1, 2), min_df=2).fit(examples.text).vocabulary_)
    assert fitted(examples, LABELS).parameters() == {"total": 4 * terms + 3, "without_embedding": 3}


def test_the_seed_changes_nothing_for_the_optimum_is_unique() -> None:
    other = Student(Settings(), Target("text-classification", tuple(LABELS)))
    other.fit(rows(LABELS), 21, lambda done, total, note: None)
    np.testing.assert_array_equal(other.predict_proba(unseen()), fitted(rows(LABELS), LABELS).predict_proba(unseen()))


def test_rows_of_one_label_are_an_error_that_names_the_label() -> None:
    with pytest.raises(ValueError, match=r"two labels.*'positive'"):
        fitted(Examples(["good good film"] * 4, ["positive"] * 4), LABELS)


@pytest.mark.parametrize("texts", [["", ""], ["one two", "three four"], ["a b c", "a b c"]])
def test_rows_that_share_no_word_are_an_error_in_the_words_of_the_settings(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="min_rows"):
        fitted(Examples(texts, LABELS[:2]), LABELS)
