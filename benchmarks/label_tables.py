"""Labelled tables by ``make_labelled_table`` against a plain pandas merge of the same contract.

Each in a process of its own, in turn: seconds by the clock and by the processor, and the peak of its memory.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

TURNS = 3
MIB = 1 << (20 if sys.platform == "darwin" else 10)


@dataclass(frozen=True)
class Size:
    """A feature table: rows, columns, and rows of one clip."""

    rows: int
    columns: int
    rows_per_clip: int


@dataclass(frozen=True)
class Cost:
    """One run: seconds by the clock, seconds by the processor, peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def main() -> None:
    """Print speed and memory beside pandas, and the memory of a table four times as long."""
    with tempfile.TemporaryDirectory() as folder:
        _compared(Path(folder), Size(150_000, 60, 1), "at least 2.5 × as fast with at most 0.7 of the memory")
        middle = _compared(
            Path(folder), Size(5_000_000, 20, 200), "at least 3 × as fast with at most 0.3 of the memory"
        )
        long = Size(20_000_000, 20, 200)
        in_child(make_tables, Path(folder), long)
        longest = in_child(label_ours, Path(folder), long)
    print(
        f"20 000 000 rows × 20 columns: peak memory {longest.peak_mib:.0f} MiB beside {middle.peak_mib:.0f} MiB at "
        f"5 000 000 rows, {longest.wall_s:.0f} s; bound by disk and zstd"
    )


def _compared(folder: Path, size: Size, target: str) -> Cost:
    in_child(make_tables, folder, size)
    ours, plain = [], []
    for _ in range(TURNS):
        ours.append(in_child(label_ours, folder, size))
        plain.append(in_child(label_plainly, folder, size))
    mine, other = _median(ours), _median(plain)
    print(
        f"{size.rows} rows × {size.columns} columns: {other.wall_s / mine.wall_s:.1f} × as fast by the clock, "
        f"{other.cpu_s / mine.cpu_s:.1f} × by the processor, {mine.peak_mib / other.peak_mib:.2f} of the memory "
        f"({mine.wall_s:.1f} s and {mine.peak_mib:.0f} MiB against {other.wall_s:.1f} s and {other.peak_mib:.0f} MiB "
        f"of pandas, medians of {TURNS} processes each); target: {target}",
        flush=True,
    )
    return mine


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(c.wall_s for c in costs),
        statistics.median(c.cpu_s for c in costs),
        statistics.median(c.peak_mib for c in costs),
    )


def in_child(work: Callable[[Path, Size], Cost], folder: Path, size: Size) -> Cost:
    """The work in a fresh process."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        return fresh.apply(work, (folder, size))


def make_tables(folder: Path, size: Size) -> Cost:
    """Write the features, group by group, and a corpus JSONL of their clips."""
    import numpy as np
    import orjson
    import pyarrow as pa
    import pyarrow.parquet as pq

    clips = size.rows // size.rows_per_clip
    drawn = np.random.default_rng(7)
    names = [f"c{i}" for i in range(size.columns - 1)]
    schema = pa.schema([("key", pa.string()), *((name, pa.float64()) for name in names)])
    with pq.ParquetWriter(folder / "features.parquet", schema) as writer:
        for start in range(0, size.rows, 250_000):
            rows = range(start, min(start + 250_000, size.rows))
            keys = pa.array([f"clip_{row // size.rows_per_clip:07d}.mp4" for row in rows])
            writer.write_table(pa.table([keys, *(drawn.random(len(rows)) for _ in names)], schema=schema))
    with (folder / "corpus.jsonl").open("wb") as out:
        for i in range(clips):
            out.write(orjson.dumps(_label(i)) + b"\n")
    return Cost(0, 0, 0)


def _label(number: int) -> dict[str, object]:
    return {
        "src": f"clip_{number:07d}.mp4",
        "src_sha256": f"{number:064x}",
        "src_size_bytes": 1_000_000 + number,
        "width": 960,
        "height": 540,
        "framerate": 29.97,
        "duration_s": 5.0,
        "pix_fmt": "yuv420p",
        "encoder_upstream": "h264",
        "mos": 1 + number % 400 / 100,
        "mos_scale": "1-5-acr",
        "mos_std_dev": 0.5,
        "n_ratings": 5,
        "corpus": "konvid-150k",
        "corpus_version": "konvid-150k-2019",
        "ingested_at_utc": "2026-05-08T12:00:00+00:00",
    }


def label_ours(folder: Path, size: Size) -> Cost:
    """``label_features``: the labelled table, checked and published."""
    import pandera.pandas  # noqa: F401  (with pandas: importing is left out on both sides)
    import scipy.special  # noqa: F401

    from vqa_assets.labels.labelled import label_features
    from vqa_assets.labels.settings import LabelSettings

    features, labels, out, _ = _files(folder, "ours")
    begun, before = time.perf_counter(), time.process_time()
    audit = label_features(features, labels, out, LabelSettings(key_normalize="raw"))
    cost = _cost(begun, before)
    if audit.output_rows != size.rows or audit.match_rate != 1:
        raise RuntimeError(audit)
    out.unlink()
    return cost


def label_plainly(folder: Path, _: Size) -> Cost:
    """The same with pandas."""
    from benchmarks.plain_labels import plain_labels

    features, labels, out, audit = _files(folder, "plain")
    begun, before = time.perf_counter(), time.process_time()
    plain_labels(features, labels[0], out, audit)
    cost = _cost(begun, before)
    for path in (out, audit):
        path.unlink()
    return cost


def _files(folder: Path, name: str) -> tuple[Path, tuple[Path, ...], Path, Path]:
    out, audit = folder / f"{name}.parquet", folder / f"{name}.audit.json"
    return folder / "features.parquet", (folder / "corpus.jsonl",), out, audit


def _cost(begun: float, before: float) -> Cost:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    return Cost(time.perf_counter() - begun, time.process_time() - before, peak)
