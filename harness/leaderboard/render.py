"""The leaderboard as a terminal table and as Markdown."""

from collections.abc import Iterable

from rich.table import Table

from harness.escaping import in_markdown, in_terminal
from harness.leaderboard.meta import RankCorrelation, strongest
from harness.leaderboard.rank import Entry, Leaderboard, Predictors, TaskScore
from harness.scoring.crossed import Ratio
from harness.spec import Family

_SHOWN_PREDICTORS = 10

NOTE = (
    "Score in %, then the bounds of its 95 % interval over test items and seeds together (test items alone where there "
    "is one seed or none). # is the range of ranks left by the paired differences that are clear (5 % over all pairs, "
    "Holm). Baselines have no rank. ? marks a score so far below chance that its labels may be inverted."
)


def _header(board: Leaderboard, family: Family) -> list[str]:
    tasks = [f"{task} ({board.tasks[task].replace('_', '-')})" for task in board.tasks_of(family)]
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
    tasks = board.tasks_of(entry.family)
    scores = [_score(entry.scores.get(task)) for task in tasks]
    mean = f"{100 * entry.mean:.1f}" if entry.mean is not None else f"{len(entry.scores)} of {len(tasks)}"
    self_bleu = entry.compared.get("self_bleu_4")
    return [
        _ranks(entry),
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


def _ranks(entry: Entry) -> str:
    if entry.rank_low is None or entry.rank_low == entry.rank_high:
        return str(entry.rank_low or entry.rank or "")
    return f"{entry.rank_low}–{entry.rank_high}"


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


def _note(board: Leaderboard) -> str:
    """What the table's numbers mean, and at which size datasets were compared."""
    sizes = ", ".join(f"{rows:,} for {in_markdown(task)}" for task, rows in board.common_rows.items())
    return f"{NOTE} Self-BLEU is of as many rows of each dataset: {sizes}." if sizes else NOTE


def _title(board: Leaderboard, family: Family) -> str:
    return board.title if len(board.by_family) == 1 else f"{board.title} – {family}"


def terminal_tables(board: Leaderboard) -> list[Table]:
    """A rich table for each family of tasks; baselines are dim."""
    tables = []
    for family in board.by_family:
        title = in_terminal(_title(board, family), "table.title")
        table = Table(title=title, caption_justify="left")
        for name in _header(board, family):
            text = name in ("generator", "student")
            table.add_column(in_terminal(name), justify="left" if text else "right", no_wrap=not text, overflow="fold")
        for entry in board.by_family[family]:
            table.add_row(*map(in_terminal, _cells(entry, board)), style="dim" if entry.baseline else None)
        tables.append(table)
    tables[-1].caption = _note(board)
    return tables


def markdown(board: Leaderboard) -> str:
    """`leaderboard.md`."""
    lines = [f"# {in_markdown(board.title)}", ""]
    for family, entries in board.by_family.items():
        header = _header(board, family)
        if len(board.by_family) > 1:
            lines += [f"## {family}", ""]
        lines += [
            _row(map(in_markdown, header)),
            _row(["---"] * len(header)),
            *(_row(map(in_markdown, _cells(entry, board))) for entry in entries),
            "",
        ]
    lines.append(_note(board))
    for family, entries in board.by_family.items():
        if any(entry.tie_group for entry in entries):
            lines += ["", *_other_views(board, family, entries)]
    for one in board.predictors:
        lines += ["", *_predictors(one, len(board.by_family) > 1)]
    if board.notes:
        lines += ["", *(f"* {in_markdown(note)}" for note in board.notes)]
    return "\n".join(lines) + "\n"


def _other_views(board: Leaderboard, family: Family, entries: Iterable[Entry]) -> list[str]:
    """Ties by letter, Borda's points and the gap recovered, of the ranked entries."""
    ranked = [entry for entry in entries if entry.rank is not None]
    tasks = [task for task in board.tasks_of(family) if any(task in entry.pgr for entry in ranked)]
    header = ["#", "generator", "rows", "student", "ties", "Borda", *(f"PGR {task}" for task in tasks)]
    header += ["PGR"] if len(tasks) > 1 else []
    rows = []
    for entry in ranked:
        recovered = [entry.pgr.get(task) for task in tasks] + ([entry.mean_pgr] if len(tasks) > 1 else [])
        borda = f"{entry.borda:g}" if entry.borda is not None else ""
        rows.append([*_cells(entry, board)[:4], entry.tie_group, borda, *map(_recovered, recovered)])
    name = f" ({family})" if len(board.by_family) > 1 else ""
    recovers = (
        " PGR: % of the gap between the majority and the same student on gold data, with its 95 % interval; undefined "
        "where that gap is within its noise."
    )
    return [
        f"## Ties and other views{name}",
        "",
        _row(map(in_markdown, header)),
        _row(["---"] * len(header)),
        *(_row(map(in_markdown, row)) for row in rows),
        "",
        "Entries that share a letter are not told apart (5 % over all pairs, Holm). Borda: entries beaten, equal ones "
        f"half, mean over tasks.{recovers if tasks else ''}",
    ]


def _recovered(found: Ratio | None) -> str:
    if found is None:
        return "–"
    if found.value is None or found.low is None or found.high is None:
        return "undefined"
    return f"{found.value:.0f} [{found.low:.0f}, {found.high:.0f}]"


def _predictors(found: Predictors, name_family: bool) -> list[str]:
    """The measures that go most with a student's score."""
    family = f" ({found.family})" if name_family else ""
    rows = [
        _row(
            [
                in_markdown(one.measure),
                found.tiers.get(one.measure, ""),
                str(one.entries),
                _correlation(one.spearman),
                _correlation(one.kendall),
            ]
        )
        for one in strongest(found.measures, _SHOWN_PREDICTORS)
    ]
    return [
        f"## Which measure of the data goes with the score of {in_markdown(found.student)}?{family}",
        "",
        _row(["measure", "tier", "entries", "Spearman", "Kendall"]),
        _row(["---"] * 5),
        *rows,
        "",
        f"The {len(rows)} strongest of {len(found.measures)}, each with a 95 % bootstrap interval over the entries: "
        "with so many measures and so few entries, some are strong by luck.",
    ]


def _correlation(found: RankCorrelation | None) -> str:
    if found is None:
        return "–"
    bounds = f" [{found.interval.low:+.2f}, {found.interval.high:+.2f}]" if found.interval else ""
    return f"{found.value:+.2f}{bounds}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
