"""The decode loop: one forward pass a token over the rows in the batch, each drawing from its own random stream.

Purpose: what `model.generate` does for sampling, without what it wastes. Rows leave when they end and waiting ones take
their places; prompts that repeat, and what prompts begin with alike, are read once; a row's draws depend on its seed
alone, so on nothing that happens to stand beside it.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from harness.generators.base import Decoding
from harness.generators.capture import CapturedStep
from harness.generators.sampling import bar_repeated_ngrams, debias, draw, draw_of, penalise_repeats, row_uniforms
from harness.generators.sharing import Group, Tokens, share, shared_length
from harness.generators.slots import Memory, SlotCache

PREFILL_TOKENS = 4096
"""Prompt tokens read in one pass, padding included."""

REFILL = 1 / 8
"""Waiting rows enter when this share of the places is free: a pass over few prompts costs as much as one over many."""

SHRINK = 0.75
"""Without waiting rows the batch shrinks when at most this share is alive: every new shape of a batch costs the CPU
library a new kernel."""

_WIDTH_STEP = 16
"""Positions by which the cache grows and shrinks."""
_TOO_WIDE = 4 / 3


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`base.Request` in tokens: `prompts` are the one to write after and then its counter prompts, none empty."""

    prompts: tuple[Tokens, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """Token ids of a row (without the end token), how it ended and its log-probability in nats."""

    tokens: list[int]
    ended: str
    log_probability: float


@dataclass(frozen=True)
class Ends:
    """[vocabulary] bool each: end tokens, and tokens whose text contains a stop string."""

    eos: torch.Tensor
    stop: torch.Tensor


class CacheMemory:
    """For the rows in the batch; for what is read next and of what was read last; for the beginnings that prompts
    share."""

    def __init__(self) -> None:
        self.rows, self.beginnings = Memory(), Memory()
        self.read = [Memory(), Memory()]

    @property
    def nbytes(self) -> int:
        return sum(memory.nbytes for memory in (self.rows, self.beginnings, *self.read))


@torch.inference_mode()
def decode(
    model: Any,
    requests: Sequence[TokenRequest],
    decoding: Decoding,
    ends: Ends,
    places: int,
    memory: CacheMemory | None = None,
) -> Iterator[tuple[int, Decoded]]:
    """Complete every request, `places` of them at a time; each with its number, in the order in which they end.

    Args:
        model: a causal language model of `transformers` that takes `position_ids`.
        requests: as many prompts in each; more than one only with self-debiasing.
        memory: of calls before, with the same model, to be used again.
    """
    if requests:
        yield from _Batch(model, requests, decoding, ends, min(places, len(requests)), memory or CacheMemory()).run()


class _Batch:
    """Rows in places 0 .. used - 1. A place is as many slots of the cache as a request has prompts, one after another;
    they go on in lock-step, with the token drawn for the row."""

    def __init__(
        self,
        model: Any,
        requests: Sequence[TokenRequest],
        decoding: Decoding,
        ends: Ends,
        places: int,
        memory: CacheMemory,
    ) -> None:
        self.model, self.requests, self.decoding, self.ends = model, requests, decoding, ends
        self.device = model.device
        self.sides = len(requests[0].prompts)
        longest = max(len(prompt) for request in requests for prompt in request.prompts)
        self.memory = memory
        self.cache = SlotCache(model, places * self.sides, _WIDTH_STEP, memory.rows)
        self.places = places
        self.used = 0
        self.number = [-1] * places  # of the request in each place; -1: it has ended
        self.length = [0] * places  # of the longest of its prompts and its text
        device = self.device
        self.lengths = torch.zeros(places * self.sides, dtype=torch.long, device=device)  # in the cache, by slot
        self.alive = torch.zeros(places, dtype=torch.bool, device=device)
        self.count = torch.zeros(places, dtype=torch.long, device=device)
        self.tokens = torch.zeros((places, decoding.max_new_tokens), dtype=torch.long, device=device)
        self.last = torch.zeros(places, dtype=torch.long, device=device)
        self.log_probability = torch.zeros(places, dtype=torch.float64, device=device)
        self.uniforms = torch.zeros((places, decoding.max_new_tokens, 3), dtype=torch.float64, device=device)
        self.is_end = ends.eos | ends.stop
        self.ids: torch.Tensor | None = None  # of prompt and text by slot, where repetitions are looked for
        if decoding.repetition_penalty != 1.0 or decoding.no_repeat_ngram_size:
            shape = (places * self.sides, longest + decoding.max_new_tokens)
            self.ids = torch.zeros(shape, dtype=torch.long, device=device)
        self.next_logits = CapturedStep(partial(_forward, model, self.cache), device)
        self.waiting = self._reading_order()
        self.read = _Read({}, None, None)

    def _reading_order(self) -> list[int]:
        """The requests from the last to the first to enter: those with equal prompts together, the longest first.

        Prompts of about one length stand together, so that little of a pass is padding; the longest come first, for
        the memory that they take is then known from the beginning.
        """
        groups = share([request.prompts[0] for request in self.requests])
        place = {prompt: (number, prompt) for number, group in enumerate(groups) for prompt in group.prompts}
        longest = [max(map(len, group.prompts)) if group.shared else 0 for group in groups]

        def key(number: int) -> tuple[int, int, Tokens]:
            prompt = self.requests[number].prompts[0]
            group = place[prompt][0]
            return (longest[group] or len(prompt), group, prompt)

        return sorted(range(len(self.requests)), key=key)

    def run(self) -> Iterator[tuple[int, Decoded]]:
        while self.waiting or self.used:
            free = self.places - self._going()
            if self.waiting and (free == self.places or free >= max(1, REFILL * self.places)):
                self._compact()
                yield from self._enter(min(free, len(self.waiting)))
                continue  # until the batch is full: a step over few rows takes nearly as long as one over all
            if not self.waiting and self._going() <= SHRINK * self.used:
                self._compact()
            if self._going():
                yield from self._step()

    def _going(self) -> int:
        """How many rows have not ended."""
        return self.used - self.number[: self.used].count(-1)

    def _compact(self) -> None:
        """Bring the rows that go on to the first places."""
        going = [place for place in range(self.used) if self.number[place] >= 0]
        free = [place for place in range(len(going)) if self.number[place] < 0]
        moved = [place for place in going if place >= len(going)]
        if moved:
            source, target = (torch.tensor(places, device=self.device) for places in (moved, free))
            slots, target_slots = self._slots(source), self._slots(target)
            self.cache.copy(target_slots, self.cache, slots, max(self.length[place] for place in moved))
            self.lengths[target_slots] = self.lengths[slots]
            if self.ids is not None:
                self.ids[target_slots] = self.ids[slots]
            for state in (self.alive, self.count, self.tokens, self.last, self.log_probability, self.uniforms):
                state[target] = state[source]
            for old, new in zip(moved, free, strict=True):
                self.number[new], self.length[new] = self.number[old], self.length[old]
        self.used = len(going)

    def _slots(self, places: torch.Tensor) -> torch.Tensor:
        return (places[:, None] * self.sides + torch.arange(self.sides, device=self.device)).flatten()

    def _make_room(self, length: int) -> None:
        """Have the cache as wide as its longest row needs; wider by a third and more is too wide.

        All of it moves when it is resized. So it grows by whole steps, or at once to where a row may end.
        """
        if not length <= self.cache.positions < _TOO_WIDE * (length + _WIDTH_STEP):
            to_the_end = length + self.decoding.max_new_tokens
            step = -(-length // _WIDTH_STEP) * _WIDTH_STEP
            self.cache.resize(to_the_end if to_the_end < _TOO_WIDE * length else step)
            self.next_logits.forget()

    def _enter(self, count: int) -> Iterator[tuple[int, Decoded]]:
        """Take waiting requests in, as many as are read in one pass, and draw their first tokens."""
        numbers: list[int] = []
        new, longest = set[Tokens](), 0
        while len(numbers) < count and self.waiting:
            prompts = [prompt for prompt in self.requests[self.waiting[-1]].prompts if prompt not in self.read.place]
            more, wider = new | set(prompts), max(longest, *map(len, prompts), 0)
            if numbers and len(more) * wider > PREFILL_TOKENS:
                break
            numbers.append(self.waiting.pop())
            new, longest = more, wider
        first = self.used
        self.used += len(numbers)
        places = torch.arange(first, self.used, device=self.device)
        slots = self._slots(places)
        prompts = [prompt for number in numbers for prompt in self.requests[number].prompts]
        read = _read(self.model, prompts, self.read, self.memory.read[0], self.memory.beginnings)
        if read is not self.read:
            self.read = read
            self.memory.read.reverse()
        assert self.read.cache is not None and self.read.logits is not None
        rows = torch.tensor([self.read.place[prompt] for prompt in prompts], device=self.device)
        self._make_room(max([*map(len, prompts), *self.length[:first]]))
        self.cache.copy(slots, self.read.cache, rows, max(map(len, prompts)))
        self.lengths[slots] = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        if self.ids is not None:
            for slot, prompt in zip(slots.tolist(), prompts, strict=True):
                self.ids[slot, : len(prompt)] = torch.tensor(prompt, device=self.device)
        self.alive[places], self.count[places], self.log_probability[places] = True, 0, 0.0
        self.uniforms[places] = row_uniforms(
            [self.requests[number].seed for number in numbers], self.decoding.max_new_tokens
        ).to(self.device)
        for place, number in zip(range(first, self.used), numbers, strict=True):
            self.number[place] = number
            self.length[place] = max(map(len, self.requests[number].prompts))
        yield from self._take(places, self.read.logits[rows])

    def _step(self) -> Iterator[tuple[int, Decoded]]:
        """A token more for every row: what was drawn last is read, and the next one drawn."""
        slots = self.used * self.sides
        lengths = self.lengths[:slots, None]
        self._make_room(max(self.length[: self.used]))
        ids = self.last[: self.used].repeat_interleave(self.sides)[:, None]
        logits = self.next_logits(ids, lengths)
        alive = self.alive[: self.used]
        self.lengths[:slots] += alive.repeat_interleave(self.sides)
        yield from self._take(torch.arange(self.used, device=self.device), logits)

    def _take(self, places: torch.Tensor, logits: torch.Tensor) -> Iterator[tuple[int, Decoded]]:
        """Draw a token for each of the places from logits [places * sides, vocabulary]; the rows that end with it."""
        count = self.count[places]
        at = count.clamp(max=self.decoding.max_new_tokens - 1)  # a row that has ended stays where it is
        drawn, log_p = self._draw(logits, places, self.uniforms[places, at], count)
        alive = self.alive[places]
        drawn = torch.where(alive, drawn, self.last[places])
        self.last[places] = drawn
        self.tokens[places, at] = torch.where(alive, drawn, self.tokens[places, at])
        self.log_probability[places] += torch.where(alive, log_p, 0.0)
        self.count[places] += alive
        if self.ids is not None:
            slots = self._slots(places[alive])
            self.ids[slots, self.lengths[slots]] = drawn[alive].repeat_interleave(self.sides)
        going = alive & ~self.is_end[drawn] & (self.count[places] < self.decoding.max_new_tokens)
        self.alive[places] = going
        first = int(places[0])
        for place in range(first, first + len(places)):
            self.length[place] += self.number[place] >= 0
        ended = (alive & ~going).nonzero()[:, 0].tolist()
        yield from [self._ended(first + place) for place in ended]

    def _draw(
        self, logits: torch.Tensor, places: torch.Tensor, uniforms: torch.Tensor, count: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, and their log-probabilities in nats (float64) by the PLM's own distribution."""
        decoding = self.decoding
        by_side = logits.float().reshape(len(places), self.sides, -1)
        own = by_side[:, 0]
        plain = own.softmax(-1)
        changed = by_side
        if self.ids is not None or decoding.min_new_tokens:
            changed = by_side.clone()
            self._apply_rules(changed, places, count)
        if decoding.self_debiasing:
            drawn = draw(debias(changed.transpose(0, 1), decoding.self_debiasing), decoding, uniforms)
        elif changed is by_side and decoding.temperature == 1.0 and not decoding.top_k:
            drawn = draw_of(plain, decoding.top_p, uniforms)
        else:
            drawn = draw(changed[:, 0], decoding, uniforms)
        log_p = plain.gather(1, drawn[:, None])[:, 0].log()
        # A token that underflows to 0 can only be drawn where rules or counter prompts made it possible.
        exact = own.gather(1, drawn[:, None])[:, 0] - own.logsumexp(-1) if bool(log_p.isinf().any()) else log_p
        return drawn, exact.double()

    def _apply_rules(self, logits: torch.Tensor, places: torch.Tensor, count: torch.Tensor) -> None:
        """The rules on repetition and on the least length, in place, on logits [places, sides, vocabulary]."""
        decoding = self.decoding
        if self.ids is not None:
            slots = self._slots(places)
            flat = logits.flatten(0, 1)
            lengths = self.lengths[slots]
            if decoding.repetition_penalty != 1.0:
                penalise_repeats(flat, self.ids[slots], lengths, decoding.repetition_penalty)
            if decoding.no_repeat_ngram_size:
                bar_repeated_ngrams(flat, self.ids[slots], lengths, decoding.no_repeat_ngram_size)
        if decoding.min_new_tokens:
            short = (count < decoding.min_new_tokens)[:, None, None] & self.ends.eos
            logits.masked_fill_(short, -torch.inf)

    def _ended(self, place: int) -> tuple[int, Decoded]:
        number, self.number[place] = self.number[place], -1
        ids = self.tokens[place, : int(self.count[place])].tolist()
        is_eos, is_end = bool(self.ends.eos[ids[-1]]), bool(self.is_end[ids[-1]])
        ended = "eos" if is_eos else "stop" if is_end else "length"
        return number, Decoded(ids[:-1] if is_eos else ids, ended, float(self.log_probability[place]))


@dataclass(frozen=True)
class _Read:
    """Prompts the model has read: their rows in a cache, and the logits after each [prompts, vocabulary]."""

    place: dict[Tokens, int]
    cache: SlotCache | None
    logits: torch.Tensor | None


def _read(model: Any, prompts: Sequence[Tokens], before: _Read, memory: Memory, memory_of_beginnings: Memory) -> _Read:
    """Have the model read every distinct prompt once, but for those read just before.

    What prompts of a group share is read first and copied to all of them. A prompt read before may begin alike too.
    `memory` is not that of `before`.
    """
    wanted = list(dict.fromkeys(prompts))
    kept = [prompt for prompt in wanted if prompt in before.place]
    if len(kept) == len(wanted):
        return before
    donors = sorted(before.place)
    groups = [
        _with_donor(group, donors) for group in share([prompt for prompt in wanted if prompt not in before.place])
    ]
    new = [prompt for group, _ in groups for prompt in group.prompts]
    place = {prompt: row for row, prompt in enumerate([*new, *kept])}
    cache = SlotCache(model, len(place), max(map(len, wanted)) + 1, memory)
    unread = [group for group, donor in groups if group.shared and donor is None]
    if unread:
        longest = max(group.shared for group in unread)
        beginnings = SlotCache(model, len(unread), longest + 1, memory_of_beginnings)
        _extend(model, beginnings, [group.prompts[0][: group.shared] for group in unread], [0] * len(unread))
        rows = [place[prompt] for group in unread for prompt in group.prompts]
        source = [number for number, group in enumerate(unread) for _ in group.prompts]
        _copy(cache, rows, beginnings, source, longest)
    for group, donor in groups:
        if donor is not None and before.cache is not None:
            rows = [place[prompt] for prompt in group.prompts]
            _copy(cache, rows, before.cache, [before.place[donor]] * len(rows), group.shared)
    starts = [group.shared for group, _ in groups for _ in group.prompts]
    logits = _extend(model, cache, [prompt[start:] for prompt, start in zip(new, starts, strict=True)], starts)
    if kept and before.cache is not None and before.logits is not None:
        source = [before.place[prompt] for prompt in kept]
        _copy(cache, [place[prompt] for prompt in kept], before.cache, source, max(map(len, kept)))
        logits = torch.cat([logits, before.logits[torch.tensor(source, device=model.device)]])
    return _Read(place, cache, logits)


def _with_donor(group: Group, donors: Sequence[Tokens]) -> tuple[Group, Tokens | None]:
    """The group with that of the sorted `donors` that begins as its prompts do for longest, if that saves reading;
    None: there is none."""
    first = group.prompts[0]
    place = bisect(donors, first)  # what begins most alike stands next to it
    donor = max(donors[max(0, place - 1) : place + 1], key=lambda one: shared_length(first, one), default=None)
    shared = min(shared_length(prompt, donor) for prompt in group.prompts) if donor else 0
    saves = len(group.prompts) * (group.shared - shared) < group.shared
    # What is left of every prompt must be short, as what is left of the others: they are read in one pass.
    if not saves or 2 * shared < min(map(len, group.prompts)):
        return group, None
    return Group(group.prompts, shared), donor


def _copy(cache: SlotCache, rows: list[int], source: SlotCache, source_rows: list[int], width: int) -> None:
    cache.copy(torch.tensor(rows), source, torch.tensor(source_rows), width)


def _extend(model: Any, cache: SlotCache, tokens: Sequence[Tokens], starts: Sequence[int]) -> torch.Tensor:
    """Read tokens into the first rows of a cache, from the place in each where what it has ends; logits after them.

    The cache has one position more than its longest row: padding is written there, and nobody reads it.
    """
    longest, padding = max(map(len, tokens)), cache.positions - 1
    ids = torch.zeros((len(tokens), longest), dtype=torch.long)
    places = torch.full((len(tokens), longest), padding)
    for row, (some, start) in enumerate(zip(tokens, starts, strict=True)):
        ids[row, longest - len(some) :] = torch.tensor(some)
        places[row, longest - len(some) :] = torch.arange(start, start + len(some))
    return _forward(model, cache, ids.to(model.device), places.to(model.device), padding)


def _forward(
    model: Any, cache: SlotCache, ids: torch.Tensor, places: torch.Tensor, padding: int | None = None
) -> torch.Tensor:
    """Logits after the last token of each row, [rows, vocabulary], of tokens [rows, tokens] written at their places.

    `padding` is the place of tokens that are none.
    """
    cache.places = places
    positions = places if padding is None else places.masked_fill(places == padding, 0)
    output = model(
        input_ids=ids,
        past_key_values=cache,
        attention_mask=cache.mask(),
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits
