"""Text that strangers wrote (titles, names, labels), shown where some characters would otherwise be instructions."""

import re
from html import escape

from rich.text import Text

_IN_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", "|": "&#124;", "`": "&#96;", "*": "&#42;", "\\": "&#92;"})
_LINK = re.compile(r"\](?=[(\[:])")
_JOINERS = "\u200c\u200d"
"""Invisible, but Persian, Indic scripts and emoji are spelled with them."""


def in_markdown(text: str) -> str:
    """One line that stays in its table cell and opens no tag, link, image or code.

    Entities, not backslashes: Markdown readers disagree about a backslash before the bar of a table.
    """
    return " ".join(_LINK.sub("&#93;", text.translate(_IN_MARKDOWN)).split())


def in_terminal(text: str, style: str = "") -> Text:
    """One line without markup, emoji codes or control characters (such as those that set colours or a window title)."""
    return Text("".join(character if character.isprintable() else " " for character in text), style)


def in_html(text: str, limit: int = 600) -> str:
    """At most `limit` characters, fit to stand in an element or a quoted attribute of HTML, XML or SVG.

    Line breaks are shown as a sign; what else cannot be seen (controls, marks that turn the direction of writing, half
    a surrogate pair) becomes a space or U+FFFD, so that the page is always UTF-8 and reads in its own order.
    """
    cut = text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
    return escape("".join(map(_visible, cut)))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if character == "\n":
        return " ⏎ "
    return " " if character.isspace() else "\ufffd"
