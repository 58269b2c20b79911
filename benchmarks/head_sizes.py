"""Seconds and memory of whole builds by size of table, and the share of each part of a head.

A size is rows × columns, with the protocol (ten splits) or without; each is built in a process of its own, so that its
peak memory is its own. Sizes: those below, or ``$VQA_BENCH_SIZES`` (``1200x60+protocol,200x4096``).
"""

import os
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.head_laws import table_of
from vqa_assets.heads.method import SHIPPED, HeadRows, TrainingRows

SIZES = "1200x60+protocol,480x748,600x1024,200x4096,500x4096+protocol"


def main() -> None:
    """Print a line a size."""
    for size in os.environ.get("VQA_BENCH_SIZES", SIZES).split(","):
        print(size, flush=True)
        subprocess.run([sys.executable, "-m", "benchmarks.head_sizes", size], check=True)


def _measure(size: str) -> None:
    shape, _, protocol = size.partition("+")
    rows, columns = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, columns))
    quality = 0.5 * features[:, 0] + 0.4 * np.abs(features[:, 1]) + 0.4 * rng.standard_normal(rows)
    table = table_of(features, quality, np.arange(rows))
    _parts(TrainingRows(table.features, table.onehot, table.mos, table.groups))
    print(f"  whole build: {_build(table, bool(protocol)):.1f} s, {_peak_mib():.0f} MiB at most", flush=True)


def _parts(data: TrainingRows) -> None:
    """The seconds of one thread for one head, by part."""
    import torch

    from vqa_assets.heads.model import one_thread
    from vqa_assets.heads.settings import TrainingSettings
    from vqa_assets.heads.training import DeviceRows, Learner, Stack, members_of

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


def _build(table: object, protocol: bool) -> float:
    """Seconds of splits, training and judging, as ``build_head`` does them once its rows are read."""
    from vqa_assets.heads.evaluation import evaluate, protocol_parts, run_protocol
    from vqa_assets.heads.part_training import train_parts
    from vqa_assets.heads.settings import TrainingSettings
    from vqa_assets.heads.splitting import Part, plan_splits
    from vqa_assets.heads.training import TorchTrainer

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


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _measure(sys.argv[1]) if len(sys.argv) > 1 else main()
