"""Which prompts are grouped by what they begin with, against cases worked by hand and a search over all groupings."""

import itertools
import random

import pytest

from harness.generators.sharing import Group, Tokens, share, shared_length


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [
        ((1, 2, 3, 4), (1, 2, 9, 4), 2),
        ((1, 2, 3, 4), (5, 2, 3, 4), 0),
        ((1, 2, 3), (1, 2, 3, 4), 2),
        ((1, 2, 3), (1, 2, 3), 2),
        ((1, 2, 3), (1, 2, 4), 2),
        ((1,), (1, 2), 0),
        ((1,), (1,), 0),
        ((1, 2), (1, 3), 1),
    ],
)
def test_shared_length_counts_no_prompts_last_token(one: Tokens, other: Tokens, length: int) -> None:
    assert shared_length(one, other) == shared_length(other, one) == length


A, B, C = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), (1, 2, 3, 4, 8)
D, E = (9, 9, 9, 1), (9, 9, 9, 2)


@pytest.mark.parametrize(
    ("prompts", "groups"),
    [
        ([A], [Group((A,), 0)]),
        ([A, A], [Group((A,), 0)]),
        ([B, A], [Group((A, B), 5)]),
        # All three share 4 tokens, which saves 2 * 4; A and B alone share 5 and would save 5.
        ([A, B, C], [Group((A, B, C), 4)]),
        # Two beginnings: 2 * 4 + 3 saved.
        ([D, C, A, E, B], [Group((A, B, C), 4), Group((D, E), 3)]),
        # Nothing in common, or too little of all there is to read: 1 of 11 tokens.
        ([A, D], [Group((A, D), 0)]),
        ([(1, 2, 3, 4, 5), (1, 7, 7, 7, 7, 7)], [Group(((1, 2, 3, 4, 5), (1, 7, 7, 7, 7, 7)), 0)]),
        # 1 of 10 is just enough.
        ([(1, 2, 3, 4, 5), (1, 7, 7, 7, 7)], [Group(((1, 2, 3, 4, 5), (1, 7, 7, 7, 7)), 1)]),
        # A prompt that another begins with keeps its last token to go on from.
        ([(1, 2, 3), (1, 2, 3, 4)], [Group(((1, 2, 3), (1, 2, 3, 4)), 2)]),
        # One that shares nothing stands by itself.
        ([A, B, (7,)], [Group((A, B), 5), Group(((7,),), 0)]),
    ],
)
def test_the_groups_of_cases_worked_by_hand(prompts: list[Tokens], groups: list[Group]) -> None:
    assert share(prompts) == groups


def lcp(prompts: tuple[Tokens, ...]) -> int:
    """Tokens that all begin with, the last of none counted."""
    most = min(map(len, prompts)) - 1
    return next((place for place in range(most) if len({prompt[place] for prompt in prompts}) > 1), most)


def best_saving(prompts: list[Tokens]) -> int:
    """The most that any limit saves, by joining for each limit all prompts connected by pairs that share as much."""
    ordered = sorted(set(prompts))
    most = 0
    for limit in range(1, max(map(len, ordered), default=0)):
        joined = {prompt: {prompt} for prompt in ordered}
        for one, other in itertools.combinations(ordered, 2):
            if lcp((one, other)) >= limit and joined[one] is not joined[other]:
                joined[one] |= joined[other]
                for prompt in joined[other]:
                    joined[prompt] = joined[one]
        groups = {id(group): group for group in joined.values()}.values()
        most = max(most, sum((len(group) - 1) * lcp(tuple(group)) for group in groups if len(group) > 1))
    return most


def test_groups_keep_all_prompts_and_save_as_much_as_any_limit_would() -> None:
    stream = random.Random(5)
    shared = 0
    for _ in range(400):
        prompts = [
            tuple(stream.randrange(stream.choice((2, 3))) for _ in range(stream.randrange(1, 10)))
            for _ in range(stream.randrange(1, 14))
        ]
        groups = share(prompts)
        assert sorted(prompt for group in groups for prompt in group.prompts) == sorted(set(prompts))
        for group in groups:
            alone = len(group.prompts) == 1 and group.shared == len(group.prompts[0]) - 1
            assert alone or group.shared in (0, lcp(group.prompts))
        saved = sum((len(group.prompts) - 1) * group.shared for group in groups)
        most = best_saving(prompts)
        assert saved == (most if most >= 0.1 * sum(map(len, set(prompts))) else 0)
        shared += saved > 0
    assert 100 < shared < 400


def test_more_lengths_than_are_tried_still_group_what_begins_alike() -> None:
    """60 pairs of prompts, each of which shares another number of tokens."""
    pairs = [[(number, *range(100, 100 + number), end) for end in (1, 2)] for number in range(1, 61)]
    groups = share([prompt for pair in pairs for prompt in pair])
    saved = sum((len(group.prompts) - 1) * group.shared for group in groups)
    assert saved >= 0.95 * sum(1 + number for number in range(1, 61))
