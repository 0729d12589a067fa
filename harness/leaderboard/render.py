"""The leaderboard as a terminal table and as Markdown."""

from collections.abc import Iterable

from rich.table import Table

from harness.escaping import in_markdown, in_terminal
from harness.leaderboard.rank import Entry, Leaderboard, TaskScore

NOTE = (
    "Score in %, then the bounds of its 95 % interval over test items and seeds together (test items alone where there "
    "is one seed or none). Baselines have no rank. ? marks a score so far below chance that its labels may be inverted."
)


def _header(board: Leaderboard) -> list[str]:
    tasks = [f"{task} ({metric.replace('_', '-')})" for task, metric in board.tasks.items()]
    return [
        "#",
        "generator",
        "rows",
        "student",
        *tasks,
        "mean",
        "Self-BLEU-4",
        "params",
        "size",
        "p50 ms",
        "rows/s",
    ]


def _cells(entry: Entry, board: Leaderboard) -> list[str]:
    scores = [_score(entry.scores.get(task)) for task in board.tasks]
    mean = f"{100 * entry.mean:.1f}" if entry.mean is not None else f"{len(entry.scores)} of {len(board.tasks)}"
    self_bleu = entry.measures.get("self_bleu_4")
    return [
        str(entry.rank or ""),
        entry.generator,
        f"{entry.size:,}" if isinstance(entry.size, int) else entry.size or "",
        entry.student,
        *scores,
        mean,
        f"{100 * self_bleu:.1f}" if self_bleu is not None else "",
        _short(entry.parameters),
        _bytes(entry.size_bytes),
        f"{entry.latency_p50_ms:.2f}" if entry.latency_p50_ms is not None else "",
        f"{entry.rows_per_second:,.0f}" if entry.rows_per_second is not None else "",
    ]


def _score(score: TaskScore | None) -> str:
    if score is None:
        return "–"
    bounds = (
        f" [{100 * score.low:.1f}, {100 * score.high:.1f}]" if score.low is not None and score.high is not None else ""
    )
    return f"{100 * score.value:.1f}{bounds}{' ?' if score.suspected_inversion else ''}"


def _short(count: float | None) -> str:
    if count is None:
        return ""
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f} {suffix}"
    return f"{count:.0f}"


def _bytes(count: float | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def terminal_table(board: Leaderboard) -> Table:
    """A rich table; baselines are dim."""
    table = Table(title=in_terminal(board.title, "table.title"), caption=NOTE, caption_justify="left")
    for name in _header(board):
        text = name in ("generator", "student")
        table.add_column(in_terminal(name), justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for entry in board.entries:
        table.add_row(*map(in_terminal, _cells(entry, board)), style="dim" if entry.baseline else None)
    return table


def markdown(board: Leaderboard) -> str:
    """`leaderboard.md`."""
    header = _header(board)
    lines = [
        f"# {in_markdown(board.title)}",
        "",
        _row(map(in_markdown, header)),
        _row(["---"] * len(header)),
        *(_row(map(in_markdown, _cells(entry, board))) for entry in board.entries),
        "",
        NOTE,
    ]
    if board.notes:
        lines += ["", *(f"* {in_markdown(note)}" for note in board.notes)]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
