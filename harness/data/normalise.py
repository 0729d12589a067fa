"""What counts as "the same text but for its dress": one normal form for duplicates and for leakage."""

import re
import unicodedata

NORMALISE_V1 = "normalise.v1"
"""Name and version of the normal form for signatures."""

_MARK = re.compile(r"[^\w\s]|_")


def normalise(text: str) -> str:
    """`text` in Unicode NFKC, case-folded, without punctuation and symbols, single spaces between words.

    A punctuation mark leaves a word boundary: sources that differ only in their tokenisation, such as the
    hub's SST-2 (`it 's great !`) and a PLM (`It's great!`), then have one form. Normalising twice changes
    nothing. A text of nothing but marks becomes the empty string.
    """
    # Folding can undo the composition of NFKC (as for U+0390), hence NFKC on both sides of it.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_MARK.sub(_boundary_unless_accent, folded).split())


def _boundary_unless_accent(mark: re.Match[str]) -> str:
    """A space, but combining characters stay: `\\w` leaves them out, yet in many scripts they are vowels."""
    return mark[0] if unicodedata.category(mark[0]).startswith("M") else " "
