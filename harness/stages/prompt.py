"""Stage `prompt`: PROMPTING, the PLM itself as a zero-shot classifier on the real test split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.data.examples import Examples
from harness.data.real import RealTask
from harness.generators.base import TextScorer
from harness.generators.locate import ModelPlace
from harness.scoring.prompting import PromptClassifier
from harness.spec import Dtype
from harness.spec import TransformersGenerator as GeneratorSpec
from harness.stages.base import Record, StageIO
from harness.stages.score import write_scores
from harness.synthesis.prompts import prompts_in_style

if TYPE_CHECKING:
    from harness.generators.transformers_backend import TransformersGenerator

_ROWS_PER_STEP = 64


@dataclass(frozen=True)
class Prompt:
    """For each label, the mean token loss of its prompts around the text; the label with the lowest wins."""

    name: ClassVar[str] = "prompt"
    version: ClassVar[int] = 1

    task: RealTask
    generator: GeneratorSpec
    place: ModelPlace
    dtype: Dtype

    @property
    def title(self) -> str:
        return f"prompt {self.generator.name} with {self.task.name}"

    def identity(self) -> dict[str, Any]:
        chosen, prompts = prompts_in_style(self.task.spec, self.generator.prompts, self.generator.style)
        return {
            "test": self.task.split("test").content_hash,
            "labels": list(self.task.spec.labels),
            "model": self.place.identity,
            "dtype": self.dtype,
            "style": self.generator.style,
            "prompts": prompts.model_dump(mode="json", include={"classify"}),
            "loss": chosen.classify_loss,
            "version": self.version,
        }

    def load(self, io: StageIO) -> "TransformersGenerator":
        spec = self.generator
        return io.generators.load(self.place, self.dtype, spec.style, spec.trust_remote_code)

    def classifier(self, scorer: TextScorer) -> PromptClassifier:
        spec = self.generator
        chosen, prompts = prompts_in_style(self.task.spec, spec.prompts, spec.style)
        return PromptClassifier(scorer, self.task.spec.labels, prompts, chosen.classify_loss, spec.style)

    def run(self, io: StageIO) -> Record:
        split = self.task.split("test")
        io.progress.update(0, len(split), "rows", "loading the PLM")
        classifier = self.classifier(self.load(io))
        parts = []
        for start in range(0, len(split), _ROWS_PER_STEP):
            parts.append(classifier.predict_proba(Examples(split.text[start : start + _ROWS_PER_STEP])))
            io.progress.update(min(start + _ROWS_PER_STEP, len(split)), len(split), "rows")
        return write_scores(io.out, self.task, split, np.concatenate(parts))
