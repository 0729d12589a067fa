"""Exact match and F1 of answers: worked by hand, and against a second implementation on real questions."""

import os
import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from harness.scoring.squad import answer_scores, exact_match, f1, normalize_answer

MIRROR = Path(os.environ.get("HARNESS_MIRROR") or "no mirror")
SQUAD = MIRROR / "datasets" / "rajpurkar" / "squad" / "plain_text" / "validation.parquet"


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Old\tMan\nand the Sea", "old man and sea"),
        ("A. A. Milne", "milne"),  # the marks go first, and what is left is an article
        ("theatre, another, anthem", "theatre another anthem"),
        ("Plan-A", "plana"),
        ("plan A", "plan"),
        ("vitamin–a", "vitamin–"),  # a dash that is no ASCII mark stays, and parts words
        ("the_end", "theend"),
        ("U.S.A.", "usa"),
        ("AT&T's", "atts"),
        ("$5,000.50", "500050"),
        ("£5", "£5"),
        ("“quoted”", "“quoted”"),
        ("'quoted'", "quoted"),
        ("ÉCOLE", "école"),
        ("one\u00a0two\u2003three", "one two three"),
        ("a", ""),
        ("?!", ""),
        ("", ""),
    ],
)
def test_answers_are_normalised_in_the_order_of_the_official_script(text: str, normalised: str) -> None:
    assert normalize_answer(text) == normalised


# Prediction, references, exact match, and F1 as 2·shared/(tokens + reference tokens).
PAIRS: list[tuple[str, list[str], int, Fraction | int]] = [
    # Articles.
    ("the Danube", ["Danube"], 1, 1),
    ("a river", ["the river"], 1, 1),
    ("An apple a day", ["apple day"], 1, 1),
    ("The The", ["the"], 1, 0),  # nothing is left of either
    ("the man in the moon", ["man in moon"], 1, 1),
    ("Theodore", ["the odore"], 0, 0),
    # Casing and white space.
    ("NEW YORK", ["new york"], 1, 1),
    ("  new   york \n", ["New York"], 1, 1),
    ("STRASSE", ["straße"], 0, 0),  # lower case, not folded
    # Punctuation.
    ("Dr. Watson", ["Dr Watson"], 1, 1),
    ("Washington, D.C.", ["Washington DC"], 1, 1),
    ("D. C.", ["D.C."], 0, 0),  # two words against one
    ("it's", ["its"], 1, 1),
    ("it's", ["it’s"], 0, 0),  # the typographic apostrophe stays
    ('"Help!"', ["Help"], 1, 1),
    ("and/or", ["and or"], 0, 0),
    # Hyphens and dashes.
    ("ice-cream", ["icecream"], 1, 1),
    ("ice cream", ["ice-cream"], 0, 0),
    ("31-17", ["3117"], 1, 1),
    ("31–17", ["31-17"], 0, 0),
    ("1914 – 1918", ["1914 1918"], 0, Fraction(4, 5)),  # 2·2/(3 + 2): the dash is a token
    # Currency, numbers, percent.
    ("$3.5 million", ["35 million"], 1, 1),
    ("$5 million", ["5 million dollars"], 0, Fraction(4, 5)),  # 2·2/(2 + 3)
    ("€5 million", ["5 million"], 0, Fraction(1, 2)),  # 2·1/(2 + 2): €5 is not 5
    ("1,000", ["1000"], 1, 1),
    ("50%", ["50 percent"], 0, Fraction(2, 3)),  # 2·1/(1 + 2)
    ("fifty", ["50"], 0, 0),
    # Unicode.
    ("café", ["Café"], 1, 1),
    ("cafe\u0301", ["caf\u00e9"], 0, 0),  # not composed
    ("Łódź, Poland", ["łódź"], 0, Fraction(2, 3)),
    ("東京", ["東京"], 1, 1),
    ("東京 都", ["東京都"], 0, 0),
    # Partial overlap.
    ("Barack Obama", ["Obama"], 0, Fraction(2, 3)),
    ("President Barack Obama", ["Barack Obama of Hawaii"], 0, Fraction(4, 7)),  # 2·2/(3 + 4)
    ("in the year 1912", ["1912"], 0, Fraction(1, 2)),  # 2·1/(3 + 1): `the` is gone
    ("north of the wall", ["wall of north"], 0, 1),  # a bag of words has no order
    ("quick brown fox", ["lazy dog"], 0, 0),
    # Tokens that stand more than once.
    ("very very good", ["very good"], 0, Fraction(4, 5)),  # 2·2/(3 + 2)
    ("very very good", ["very very very bad"], 0, Fraction(4, 7)),  # 2·2/(3 + 4)
    ("no no no", ["no"], 0, Fraction(1, 2)),
    ("no", ["no no no"], 0, Fraction(1, 2)),
    # Several references: the best, for each of the two scores.
    ("Obama", ["Barack Obama", "Mr. Obama", "Obama"], 1, 1),
    ("Barack Obama", ["Obama", "President Barack Obama"], 0, Fraction(4, 5)),
    ("red blue", ["red", "red green blue", "yellow"], 0, Fraction(4, 5)),
    ("the", ["a", "b"], 1, 0),
    ("x", ["y", "y", "y"], 0, 0),
    # Nothing there: equal as texts, but F1 is 0 for want of a shared token.
    ("", [""], 1, 0),
    ("", ["the"], 1, 0),
    ("!", ["a"], 1, 0),
    ("", ["something"], 0, 0),
    ("something", [""], 0, 0),
    ("  ", ["something", "?"], 1, 0),
]


@pytest.mark.parametrize(("prediction", "references", "match", "overlap"), PAIRS)
def test_scores_of_answers_are_those_worked_by_hand(
    prediction: str, references: list[str], match: int, overlap: Fraction | int
) -> None:
    assert exact_match(prediction, references) == match
    assert f1(prediction, references) == pytest.approx(float(overlap), abs=1e-15)


def test_questions_in_one_batch_have_the_scores_that_they_have_alone() -> None:
    exact, overlap = answer_scores([pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS])
    assert [exact.dtype.name, overlap.dtype.name] == ["bool", "float64"]
    assert exact.tolist() == [pair[2] == 1 for pair in PAIRS]
    assert overlap.tolist() == pytest.approx([float(pair[3]) for pair in PAIRS], abs=1e-15)


def test_a_question_without_references_is_refused_for_v11_has_no_unanswerable_ones() -> None:
    for call in (lambda: exact_match("x", []), lambda: f1("x", []), lambda: answer_scores(["x", "x"], [["x"], []])):
        with pytest.raises(ValueError, match="a question without"):
            call()


def test_predictions_for_other_questions_are_refused() -> None:
    for predictions, references in ((["x"], [["x"], ["y"]]), ([], [])):
        with pytest.raises(ValueError, match="a prediction for each"):
            answer_scores(predictions, references)


MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def plain_scores(prediction: str, references: list[str]) -> tuple[bool, float]:
    """SQuAD v1.1 once more, in another way: character by character, lists instead of bags, precision and recall."""
    best_match, best_f1 = False, 0.0
    for reference in references:
        words = []
        for text in (prediction, reference):
            kept = "".join(character for character in text.lower() if character not in MARKS)
            # Between any two characters of which one only is a word's, a word begins or ends.
            pieces = re.split(r"(\W)", kept)
            words.append("".join(" " if piece in ("a", "an", "the") else piece for piece in pieces).split())
        predicted, gold = words
        best_match = best_match or predicted == gold
        left, shared = list(gold), 0
        for word in predicted:
            if word in left:
                left.remove(word)
                shared += 1
        if shared:
            precision, recall = shared / len(predicted), shared / len(gold)
            best_f1 = max(best_f1, 2 * precision * recall / (precision + recall))
    return best_match, best_f1


def test_the_second_implementation_gives_the_scores_worked_by_hand_too() -> None:
    for prediction, references, match, overlap in PAIRS:
        found_match, found_overlap = plain_scores(prediction, references)
        assert found_match == (match == 1)
        assert found_overlap == pytest.approx(float(overlap))


def perturbed(rng: random.Random, context: str, gold: str) -> str:
    """An answer such as a student might give: the gold one, more or less of it, or any other span."""
    words = gold.split()
    begin = rng.randrange(len(context))
    return rng.choice(
        [
            gold,
            gold.upper(),
            f"the {gold}.",
            " ".join(words[rng.randrange(len(words)) :]),
            " ".join([*words, *words[:1]]),
            f"{gold} {context[begin : begin + 12]}",
            context[begin : begin + rng.randrange(60)],
        ]
    )


@pytest.mark.skipif(not SQUAD.is_file(), reason="no mirror with rajpurkar/squad")
def test_both_implementations_agree_on_real_questions() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(SQUAD, columns=["context", "answers"]).to_pylist()
    rng = random.Random(7)
    references = [row["answers"]["text"] for row in rows]
    predictions = [perturbed(rng, row["context"], rng.choice(row["answers"]["text"])) for row in rows]
    exact, overlap = answer_scores(predictions, references)
    expected = [plain_scores(*question) for question in zip(predictions, references, strict=True)]
    assert exact.tolist() == [match for match, _ in expected]
    assert overlap.tolist() == pytest.approx([score for _, score in expected], abs=1e-12)
    # The predictions are of all kinds: right, half right and wrong.
    assert 0.3 < exact.mean() < 0.7
    assert 0.1 < np.mean((overlap > 0) & (overlap < 1)) < 0.7
