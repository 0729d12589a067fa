"""The command line. Verbs only: each imports what it needs when it runs, so that `harness --help` is instant."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.errors import HarnessError
from harness.options import Settings, add_options, settings

if TYPE_CHECKING:
    from harness.store import Store

_RUN_OPTIONS = ("out", "store", "mirror", "workers", "task", "generator", "student", "size", "seed")
_STAGES = {
    "synthesize": "make the synthetic datasets of a board",
    "train": "make the datasets and train the students on them",
    "score": "... and score the students on the real test splits",
    "measure": "measure the datasets of a board, or any file: a report on its texts and labels",
    "profile": "... and profile the students and the PLMs",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 2 something the user can mend (told in one message), 130 interrupted."""
    arguments = _parser().parse_args(argv)
    # Threads that spin while they wait make two runs on one machine up to thirty times slower. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # PyTorch on Linux: large tensors in huge pages. To be given a gigabyte in small ones takes most of a second.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()  # here, where a reader that has left (`| head`) is no error
    except HarnessError as error:
        print(f"harness: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "harness: interrupted; what is finished is kept: run the same command to carry on",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Compare generator PLMs by the datasets they write: synthesize, train tiny students, score, rank.",
        epilog="Start with: harness run demo",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    run = _verb(verbs, "run", "run a board and print its leaderboard", _run)
    run.add_argument("board", help="a name (see `harness list boards`) or a YAML file")
    add_options(run, _RUN_OPTIONS)
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument("--explain", action="store_true", help="print where every setting comes from and stop")
    run.add_argument("--json", action="store_true", help="last line on standard output: one JSON object")
    run.add_argument("--quiet", action="store_true", help="no progress")
    for stage, what in _STAGES.items():
        one = _verb(verbs, stage, what, _run_stage)
        if stage == "measure":
            one.add_argument("board", help="a board: a name or a YAML file; or data: .jsonl, .csv, .parquet, a folder")
            _add_file_options(one)
        else:
            one.add_argument("board", help="a name or a YAML file")
        add_options(one, tuple(name for name in _RUN_OPTIONS if name != "out"))
        one.add_argument("--json", action="store_true", help="last line on standard output: one JSON object")
        one.add_argument("--quiet", action="store_true", help="no progress")
        one.set_defaults(stage=stage)

    compare = _verb(verbs, "compare", "explain how two entries of a board that was run differ, and how sure", _compare)
    compare.add_argument("board", help="a name or a YAML file")
    for name in ("first", "second"):
        compare.add_argument(name, help="generator, generator/student or generator/size/student")
    add_options(compare, tuple(name for name in _RUN_OPTIONS if name not in ("out", "workers")))
    compare.add_argument("--json", action="store_true", help="one JSON object instead of words")

    show_list = _verb(verbs, "list", "list what there is", _list)
    show_list.add_argument("kind", choices=("tasks", "students", "generators", "boards", "measures"))
    show = _verb(verbs, "show", "show a task: prompts as the PLM sees them, counts, real rows", _show)
    show.add_argument("kind", choices=("task",))
    show.add_argument("name", help="a name (see `harness list tasks`) or a YAML file")
    add_options(show, ("mirror",))
    check = _verb(verbs, "validate", "check a board or task file: every error at once", _validate)
    check.add_argument("file", help="a YAML file, or the name of a board or task")
    add_options(check, ("mirror",))
    doctor = _verb(verbs, "doctor", "say what this machine has and what is missing", _doctor)
    add_options(doctor, ("store", "mirror"))

    store = _verb(verbs, "store", "look after the store of artifacts", _store)
    store.add_argument(
        "action", choices=("ls", "gc", "verify"), help="list; remove leftovers and damage; read every byte"
    )
    store.add_argument("--older-than", type=float, metavar="DAYS", help="gc: also artifacts untouched for DAYS")
    add_options(store, ("store",))
    return parser


_FILE_OPTIONS = ("format", "columns", "labels", "measure", "embeddings", "perplexity", "oracle", "html")


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data", "how a file is read; --task is what it was written for")
    group.add_argument("--format", choices=("columns", "zerogen"), default="columns", help="zerogen: C, X and Y")
    group.add_argument("--columns", default="", metavar="OURS=THEIRS,…", help="e.g. text=review,label=sentiment")
    group.add_argument("--labels", default="", metavar="VALUE=NAME,…", help="e.g. 0=negative,1=positive")
    group.add_argument("--measure", default="", metavar="NAME,…", help="these only (see `harness list measures`)")
    for name, what in (
        ("embeddings", "encoder for embeddings"),
        ("perplexity", "PLM for perplexity"),
        ("oracle", "encoder to fine-tune on the task's gold labels, and then to ask about these"),
    ):
        group.add_argument(f"--{name}", default="", metavar="MODEL[@REVISION]", help=what)
    group.add_argument("--html", default="", metavar="FILE", help="write a page with charts and rows")


def _verb(verbs: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _open_store(chosen: Settings) -> "Store":
    from harness.store import Store, default_store

    return Store(chosen.path("store") or default_store())


def _run(arguments: argparse.Namespace) -> int:
    from harness.commands import explain, print_plan, run_board

    chosen = settings(arguments)
    if arguments.explain:
        explain(arguments.board, chosen)
        return 0
    if arguments.dry_run:
        print_plan(arguments.board, chosen, _open_store(chosen))
        return 0
    return run_board(arguments.board, chosen, _open_store(chosen), as_json=arguments.json, quiet=arguments.quiet)


def _run_stage(arguments: argparse.Namespace) -> int:
    from harness.commands import measure_data, names_data, run_stage

    chosen = settings(arguments)
    store = _open_store(chosen)
    if arguments.stage == "measure":
        if names_data(arguments.board):
            return measure_data(arguments, chosen, store)
        for name in _FILE_OPTIONS:
            if getattr(arguments, name) not in ("", "columns"):
                raise HarnessError(f"--{name} is for a file of rows; a board says in its own file what is measured")
    return run_stage(arguments.board, arguments.stage, chosen, store, as_json=arguments.json, quiet=arguments.quiet)


def _compare(arguments: argparse.Namespace) -> int:
    from harness.commands import compare_entries

    chosen = settings(arguments)
    names = (arguments.first, arguments.second)
    compare_entries(arguments.board, names, chosen, _open_store(chosen), as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from harness.commands import list_names

    list_names(arguments.kind)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from harness.commands import show_task

    show_task(arguments.name, settings(arguments).path("mirror"))
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from harness.commands import validate

    validate(arguments.file, settings(arguments).path("mirror"))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from harness.commands import doctor

    chosen = settings(arguments)
    return doctor(chosen.path("mirror"), _open_store(chosen))


def _store(arguments: argparse.Namespace) -> int:
    from harness.commands import store_gc, store_ls, store_verify

    store = _open_store(settings(arguments))
    if arguments.action == "ls":
        store_ls(store)
    elif arguments.action == "gc":
        store_gc(store, arguments.older_than)
    else:
        store_verify(store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
