"""What a person sees while work is done: bars on a terminal, one plain line per finished job elsewhere.

Everything goes to standard error, so that standard output holds results only.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SECONDS_BETWEEN_LINES = 30.0


class Display(Protocol):
    """Told which job runs and how far it is."""

    def start(self, title: str) -> None: ...

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...

    def finish(self, seconds: float) -> None: ...

    def skip(self) -> None: ...

    def say(self, message: str) -> None: ...


class Quiet:
    """Shows nothing but messages."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def start(self, title: str) -> None:
        pass

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        pass

    def finish(self, seconds: float) -> None:
        pass

    def skip(self) -> None:
        pass

    def say(self, message: str) -> None:
        print(message, file=self.stream, flush=True)


class Lines:
    """For logs: a line when a job ends, and every half minute while it runs."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self.stream = stream
        self.total = total
        self.count = 0
        self._title = ""
        self._began = self._last = 0.0

    def start(self, title: str) -> None:
        self._title = title
        self._began = self._last = time.monotonic()

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        left = f", {(now - self._began) * (total - done) / done:,.0f} s left" if total and done else ""
        amount = f"{done:,.0f}/{total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"
        self.say(f"[{self.count + 1}/{self.total}] {self._title}: {amount}{', ' + note if note else ''}{left}")

    def finish(self, seconds: float) -> None:
        self.count += 1
        self.say(f"[{self.count}/{self.total}] {self._title}: {seconds:.1f} s")

    def skip(self) -> None:
        self.count += 1

    def say(self, message: str) -> None:
        print(message, file=self.stream, flush=True)


class Bars:
    """For a terminal: one bar over all jobs, one for the job that runs."""

    def __init__(self, console: Console, progress: Progress, total: int) -> None:
        self.console = console
        self.progress = progress
        self._all = progress.add_task("jobs", total=total, note="")
        self._job: TaskID | None = None

    def start(self, title: str) -> None:
        self._job = self.progress.add_task(escape(title), total=None, note="")

    def update(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        if self._job is not None:
            self.progress.update(self._job, completed=done, total=total, note=escape(f"{unit} {note}".strip()))

    def finish(self, seconds: float) -> None:
        self._end()
        self.progress.advance(self._all)

    def skip(self) -> None:
        self._end()
        self.progress.advance(self._all)

    def _end(self) -> None:
        if self._job is not None:
            self.progress.remove_task(self._job)
            self._job = None

    def say(self, message: str) -> None:
        self.console.print(escape(message), highlight=False)


@contextmanager
def display(stream: TextIO, total: int, quiet: bool) -> Iterator[Display]:
    """The display that suits the stream."""
    if quiet:
        yield Quiet(stream)
    elif not stream.isatty():
        yield Lines(stream, total)
    else:
        console = Console(file=stream)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as progress:
            yield Bars(console, progress, total)
