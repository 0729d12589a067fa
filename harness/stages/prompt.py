"""Stage `prompt`: PROMPTING, the PLM itself, zero-shot, on the real test split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.data.real import RealTask
from harness.generators.locate import ModelPlace
from harness.profiling.latency import Predict
from harness.scoring.prompting import PromptAnswerer, PromptClassifier
from harness.spec import Dtype, TransformersGenerator, VllmGenerator
from harness.stages.base import Record, StageIO
from harness.stages.score import write_scores
from harness.synthesis.prompts import prompts_in_style

if TYPE_CHECKING:
    from harness.generators.transformers_backend import TransformersGenerator as LoadedPlm

PROMPTING_METHODS = ("PROMPTING", "PROMPTING-CALIBRATED")
"""The names of the baselines: the plain one, and the one calibrated by prompts without a text."""

_ROWS_PER_STEP = 256


@dataclass(frozen=True)
class Prompt:
    """For each label, the mean token loss of its prompts around the text; the label with the lowest wins."""

    name: ClassVar[str] = "prompt"
    version: ClassVar[int] = 1

    task: RealTask
    generator: TransformersGenerator | VllmGenerator
    place: ModelPlace
    dtype: Dtype
    calibrated: bool = False

    @property
    def method(self) -> str:
        """The name of the baseline."""
        return PROMPTING_METHODS[self.calibrated]

    @property
    def title(self) -> str:
        how = " (calibrated)" if self.calibrated else ""
        return f"prompt {self.generator.name} with {self.task.name}{how}"

    def identity(self) -> dict[str, Any]:
        chosen, prompts = prompts_in_style(self.task.spec, self.generator.prompts, self.generator.style)
        is_qa = self.task.spec.family == "extractive-qa"
        return {
            "test": self.task.split("test").content_hash,
            "family": self.task.spec.family,
            "labels": list(self.task.spec.labels),
            "model": self.place.identity,
            "dtype": self.dtype,
            "style": self.generator.style,
            "prompts": prompts.model_dump(mode="json", include={"answer" if is_qa else "classify"}),
            "loss": None if is_qa else chosen.classify_loss,
            "answers": [chosen.stop, chosen.answer_max_new_tokens] if is_qa else None,
            "calibrated": self.calibrated,
            "version": self.version,
        }

    def load(self, io: StageIO) -> "LoadedPlm":
        return io.generators.scorer(self.generator, self.place, self.dtype)

    def predictor(self, plm: "LoadedPlm") -> Predict:
        """What maps rows to probabilities per label or, for extractive QA, to answers."""
        spec = self.generator
        chosen, prompts = prompts_in_style(self.task.spec, spec.prompts, spec.style)
        if self.task.spec.family == "extractive-qa":
            assert prompts.answer is not None, "the plan leaves out a prompt set without an answer prompt"
            return PromptAnswerer(
                plm, prompts.answer, spec.style, chosen.stop, chosen.answer_max_new_tokens
            ).predict_answers
        labels = self.task.spec.labels
        return PromptClassifier(
            plm, labels, prompts, chosen.classify_loss, spec.style, calibrated=self.calibrated
        ).predict_proba

    def run(self, io: StageIO) -> Record:
        split = self.task.split("test")
        rows = split.without_gold()
        io.progress.update(0, len(split), "rows", "loading the PLM")
        predict = self.predictor(self.load(io))
        parts = []
        for start in range(0, len(split), _ROWS_PER_STEP):
            parts.append(predict(rows.take(range(start, min(start + _ROWS_PER_STEP, len(split))))))
            io.progress.update(min(start + _ROWS_PER_STEP, len(split)), len(split), "rows")
        whole = np.concatenate(parts) if self.task.spec.labels else [answer for part in parts for answer in part]
        return write_scores(io.out, self.task, whole)
