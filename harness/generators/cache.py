"""The PLM that a process has loaded last, kept so that jobs that share one load it once."""

from typing import TYPE_CHECKING

from harness.generators.base import TextGenerator
from harness.generators.locate import ModelPlace
from harness.spec import OpenAIGenerator, VllmGenerator, WritingSpec

if TYPE_CHECKING:
    from harness.generators.transformers_backend import TransformersGenerator


class GeneratorCache:
    """Holds at most one PLM: the next one replaces it, for two may not fit into memory."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._generator: TextGenerator | None = None

    def load(self, spec: WritingSpec, place: ModelPlace, dtype: str | None) -> TextGenerator:
        """The PLM in its backend, from memory if it is the one loaded last; see the backends' `load` for what can go
        wrong."""
        if isinstance(spec, OpenAIGenerator):
            from harness.generators.openai_backend import OpenAIServer

            if self._key != ("openai", spec) or self._generator is None:  # it has learnt what the server bears
                self._generator = OpenAIServer(spec)
                self._key = ("openai", spec)
            return self._generator
        if not isinstance(spec, VllmGenerator):
            return self.scorer(spec, place, dtype)
        from harness.generators.vllm_backend import VllmBackend

        assert dtype is not None
        key = ("vllm", place.identity, dtype, spec.style, spec.gpus, spec.memory_share)
        if self._key != key or self._generator is None:
            self._generator = None  # let the old one go before the new one needs the memory
            self._generator = VllmBackend.load(
                place, dtype, spec.style, spec.trust_remote_code, spec.gpus, spec.memory_share
            )
            self._key = key
        return self._generator

    def scorer(self, spec: WritingSpec, place: ModelPlace, dtype: str | None) -> "TransformersGenerator":
        """The PLM in the `transformers` backend, which can also tell how likely texts are."""
        from harness.generators.transformers_backend import TransformersGenerator

        assert dtype is not None and not isinstance(spec, OpenAIGenerator), "the plan asks no server for likelihoods"
        key = ("transformers", place.identity, dtype, spec.style)
        if self._key != key or not isinstance(self._generator, TransformersGenerator):
            self._generator = None
            self._generator = TransformersGenerator.load(place, dtype, spec.style, spec.trust_remote_code)
            self._key = key
        return self._generator
