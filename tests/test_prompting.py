"""PROMPTING: what the PLM is asked about each text, and that the lowest mean loss decides."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from harness.generators.base import ScoredPrompt
from harness.scoring.prompting import PromptClassifier
from harness.spec import Prompts

LABELS = ("bad", "good")


@dataclass
class FakeScorer:
    """Looks losses up by (prefix, text) and keeps what it was asked."""

    losses: dict[tuple[str, str], float]
    asked: list[tuple[ScoredPrompt, bool]] = field(default_factory=list)

    def mean_losses(self, prompts: Sequence[ScoredPrompt], text_only: bool) -> list[float]:
        self.asked += [(prompt, text_only) for prompt in prompts]
        return [self.losses[prompt.prefix, prompt.text] for prompt in prompts]


def prompts(**classify: tuple[str, ...]) -> Prompts:
    return Prompts(text=dict.fromkeys(LABELS, ("unused",)), classify=classify)


ONE_EACH = prompts(bad=('Bad: "<X>"',), good=('Good: "<X>"',))
FITS = {('Bad: "', "awful"): 1.0, ('Good: "', "awful"): 2.5, ('Bad: "', "great"): 3.0, ('Good: "', "great"): 1.0}


def test_the_label_whose_prompt_has_the_lowest_loss_wins() -> None:
    classifier = PromptClassifier(FakeScorer(FITS), LABELS, ONE_EACH, "prompt", "completion")
    assert classifier.predict_proba(["awful", "great"]).argmax(axis=1).tolist() == [0, 1]


def test_columns_follow_the_tasks_labels_not_the_order_of_the_prompts() -> None:
    classifier = PromptClassifier(FakeScorer(FITS), LABELS[::-1], ONE_EACH, "prompt", "completion")
    assert classifier.predict_proba(["awful", "great"]).argmax(axis=1).tolist() == [1, 0]


def test_probabilities_are_the_softmax_of_minus_the_loss() -> None:
    classifier = PromptClassifier(FakeScorer(FITS), LABELS, ONE_EACH, "prompt", "completion")
    likelihood = np.exp(-np.array([[1.0, 2.5], [3.0, 1.0]]))
    expected = likelihood / likelihood.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(["awful", "great"]), expected)


def test_losses_of_hundreds_of_nats_do_not_underflow() -> None:
    losses = {('Bad: "', "long"): 2001.0, ('Good: "', "long"): 2000.0}
    found = PromptClassifier(FakeScorer(losses), LABELS, ONE_EACH, "prompt", "completion").predict_proba(["long"])
    np.testing.assert_allclose(found, [[1 / (1 + np.e), np.e / (1 + np.e)]])


@pytest.mark.parametrize(("loss", "text_only"), [("prompt", False), ("text", True)])
def test_the_whole_prompt_or_the_text_alone_is_scored_as_the_prompt_set_says(loss: str, text_only: bool) -> None:
    scorer = FakeScorer(FITS)
    PromptClassifier(scorer, LABELS, ONE_EACH, loss, "completion").predict_proba(["awful"])  # type: ignore[arg-type]
    assert scorer.asked == [
        (ScoredPrompt('Bad: "', "awful", '"'), text_only),
        (ScoredPrompt('Good: "', "awful", '"'), text_only),
    ]


def test_a_label_with_several_prompts_is_judged_by_their_mean_not_by_their_sum_or_best() -> None:
    several = prompts(bad=("a <X>", "b <X>", "c <X>"), good=("d <X>",))
    losses = {("a ", "film"): 1.0, ("b ", "film"): 2.0, ("c ", "film"): 6.0, ("d ", "film"): 2.9}
    found = PromptClassifier(FakeScorer(losses), LABELS, several, "prompt", "completion").predict_proba(["film"])
    # Mean 3.0 against 2.9: the sum (9.0) would say so too, but by far; the best (1.0) would say the opposite.
    np.testing.assert_allclose(np.log(found[0, 1] / found[0, 0]), 0.1)


@pytest.mark.parametrize("loss", ["prompt", "text"])
def test_in_the_chat_style_the_text_is_the_reply_and_it_alone_is_scored(loss: str) -> None:
    chat = prompts(bad=("Write a bad review.",), good=("Write a good review.",))
    scorer = FakeScorer({("Write a bad review.", "great"): 2.0, ("Write a good review.", "great"): 1.0})
    found = PromptClassifier(scorer, LABELS, chat, loss, "chat").predict_proba(["great"])  # type: ignore[arg-type]
    assert found.argmax() == 1
    assert scorer.asked == [
        (ScoredPrompt("Write a bad review.", "great", ""), True),
        (ScoredPrompt("Write a good review.", "great", ""), True),
    ]


def test_a_text_that_holds_a_placeholder_is_scored_as_it_is() -> None:
    losses = {('Bad: "', "I gave it <X> stars"): 1.0, ('Good: "', "I gave it <X> stars"): 2.0}
    scorer = FakeScorer(losses)
    PromptClassifier(scorer, LABELS, ONE_EACH, "prompt", "completion").predict_proba(["I gave it <X> stars"])
    assert [prompt.suffix for prompt, _ in scorer.asked] == ['"', '"']
