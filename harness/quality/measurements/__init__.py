"""Faces of the measures for the Hugging Face `evaluate` library, one folder each, as `evaluate.load`
wants."""
