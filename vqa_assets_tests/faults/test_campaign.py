"""The campaign's short form: a fault of each kind in every stage, and every file cut short and with a bit turned.

Each ends in one sentence, "N faults, 0 lost, 0 doubled, 0 torn, the same final bytes"; the long form is ``make
campaign``. The seed decides where faults come, so what fails here fails again.
"""

import errno
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vqa_assets_tests.faults.campaign import (
    CALLS,
    ERRORS,
    POWER,
    Tally,
    campaign,
    cut_the_power,
    jumping_clock,
    planned,
)
from vqa_assets_tests.faults.damage import damaged_inputs, damaged_outputs, mutated
from vqa_assets_tests.faults.ground import STAGES, WITH_CLIPS, Ground, Stage, compiled
from vqa_assets_tests.faults.stores import faults_beside_the_store, faults_of_mirror, faults_of_the_store
from vqa_assets_tests.faults.workers import faults_on_dask

pytestmark = pytest.mark.needs_tool("cc")
SEED = 17
EVERY = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.asset)


def nothing_found(tally: Tally) -> None:
    assert tally.examples == [], str(tally)
    assert tally.faults > 0
    assert str(tally) == f"{tally.faults} faults, 0 lost, 0 doubled, 0 torn, the same final bytes"


@EVERY
def test_a_kill_leaves_the_output_of_one_run_and_the_next_run_the_same_bytes(ground: Ground, stage: Stage) -> None:
    nothing_found(campaign(ground, stage, stage.short(3), SEED, ("kill",)))


@EVERY
def test_an_error_of_the_disk_leaves_what_the_run_says(ground: Ground, stage: Stage) -> None:
    nothing_found(campaign(ground, stage, stage.short(6), SEED, ERRORS))


@EVERY
def test_a_power_cut_loses_nothing_that_was_published(ground: Ground, stage: Stage) -> None:
    nothing_found(campaign(ground, stage, stage.short(3), SEED, (POWER,)))


@EVERY
def test_a_clock_that_jumps_changes_nothing(ground: Ground, stage: Stage) -> None:
    nothing_found(jumping_clock(ground, stage))


@EVERY
def test_a_damaged_output_or_cache_is_made_again_or_told(ground: Ground, stage: Stage) -> None:
    nothing_found(damaged_outputs(ground, stage, 1, SEED))


@EVERY
def test_a_damaged_input_is_told_and_costs_nothing_once_it_is_back(ground: Ground, stage: Stage) -> None:
    nothing_found(damaged_inputs(ground, stage, 1, SEED))


@pytest.mark.takes_long("workers, a scheduler and runs that are killed")
@pytest.mark.parametrize("asset", WITH_CLIPS)
def test_deaths_on_dask_cost_no_clip_and_leave_the_bytes_of_a_run_on_threads(ground: Ground, asset: str) -> None:
    (stage,) = [stage for stage in ground.stages if stage.asset == asset]
    nothing_found(faults_on_dask(ground, stage, 1, SEED))


def test_faults_of_an_object_store_tear_no_object_and_cost_no_clip(ground: Ground) -> None:
    for stage in ground.with_a_store():
        tally = faults_of_the_store(ground, stage, 4, SEED)
        tally.merge(faults_beside_the_store(ground, stage, 2, SEED))
        nothing_found(tally)


def test_a_copy_that_an_object_store_or_the_disk_disturbs_has_no_manifest_before_its_files(ground: Ground) -> None:
    nothing_found(faults_of_mirror(ground, 3, SEED))


# ---- what makes the faults ----


def test_faults_are_spread_over_kinds_calls_and_the_run_and_are_the_same_every_time() -> None:
    plan = planned([2, 3, 40, 50, 0, 60], 60, SEED)
    assert plan == planned([2, 3, 40, 50, 0, 60], 60, SEED)
    assert {fault.kind for fault in plan} == {"kill", *ERRORS}
    assert {fault.call for fault in plan if fault.kind == "kill"} == {"rename", "fsync", "open", "write", "read"}
    assert {fault.nth for fault in plan if (fault.kind, fault.call) == ("kill", "write")} >= {1, 50}
    assert not [fault for fault in plan if fault.kind == "EACCES" and fault.call == "write"]


ARMED = """
import ctypes, json, os, sys
library = ctypes.CDLL(sys.argv[1])
folder, call, nth, error, shadow = sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6]
library.faults_arm(folder.encode(), call, ctypes.c_long(nth), error, 0, shadow.encode())
try:
    with open(f"{folder}/a.tmp", "wb", buffering=0) as out:
        out.write(b"12345678")
        os.fsync(out.fileno())
        out.write(b"never synced")
    os.rename(f"{folder}/a.tmp", f"{folder}/a")
    os.unlink(f"{folder}/a")
    print("no error")
except OSError as error:
    print(error.errno)
"""


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, str, Path]]:
    """A process that writes, syncs, renames and removes one file, with a fault: its end, its words, its folder."""
    library = compiled(tmp_path_factory.mktemp("library"))

    def run(call: str, nth: int, error: int, shadow: str = "") -> tuple[int, str, Path]:
        folder = tmp_path_factory.mktemp("armed")
        arguments = [str(library), str(folder), str(CALLS.index(call)), str(nth), str(error), shadow]
        environment = {"LD_PRELOAD": str(library)}
        command = [sys.executable, "-c", ARMED, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip(), folder

    return run


@pytest.mark.parametrize("call", ["rename", "fsync", "open", "write", "unlink"])
def test_the_nth_call_of_a_class_gets_the_error(armed: Callable[..., tuple[int, str, Path]], call: str) -> None:
    assert armed(call, 1, errno.EIO)[:2] == (0, str(errno.EIO))
    assert armed(call, 9, errno.EIO)[:2] == (0, "no error")


def test_a_kill_comes_before_the_call_and_in_the_middle_of_a_write(
    armed: Callable[..., tuple[int, str, Path]],
) -> None:
    status, _, folder = armed("write", 1, -1)
    assert (status, (folder / "a.tmp").read_bytes()) == (-9, b"1234")
    status, _, folder = armed("rename", 1, -1)
    assert (status, [path.name for path in folder.iterdir()]) == (-9, ["a.tmp"])


def test_a_power_cut_leaves_of_a_file_what_was_synced(
    armed: Callable[..., tuple[int, str, Path]], tmp_path: Path
) -> None:
    status, _, folder = armed("unlink", 1, -1, str(tmp_path))
    assert (status, (folder / "a").read_bytes()) == (-9, b"12345678never synced")
    cut_the_power(folder, tmp_path)
    assert (folder / "a").read_bytes() == b"12345678"


def test_two_undisturbed_runs_leave_the_same_bytes_or_no_fault_could_be_judged(ground: Ground) -> None:
    for stage in ground.stages:
        ground.put(f"before-{stage.asset}")
        assert ground.ask(stage.request)["success"]
        assert ground.state(stage) == ground.finished[stage.asset], stage.asset
        assert ground.earlier[stage.asset] != ground.finished[stage.asset], stage.asset


def test_what_a_campaign_finds_is_counted_and_said() -> None:
    tally = Tally()
    tally.add("unified_corpus: kill at rename 2", ["torn: two runs", "lost: a.mp4", "lost: b.mp4"])
    tally.add("unified_corpus: kill at rename 3", [])
    assert str(tally) == "2 faults, 2 lost, 0 doubled, 1 torn, the same final bytes"
    assert not tally.good


def test_a_mutated_clip_is_another_one() -> None:
    assert mutated(bytes(1000), random.Random(SEED)) != bytes(1000)
