"""The shipped head against ridge, an RBF-SVR and other ways to train it, on the same folds by content of known laws.

Prints Markdown: per law the shipped head's mean PLCC and, for every other, how much it has more or less, with a 95 %
interval over draws. ``docs/head-architecture.md`` holds one such table. Draws: ``$VQA_BENCH_DRAWS``, or 3.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import t

from benchmarks.head_laws import LAWS
from vqa_assets.heads.judging.baselines import rivals_of_parts
from vqa_assets.heads.members.method import SHIPPED, HeadRows, Method, TrainingRows
from vqa_assets.heads.members.model import predict
from vqa_assets.heads.members.training import device_named, train
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, plan_splits
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import plcc

DEFAULT = TrainingSettings(device="cpu")
WAYS: Mapping[str, tuple[Method, TrainingSettings]] = {
    "shipped": (SHIPPED, DEFAULT),
    "1 member": (replace(SHIPPED, members=1), DEFAULT),
    "3 members": (replace(SHIPPED, members=3), DEFAULT),
    "10 members": (replace(SHIPPED, members=10), DEFAULT),
    "skips begin at zero": (replace(SHIPPED, start="zero"), DEFAULT),
    "skips begin at ridge and at zero": (replace(SHIPPED, start="mixed"), DEFAULT),
    "no dropout": (replace(SHIPPED, dropout=0.0), DEFAULT),
    "dropout 0.3": (replace(SHIPPED, dropout=0.3), DEFAULT),
    "weight decay 0.1": (SHIPPED, DEFAULT.but(weight_decay=0.1)),
    "loss MSE + 1 − PLCC": (replace(SHIPPED, loss="mse+plcc"), DEFAULT),
    "loss MSE + pairwise rank": (replace(SHIPPED, loss="mse+rank"), DEFAULT),
    "no early stopping": (replace(SHIPPED, early_stopping=False), DEFAULT),
    "60 epochs": (SHIPPED, DEFAULT.but(epochs=60)),
}


def main() -> None:
    """Print the table."""
    draws = int(os.environ.get("VQA_BENCH_DRAWS", "3"))
    means = {law: [_mean_plcc(make(draw)) for draw in range(draws)] for law, make in LAWS.items()}
    names = list(next(iter(means.values()))[0])
    print(f"| mean PLCC over five folds, {draws} draws | {' | '.join(means)} |")
    print(f"| --- |{' --- |' * len(means)}")
    for name in names:
        cells = (_cell([each[name] for each in law], [each["shipped"] for each in law]) for law in means.values())
        shipped = (f"{np.mean([each[name] for each in law]):.3f}" for law in means.values())
        print(f"| {name} | {' | '.join(shipped if name == 'shipped' else cells)} |", flush=True)


def _cell(values: Sequence[float], shipped: Sequence[float]) -> str:
    """The mean difference to the shipped head and the half width of its 95 % interval over draws."""
    apart = np.subtract(values, shipped)
    half = t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.nan
    return f"{apart.mean():+.3f} ± {half:.3f}"


def _mean_plcc(table: TrainingTable) -> dict[str, float]:
    parts = plan_splits(table, DEFAULT).parts
    means = {name: _mean_over(table, parts, _heads(table, parts, *way)) for name, way in WAYS.items()}
    rivals = list(rivals_of_parts(table, parts, DEFAULT.seed))
    names = {"ridge": "ridge regression", "svr": "RBF-SVR", "kernel_ridge": "kernel ridge"}
    baseline_means = {shown: _mean_over(table, parts, _of_rival(rivals, name)) for name, shown in names.items()}
    return {"shipped": means.pop("shipped"), **baseline_means, **means}


def _of_rival(rivals: Sequence[Mapping[str, Any]], name: str) -> Callable[[int], np.ndarray]:
    return lambda k: np.asarray(rivals[k][name].scores)


def _mean_over(table: TrainingTable, parts: Sequence[Part], predicted: Callable[[int], np.ndarray]) -> float:
    return float(np.mean([plcc(table.mos[part.test], predicted(k)) for k, part in enumerate(parts)]))


def _heads(
    table: TrainingTable, parts: Sequence[Part], method: Method, settings: TrainingSettings
) -> Callable[[int], np.ndarray]:
    rows = TrainingRows(table.features, table.onehot, table.mos, table.groups)
    heads = [HeadRows(part.name, part.train) for part in parts]
    trained = train(rows, heads, settings, device_named("cpu"), lambda *_: None, method)
    return lambda k: predict(trained[k], table.features[parts[k].test], table.onehot[parts[k].test])


if __name__ == "__main__":
    main()
