"""Measures of the labels: are they right, and who says so."""

from harness.quality.rows import Measure

LABEL_MEASURES: tuple[Measure, ...] = ()
