"""Prompts as the PLM sees them: `<C>`, `<X>`, `<Y>` filled in, in the completion style or as a chat message."""

import re

from harness.errors import HarnessError
from harness.spec import Prompts, PromptSet, Style, Task

CONTEXT = "<C>"
TEXT = "<X>"
ANSWER = "<Y>"
_PLACEHOLDER = re.compile("<[CXY]>")


def prompt_set(task: Task, name: str | None) -> tuple[str, PromptSet]:
    """The named prompt set of a task, or its first.

    Raises:
        HarnessError: the task has no set of that name.
    """
    chosen = name or next(iter(task.prompts))
    if chosen not in task.prompts:
        raise HarnessError(f"task '{task.name}' has no prompt set '{chosen}'; it has {', '.join(task.prompts)}")
    return chosen, task.prompts[chosen]


def prompts_in_style(task: Task, name: str | None, style: Style) -> tuple[PromptSet, Prompts]:
    """The prompt set and its prompts in one style.

    Raises:
        HarnessError: no such set, or it has no prompts in that style.
    """
    chosen, found = prompt_set(task, name)
    prompts = found.completion if style == "completion" else found.chat
    if prompts is None:
        raise HarnessError(f"task '{task.name}': prompt set '{chosen}' has no prompts in the style '{style}'")
    return found, prompts


def fill(template: str, *, context: str | None = None, text: str | None = None, answer: str | None = None) -> str:
    """A template with its placeholders replaced, in one pass: a context that itself contains `<X>` stays as it is."""
    values = {CONTEXT: context, TEXT: text, ANSWER: answer}

    def value(match: re.Match[str]) -> str:
        found = values[match[0]]
        return match[0] if found is None else found

    return _PLACEHOLDER.sub(value, template)


Problems = list[tuple[tuple[str | int, ...], str]]
"""What is wrong with the prompts of one style, as (path below the style, message)."""


def prompt_problems(prompts: Prompts, task: Task, style: Style) -> Problems:
    """Prompts that do not fit the task's labels or family, placeholders that are missing or never filled."""
    is_qa, is_pair = task.family == "extractive-qa", task.family == "text-pair-classification"
    problems: Problems = []
    for field, by_label in (("text", prompts.text), ("classify", prompts.classify)):
        if is_qa or (field == "classify" and not by_label):
            continue
        missing = [label for label in task.labels if not by_label.get(label)]
        unknown = [label for label in by_label if label not in task.labels]
        problems += [((field,), f"no prompt for the label '{label}'") for label in missing]
        known = ", ".join(task.labels)
        problems += [((field, one), f"unknown label '{one}' (the task has {known})") for one in unknown]
    if prompts.context and task.family != "text-classification":
        problems.append((("context",), f"{task.family} takes its contexts from real text: leave 'context' out"))
    for field in ("text", "classify") if is_qa else ("question", "answer"):
        if getattr(prompts, field):
            problems.append(((field,), f"{task.family} has no '{field}' prompts"))
    if is_qa and not prompts.question:
        problems.append((("question",), "expected at least one prompt after which a question is written"))
    for index, template in enumerate(prompts.context):
        if any(one in template for one in (CONTEXT, TEXT, ANSWER)):
            message = "a context prompt is written from nothing: it can hold none of <C>, <X> and <Y>"
            problems.append((("context", index), message))
    for label, templates in prompts.text.items():
        for index, template in enumerate(templates):
            found = _text_problems(template, bool(prompts.context), is_pair)
            problems += [(("text", label, index), message) for message in found]
    for index, template in enumerate(prompts.question):
        if template.count(ANSWER) != 1 or CONTEXT not in template or TEXT in template:
            message = "expected <C> and, once, <Y>, and no <X>: it ends where the question begins"
            problems.append((("question", index), message))
    for label, templates in prompts.classify.items():
        for index, template in enumerate(templates):
            problems += [
                (("classify", label, index), message) for message in _classify_problems(template, style, is_pair)
            ]
    if prompts.answer is not None and (
        prompts.answer.count(CONTEXT) != 1 or prompts.answer.count(TEXT) != 1 or ANSWER in prompts.answer
    ):
        problems.append((("answer",), "expected <C> once and <X> (the question) once, and no <Y>"))
    return problems


def _classify_problems(template: str, style: Style, is_pair: bool) -> list[str]:
    wanted_text = 1 if style == "completion" else 0
    if template.count(TEXT) == wanted_text and template.count(CONTEXT) == int(is_pair) and ANSWER not in template:
        return []
    context = "<C> once, where the first text stands" if is_pair else "no <C>"
    if wanted_text:
        return [f"expected <X> once, where the text to classify stands, and {context}"]
    return [f"expected {context}, and no <X>: the text to classify is scored as the reply"]


def _text_problems(template: str, has_context: bool, is_pair: bool) -> list[str]:
    problems = []
    if TEXT in template or ANSWER in template:
        problems.append("a text prompt ends where the text begins: it cannot hold <X> or <Y>")
    if is_pair and CONTEXT not in template:
        problems.append("expected <C>, where the first text of the pair stands")
    if has_context and CONTEXT not in template:
        problems.append("expected <C>, for the set has a context stage")
    if not is_pair and not has_context and CONTEXT in template:
        problems.append("<C> is never filled: the set has no 'context' prompts")
    return problems
