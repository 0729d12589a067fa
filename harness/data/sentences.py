"""Sentences of a paragraph, by rules: enough to have contexts of one sentence where only paragraphs are to be had."""

import re

_END = re.compile(r"[.!?…][\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|Prof|Rev|Hon|Gen|Col|Lt|Sgt|Capt|Gov|Sen|Rep|St|Mt|Ft|Jr|Sr|vs|No|Nos|Vol|Fig|cf|ca|al|"
    r"approx|Inc|Ltd|Co|Corp|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|[ap]\.m|[Ee]\.g|[Ii]\.e|[A-Z]\.[A-Z]))\.$"
)


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, white space stripped at their ends.

    A sentence ends at `.`, `!`, `?` or `…` (with closing quotes and brackets) before white space and a capital or a
    digit, unless the full stop belongs to an initial or a usual abbreviation.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        if text[match.start()] == "." and _ABBREVIATION.search(text, max(start, match.start() - 12), match.start() + 1):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]
