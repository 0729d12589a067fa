"""The harness's metrics as Hugging Face `evaluate` modules, one a folder: loaded by path, never by name."""
