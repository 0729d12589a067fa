"""Stage `profile`: size, latency at batch 1 and throughput of a student, or of the PLM that PROMPTING uses.

Timings hold for the machine they were taken on: its fingerprint is in the key.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.data.examples import Examples
from harness.data.real import RealTask
from harness.machine import fingerprint, usable_cores
from harness.profiling.latency import Predict, measure_latency, timing_values
from harness.seeds import hash_order
from harness.stages.base import Record, StageIO, read_values, write_values
from harness.stages.prompt import Prompt
from harness.students import StudentConfig
from harness.values import Value

STUDENT_INPUT = "student"
_EXAMPLES = 256


def profile_examples(task: RealTask) -> Examples:
    """A fixed sample of the test split's rows, in their natural distribution of lengths, without their labels."""
    test = task.split("test").without_gold()
    return test.take(hash_order(len(test), "profile")[:_EXAMPLES])


def _profile(io: StageIO, rows: Examples, predict: Predict, sizes: list[Value]) -> Record:
    """Time with a thread per core, however many processes made what came before: the fingerprint names the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        timing = measure_latency(predict, rows, lambda done, total: io.progress.update(done, total, "calls"))
    finally:
        torch.set_num_threads(threads)
    write_values(io.out, sizes + timing_values(timing))
    return Record(details={"machine": fingerprint(), "latency_ms": timing.latency_ms, "load_average": timing.load})


@dataclass(frozen=True)
class ProfileStudent:
    """A trained student on real test rows."""

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1

    task: RealTask
    student: StudentConfig
    trained_on: str
    machine: dict[str, Any] = field(default_factory=fingerprint)

    @property
    def title(self) -> str:
        return f"profile {self.student.name} ({self.trained_on})"

    def identity(self) -> dict[str, Any]:
        return {
            "test": self.task.split("test").content_hash,
            "machine": self.machine,
            "version": self.version,
        }

    def run(self, io: StageIO) -> Record:
        student = self.student.load(io.inputs[STUDENT_INPUT])
        sizes = [v for v in read_values(io.inputs[STUDENT_INPUT]) if v.measure in ("parameters", "size_bytes")]
        predict = student.predict_proba if self.task.spec.labels else student.predict_answers
        return _profile(io, profile_examples(self.task), predict, sizes)


@dataclass(frozen=True)
class ProfilePrompting:
    """The PLM itself, zero-shot, on the same rows."""

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1

    prompting: Prompt
    machine: dict[str, Any] = field(default_factory=fingerprint)

    @property
    def title(self) -> str:
        return f"profile {self.prompting.method} with {self.prompting.generator.name} on {self.prompting.task.name}"

    def identity(self) -> dict[str, Any]:
        return {"prompting": self.prompting.identity(), "machine": self.machine, "version": self.version}

    def run(self, io: StageIO) -> Record:
        plm = self.prompting.load(io)
        weights = list(plm.model.parameters())
        sizes = [
            Value("parameters", sum(weight.numel() for weight in weights), "parameters", "accounting"),
            Value("size_bytes", sum(w.numel() * w.element_size() for w in weights), "bytes", "accounting"),
        ]
        return _profile(io, profile_examples(self.prompting.task), self.prompting.predictor(plm), sizes)
