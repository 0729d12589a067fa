"""Student `bilstm`: the paper's LSTM for text classification (Ye et al., EMNLP 2022), embeddings from scratch.

One bidirectional layer of 150 units a direction on embeddings of 100, dropout 0.5, the 50,000 most frequent words of
the training rows, lower-cased; Adam 1e-4, batches of 32, at most 20 epochs, gradients clipped at 10. A tenth of the
training rows is held out: the epoch with the lowest loss on them is kept, and 5 epochs without a better one end the
training.
"""

from typing import TYPE_CHECKING, ClassVar

from students.protocol import Family
from students.word_classifier import WordClassifier, WordClassifierSettings

if TYPE_CHECKING:
    from torch import nn


class Settings(WordClassifierSettings):
    """The recipe; the defaults are the paper's."""


class Student(WordClassifier):
    """See the module."""

    VERSION: ClassVar[int] = 1
    FAMILIES: ClassVar[tuple[Family, ...]] = ("text-classification",)
    NAME: ClassVar[str] = "bilstm"
    SETTINGS: ClassVar[type[WordClassifierSettings]] = Settings

    def _new_network(self) -> "nn.Module":
        from students.networks import BiLstmClassifier

        settings = self.settings
        return BiLstmClassifier(
            len(self._vocabulary), settings.embedding, settings.hidden, len(self.labels), settings.dropout
        )
