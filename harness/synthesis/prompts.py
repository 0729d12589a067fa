"""Prompts as the PLM sees them: `<C>` and `<X>` filled in, in the completion style or as a chat message."""

import re

from harness.errors import HarnessError
from harness.spec import Prompts, PromptSet, Style, Task

CONTEXT = "<C>"
TEXT = "<X>"
_PLACEHOLDER = re.compile("<[CX]>")


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


def fill(template: str, *, context: str | None = None, text: str | None = None) -> str:
    """A template with its placeholders replaced, in one pass: a context that itself contains `<X>` stays as it is."""
    values = {CONTEXT: context, TEXT: text}

    def value(match: re.Match[str]) -> str:
        found = values[match[0]]
        return match[0] if found is None else found

    return _PLACEHOLDER.sub(value, template)


def prompt_problems(prompts: Prompts, labels: tuple[str, ...], style: Style) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the prompts of one style, as (path below the style, message)."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for field, by_label in (("text", prompts.text), ("classify", prompts.classify)):
        if field == "classify" and not by_label:
            continue
        missing = [label for label in labels if not by_label.get(label)]
        unknown = [label for label in by_label if label not in labels]
        problems += [((field,), f"no prompt for the label '{label}'") for label in missing]
        problems += [((field, one), f"unknown label '{one}' (the task has {', '.join(labels)})") for one in unknown]
    for index, template in enumerate(prompts.context):
        if CONTEXT in template or TEXT in template:
            problems.append(
                (
                    ("context", index),
                    "a context prompt is written from nothing: it can hold neither <C> nor <X>",
                )
            )
    for label, templates in prompts.text.items():
        for index, template in enumerate(templates):
            problems += [
                (("text", label, index), message) for message in _text_problems(template, bool(prompts.context))
            ]
    for label, templates in prompts.classify.items():
        for index, template in enumerate(templates):
            wanted = 1 if style == "completion" else 0
            if template.count(TEXT) != wanted or CONTEXT in template:
                message = (
                    "expected <X> once, where the text to classify stands, and no <C>"
                    if wanted
                    else "expected neither <X> nor <C>: the text to classify is scored as the reply"
                )
                problems.append((("classify", label, index), message))
    return problems


def _text_problems(template: str, has_context: bool) -> list[str]:
    problems = []
    if TEXT in template:
        problems.append("a text prompt ends where the text begins: it cannot hold <X>")
    if has_context and CONTEXT not in template:
        problems.append("expected <C>, for the set has a context stage")
    if not has_context and CONTEXT in template:
        problems.append("<C> is never filled: the set has no 'context' prompts")
    return problems
