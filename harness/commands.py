"""What the verbs do. Results go to standard output, progress and messages to standard error."""

import argparse
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.catalogue import Kind, known_generators, load_task, names
from harness.data.examples import Examples
from harness.data.real import RealTask
from harness.errors import HarnessError, did_you_mean
from harness.executors.local import automatic_workers, set_threads
from harness.files import named_path, write_atomic, write_json
from harness.measure_file import DATA_SUFFIXES, FileToMeasure, model_of, pairs_of, plan_file, report_of
from harness.options import OPTIONS, Settings
from harness.plan import Plan, Selection, make_plan
from harness.progress import display
from harness.resolve import ResolvedBoard, WritingGenerator, resolve_board
from harness.spec import Column, MeasuringModel, PromptSet
from harness.store import Store, default_store
from harness.synthesis.prompts import fill
from harness.yaml_source import read_yaml

_COVERAGE_ROWS = 2000


def _plan(board: str, chosen: Settings) -> Plan:
    selection = Selection(
        tasks=chosen.words("task"),
        generators=chosen.words("generator"),
        students=chosen.words("student"),
        sizes=chosen.sizes(),
        seeds=chosen.numbers("seed"),
    )
    return make_plan(resolve_board(board, chosen.path("mirror")), selection)


def _workers(plan: Plan, chosen: Settings) -> int:
    workers = chosen.workers(automatic_workers(plan.board))
    set_threads(workers)
    return workers


def run_board(board: str, chosen: Settings, store: Store, *, as_json: bool, quiet: bool) -> int:
    """`harness run`: every stage, results, leaderboard. Status 2 if a job failed; what could be made is shown."""
    from harness.leaderboard.predictors import predictors, write_charts
    from harness.leaderboard.rank import rank
    from harness.leaderboard.render import markdown, terminal_tables
    from harness.leaderboard.separate import separate
    from harness.results import result_rows, write_results
    from harness.run import run_jobs, run_record

    plan = _plan(board, chosen)
    workers = _workers(plan, chosen)
    out = chosen.path("out") or Path("out") / plan.board.name
    _make_out(out)
    with display(sys.stderr, len(plan.jobs), quiet) as shown:
        for note in plan.notes:
            shown.say(f"note: {note}")
        outcome = run_jobs(plan, store, shown, workers)
    rows = result_rows(plan, store, outcome.lost)
    ranked = rank(plan, rows, outcome.failures)
    separate(ranked, plan, store, outcome.lost)
    ranked.predictors = predictors(ranked, rows)
    write_charts(ranked, out)
    write_results(rows, out)
    write_json(out / "leaderboard.json", ranked.to_json())
    write_atomic(out / "leaderboard.md", markdown(ranked).encode())
    write_json(out / "run.json", run_record(plan, store, outcome))
    for table in terminal_tables(ranked):
        _console().print(table)
    summary = {
        "board": plan.board.name,
        "jobs": len(plan.jobs),
        "made": len(outcome.made),
        "found": len(outcome.found),
        "failed": len(outcome.failed),
        "not_available": len(outcome.unavailable),
        "seconds": round(outcome.seconds, 2),
        "results": str(out / "results.parquet"),
        "leaderboard": str(out / "leaderboard.json"),
    }
    counts = f"{summary['made']} jobs made, {summary['found']} found in the store, {summary['failed']} failed"
    print(f"{counts}; {outcome.seconds:.1f} s. Results: {out}/", flush=True)
    if as_json:
        print(json.dumps(summary))
    _raise_failures(outcome.failures)
    return 0


def run_stage(board: str, stage: str, chosen: Settings, store: Store, *, as_json: bool, quiet: bool) -> int:
    """One stage of a board with all that it reads; prints the folders of its artifacts."""
    from harness.leaderboard.rank import not_available
    from harness.results import missing_rows
    from harness.run import run_jobs

    plan = _plan(board, chosen)
    wanted = [job for job in plan.jobs.values() if job.stage.name == stage]
    needed = {job.key for job in wanted}
    for job in reversed(list(plan.jobs.values())):
        if job.key in needed:
            needed |= {key for _, key in job.inputs.values()}
    part = replace(plan, jobs={key: job for key, job in plan.jobs.items() if key in needed})
    if not wanted:
        raise HarnessError(f"board '{plan.board.name}' has no job of the stage '{stage}'")
    workers = _workers(part, chosen)
    with display(sys.stderr, len(part.jobs), quiet) as shown:
        outcome = run_jobs(part, store, shown, workers)
    done = {job.stage.title: str(store.folder(stage, job.key)) for job in wanted if job.key not in outcome.lost}
    notes = not_available(missing_rows(part, store, outcome.lost)) if stage == "measure" else []
    for title, folder in done.items():
        print(f"{title}\n  {folder}")
    for note in notes:
        print(note)
    if as_json:
        print(json.dumps({"board": plan.board.name, "stage": stage, "artifacts": done, "not_available": notes}))
    _raise_failures(outcome.failures)
    return 0


def compare_entries(board: str, names: tuple[str, str], chosen: Settings, store: Store, *, as_json: bool) -> None:
    """`harness compare`: two entries on the same test items, from the predictions in the store."""
    from harness.leaderboard.compare import compare, terminal_comparison

    found = compare(_plan(board, chosen), store, *names)
    if as_json:
        print(json.dumps(found.to_json()))
        return
    for line in terminal_comparison(found):
        _console().print(line, soft_wrap=True)


def names_data(name: str) -> bool:
    """Whether what is to be measured is a file of rows, and no board."""
    if name in names("boards"):
        return False
    path = named_path(name)
    return path.suffix.lower() in DATA_SUFFIXES or path.is_dir()


def measure_data(arguments: argparse.Namespace, chosen: Settings, store: Store) -> int:
    """`harness measure DATA`: a report on one file. Models that cannot be reached leave their measures out."""
    from harness.quality.report import html_page, terminal_report
    from harness.run import run_jobs

    tasks = chosen.words("task")
    for name in ("generator", "student", "size", "seed"):
        if chosen.origins.get(name, "").startswith("flag"):
            raise HarnessError(f"--{name} chooses a part of a board; {arguments.board} is a file of rows: leave it out")
    if arguments.format == "zerogen" and arguments.columns:
        raise HarnessError(
            "--columns has no meaning with --format zerogen, whose columns are C, X and Y; leave one out"
        )
    if len(tasks) > 1:
        raise HarnessError(f"--task: expected the one task that the data were written for, found {', '.join(tasks)}")

    def model(name: str) -> MeasuringModel | None:
        text = getattr(arguments, name)
        return model_of(f"--{name}", text) if text else None

    columns = pairs_of("--columns", arguments.columns, get_args(Column))
    file = FileToMeasure(
        path=named_path(arguments.board),
        task=tasks[0] if tasks else None,
        format=arguments.format,
        columns=columns,  # type: ignore[arg-type]  # the keys have been checked
        labels=pairs_of("--labels", arguments.labels),
        measures=tuple(word.strip() for word in arguments.measure.split(",") if word.strip()),
        embeddings=model("embeddings"),
        perplexity=model("perplexity"),
        oracle=model("oracle"),
        mirror=chosen.path("mirror"),
    )
    plan = plan_file(file)
    workers = _workers(plan, chosen)
    with display(sys.stderr, len(plan.jobs), arguments.quiet) as shown:
        outcome = run_jobs(plan, store, shown, workers)
    _raise_failures(outcome.failures)
    report = report_of(plan, store, outcome.lost)
    for part in terminal_report(report):
        _console().print(part)
    if arguments.html:
        write_atomic(named_path(arguments.html), html_page(report).encode())
        print(f"page: {arguments.html}")
    if arguments.json:
        values = [value.as_dict() for value in report.values]
        print(json.dumps({"values": values, "not_available": dict(report.missing)}))
    return 0


def _raise_failures(failures: list[str]) -> None:
    """One error for all jobs that failed; what the others made has been shown."""
    if len(failures) == 1:
        raise HarnessError(failures[0])
    if failures:
        raise HarnessError(f"{len(failures)} jobs failed:\n" + "\n".join(f"  {message}" for message in failures))


def _make_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"cannot create the folder {out}: {error}; name another with --out") from None


def _console() -> Console:
    """Standard output; wide enough for a table where it is no terminal, for a log has no width."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def print_plan(board: str, chosen: Settings, store: Store) -> None:
    """`harness run --dry-run`: the jobs in order, and which of them the store already has."""
    plan = _plan(board, chosen)
    table = Table(title=f"{escape(plan.board.title)}: {len(plan.jobs)} jobs for {len(plan.cells)} cells")
    for name in ("stage", "what", "key", "state"):
        table.add_column(name)
    found = 0
    for job in plan.jobs.values():
        there = store.find(job.stage.name, job.key) is not None
        found += there
        table.add_row(job.stage.name, escape(job.stage.title), job.key[:12], "in the store" if there else "to be made")
    _console().print(table)
    for note in plan.notes:
        print(f"note: {note}")
    print(f"{found} in the store, {len(plan.jobs) - found} to be made. Store: {store.root}")


def explain(board: str, chosen: Settings) -> None:
    """`harness run --explain`: every setting, its value and where it comes from."""
    resolved = resolve_board(board, chosen.path("mirror"))
    source = read_yaml(resolved.path)
    table = Table(title=f"Settings of {escape(resolved.name)}")
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    instead = {"sizes": "size", "seeds": "seed"}
    values: dict[str, Any] = {
        "tasks": [task.signature for task in resolved.tasks],
        "generators": [generator.name for generator in resolved.generators],
        "students": [student.signature for student in resolved.students],
        **{name: getattr(resolved, name) for name in ("sizes", "seeds", "baselines", "measures", "profile")},
    }
    for name, value in values.items():
        flag = instead.get(name, "")
        if flag in chosen.values:
            value, origin = chosen.words(flag), chosen.origins[flag]
        else:
            line = source.lines.get((name,))
            origin = f"file {resolved.path.name}:{line}" if line else "default"
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        table.add_row(name, escape(shown), escape(origin))
    defaults = {
        "out": str(Path("out") / resolved.name),
        "store": str(default_store()),
        "mirror": "none",
        "workers": str(automatic_workers(resolved)),
    }
    for name in OPTIONS:
        if name not in instead.values():
            value = chosen.values.get(name, defaults.get(name, "all of the board's"))
            table.add_row(f"--{name}", escape(value), chosen.origins.get(name, "default"))
    _console().print(table)


def list_names(kind: str) -> None:
    """`harness list`."""
    from harness.quality.measures import MEASURES
    from harness.students import student_modules

    rows: dict[str, str]
    if kind == "tasks":
        rows = {name: load_task(name).spec.title for name in names("tasks")}
    elif kind == "boards":
        rows = {name: str(read_yaml(path).data.get("title", "")) for name, path in names("boards").items()}
    elif kind == "generators":
        rows = {name: str(entry.get("title", "")) for name, entry in known_generators().items()}
    elif kind == "measures":
        rows = {name: measure.tier for name, measure in MEASURES.items()}
    else:
        rows = student_modules()
    width = max(map(len, rows), default=0)
    for name, about in rows.items():
        print(f"{name:<{width}}  {about}")


def show_task(name: str, mirror: Path | None) -> None:
    """`harness show task`: prompts, counts, label balance and a few rows; says so where the data cannot be reached."""
    loaded = load_task(name)
    console = _console()
    task = RealTask(loaded.spec, loaded.path.parent, mirror)
    console.print(f"[bold]{escape(task.name)}[/] {escape(loaded.spec.title)}")
    labels = f", labels {', '.join(loaded.spec.labels)}" if loaded.spec.labels else ""
    console.print(f"family {loaded.spec.family}{labels}, metric {loaded.spec.metric}")
    for set_name, prompt_set in loaded.spec.prompts.items():
        _show_prompts(console, set_name, prompt_set)
    for split in loaded.spec.splits:
        try:
            rows = task.split(split)
        except HarnessError as error:
            console.print(f"\n[bold]{split}[/]: not reachable: {escape(str(error))}")
            continue
        counts = Counter(rows.label)
        balance = ", ".join(f"{label} {counts[label]:,} ({counts[label] / len(rows):.1%})" for label in counts)
        console.print(f"\n[bold]{split}[/]: {len(rows):,} rows{'; ' + balance if balance else ''}")
        _show_rows(console, rows.take(range(min(3, len(rows)))))
    if loaded.spec.contexts:
        try:
            contexts = task.contexts()
        except HarnessError as error:
            console.print(f"\n[bold]contexts[/]: not reachable: {escape(str(error))}")
            return
        console.print(f"\n[bold]contexts[/]: {len(contexts.text):,} texts from {escape(contexts.origin)}")
        for text in contexts.text[:3]:
            console.print(f"  {escape(_short(text))}")
    if loaded.spec.family == "extractive-qa":
        _show_coverage(console, task)


def _show_coverage(console: Console, task: RealTask) -> None:
    """How many of the gold answers each prompt set's candidates hold: questions about others are never asked."""
    from harness.synthesis.answers import candidate_finder, coverage

    test = task.split("test").take(range(min(_COVERAGE_ROWS, len(task.split("test")))))
    for name in dict.fromkeys(prompt_set.candidates for prompt_set in task.spec.prompts.values()):
        found = coverage(test.context, test.answers, candidate_finder(name))
        console.print(
            f"\n[bold]candidates: {escape(name)}[/]: {found.normalised:.1%} of the answers of the first {len(test):,} "
            f"test questions are among them (at their very place: {found.exact:.1%}); {found.candidates:.1f} a context"
        )


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


def _show_rows(console: Console, rows: Examples) -> None:
    for index in range(len(rows)):
        if rows.question:
            answers = " | ".join(dict.fromkeys(answer.text for answer in rows.answers[index]))
            console.print(f"  context: {escape(_short(rows.context[index]))}")
            console.print(f"    question: {escape(_short(rows.question[index]))}  answer: {escape(_short(answers))}")
            continue
        label = f"{rows.label[index]}: " if rows.label else ""
        console.print(f"  {escape(label + _short(rows.text[index]))}")
        if rows.text_pair:
            console.print(f"    with: {escape(_short(rows.text_pair[index]))}")


def _show_prompts(console: Console, name: str, prompt_set: PromptSet) -> None:
    console.print(f"\n[bold]prompts: {escape(name)}[/] ({escape(prompt_set.source)})")
    for style, prompts in (("completion", prompt_set.completion), ("chat", prompt_set.chat)):
        if prompts is None:
            continue
        shown = [("context", "", template) for template in prompts.context]
        shown += [("text", label, one) for label, templates in prompts.text.items() for one in templates]
        shown += [("question", "", template) for template in prompts.question]
        shown += [("classify", label, one) for label, templates in prompts.classify.items() for one in templates]
        shown += [("answer", "", prompts.answer)] if prompts.answer else []
        for stage, label, template in shown:
            rendered = fill(template, context="[a context]", text="[a text]", answer="[an answer]")
            console.print(f"  {style} {stage} {label}".rstrip() + f": {escape(rendered)!s}")


def validate(name: str, mirror: Path | None) -> None:
    """`harness validate`: a board or a task, by what its file holds; raises with every error at once."""
    path = named_path(name)
    if not path.is_file():
        path = _named_file(name)
    data = read_yaml(path).data
    if isinstance(data, dict) and not data.keys().isdisjoint(("tasks", "generators", "students")):
        board = resolve_board(str(path), mirror)
        for task in board.tasks:
            _check_data(task)
        _check_replays(board)
        pairs = sum(task.spec.family in student.families for task in board.tasks for student in board.students)
        cells = pairs * len(board.generators) * len(board.sizes) * len(board.seeds)
        print(f"{path}: a board of {cells} cells, no errors")
    else:
        loaded = load_task(str(path))
        for set_name, prompt_set in loaded.spec.prompts.items():
            _show_prompts(_console(), set_name, prompt_set)
        _check_data(RealTask(loaded.spec, loaded.path.parent, mirror))
        print(f"{path}: a task, no errors")


def _named_file(name: str) -> Path:
    kinds: tuple[Kind, ...] = ("boards", "tasks")
    for kind in kinds:
        known = names(kind)
        if name in known:
            return known[name]
    hint = did_you_mean(name, [*names("boards"), *names("tasks")])
    raise HarnessError(f"{name}: no such file, board or task{hint}")


def _check_data(task: RealTask) -> None:
    """Read every split: columns, labels and answers are checked where the data can be reached; it is said where not."""
    checked = "columns and answers" if task.spec.family == "extractive-qa" else "columns and labels"
    for split, source in task.spec.splits.items():
        if task.in_reach(source):
            print(f"{task.name}/{split}: {len(task.split(split)):,} rows, {checked} as expected")
        else:
            print(f"{task.name}/{split}: {source.hub} is not in a mirror; {checked} not checked")
    if not task.spec.contexts:
        return
    if any(map(task.in_reach, task.spec.contexts)) and task.in_reach(task.spec.splits["test"]):
        contexts = task.contexts()
        print(f"{task.name}/contexts: {len(contexts.text):,} texts that are not in the test split, {contexts.origin}")
    else:
        print(f"{task.name}/contexts: not in a mirror; not checked")


def _check_replays(board: ResolvedBoard) -> None:
    from harness.stages.synthesize import read_replay

    for generator in board.generators:
        if isinstance(generator, WritingGenerator):
            continue
        for task in board.tasks:
            what = "labels" if task.spec.labels else "answers"
            rows = read_replay(generator.spec, generator.files[task.name], task.spec)
            print(f"{generator.name} for {task.name}: {len(rows):,} rows, {what} as expected")


def doctor(mirror: Path | None, store: Store) -> int:
    """`harness doctor`: what there is and what is missing. Status 2 if the harness cannot work."""
    from harness.generators.locate import embedded_names
    from harness.machine import automatic_dtype, describe

    machine = describe()
    for name, value in {**machine.pop("libraries"), **machine}.items():
        print(f"{name:<14} {value if not isinstance(value, list) else ', '.join(value) or 'none'}")
    print(f"{'dtype':<14} {automatic_dtype()} (for PLMs with dtype: auto)")
    print(f"{'embedded':<14} {', '.join(embedded_names())}")
    print(f"{'mirror':<14} {mirror or 'none (set HARNESS_MIRROR or --mirror; without one, data come from the hub)'}")
    try:
        with store.staging() as folder:
            write_atomic(folder / "probe", b"probe")
    except HarnessError as error:
        print(f"{'store':<14} {store.root}: CANNOT BE WRITTEN: {error}")
        return 2
    print(f"{'store':<14} {store.root} (writable)")
    return 0


def store_ls(store: Store) -> None:
    """`harness store ls`: artifacts per stage with their sizes.

    Raises:
        HarnessError: some are damaged; they have been named.
    """
    damaged = 0
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for folder, found in store.artifacts():
        if isinstance(found, HarnessError):
            print(f"damaged: {folder}")
            damaged += 1
            continue
        counts[found.stage] += 1
        sizes[found.stage] += found.size_bytes
    for stage, count in sorted(counts.items()):
        print(f"{stage:<12} {count:>7,} artifacts  {sizes[stage] / 1e6:>10,.1f} MB")
    print(f"{sum(counts.values()):,} artifacts, {sum(sizes.values()) / 1e6:,.1f} MB in {store.root}")
    _raise_damage(damaged, store)


def store_gc(store: Store, older_than_days: float | None) -> None:
    """`harness store gc`."""
    removed, freed = store.collect_garbage(older_than_days)
    print(f"removed {removed:,} leftovers, freed {freed / 1e6:,.1f} MB")


def store_verify(store: Store) -> None:
    """`harness store verify`.

    Raises:
        HarnessError: something is damaged; it has been named.
    """
    damaged = dict(store.verify())
    for path, why in damaged.items():
        print(f"damaged: {path}: {why}")
    folders = [folder for folder, _ in store.artifacts()]
    print(f"{sum(folder not in damaged for folder in folders):,} of {len(folders):,} artifacts are whole")
    _raise_damage(len(damaged), store)


def _raise_damage(count: int, store: Store) -> None:
    if count:
        raise HarnessError(
            f"{count:,} damaged in {store.root}; run `harness store gc` to remove what is damaged, the next run makes "
            "it again"
        )
