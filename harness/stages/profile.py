"""Stage `profile`: size, latency at batch 1 and throughput of a student, or of the PLM that PROMPTING uses.

Timings hold for the machine they were taken on: its fingerprint is in the key.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.data.real import RealTask
from harness.generators.locate import ModelPlace
from harness.machine import fingerprint
from harness.profiling.latency import Predict, measure_latency, timing_values
from harness.scoring.prompting import PromptClassifier
from harness.seeds import hash_order
from harness.spec import Dtype, TransformersGenerator
from harness.stages.base import Record, StageIO, read_values, write_values
from harness.students import StudentConfig
from harness.synthesis.prompts import prompts_in_style
from harness.values import Value

STUDENT_INPUT = "student"
_TEXTS = 256


def profile_texts(task: RealTask) -> list[str]:
    """The real test texts that timings are taken on: a fixed sample in the split's own distribution of lengths."""
    texts = task.split("test").text
    return [texts[index] for index in hash_order(len(texts), "profile")[:_TEXTS]]


def _profile(io: StageIO, texts: list[str], predict: Predict, sizes: list[Value]) -> Record:
    timing = measure_latency(predict, texts, lambda done, total: io.progress.update(done, total, "calls"))
    write_values(io.out, sizes + timing_values(timing))
    return Record(details={"machine": fingerprint(), "latency_ms": timing.latency_ms, "load_average": timing.load})


@dataclass(frozen=True)
class ProfileStudent:
    """A trained student on real test texts."""

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1

    task: RealTask
    student: StudentConfig
    trained_on: str
    machine: dict[str, Any] = field(default_factory=fingerprint)

    @property
    def title(self) -> str:
        return f"profile {self.student.name} ({self.trained_on})"

    @property
    def needs_model(self) -> str | None:
        return None

    def identity(self) -> dict[str, Any]:
        return {
            "test": self.task.split("test").content_hash,
            "machine": self.machine,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        from students.protocol import Examples

        student = self.student.load(io.inputs[STUDENT_INPUT])
        sizes = [v for v in read_values(io.inputs[STUDENT_INPUT]) if v.measure in ("parameters", "size_bytes")]
        return _profile(io, profile_texts(self.task), lambda texts: student.predict_proba(Examples(texts)), sizes)


@dataclass(frozen=True)
class ProfilePrompting:
    """The PLM as a zero-shot classifier on the same texts."""

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1

    task: RealTask
    generator: TransformersGenerator
    place: ModelPlace
    dtype: Dtype
    machine: dict[str, Any] = field(default_factory=fingerprint)

    @property
    def title(self) -> str:
        return f"profile PROMPTING with {self.generator.name} on {self.task.name}"

    @property
    def needs_model(self) -> str | None:
        return self.place.identity

    def identity(self) -> dict[str, Any]:
        chosen, prompts = prompts_in_style(self.task.spec, self.generator.prompts, self.generator.style)
        return {
            "test": self.task.split("test").content_hash,
            "model": self.place.identity,
            "dtype": self.dtype,
            "style": self.generator.style,
            "prompts": prompts.model_dump(mode="json", include={"classify"}),
            "loss": chosen.classify_loss,
            "machine": self.machine,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        scorer = io.generators.load(self.place, self.dtype, self.generator.style, self.generator.trust_remote_code)
        chosen, prompts = prompts_in_style(self.task.spec, self.generator.prompts, self.generator.style)
        classifier = PromptClassifier(
            scorer, self.task.spec.labels, prompts, chosen.classify_loss, self.generator.style
        )
        weights = list(scorer.model.parameters())
        sizes = [
            Value("parameters", sum(weight.numel() for weight in weights), "parameters", "accounting"),
            Value("size_bytes", sum(w.numel() * w.element_size() for w in weights), "bytes", "accounting"),
        ]
        return _profile(io, profile_texts(self.task), classifier.predict_proba, sizes)
