"""The flow of a run: board -> plan -> jobs, each taken from the store or made -> results -> leaderboard.

    outcome = run_jobs(plan, store, display, workers)
    rows = result_rows(plan, store)            # harness.results
    board = rank(plan, rows)                   # harness.leaderboard.rank

Several processes may run the same plan on the same store: a job that another is making is put off, and found done
later. What a killed run has written of a dataset is kept but for the rows under way.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from harness import __version__
from harness.errors import HarnessError, OutOfReachError
from harness.executors.local import helpers
from harness.generators.cache import GeneratorCache
from harness.machine import describe
from harness.plan import Job, Plan
from harness.progress import Display
from harness.stages.base import StageIO
from harness.store import Artifact, Store


@dataclass
class Outcome:
    """What became of the jobs of a plan, by key. A job that reads a failed one has failed too, without a message.

    `unavailable`: the optional jobs that could not be done, and why. `out_of_reach`: the models, by identity, that
    could not be loaded, and why; to ask a hub again for each dataset can take minutes.

    `run` stands in the record of every artifact that this run makes, so that what a helper made counts as made.
    """

    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    made: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    failed: dict[str, str | None] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    out_of_reach: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        return [message for message in self.failed.values() if message is not None]

    def settled(self, key: str) -> bool:
        return key in self.made or key in self.found or key in self.lost

    @property
    def lost(self) -> dict[str, str | None]:
        """The jobs that have no artifact, and why."""
        return {**self.failed, **self.unavailable}

    def lose(self, job: Job, why: str | None) -> None:
        """Take note that a job has no artifact; `why` is None where what it reads has none either."""
        if job.optional:
            self.unavailable[job.key] = why or next(
                (self.lost[key] or "what it reads has failed" for _, key in job.inputs.values() if key in self.lost), ""
            )
        else:
            self.failed[job.key] = why


def run_jobs(plan: Plan, store: Store, display: Display, workers: int) -> Outcome:
    """Make every job of the plan that the store does not have, with `workers` processes.

    A job that fails takes those that read it with it; the others go on. Timings are taken last, by this process alone.

    Raises:
        HarnessError: the store is damaged.
    """
    begin = time.perf_counter()
    timed = [job for job in plan.jobs.values() if job.stage.name == "profile"]
    others = [job for job in plan.jobs.values() if job.stage.name != "profile"]
    missing = sum(store.find(job.stage.name, job.key) is None for job in others)
    outcome = Outcome()
    help_settle = partial(settle, outcome=Outcome(outcome.run))
    with helpers(help_settle, others, store, min(workers, missing) - 1 if missing else 0):
        settle(others, store, display, outcome)
    settle(timed, store, display, outcome)
    outcome.seconds = time.perf_counter() - begin
    return outcome


def settle(jobs: Sequence[Job], store: Store, display: Display, outcome: Outcome) -> None:
    """Find, make or give up every job, in an order in which inputs come first."""
    generators = GeneratorCache()
    waiting, wait = list(jobs), False
    while waiting:
        left: list[Job] = []
        for job in waiting:
            ready = all(outcome.settled(key) for _, key in job.inputs.values())
            if not ready or not _settle(job, store, display, generators, outcome, wait):
                left.append(job)
            else:
                wait = False
        # When a whole round settles nothing, other processes hold all that is left: wait for the first of them.
        wait = len(left) == len(waiting)
        waiting = left


def _settle(job: Job, store: Store, display: Display, generators: GeneratorCache, outcome: Outcome, wait: bool) -> bool:
    """Find, make or give up one job; False if another process is making it and `wait` is off."""
    if any(key in outcome.lost for _, key in job.inputs.values()):
        outcome.lose(job, None)
        display.skip()
        return True
    if _found(job, store, display, outcome):
        return True
    # Datasets of one series share what was written, so only one process writes them at a time.
    with store.lock(job.series or job.key, wait) as held:
        if not held:
            return False
        if _found(job, store, display, outcome):
            return True
        model = getattr(job.stage, "model", None) if job.optional else None
        if model is not None and model.identity in outcome.out_of_reach:
            outcome.lose(job, outcome.out_of_reach[model.identity])
            display.skip()
            return True
        display.start(job.stage.title)
        begin = time.perf_counter()
        try:
            make(job, store, display, generators, outcome.run)
        except HarnessError as error:
            if model is not None and isinstance(error, OutOfReachError):
                outcome.out_of_reach[model.identity] = str(error)
            outcome.lose(job, str(error) if job.optional else f"{job.stage.title}: {error}")
            display.skip()
        else:
            outcome.made.add(job.key)
            display.finish(time.perf_counter() - begin)
    return True


def _found(job: Job, store: Store, display: Display, outcome: Outcome) -> bool:
    artifact = store.find(job.stage.name, job.key)
    if artifact is None:
        return False
    made_here = artifact.manifest["record"].get("run") == outcome.run
    (outcome.made if made_here else outcome.found).add(job.key)
    display.skip()
    return True


def make(job: Job, store: Store, display: Display, generators: GeneratorCache, run: str) -> Artifact:
    """Run one stage into a staging folder and commit it."""
    inputs = {role: store.checked(stage, key) for role, (stage, key) in job.inputs.items()}
    with store.staging() as out:
        begin = time.perf_counter()
        with closing(store.journal(job.series or job.key)) as journal:
            record = job.stage.run(StageIO(inputs, out, journal, display, generators))
        return store.commit(
            out,
            job.stage.name,
            job.key,
            {
                "identity": job.stage.identity(),
                "inputs": {role: list(read) for role, read in job.inputs.items()},
                "gold": record.gold,
                "details": record.details,
                "seconds": time.perf_counter() - begin,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "run": run,
                "harness": __version__,
                "machine": describe(),
            },
        )


def run_record(plan: Plan, store: Store, outcome: Outcome) -> dict[str, Any]:
    """What a run was: for `run.json`, beside the results. Says which gold data each stage touched."""
    jobs = []
    for job in plan.jobs.values():
        artifact = None if job.key in outcome.lost else store.find(job.stage.name, job.key)
        if job.key in outcome.unavailable:
            state = "not available"
        else:
            state = "failed" if artifact is None else "made" if job.key in outcome.made else "found"
        jobs.append(
            {
                "stage": job.stage.name,
                "title": job.stage.title,
                "key": job.key,
                "state": state,
                "gold": artifact.manifest["record"].get("gold", []) if artifact else [],
                "seconds": artifact.manifest["record"].get("seconds") if artifact else None,
            }
        )
    return {
        "board": plan.board.name,
        "harness": __version__,
        "machine": describe(),
        "seconds": outcome.seconds,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "notes": plan.notes,
        "failures": outcome.failures,
        "jobs": jobs,
    }
