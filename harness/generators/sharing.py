"""Which prompts begin alike, so that the PLM reads what they share once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Tokens = tuple[int, ...]

_LEAST_SAVING = 0.1
"""A share of all prompt tokens: below it a second pass over what follows costs more than the first one saves."""
_CANDIDATES = 32


@dataclass(frozen=True)
class Group:
    """Prompts, each longer than the `shared` first tokens that they have in common (0: nothing worth sharing).

    A prompt alone among groups shares all but its last token with itself: so it is read with what others share, which
    is as long, and not with the little that they differ in.
    """

    prompts: tuple[Tokens, ...]
    shared: int


def shared_length(one: Tokens, other: Tokens) -> int:
    """How many first tokens two prompts have in common, the last token of neither counted: it is read to go on from."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)


def share(prompts: Sequence[Tokens]) -> list[Group]:
    """Group distinct prompts by what they begin with, where that saves the PLM reading; else one group without.

    In the order of their tokens those that begin alike stand together. They are parted where neighbours share fewer
    tokens than a limit, the one that saves the most.
    """
    ordered = sorted(set(prompts))
    common = [shared_length(one, other) for one, other in pairwise(ordered)]
    limits = sorted({length for length in common if length})
    limits = (
        [limits[i * len(limits) // _CANDIDATES] for i in range(_CANDIDATES)] if len(limits) > _CANDIDATES else limits
    )
    best = max(limits, key=lambda limit: _saved(common, limit), default=0)
    if not best or _saved(common, best) < _LEAST_SAVING * sum(map(len, ordered)):
        return [Group(tuple(ordered), 0)]
    groups: list[list[int]] = []
    for place in range(len(ordered)):
        if place and common[place - 1] >= best:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [
        Group(
            tuple(ordered[place] for place in group),
            min((common[place] for place in group[:-1]), default=len(ordered[group[0]]) - 1),
        )
        for group in groups
    ]


def _saved(common: Sequence[int], limit: int) -> int:
    """Prompt tokens that need not be read again when neighbours that share at least `limit` tokens are together."""
    saved, size, least = 0, 1, 0
    for length in [*common, 0]:
        if length >= limit:
            size, least = size + 1, min(least or length, length)
        else:
            saved += (size - 1) * least
            size, least = 1, 0
    return saved
