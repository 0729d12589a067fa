"""PROMPTING: what the PLM is asked about each row, that the lowest mean loss decides, and what it answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
import torch

from harness.data.examples import Examples
from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, Request, ScoredPrompt
from harness.generators.locate import locate_model
from harness.generators.transformers_backend import TransformersGenerator
from harness.scoring.prompting import PromptAnswerer, PromptClassifier
from harness.spec import Prompts

LABELS = ("bad", "good")


@dataclass
class FakeScorer:
    """Looks losses up by (prefix, text) and keeps what it was asked."""

    losses: dict[tuple[str, str], float]
    asked: list[tuple[ScoredPrompt, bool]] = field(default_factory=list)

    def mean_losses(self, prompts: Sequence[ScoredPrompt], text_only: bool) -> list[float]:
        self.asked += [(prompt, text_only) for prompt in prompts]
        return [self.losses["".join(prompt.parts[: prompt.text]), prompt.parts[prompt.text]] for prompt in prompts]


def prompts(**classify: tuple[str, ...]) -> Prompts:
    return Prompts(text=dict.fromkeys(LABELS, ("unused",)), classify=classify)


ONE_EACH = prompts(bad=('Bad: "<X>"',), good=('Good: "<X>"',))
FITS = {('Bad: "', "awful"): 1.0, ('Good: "', "awful"): 2.5, ('Bad: "', "great"): 3.0, ('Good: "', "great"): 1.0}


def test_the_label_whose_prompt_has_the_lowest_loss_wins() -> None:
    classifier = PromptClassifier(FakeScorer(FITS), LABELS, ONE_EACH, "prompt", "completion")
    assert classifier.predict_proba(Examples(["awful", "great"])).argmax(axis=1).tolist() == [0, 1]


def test_columns_follow_the_tasks_labels_not_the_order_of_the_prompts() -> None:
    classifier = PromptClassifier(FakeScorer(FITS), LABELS[::-1], ONE_EACH, "prompt", "completion")
    assert classifier.predict_proba(Examples(["awful", "great"])).argmax(axis=1).tolist() == [1, 0]


def test_probabilities_are_the_softmax_of_minus_the_loss() -> None:
    classifier = PromptClassifier(FakeScorer(FITS), LABELS, ONE_EACH, "prompt", "completion")
    likelihood = np.exp(-np.array([[1.0, 2.5], [3.0, 1.0]]))
    expected = likelihood / likelihood.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(Examples(["awful", "great"])), expected)


def test_losses_of_hundreds_of_nats_do_not_underflow() -> None:
    losses = {('Bad: "', "long"): 2001.0, ('Good: "', "long"): 2000.0}
    found = PromptClassifier(FakeScorer(losses), LABELS, ONE_EACH, "prompt", "completion").predict_proba(
        Examples(["long"])
    )
    np.testing.assert_allclose(found, [[1 / (1 + np.e), np.e / (1 + np.e)]])


@pytest.mark.parametrize(("loss", "text_only"), [("prompt", False), ("text", True)])
def test_the_whole_prompt_or_the_text_alone_is_scored_as_the_prompt_set_says(loss: str, text_only: bool) -> None:
    scorer = FakeScorer(FITS)
    PromptClassifier(scorer, LABELS, ONE_EACH, loss, "completion").predict_proba(Examples(["awful"]))  # type: ignore[arg-type]
    assert scorer.asked == [
        (ScoredPrompt(('Bad: "', "awful", '"'), 1), text_only),
        (ScoredPrompt(('Good: "', "awful", '"'), 1), text_only),
    ]


def test_a_label_with_several_prompts_is_judged_by_their_mean_not_by_their_sum_or_best() -> None:
    several = prompts(bad=("a <X>", "b <X>", "c <X>"), good=("d <X>",))
    losses = {("a ", "film"): 1.0, ("b ", "film"): 2.0, ("c ", "film"): 6.0, ("d ", "film"): 2.9}
    found = PromptClassifier(FakeScorer(losses), LABELS, several, "prompt", "completion").predict_proba(
        Examples(["film"])
    )
    # Mean 3.0 against 2.9: the sum (9.0) would say so too, but by far; the best (1.0) would say the opposite.
    np.testing.assert_allclose(np.log(found[0, 1] / found[0, 0]), 0.1)


@pytest.mark.parametrize("loss", ["prompt", "text"])
def test_in_the_chat_style_the_text_is_the_reply_and_it_alone_is_scored(loss: str) -> None:
    chat = prompts(bad=("Write a bad review.",), good=("Write a good review.",))
    scorer = FakeScorer({("Write a bad review.", "great"): 2.0, ("Write a good review.", "great"): 1.0})
    found = PromptClassifier(scorer, LABELS, chat, loss, "chat").predict_proba(Examples(["great"]))  # type: ignore[arg-type]
    assert found.argmax() == 1
    assert scorer.asked == [
        (ScoredPrompt(("Write a bad review.", "great"), 1), True),
        (ScoredPrompt(("Write a good review.", "great"), 1), True),
    ]


def test_a_text_that_holds_a_placeholder_is_scored_as_it_is() -> None:
    losses = {('Bad: "', "I gave it <X> stars"): 1.0, ('Good: "', "I gave it <X> stars"): 2.0}
    scorer = FakeScorer(losses)
    PromptClassifier(scorer, LABELS, ONE_EACH, "prompt", "completion").predict_proba(Examples(["I gave it <X> stars"]))
    assert [prompt.parts[2] for prompt, _ in scorer.asked] == ['"', '"']


# --- pairs

PAIRS = prompts(bad=('"<C>" Wrong: "<X>".',), good=('<X>? "<C>" says so.',))


def asked_of(style: Literal["completion", "chat"], templates: Prompts, examples: Examples) -> list[ScoredPrompt]:
    scorer = EveryLoss()
    PromptClassifier(scorer, LABELS, templates, "prompt", style).predict_proba(examples)
    return [prompt for prompt, _ in scorer.asked]


@dataclass
class EveryLoss:
    """The loss of a prompt is its number of characters; that of a text half of its."""

    asked: list[tuple[ScoredPrompt, bool]] = field(default_factory=list)

    def mean_losses(self, prompts: Sequence[ScoredPrompt], text_only: bool) -> list[float]:
        self.asked += [(prompt, text_only) for prompt in prompts]
        return [len(one.parts[one.text]) / 2 if text_only else float(len("".join(one.parts))) for one in prompts]


def test_of_a_pair_the_first_text_is_the_context_and_the_second_the_text_in_either_order() -> None:
    assert asked_of("completion", PAIRS, Examples(text=["A man eats."], text_pair=["He sleeps"])) == [
        ScoredPrompt(('"', "A man eats.", '" Wrong: "', "He sleeps", '".'), text=3, context=1),
        ScoredPrompt(("", "He sleeps", '? "', "A man eats.", '" says so.'), text=1, context=3),
    ]


def test_in_the_chat_style_the_message_holds_the_context_and_the_reply_is_the_text() -> None:
    chat = prompts(bad=("Contradict <C>.",), good=("<C> And so?",))
    assert asked_of("chat", chat, Examples(text=["It rains."], text_pair=["No"])) == [
        ScoredPrompt(("Contradict ", "It rains.", ".", "No"), text=3, context=1),
        ScoredPrompt(("", "It rains.", " And so?", "No"), text=3, context=1),
    ]


def test_placeholders_in_the_data_are_not_filled() -> None:
    one, _ = asked_of("completion", PAIRS, Examples(text=["<X> and <C>"], text_pair=["<C> or <X>"]))
    assert "".join(one.parts) == '"<X> and <C>" Wrong: "<C> or <X>".'


# --- calibrated


@pytest.mark.parametrize(
    ("loss", "style", "expected"),
    [
        ("prompt", "completion", [3.0, 3.0]),  # characters of the text
        ("text", "completion", [1.5 - 7, 1.5 - 8]),  # half of them, less the whole empty prompt
        ("text", "chat", [1.5 - 7, 1.5 - 8]),
    ],
)
def test_the_loss_of_the_prompt_without_text_is_subtracted(
    loss: Literal["prompt", "text"], style: Literal["completion", "chat"], expected: list[float]
) -> None:
    templates = prompts(bad=("Bad: '<X>'",), good=("Good: '<X>'",))
    if style == "chat":
        templates = prompts(bad=("Be bad.",), good=("Be good.",))
    scorer = EveryLoss()
    found = PromptClassifier(scorer, LABELS, templates, loss, style, calibrated=True).predict_proba(Examples(["odd"]))
    np.testing.assert_allclose(np.log(found[0, 0] / found[0, 1]), expected[1] - expected[0])


def test_prompts_without_text_are_scored_once_each() -> None:
    scorer = EveryLoss()
    classifier = PromptClassifier(scorer, LABELS, ONE_EACH, "text", "completion", calibrated=True)
    for texts in (["awful", "great", "awful"], ["fine"]):
        classifier.predict_proba(Examples(texts))
    empty = [(prompt, text_only) for prompt, text_only in scorer.asked if prompt.parts[1] == ""]
    assert empty == [(ScoredPrompt((f'{label}: "', "", '"'), 1), False) for label in ("Bad", "Good")]


def test_a_pairs_prompt_without_text_keeps_its_context() -> None:
    scorer = EveryLoss()
    examples = Examples(text=["It rains.", "It is late.", "It rains."], text_pair=["a", "b", "c"])
    PromptClassifier(scorer, LABELS, PAIRS, "prompt", "completion", calibrated=True).predict_proba(examples)
    empty = [prompt for prompt, _ in scorer.asked if prompt.parts[prompt.text] == ""]
    assert [prompt.parts[prompt.context or 0] for prompt in empty] == ["It rains.", "It is late."] * 2


# --- with a real PLM


@pytest.fixture(scope="module")
def plm() -> TransformersGenerator:
    return TransformersGenerator.load(
        locate_model("embedded:review-gpt-06m", None, None), "float32", "completion", False
    )


def token_losses(plm: TransformersGenerator, ids: list[int]) -> list[float]:
    """Loss of every token but the first."""
    with torch.inference_mode():
        log_p = plm.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [-float(log_p[place, token]) for place, token in enumerate(ids[1:])]


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("loss", ["prompt", "text"])
def test_pairs_are_judged_as_by_a_plain_computation(
    plm: TransformersGenerator, loss: Literal["prompt", "text"], calibrated: bool
) -> None:
    sides = {"bad": ("A film:", "C", " It is bad:", "X", "."), "good": ("Good:", "X", " A film:", "C", " The end")}
    templates = prompts(
        **{label: ("".join(f"<{p}>" if p in "CX" else p for p in side),) for label, side in sides.items()}
    )
    rows = [(" a beautiful story", " I loved it"), (" a boring story, and too long", " The acting is horrible")]
    expected = np.zeros((2, 2))
    for row, (context, text) in enumerate(rows):
        for column, side in enumerate(sides.values()):
            means = []
            for filled in (text, ""):
                pieces = [
                    plm.tokenizer({"C": context, "X": filled}.get(piece, piece)).input_ids
                    if piece != "X" or filled
                    else []
                    for piece in side
                ]
                ids = [token for piece in pieces for token in piece]
                losses = token_losses(plm, ids)
                before = sum(map(len, pieces[: side.index("X")]))
                wanted = (
                    losses[before - 1 : before - 1 + len(pieces[side.index("X")])]
                    if loss == "text" and filled
                    else losses
                )
                means.append(sum(wanted) / len(wanted))
            expected[row, column] = means[0] - calibrated * means[1]
    examples = Examples(text=[context for context, _ in rows], text_pair=[text for _, text in rows])
    found = PromptClassifier(plm, LABELS, templates, loss, "completion", calibrated).predict_proba(examples)
    np.testing.assert_allclose(np.log(found[:, 0] / found[:, 1]), expected[:, 1] - expected[:, 0], rtol=1e-4, atol=1e-5)


# --- answers

CONTEXTS = ["The film was made in Paris by Anna Lund.", "It rains <X> in Oslo, and <C> is cold."]
QUESTIONS = ["Who made <C>?", "Where does it rain?"]


@dataclass
class FakeWriter:
    """Writes what it is told to; reads at most so many characters."""

    written: dict[str, str]
    limit: int = 1000
    calls: list[tuple[list[str], Decoding]] = field(default_factory=list)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        prompts = [request.prompt for request in requests]
        self.calls.append((prompts, decoding))
        for number in reversed(range(len(prompts))):  # not in the order of the questions
            yield number, Completion(self.written.get(prompts[number], prompts[number]), "stop", 1, 1, -1.0)

    def provenance(self) -> dict[str, str | int]:
        return {}

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return len(prompt) + max_new_tokens <= self.limit


def answer_to(text: str, style: Literal["completion", "chat"], stop: str | None = '"') -> str:
    writer = FakeWriter({"c q": text})
    (answer,) = PromptAnswerer(writer, "<C> <X>", style, stop, 20).predict_answers(
        Examples(context=["c"], question=["q"])
    )
    return answer


@pytest.mark.parametrize(
    ("text", "completion", "chat"),
    [
        ('Anna Lund" is', "Anna Lund", "Anna Lund"),
        (" Anna Lund \nThe", "Anna Lund", "Anna Lund"),
        ('Anna\nLund"', "Anna", "Anna"),
        ("Anna Lund, of", "Anna Lund, of", "Anna Lund, of"),
        ('"Anna Lund".', "", "Anna Lund"),
        ("\n\nAnna Lund", "", "Anna Lund"),
        ("", "", ""),
    ],
)
def test_an_answer_ends_at_the_stop_string_or_a_newline(text: str, completion: str, chat: str) -> None:
    assert answer_to(text, "completion") == completion
    assert answer_to(text, "chat") == chat


def test_without_a_stop_string_an_answer_ends_at_a_newline() -> None:
    assert answer_to('in "Oslo" now\nand', "completion", None) == 'in "Oslo" now'


@pytest.mark.parametrize(("style", "stop"), [("completion", ('"', "\n")), ("chat", ())])
def test_answers_are_written_greedily_after_prompts_filled_once(
    style: Literal["completion", "chat"], stop: tuple[str, ...]
) -> None:
    writer = FakeWriter({})
    answerer = PromptAnswerer(writer, "<C> | <X> |", style, '"', 20)
    prompted = [f"{context} | {question} |" for context, question in zip(CONTEXTS, QUESTIONS, strict=True)]
    assert answerer.predict_answers(Examples(context=CONTEXTS, question=QUESTIONS)) == prompted
    (found,) = writer.calls
    assert sorted(found[0]) == sorted(prompted)
    assert found[1] == Decoding(20, top_k=1, stop=stop)


def test_all_is_asked_in_one_call_and_answers_keep_the_order_of_the_questions() -> None:
    contexts = [f"{number} " + "x" * (37 * number % 100 * 100) for number in range(60)]
    writer = FakeWriter({}, limit=100_000)
    answers = PromptAnswerer(writer, "<C>", "completion", '"', 20).predict_answers(
        Examples(context=contexts, question=["q"] * 60)
    )
    assert answers == [context.strip() for context in contexts]
    assert [prompts for prompts, _ in writer.calls] == [contexts]


def test_a_context_that_is_too_long_is_cut_at_its_end_and_the_question_kept() -> None:
    writer = FakeWriter({}, limit=20 + 25)
    answerer = PromptAnswerer(writer, "<C>: <X>", "completion", None, 20)
    examples = Examples(context=["x" * 50, "y" * 16, "z" * 15, ""], question=["Where is?"] * 4)
    expected = [f"{context}: Where is?" for context in ("x" * 14, "y" * 14, "z" * 14, "")]
    assert answerer.predict_answers(examples) == expected
    with pytest.raises(HarnessError, match="leaves no room for a context: ': A question that is"):
        answerer.predict_answers(Examples(context=["x"], question=["A question that is longer?"]))


def test_answers_of_a_plm_are_its_likeliest_tokens(plm: TransformersGenerator) -> None:
    contexts = ["This is a wonderful movie.", "A horrible film." * 40, "I loved it."]
    questions = [" The acting", " It is a", " I highly"]
    answers = PromptAnswerer(plm, "<C><X>", "completion", ".", 12).predict_answers(
        Examples(context=contexts, question=questions)
    )
    for context, question, answer in zip(contexts, questions, answers, strict=True):
        asked = plm.tokenizer(question).input_ids
        ids = plm.tokenizer(context).input_ids[: plm.max_positions - 12 - len(asked)] + asked
        written: list[int] = []
        for _ in range(12):
            with torch.inference_mode():
                written.append(int(plm.model(torch.tensor([ids + written])).logits[0, -1].argmax()))
        text = plm.tokenizer.decode(written, skip_special_tokens=True)
        assert answer == text.partition(".")[0].partition("\n")[0].strip() != ""
