"""Seven corpora become one: against a plain script, and against only reading, decoding and writing the same rows.

Every way runs in a process of its own on the same seeded shards; the rows of the script and ours must be equal bytes.
Last, the command as a person types it, with Dagster's start told apart: what it takes of a shard of a few rows.
"""

import filecmp
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.corpus_folder import measured
from benchmarks.unified_shards import write_shards
from vqa_assets.corpora import CORPORA
from vqa_assets.tables.paths import DataRoot

FEW, MANY = 200_000, 2_000_000
COMMAND_ROWS, HARDLY_ANY_ROWS = 400_000, 20 * len(CORPORA)
COMMAND_RUNS = 3
SPEED_TARGET, MEMORY_TARGET, LIMIT_TARGET, COMMAND_TARGET = 4.0, 0.5, 2.0, 0.6
WAYS = ("limit", "plain", "ours", "ours_alone", "asset")


@dataclass(frozen=True)
class Run:
    """What one way took: seconds by the clock and of processor, peak of memory in MiB, child processes included."""

    clock_s: float
    cpu_s: float
    peak_mib: float

    def against(self, other: "Run") -> str:
        """How many times as long the other took."""
        clock, cpu = other.clock_s / self.clock_s, other.cpu_s / self.cpu_s
        return f"{clock:.1f} × by the clock, {cpu:.1f} × by the processor ({self.told()} against {other.told()})"

    def told(self) -> str:
        """The figures themselves."""
        return f"{self.clock_s:.1f} s, {self.cpu_s:.1f} s of processor, {self.peak_mib:.0f} MiB"


def main() -> None:
    """Print the ratios for both sizes, and the growth between them."""
    few, many = _runs(FEW), _runs(MANY)
    for rows, runs in ((FEW, few), (MANY, many)):
        _tell(rows, runs)
    growth = many["ours"].clock_s / few["ours"].clock_s
    growth_cpu = many["ours"].cpu_s / few["ours"].cpu_s
    print(
        f"unified corpus, {FEW} → {MANY} rows: {growth:.1f} × the clock, {growth_cpu:.1f} × the processor, for "
        f"{MANY / FEW:.0f} × the rows; target: at most {MANY / FEW:.0f} ×"
    )
    _tell_command()


def _tell_command() -> None:
    """The whole command beside the script that writes only the JSONL: in turn, of each the least that it took."""
    runs: dict[str, list[Run]] = {"start": [], "whole": [], "plain": []}
    with TemporaryDirectory(prefix="vqa-bench-") as name:
        few, many = (Path(name) / str(rows) for rows in (HARDLY_ANY_ROWS, COMMAND_ROWS))
        for folder, rows in ((few, HARDLY_ANY_ROWS), (many, COMMAND_ROWS)):
            _make_root(folder, rows)
        for _ in range(COMMAND_RUNS):
            runs["start"].append(_command(few))
            runs["whole"].append(_command(many))
            runs["plain"].append(_run("plain", many))
            shutil.rmtree(_output(many, "plain").parent)
    clock, cpu = (
        {way: min(getattr(r, of) for r in found) for way, found in runs.items()} for of in ("clock_s", "cpu_s")
    )
    print(
        f"unified corpus, {COMMAND_ROWS} rows, the whole command without Dagster's start ({clock['start']:.1f} s): "
        f"{_without_start(clock):.2f} of the plain script's time by the clock, {_without_start(cpu):.2f} by the "
        f"processor; with it {clock['whole']:.1f} s against {clock['plain']:.1f} s, {cpu['whole']:.1f} s of processor "
        f"against {cpu['plain']:.1f} s, the least of {COMMAND_RUNS} each in turn; target: at most {COMMAND_TARGET} by "
        f"the clock; bound by the processor on {len(os.sched_getaffinity(0))} cores: lines decoded and encoded in "
        "workers, parsed again into the table, and the table checked once more"
    )


def _without_start(seconds: Mapping[str, float]) -> float:
    return (seconds["whole"] - seconds["start"]) / seconds["plain"]


def _make_root(folder: Path, rows: int) -> None:
    """Shards of so many rows, and a data root that holds them."""
    shards, root = folder / "shards", DataRoot(folder / "root")
    shards.mkdir(parents=True)
    write_shards(shards, rows)
    for corpus in CORPORA.values():
        place = root.corpus_jsonl(corpus)
        place.parent.mkdir(parents=True)
        place.hardlink_to(shards / f"{corpus.stem}.jsonl")


def _command(folder: Path) -> Run:
    """What ``materialize unified_corpus`` takes in the data root there, where nothing is made yet."""
    root = DataRoot(folder / "root")
    shutil.rmtree(root.unified_corpus().parent, ignore_errors=True)
    command = [sys.executable, "-m", "vqa_assets", "materialize", "unified_corpus", "--root", str(root.path)]
    return Run(*measured(lambda: subprocess.run(command, check=True, capture_output=True)), peak_mib=math.nan)


def _tell(rows: int, runs: Mapping[str, Run]) -> None:
    plain, ours, alone, limit = (runs[name] for name in ("plain", "ours", "ours_alone", "limit"))
    head = f"unified corpus, {rows} rows"
    print(
        f"{head}: the same JSONL and hashes {ours.against(plain)}, with {ours.peak_mib / plain.peak_mib:.2f} of its "
        f"memory; target: at least {SPEED_TARGET:.0f} × by the clock with at most {MEMORY_TARGET}; bound by the cores "
        f"there are ({len(os.sched_getaffinity(0))}), by decoding each standing row twice, and by SHA-256\n"
        f"{head}, on one core: {alone.against(plain)}, with {alone.peak_mib / plain.peak_mib:.2f} of its memory\n"
        f"{head}: {ours.clock_s / limit.clock_s:.2f} of only reading, decoding and writing by the clock (on one core, "
        f"{limit.told()}), {alone.cpu_s / limit.cpu_s:.2f} by the processor; target: under {LIMIT_TARGET:.0f} by the "
        "clock; bound by a second decoding, by reading rows in another order than they lie, and by hashing\n"
        f"{head}: the whole asset with validation, Parquet, descriptions and Croissant {runs['asset'].against(plain)}, "
        f"with {runs['asset'].peak_mib / plain.peak_mib:.2f} of its memory, which makes none of these"
    )


def _runs(rows: int) -> dict[str, Run]:
    with TemporaryDirectory(prefix="vqa-bench-") as name:
        folder = Path(name)
        (folder / "shards").mkdir()
        write_shards(folder / "shards", rows)
        found = {way: _run(way, folder) for way in WAYS}
        for way in ("ours", "ours_alone"):
            if not filecmp.cmp(_output(folder, "plain"), _output(folder, way), shallow=False):
                raise RuntimeError(f"{way} and the plain script made different rows")
        return found


def _run(way: str, folder: Path) -> Run:
    output = _output(folder, way)
    output.parent.mkdir()
    command = [sys.executable, "-m", "benchmarks.unified_run", way, str(folder / "shards"), str(output)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def _output(folder: Path, way: str) -> Path:
    return folder / way / "unified_corpus.jsonl"
