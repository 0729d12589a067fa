"""A step of decoding on CUDA as one recorded graph: a small batch's step is mostly the launching of its kernels."""

from collections.abc import Callable

import torch

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the last token of each slot and its place, [slots, 1] each, to logits [slots, vocabulary]."""

_WARM_UPS = 2
"""Runs before the recording, in which libraries choose their kernels and take their memory."""


class CapturedStep:
    """Records a step for each shape that it is called with, and replays it. On a CPU it is the step itself.

    A recording reads and writes the memory it was made with: `forget` it when the cache moves. A step reads nothing
    that it has written itself, so that to run it again changes nothing.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self._captures = device.type == "cuda"
        self._recorded: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def forget(self) -> None:
        self._recorded.clear()

    def __call__(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        if not self._captures:
            return self._step(ids, places)
        if len(ids) not in self._recorded:
            self._record(ids.clone(), places.clone())
        graph, static_ids, static_places, logits = self._recorded[len(ids)]
        static_ids.copy_(ids)
        static_places.copy_(places)
        graph.replay()
        return logits

    def _record(self, ids: torch.Tensor, places: torch.Tensor) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._step(ids, places)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._step(ids, places)
        self._recorded[len(ids)] = (graph, ids, places, logits)
