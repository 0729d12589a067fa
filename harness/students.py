"""Students by name, with their settings: from the `students` package or the entry points `harness.students`."""

import hashlib
import importlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from harness.errors import HarnessError, did_you_mean, one_of
from harness.files import canonical_json
from harness.generators.locate import ModelPlace, short_identity
from harness.spec import Family, Task

if TYPE_CHECKING:
    from students.protocol import StudentModel

ENTRY_POINTS = "harness.students"
PRETRAINED_KEYS = {"model", "revision"}
"""The settings that name pre-trained weights; what counts is the weights' identity, not where they were found."""

BUILT_IN = ("linear", "bilstm", "pair_bilstm", "bidaf", "encoder")


@dataclass(frozen=True)
class StudentConfig:
    """A student on a board: the module it comes from and its validated settings."""

    name: str
    student: str
    module: str
    version: int
    settings: BaseModel
    families: tuple[Family, ...]
    pretrained: ModelPlace | None = None

    @property
    def signature(self) -> str:
        """`bilstm.v1`, with a hash of the settings where they are not the defaults."""
        changed = self.settings.model_dump(mode="json", exclude_defaults=True, exclude=self._unnamed)
        weights = f"@{short_identity(self.pretrained)}" if self.pretrained else ""
        suffix = "+" + hashlib.sha256(canonical_json(changed)).hexdigest()[:6] if changed else ""
        return f"{self.student}.v{self.version}{weights}{suffix}"

    @property
    def _unnamed(self) -> set[str]:
        return PRETRAINED_KEYS if self.pretrained else set()

    def identity(self) -> dict[str, Any]:
        return {
            "student": self.student,
            "version": self.version,
            "settings": self.settings.model_dump(mode="json", exclude=self._unnamed),
            "pretrained": self.pretrained.identity if self.pretrained else None,
        }

    def new(self, task: Task) -> "StudentModel":
        from students.protocol import Target

        target = Target(task.family, task.labels, self.pretrained)
        student: StudentModel = importlib.import_module(self.module).Student(self.settings, target)
        return student

    def load(self, folder: Path) -> "StudentModel":
        """A trained student.

        Raises:
            HarnessError: the folder does not hold what the student has saved.
        """
        try:
            student: StudentModel = importlib.import_module(self.module).Student.load(folder)
        except ValueError as error:
            raise HarnessError(f"student '{self.name}' cannot be loaded from {folder}: {error}") from None
        return student


def student_modules() -> dict[str, str]:
    """Every student's name and the module it comes from; nobody else's takes the name of one that ships with us."""
    ours = {name: f"students.{name}" for name in BUILT_IN}
    offered = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    return ours | offered | ours


def student_module(name: str) -> Any:
    """The module of a student.

    Raises:
        HarnessError: nobody offers a student of that name, or its module cannot be imported or is none of a student.
    """
    modules = student_modules()
    if name not in modules:
        raise HarnessError(f"unknown student '{name}'{did_you_mean(name, modules)} (known: {one_of(modules)})")
    try:
        module = importlib.import_module(modules[name])
    except (ImportError, SyntaxError) as error:
        raise HarnessError(f"student '{name}': its module {modules[name]} cannot be imported: {error}") from None
    for path in ("Settings", "Student", "Student.VERSION", "Student.FAMILIES"):
        owner, _, attribute = path.rpartition(".")
        if not hasattr(getattr(module, owner) if owner else module, attribute):
            raise HarnessError(f"student '{name}': {modules[name]} has no '{path}'; see students/protocol.py")
    return module
