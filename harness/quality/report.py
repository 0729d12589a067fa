"""The report on one dataset: what it holds, for the terminal and for a page of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.values import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DataReport:
    """The measures of one dataset, and the rows that they are about.

    `missing`: measure -> why it is not available. `per_text`: float64 [rows] by name, NaN where a text has no score.
    `source_rows`: where each row stands in the file, from 0. `made_with`: what the numbers depend on, by name (the
    file's content, the models, the versions of the measures).
    """

    title: str
    file: str
    task: str | None
    values: Sequence[Value]
    missing: Mapping[str, str]
    per_text: "Mapping[str, NDArray[np.float64]]"
    texts: Sequence[str]
    labels: Sequence[str] | None
    label_names: Sequence[str]
    contexts: Sequence[str] | None
    source_rows: Sequence[int]
    made_with: Mapping[str, str]
