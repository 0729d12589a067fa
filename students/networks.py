"""The neural networks of the students (imports torch; only imported when a student trains or predicts)."""

import torch
from torch import nn

EMBEDDING_SCALE = 0.1
CHARACTER_EMBEDDING = 8


def scale_embedding(embedding: nn.Embedding) -> None:
    """Of size 1, as torch draws them, the paper's steps of 1e-4 hardly move them: SST-2 stays at 68 %, not 79 %."""
    with torch.no_grad():
        embedding.weight.mul_(EMBEDDING_SCALE)


def reversal(lengths: torch.Tensor, words: int) -> torch.Tensor:
    """[rows, words]: which word stands at each place when the words of a row of a given length are read backwards.

    Padding stays where it is, so that the same numbers put things back in order.
    """
    places = torch.arange(words, device=lengths.device)
    backwards = lengths[:, None] - 1 - places
    return torch.where(backwards < 0, places, backwards)


def pick(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """States [rows, words, width] at places [rows, any] -> [rows, any, width]."""
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[2]))


class BiLstm(nn.Module):
    """Bidirectional LSTM layers, dropout between them: [rows, words, inputs] -> [rows, words, 2 * hidden].

    The same function as `nn.LSTM` over packed rows, see `BiLstmClassifier`; what it gives for padding means nothing.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        widths = [inputs, *[2 * hidden] * (layers - 1)]
        self.forwards = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        reverse = reversal(lengths, states.shape[1])
        for layer, (forwards, backwards) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            read = self.dropout(states) if layer else states
            states = torch.cat([forwards(read)[0], pick(backwards(pick(read, reverse))[0], reverse)], dim=2)
        return states


class BiLstmClassifier(nn.Module):
    """Embeddings, one LSTM a direction, their two final states, dropout, a linear layer.

    Input [rows, words] ids, padded at the end, and [rows] lengths; output [rows, labels] logits.

    The same function as a bidirectional `nn.LSTM` over packed rows, at half the time on a CPU, where packing takes the
    slow path: each direction reads padded rows (the backward one the words of each row in reverse), and its state after
    a row's last word is picked out, so that padding is never seen.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        scale_embedding(self.embedding)
        self.forwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.backwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, labels)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        lengths = lengths.to(ids.device)
        embedded = self.dropout(self.embedding(ids))
        embedded_reverse = pick(embedded, reversal(lengths, ids.shape[1]))
        final = [
            pick(states, lengths[:, None] - 1)[:, 0]
            for states in (self.forwards(embedded)[0], self.backwards(embedded_reverse)[0])
        ]
        logits: torch.Tensor = self.output(self.dropout(torch.cat(final, dim=1)))
        return logits


class PairBiLstmClassifier(nn.Module):
    """Two texts through one `BiLstm`, each the mean of its states; both, their distance and product to an MLP.

    Input [2 * rows, words] ids, padded at the end, the first texts above the second ones, and [2 * rows] lengths;
    output [rows, labels] logits.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        scale_embedding(self.embedding)
        self.lstm = BiLstm(embedding, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(8 * hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, labels),
        )

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        order = lengths.argsort()  # the shorter half apart: a hypothesis is not padded to the length of a premise
        means = [self._mean(ids[half, : int(lengths[half].max())], lengths[half]) for half in order.tensor_split(2)]
        first, second = torch.cat(means)[order.argsort()].chunk(2)
        features = torch.cat([first, second, (first - second).abs(), first * second], dim=1)
        logits: torch.Tensor = self.mlp(features)
        return logits

    def _mean(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean state of texts, [texts, 2 * hidden]."""
        lengths = lengths.to(ids.device)
        inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        states: torch.Tensor = self.lstm(self.dropout(self.embedding(ids)), lengths)
        return (states * inside[..., None]).sum(dim=1) / lengths[:, None]


class Highway(nn.Module):
    """One highway layer (Srivastava et al., 2015): gate * relu(linear) + (1 - gate) * input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both = nn.Linear(width, 2 * width)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        changed, gate = self.both(states).chunk(2, dim=-1)
        return torch.lerp(states, changed.relu(), gate.sigmoid())


class AttentionFlow(nn.Module):
    """Seo et al. (2017), section 2.4: context [rows, words, d] and question [rows, asked, d] -> [rows, words, 4 * d].

    Similarity w1.c + w2.q + w3.(c * q); to every word the question it attends to (C2Q), and to all words alike the
    context that the question attends to (Q2C). `inside` and `asked` [rows, words] are False on padding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.context = nn.Linear(width, 1, bias=False)
        self.question = nn.Linear(width, 1, bias=False)
        self.product = nn.Parameter(torch.empty(width).uniform_(-1, 1) / width**0.5)

    def forward(
        self, context: torch.Tensor, question: torch.Tensor, inside: torch.Tensor, asked: torch.Tensor
    ) -> torch.Tensor:
        similarity = (context * self.product) @ question.transpose(1, 2)
        similarity = similarity + self.context(context) + self.question(question).transpose(1, 2)
        similarity = similarity.masked_fill(~asked[:, None], -torch.inf)
        to_question = similarity.softmax(dim=2) @ question
        closest = similarity.amax(dim=2).masked_fill(~inside, -torch.inf)
        to_context = closest.softmax(dim=1)[:, None] @ context
        return torch.cat([context, to_question, context * to_question, context * to_context], dim=2)


class BiDaf(nn.Module):
    """Bidirectional attention flow (Seo et al., ICLR 2017).

    Words come once each: `words` [distinct] ids and `characters` [distinct, width] ids, 0 after the word; `context`
    [rows, words] and `question` [rows, asked] say which of them stands where, padded at the end with any. Characters
    and highway are computed for the distinct words only. Output [rows, words] scores of the first and of the last word
    of the answer, -inf on padding.
    """

    def __init__(
        self, vocabulary: int, characters: int, embedding: int, filters: int, width: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.characters = nn.Embedding(characters, CHARACTER_EMBEDDING, padding_idx=0)
        self.filters = nn.Conv1d(CHARACTER_EMBEDDING, filters, width, padding="same")
        self.highway = nn.Sequential(Highway(embedding + filters), Highway(embedding + filters))
        self.contextual = BiLstm(embedding + filters, hidden, 1, dropout)
        self.attention = AttentionFlow(2 * hidden)
        self.modelling = BiLstm(8 * hidden, hidden, 2, dropout)
        self.ending = BiLstm(2 * hidden, hidden, 1, dropout)
        self.start = nn.Linear(10 * hidden, 1)
        self.end = nn.Linear(10 * hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def distinct(self, words: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
        """What stands for each distinct word, [distinct, embedding + filters]."""
        convolved = self.filters(self.dropout(self.characters(characters)).transpose(1, 2)).relu()
        spelt = (convolved * (characters != 0)[:, None]).amax(dim=2)  # of relu: a 0 for padding is never the largest
        states: torch.Tensor = self.highway(torch.cat([self.embedding(words), spelt], dim=1))
        return states

    def forward(
        self,
        words: torch.Tensor,
        characters: torch.Tensor,
        context: torch.Tensor,
        context_lengths: torch.Tensor,
        question: torch.Tensor,
        question_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        distinct = self.distinct(words, characters)
        read = self.contextual(self.dropout(nn.functional.embedding(context, distinct)), context_lengths)
        asked = self.contextual(self.dropout(nn.functional.embedding(question, distinct)), question_lengths)
        inside = torch.arange(context.shape[1], device=context.device) < context_lengths[:, None]
        inside_question = torch.arange(question.shape[1], device=context.device) < question_lengths[:, None]
        aware = self.dropout(self.attention(read, asked, inside, inside_question))
        modelled = self.modelling(aware, context_lengths)
        ended = self.ending(self.dropout(modelled), context_lengths)
        starts, ends = (
            output(torch.cat([aware, self.dropout(states)], dim=2))[..., 0].masked_fill(~inside, -torch.inf)
            for output, states in ((self.start, modelled), (self.end, ended))
        )
        return starts, ends
