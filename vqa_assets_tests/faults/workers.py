"""Faults on Dask: a worker, the scheduler or the run itself is killed while a stage's clips are in workers' hands.

Workers are programs of their own that have the preload library in them. One dies at its Nth call that touches the data
root, in the middle of a write where it is one, and the run has to end as if it had not; or the scheduler dies at that
moment, and the run has to say so. The next run, on threads, leaves the bytes of one that nothing disturbed. A run that
is killed itself leaves clips in its workers' hands, and the next run is given to the same workers.
"""

import ctypes
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from vqa_assets_tests.faults.campaign import (
    CALLS,
    Fault,
    Tally,
    after_the_next_run,
    campaign,
    differing,
    planned,
    what_was_said,
)
from vqa_assets_tests.faults.ground import NO_FAULT, REPOSITORY, Ground, Stage
from vqa_assets_tests.shared.dask_processes import DaskProcesses

_WORKERS = 2


class Workers:
    """A scheduler and workers under nannies, which start another where one dies; faults are armed in them."""

    def __init__(self, ground: Ground) -> None:
        self._root, self._library = ground.root, ground.folder / "preload.so"
        environment = {"LD_PRELOAD": str(self._library), "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "*"}
        self._dask = DaskProcesses(environment=environment)

    def __enter__(self) -> Self:
        self._dask.__enter__()
        for _ in range(_WORKERS):
            self._dask.add(nanny=True)
        self._dask.wait_for(_WORKERS)
        self._armed = set[int]()
        return self

    def __exit__(self, *_: object) -> None:
        self._dask.__exit__()

    @property
    def address(self) -> str:
        """The scheduler's."""
        return self._dask.address

    def arm(self, fault: Mapping[str, int], *, scheduler: bool = False) -> None:
        """Have each worker meet the fault, or the scheduler when one does; counting begins at 0."""
        self._dask.wait_for(_WORKERS)
        victim = self._dask.scheduler.pid if scheduler else 0
        arming = partial(_arm_here, str(self._library), str(self._root), dict(fault), victim)
        self._armed = set(self._everywhere(arming).values())

    def counts(self) -> list[int]:
        """Calls of each class since, by all workers."""
        each = self._everywhere(partial(_counts_here, str(self._library))).values()
        return [sum(counts) for counts in zip(*each, strict=True)]

    def have_died(self, *, scheduler: bool = False) -> bool:
        """Whether a worker, or the scheduler, has met its fault."""
        if scheduler:
            return self._dask.scheduler.poll() is not None
        return any(not Path(f"/proc/{pid}").exists() for pid in self._armed)

    def _everywhere(self, work: Any) -> dict[str, Any]:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return dict(client.run(work))


def _arm_here(library: str, root: str, fault: Mapping[str, int], victim: int) -> int:
    """In a worker: arm the preload library that it was started with, though not in what it starts; its process."""
    os.environ.pop("LD_PRELOAD", None)
    loaded = ctypes.CDLL(library)
    loaded.faults_victim(victim)
    nth = ctypes.c_long(fault["nth"])
    loaded.faults_arm(os.fsencode(root), fault["call"], nth, fault["error"], fault["stays"], b"")
    return os.getpid()


def _counts_here(library: str) -> list[int]:
    loaded = ctypes.CDLL(library)
    loaded.faults_count.restype = ctypes.c_long
    return [loaded.faults_count(number) for number in range(len(CALLS))]


def faults_on_dask(ground: Ground, stage: Stage, most: int, seed: int) -> Tally:
    """At most ``most`` deaths in one stage on Dask: two thirds are workers, the others the run's and a scheduler's."""
    tally, chance = Tally(), random.Random(seed)
    with Workers(ground) as workers:
        counts = _calls_of(ground, workers, stage)
        for fault in planned(counts, most - most // 3, seed, ("kill",)):
            tally.merge(_suffer(ground, workers, stage, fault))
        # Whether the next run finds the last one's clips under way is up to the moment: both are right.
        tally.merge(campaign(ground, replace(stage, dask=workers.address), max(1, most // 3 - 1), seed, ("kill",)))
        # Its first reading of all is before any clip's; and a worker may get fewer clips than the other.
        reads = max(2, counts[CALLS.index("read")] // 2)
        fault = Fault("kill", "read", chance.randint(2, reads))
        tally.merge(_suffer(ground, workers, stage, fault, scheduler=True))
    return tally


def _calls_of(ground: Ground, workers: Workers, stage: Stage) -> list[int]:
    """How many calls of each class one worker of an undisturbed run makes, on average."""
    ground.put(f"before-{stage.name}")
    workers.arm(NO_FAULT)
    answer = ground.ask({**stage.request, "dask": workers.address})
    assert answer.get("success"), answer
    assert ground.state(stage) == ground.finished[stage.name], "workers write the bytes that threads do"
    return [-(-count // _WORKERS) for count in workers.counts()]


def _suffer(ground: Ground, workers: Workers, stage: Stage, fault: Fault, *, scheduler: bool = False) -> Tally:
    """One death of a worker, or of the scheduler, and what it led to; nothing where the run did not come to it."""
    tally = Tally()
    ground.put(f"before-{stage.name}")
    workers.arm(fault.arming, scheduler=scheduler)
    answer = ground.ask({**stage.request, "dask": workers.address})
    if not workers.have_died(scheduler=scheduler):
        return tally
    findings = list(what_was_said(answer))
    success = answer.get("success", False)
    if not (success or (scheduler and "the Dask scheduler is gone" in answer.get("message", ""))):
        findings.append(f"untrue: it failed: {answer.get('message', '')[:600]}")
    state = ground.state(stage)
    whole = ground.finished[stage.name] if success else ground.earlier[stage.name]
    if state != whole:
        findings.append(f"untrue: it {'succeeded' if success else 'failed'}, yet {differing(state, whole)}")
    who = "the scheduler dies" if scheduler else "a worker dies"
    tally.add(f"{stage.asset} on Dask: {who}: {fault}", findings + after_the_next_run(ground, stage))
    return tally
