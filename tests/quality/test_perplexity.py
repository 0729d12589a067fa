import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from harness.generators.base import TextLoss
from harness.generators.locate import locate_model
from harness.generators.transformers_backend import TransformersGenerator
from harness.quality.perplexity import generator_log_probability, perplexity, token_losses
from harness.quality.rows import TokenLosses

TEXTS = [
    "A wonderful film , and a moving one .",
    "bad",
    "",
    "Ein Café für Zoë — 映画は最高 🎬!",
    " leading and trailing ",
    "A wonderful film , and a moving one .",
    "the film was so long that nobody saw its end " * 40,
]


@pytest.fixture(scope="module")
def plm() -> TransformersGenerator:
    place = locate_model("embedded:review-gpt-06m", None, None)
    return TransformersGenerator.load(place, "float32", "completion", trust_remote_code=False)


def plainly(plm: TransformersGenerator, text: str, start: list[int]) -> tuple[float, int]:
    """Sum of the token losses and their number, one text by itself and token by token."""
    ids = (start + plm.tokenizer(text, add_special_tokens=False).input_ids)[: plm.max_positions]
    if len(ids) < 2:
        return 0.0, 0
    with torch.no_grad():
        chances = plm.model(torch.tensor([ids])).logits[0].double().log_softmax(1)
    return -sum(float(chances[place - 1, ids[place]]) for place in range(1, len(ids))), len(ids) - 1


def test_losses_are_those_of_each_text_by_itself_after_the_token_for_a_beginning(plm: TransformersGenerator) -> None:
    start = plm.tokenizer.bos_token_id
    assert start is not None
    told: list[tuple[float, float, str]] = []
    found = token_losses(plm, "a PLM", TEXTS, lambda *what: told.append(what))
    for number, text in enumerate(TEXTS):
        total, tokens = plainly(plm, text, [start])
        assert found.tokens[number] == tokens
        if tokens:
            assert found.mean[number] == pytest.approx(total / tokens, abs=1e-4)
        else:
            assert (text, np.isnan(found.mean[number])) == ("", True)
    assert found.plm == "a PLM" and told == [(6, 6, "texts")]
    assert found.bytes[:6].tolist() == [len(text.encode()) for text in TEXTS[:6]]


def test_a_text_longer_than_the_plm_reads_is_scored_up_to_there(plm: TransformersGenerator) -> None:
    (found,) = plm.text_losses([TEXTS[6]])
    assert found.tokens == plm.max_positions - 1
    read = TEXTS[6].encode()[: found.bytes].decode()
    assert len(plm.tokenizer(read, add_special_tokens=False).input_ids) == found.tokens


def test_without_such_a_token_the_first_one_is_not_scored_nor_its_bytes(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plm.tokenizer, "_special_tokens_map", {})
    assert plm.tokenizer.bos_token_id is None and plm.tokenizer.eos_token_id is None
    for text, found in zip(TEXTS, plm.text_losses(TEXTS), strict=True):
        total, tokens = plainly(plm, text, [])
        assert found.tokens == tokens
        assert found.mean == pytest.approx(total / max(1, tokens), abs=1e-4)
    first = plm.tokenizer.tokenize(TEXTS[0])[0]
    assert plm.text_losses(TEXTS[:1])[0].bytes == len(TEXTS[0].encode()) - len(first)


def test_the_token_for_an_end_stands_in_where_there_is_none_for_a_beginning(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = plm.tokenizer.convert_ids_to_tokens(65)
    monkeypatch.setattr(plm.tokenizer, "_special_tokens_map", {"eos_token": other})
    total, tokens = plainly(plm, "bad film", [65])
    (found,) = plm.text_losses(["bad film"])
    assert found.mean == pytest.approx(total / tokens, abs=1e-4) and found.tokens == tokens


class Counting:
    """One nat for each character of a text; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def text_losses(self, texts: Sequence[str]) -> list[TextLoss]:
        self.asked += texts
        return [TextLoss(float(len(text)), len(text), 2 * len(text)) for text in texts]


def test_each_distinct_text_is_read_once_and_answered_in_the_order_asked_for() -> None:
    reader = Counting()
    texts = ["x" * (number % 700) for number in range(1500)]
    found = token_losses(reader, "it", texts)
    assert sorted(map(len, reader.asked)) == list(range(700))
    assert found.tokens.tolist() == [number % 700 for number in range(1500)]
    assert np.isnan(found.mean[[0, 700, 1400]]).all() and np.isnan(found.mean).sum() == 3


def test_perplexities_worked_by_hand() -> None:
    # Three texts of 1, 3 and 2 tokens with perplexities 2, 4 and 8: 1·1 + 3·2 + 2·3 = 13 bits over 6 tokens, 26 bytes.
    losses = TokenLosses(
        "it", np.log([2.0, 4.0, np.nan, 8.0]), np.array([1, 3, 0, 2]), np.array([4, 12, 5, 10], dtype=np.int64)
    )
    found = perplexity(losses)
    assert found.corpus.value == pytest.approx(2 ** (13 / 6))
    assert found.mean.value == pytest.approx(14 / 3)
    assert found.median.value == pytest.approx(4)
    assert found.bits_per_byte.value == pytest.approx(0.5)
    assert found.unscored == 1
    np.testing.assert_allclose(found.per_text, [2, 4, np.nan, 8])


def test_the_interval_of_corpus_perplexity_is_between_texts_and_covers_the_truth() -> None:
    # Tokens of a text share its difficulty: ln perplexity is 3 on average, whatever the lengths.
    stream, covered = np.random.default_rng(1), 0
    for _ in range(300):
        tokens = stream.integers(5, 50, 200)
        losses = TokenLosses("it", stream.normal(3, 0.5, 200), tokens, 4 * tokens)
        found = perplexity(losses).corpus
        assert found.low is not None and found.high is not None
        covered += found.low <= math.exp(3) <= found.high
    # 285 of 300 expected; the probability of fewer than 272 or more than 297 is below 1 in 1000.
    assert 272 <= covered <= 297


def test_without_a_scored_text_there_is_no_number() -> None:
    found = perplexity(TokenLosses("it", np.array([np.nan]), np.array([0]), np.array([0])))
    assert all(math.isnan(one.value) for one in (found.corpus, found.mean, found.median, found.bits_per_byte))
    assert found.unscored == 1


def test_the_generators_score_is_the_mean_over_rows_of_what_a_token_had() -> None:
    found = generator_log_probability(np.array([-8.0, -6.0, np.nan, 0.0, -9.0]), np.array([4, 3, 7, 0, 3]))
    np.testing.assert_allclose(found.per_text, [-2, -2, np.nan, np.nan, -3])
    assert found.mean.value == pytest.approx(-7 / 3)
    assert found.untold == 2
    # The standard deviation of -2, -2, -3 is 1/√3, so the half width is 1.96/3.
    assert found.mean.high == pytest.approx((-7 + 1.96) / 3)
    json.dumps([found.mean.low, found.untold], allow_nan=False)
