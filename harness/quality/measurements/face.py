"""What the faces share. Functions rather than a base class: `evaluate.load` takes the first
`EvaluationModule` that it finds in a script for the script's own, and an imported base class would come
first."""

from typing import Any

import datasets
import evaluate

from harness.errors import HarnessError
from harness.quality.measures import MEASURES, measure_all
from harness.quality.rows import Rows

_HARNESS_CITATION = """\
@software{plm_data_harness,
  title = {PLM data harness: generator PLMs judged by the datasets they write},
  license = {Apache-2.0},
}"""


def measurement_info(name: str, description: str, inputs: str, citation: str = _HARNESS_CITATION) -> Any:
    """The `evaluate.MeasurementInfo` of the measure `name`, whose one feature is the string column `data`."""
    measure = MEASURES[name]
    return evaluate.MeasurementInfo(
        description=f"{description}\n\nVersion {measure.version}; tier: {measure.tier}.",
        citation=citation,
        inputs_description=inputs,
        features=datasets.Features({"data": datasets.Value("string")}),
    )


def values_by_name(name: str, rows: Rows) -> dict[str, float]:
    """The numbers of the measure `name` under the names that the harness itself gives them.

    Raises `HarnessError` as `measure_all` does.
    """
    found = measure_all([name], rows)
    if found.missing:
        raise HarnessError(found.missing[name])
    return {value.measure: value.value for value in found.values}
