from typing import Any

import pytest

from harness.errors import HarnessError
from harness.spec import Prompts, Style, Task
from harness.synthesis.prompts import fill, prompt_problems, prompt_set, prompts_in_style

LABELS = ("negative", "positive")
TEXT = {"negative": ["Bad."], "positive": ["Good."]}


def prompts(**fields: Any) -> Prompts:
    return Prompts.model_validate({"text": TEXT, **fields})


def problems(style: Style = "completion", **fields: Any) -> list[tuple[tuple[str | int, ...], str]]:
    return prompt_problems(prompts(**fields), task(plain={"completion": {"text": TEXT}}), style)


def task(**sets: dict[str, Any]) -> Task:
    return Task.model_validate(
        {
            "name": "films",
            "title": "Films",
            "family": "text-classification",
            "labels": LABELS,
            "splits": {"test": {"file": "test.jsonl"}},
            "prompts": {name: {"source": "x", **fields} for name, fields in sets.items()},
        }
    )


def test_the_two_places_of_a_prompt_are_filled() -> None:
    assert fill('Review of "<C>": "<X>"', context="Alien", text="Great.") == 'Review of "Alien": "Great."'
    assert fill("<C> and <C>", context="a") == "a and a"


def test_a_context_that_itself_holds_a_placeholder_stays_what_the_plm_wrote() -> None:
    assert fill('"<C>": "<X>"', context="<X>", text="<C>") == '"<X>": "<C>"'


def test_what_a_stage_does_not_fill_stays_for_the_next() -> None:
    assert fill("<C>: <X>", context="a") == "a: <X>"
    assert fill("<C>: <X>", text="b") == "<C>: b"
    assert fill("<C>", context="") == "", "an empty context is a context"


def test_only_the_two_placeholders_mean_something() -> None:
    assert fill("<x> <CX> {C} %s \\1 <b>", context="a", text="b") == "<x> <CX> {C} %s \\1 <b>"


def test_the_first_prompt_set_of_a_task_is_its_default() -> None:
    films = task(zerogen={"completion": {"text": TEXT}}, another={"completion": {"text": TEXT}})
    assert prompt_set(films, None)[0] == "zerogen"
    assert prompt_set(films, "another") == ("another", films.prompts["another"])
    with pytest.raises(HarnessError, match="task 'films' has no prompt set 'other'; it has zerogen, another"):
        prompt_set(films, "other")


def test_a_chat_model_gets_chat_prompts_and_is_never_given_those_of_completion() -> None:
    chatty = {"negative": ["Write a bad review."], "positive": ["Write a good review."]}
    films = task(both={"completion": {"text": TEXT}, "chat": {"text": chatty}}, one={"completion": {"text": TEXT}})
    assert prompts_in_style(films, "both", "completion")[1].text["positive"] == ("Good.",)
    assert prompts_in_style(films, "both", "chat")[1].text["positive"] == ("Write a good review.",)
    with pytest.raises(HarnessError, match="prompt set 'one' has no prompts in the style 'chat'"):
        prompts_in_style(films, "one", "chat")


def test_good_prompts_have_no_problem() -> None:
    assert problems() == []
    with_context = {"negative": ["Bad <C>."], "positive": ["Good <C>."]}
    assert problems(context=["Film:"], text=with_context) == []
    assert problems(classify={"negative": ["Bad: <X>"], "positive": ["Good: <X>"]}) == []
    assert problems("chat", classify=TEXT) == []


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"text": {"negative": ["x"]}}, ("text",), "no prompt for the label 'positive'"),
        ({"text": {**TEXT, "positive": []}}, ("text",), "no prompt for the label 'positive'"),
        ({"text": {**TEXT, "neutral": ["x"]}}, ("text", "neutral"), "unknown label 'neutral' (the task has "),
        ({"classify": {"negative": ["<X>"]}}, ("classify",), "no prompt for the label 'positive'"),
        (
            {"context": ["Film: <C>"], "text": {label: ["<C>"] for label in LABELS}},
            ("context", 0),
            "written from nothing",
        ),
        (
            {"context": ["a", "<X>"], "text": {label: ["<C>"] for label in LABELS}},
            ("context", 1),
            "written from nothing",
        ),
        ({"context": ["Film:"]}, ("text", "negative", 0), "expected <C>, for the set has a context stage"),
        ({"text": {**TEXT, "positive": ["a", "<C>"]}}, ("text", "positive", 1), "<C> is never filled"),
        ({"text": {**TEXT, "positive": ["a <X>"]}}, ("text", "positive", 0), "it cannot hold <X>"),
        ({"classify": TEXT}, ("classify", "negative", 0), "expected <X> once"),
        ({"classify": {label: ["<X><X>"] for label in LABELS}}, ("classify", "negative", 0), "expected <X> once"),
        ({"classify": {label: ["<C><X>"] for label in LABELS}}, ("classify", "negative", 0), "and no <C>"),
    ],
)
def test_a_prompt_that_cannot_do_its_work_is_a_problem_of_its_place(
    fields: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    found = dict(problems(**fields))
    assert message in found[path]


def test_a_chat_prompt_to_classify_holds_no_text_for_the_text_is_the_reply() -> None:
    found = problems("chat", classify={"negative": ["Bad: <X>"], "positive": ["Good."]})
    assert found == [
        (("classify", "negative", 0), "expected no <C>, and no <X>: the text to classify is scored as the reply")
    ]
