"""Stage `embed`: the texts of a synthetic dataset, or real ones, as vectors; once for all measures that use them."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.data.examples import Examples
from harness.data.real import RealTask
from harness.generators.locate import ModelPlace
from harness.stages.base import Record, StageIO, write_values
from harness.stages.synthesize import read_synthetic
from harness.values import Value

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

DATA_INPUT = "data"
EMBEDDINGS = "embeddings.safetensors"


@dataclass(frozen=True)
class Embed:
    """The texts of the dataset that is its input, in its order; or, with `real`, the real texts of the task."""

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 1

    task: RealTask
    place: ModelPlace
    data_title: str
    real: bool = False

    @property
    def model(self) -> ModelPlace:
        """What must be within reach."""
        return self.place

    @property
    def title(self) -> str:
        return f"embed {self.data_title}"

    @cached_property
    def _real(self) -> tuple[str, list[str]]:
        return self.task.real_texts()

    def identity(self) -> dict[str, Any]:
        from harness.quality.embeddings import EMBEDDINGS_VERSION

        return {
            "model": self.place.identity,
            "family": self.task.spec.family,
            "real": Examples(text=self._real[1]).content_hash if self.real else None,
            "embeddings": EMBEDDINGS_VERSION,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        from safetensors.numpy import save_file

        from harness.quality.embeddings import embed

        if self.real:
            origin, texts = self._real
        else:
            family = self.task.spec.family
            data = read_synthetic(io.inputs[DATA_INPUT], family, labelled=bool(self.task.spec.labels))
            origin, texts = "", list(data.measured(family))
        vectors = embed(self.place, texts, io.progress.update)
        save_file({"embeddings": vectors}, io.out / EMBEDDINGS)
        values = [
            Value("embedded_texts", float(len(texts)), "texts", "accounting"),
            Value("embedding_size", float(vectors.shape[1]), "dimensions", "accounting"),
        ]
        write_values(io.out, values)
        return Record(gold=[f"{origin}: texts without labels, to compare with"] if self.real else [])


def read_embeddings(folder: "Path") -> "NDArray[np.float32]":
    """[texts, d], each of unit length."""
    from safetensors.numpy import load_file

    found: NDArray[np.float32] = load_file(folder / EMBEDDINGS)["embeddings"]
    return found
