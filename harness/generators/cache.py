"""The PLM that a process has loaded last, kept so that jobs that share one load it once."""

from typing import TYPE_CHECKING

from harness.generators.locate import ModelPlace
from harness.spec import Style

if TYPE_CHECKING:
    from harness.generators.transformers_backend import TransformersGenerator


class GeneratorCache:
    """Holds at most one PLM: the next one replaces it, for two may not fit into memory."""

    def __init__(self) -> None:
        self._key: tuple[str, str, str] | None = None
        self._generator: TransformersGenerator | None = None

    def load(self, place: ModelPlace, dtype: str, style: Style, trust_remote_code: bool) -> "TransformersGenerator":
        """The PLM, from memory if it is the one loaded last; see `TransformersGenerator.load` for what can go wrong."""
        from harness.generators.transformers_backend import TransformersGenerator

        key = (place.identity, dtype, style)
        if self._key != key or self._generator is None:
            self._generator = None  # let the old one go before the new one needs the memory
            self._generator = TransformersGenerator.load(place, dtype, style, trust_remote_code)
            self._key = key
        return self._generator
