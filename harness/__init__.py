"""An evaluation-and-distillation benchmark harness: generator PLMs judged by the datasets they write.

Importing this package imports nothing else; the heavy libraries load inside the verb that needs them.
"""

__version__ = "0.1.0"
