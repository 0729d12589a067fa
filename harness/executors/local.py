"""Helper processes on this machine: each runs the same plan on the same store, and the store's locks share the work.

A job that one process is making is passed over by the others, so nothing is assigned and nothing has to be told. A
process that dies loses what it was working on; whoever comes next makes it, from the rows that were kept.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.machine import gpus, usable_cores
from harness.plan import Job
from harness.progress import Display, Quiet
from harness.resolve import ResolvedBoard, WritingGenerator
from harness.store import Store

Settle = Callable[[Sequence[Job], Store, Display], object]

MAX_AUTOMATIC_WORKERS = 4
SMALL_PLM_BYTES = 1 << 30


def automatic_workers(board: ResolvedBoard) -> int:
    """How many processes suit a board here: one per core where no GPU is to be shared and every PLM is small, else one.

    Tiny models gain nothing from a second thread, and much from a second process.
    """
    sizes = [generator.place.size_bytes for generator in board.generators if isinstance(generator, WritingGenerator)]
    if gpus() or any(size is None or size > SMALL_PLM_BYTES for size in sizes):
        return 1
    return min(usable_cores(), MAX_AUTOMATIC_WORKERS)


def set_threads(workers: int) -> None:
    """Share the cores among the processes. Read when torch loads, here and in the helpers."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // workers)))


@contextmanager
def helpers(settle: Settle, jobs: Sequence[Job], store: Store, count: int) -> Iterator[None]:
    """`count` processes that `settle` the jobs beside this one; ended when the block is left."""
    context = multiprocessing.get_context("spawn")
    arguments = (settle, list(jobs), store.root)
    processes = [context.Process(target=_help, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _help(settle: Settle, jobs: list[Job], root: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What goes wrong here goes wrong again, and is told, in the process that asked for help.
    with suppress(HarnessError, KeyboardInterrupt):
        settle(jobs, Store(root), Quiet(sys.stderr))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it cannot tell its helpers to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
