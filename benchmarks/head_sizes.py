"""Seconds and memory of whole builds by size of table, and the share of each part of a head.

A size is rows × columns, with the protocol (ten splits) or without; each is built in a process of its own, so that its
peak memory is its own. With ``+busy`` it is built twice, the second time while as many other processes as there are
cores compute. With ``+table`` a whole build reads a labelled Parquet table, writes nothing, and tells how far it is.
Sizes: those below, or ``$VQA_BENCH_SIZES`` (``1200x60+protocol,200x4096``); ``VQA_BENCH_FULL=1`` adds those that take
an hour and more.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.head_laws import table_of
from vqa_assets.heads.members.method import SHIPPED, HeadRows, TrainingRows
from vqa_assets.heads.rows.reading import TrainingTable

SIZES = "1200x60+protocol,480x748,600x1024,200x4096,500x4096+protocol,1200x60+busy"
FULL_SIZES = "100000x200+table,1000000x200+table"
_ROWS_AT_ONCE = 50_000


def main() -> None:
    """Print a line a size."""
    full = f",{FULL_SIZES}" if os.environ.get("VQA_BENCH_FULL") == "1" else ""
    for size in (os.environ.get("VQA_BENCH_SIZES") or SIZES + full).split(","):
        print(size, flush=True)
        if size.endswith("+busy"):
            _beside_others(size.removesuffix("+busy"))
        else:
            _in_a_process(size)


def _in_a_process(size: str) -> str:
    """What the measurement of a size says, which is printed too."""
    command = [sys.executable, "-m", "benchmarks.head_sizes", size]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [print(line, end="", flush=True) or line for line in process.stdout]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(said)


def _beside_others(size: str) -> None:
    alone = _seconds(_in_a_process(size))
    with ExitStack() as others:
        for _ in range(os.cpu_count() or 1):
            other = others.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            others.callback(other.kill)
        beside = _seconds(_in_a_process(size))
    print(f"  beside others on every core: {beside / alone:.1f} times as long")


def _seconds(said: str) -> float:
    found = re.search(r"whole build: ([0-9.]+) s", said)
    assert found is not None
    return float(found[1])


def _measure(size: str) -> None:
    shape, _, how = size.partition("+")
    rows, columns = map(int, shape.split("x"))
    if how == "table":
        _of_a_table(rows, columns)
        return
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, columns))
    quality = 0.5 * features[:, 0] + 0.4 * np.abs(features[:, 1]) + 0.4 * rng.standard_normal(rows)
    table = table_of(features, quality, np.arange(rows))
    _parts(TrainingRows(table.features, table.onehot, table.mos, table.groups))
    print(f"  whole build: {_build(table, how == 'protocol'):.1f} s, {_peak_mib():.0f} MiB at most", flush=True)


def _parts(data: TrainingRows) -> None:
    """The seconds of one thread for one head, by part."""
    import torch

    from vqa_assets.heads.members.model import one_thread
    from vqa_assets.heads.members.training import DeviceRows, Learner, Stack, members_of
    from vqa_assets.heads.settings import TrainingSettings

    settings, contents = TrainingSettings(device="cpu"), np.arange(len(data.mos))
    head = HeadRows("one", np.arange(len(data.mos)))
    with one_thread():
        begun = [time.perf_counter()]
        learner = Learner.of(data, contents, head, settings, SHIPPED)
        begun.append(time.perf_counter())
        learner.ridge(None, settings)
        begun.append(time.perf_counter())
        members = list(members_of(learner, 0, settings, SHIPPED))
        begun.append(time.perf_counter())
        stack = Stack(DeviceRows([learner], torch.device("cpu")), members, settings, SHIPPED)
        for epoch in range(1, settings.epochs + 1):
            stack.train_epoch(epoch)
        begun.append(time.perf_counter())
    names = ("map", "ridge member", "starts of networks", "networks")
    print("  one head: " + ", ".join(f"{name} {s:.2f} s" for name, s in zip(names, np.diff(begun), strict=True)))


def _build(table: TrainingTable, protocol: bool) -> float:
    """Seconds of splits, training and judging, as ``build_head`` does them once its rows are read."""
    from vqa_assets.heads.judging.evaluation import evaluate, protocol_parts, run_protocol
    from vqa_assets.heads.members.training import TorchTrainer
    from vqa_assets.heads.part_training import train_parts
    from vqa_assets.heads.rows.splitting import Part, plan_splits
    from vqa_assets.heads.settings import TrainingSettings

    begun = time.perf_counter()
    settings = TrainingSettings(device="cpu", protocol_splits=10 if protocol else 0)
    plan = plan_splits(table, settings)
    own = (*plan.parts, Part("shipped", plan.final, plan.holdout))
    repeated = protocol_parts(table, plan, settings)
    heads = train_parts(table, (*own, *repeated), settings, TorchTrainer(), lambda _: None).heads
    trained = time.perf_counter()
    run_protocol(table, repeated, heads[len(own) :], settings.seed, lambda _: None)
    evaluate(table, plan, heads[: len(own)], settings)
    print(f"  training {trained - begun:.1f} s, judging beside baselines {time.perf_counter() - trained:.1f} s")
    return time.perf_counter() - begun


def _of_a_table(rows: int, columns: int) -> None:
    """A whole build of a labelled Parquet table of one corpus, two clips to a content."""
    from vqa_assets.heads.build import build_head
    from vqa_assets.heads.members.training import TorchTrainer
    from vqa_assets.heads.recipe import UNDECLARED, corpus_head_recipe
    from vqa_assets.heads.settings import TrainingSettings

    with tempfile.TemporaryDirectory() as folder:
        path, names = Path(folder, "mine.parquet"), tuple(f"f{i:03d}" for i in range(columns))
        # In a process of its own: what it takes is no part of the build's memory.
        write = "import sys; from benchmarks.head_sizes import write_table; write_table(*sys.argv[1:])"
        subprocess.run([sys.executable, "-c", write, path, str(rows), str(columns)], check=True)
        settings = TrainingSettings(device="cpu", protocol_splits=0, columns=names)
        begun, used = time.perf_counter(), time.process_time()

        def say(line: str) -> None:
            print(f"  {time.perf_counter() - begun:.0f} s: {line}", flush=True)

        build_head(corpus_head_recipe("mine"), {"mine": path}, {"mine": UNDECLARED}, settings, TorchTrainer(), say)
        wall, processor = time.perf_counter() - begun, time.process_time() - used
    print(
        f"  whole build: {wall:.1f} s, {processor:.0f} s of processor time, {_peak_mib():.0f} MiB at most", flush=True
    )


def write_table(path: str, rows: str, columns: str) -> None:
    """A labelled Parquet table of so many rows and columns, some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(0), None
    for first in range(0, int(rows), _ROWS_AT_ONCE):
        numbers = range(first, min(first + _ROWS_AT_ONCE, int(rows)))
        x = rng.standard_normal((len(numbers), int(columns)), dtype=np.float32)
        quality = 0.5 * x[:, 0] + 0.4 * np.abs(x[:, 1]) + 0.4 * rng.standard_normal(len(x))
        table = pa.table(
            {
                "key": [f"clip-{n:07d}.mp4" for n in numbers],
                "content_id": [f"content-{n // 2:07d}" for n in numbers],
                "src_sha256": [f"{n:064x}" for n in numbers],
                "mos": np.clip(3 + 0.9 * quality, 1, 5),
                **{f"f{i:03d}": x[:, i] for i in range(int(columns))},
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _measure(sys.argv[1]) if len(sys.argv) > 1 else main()
