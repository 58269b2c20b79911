"""The head beside what it is made of, and beside baselines, on generated tables: SROCC over folds by content.

Prints Markdown. *Networks alone* is the head as it was before the map by quantiles and the ridge member. Draws:
``$VQA_BENCH_DRAWS``, or 3.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.head_laws import HARD_LAWS, LAWS, PUBLIC_LIKE
from vqa_assets.heads.judging.baselines import RIVALS, rivals_of_parts
from vqa_assets.heads.members.method import SHIPPED, HeadRows, TrainingRows
from vqa_assets.heads.members.model import member_scores
from vqa_assets.heads.members.training import device_named, train
from vqa_assets.heads.members.weights import RIDGE_SHARE
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import plan_splits
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import srocc

SETTINGS = TrainingSettings(device="cpu")
_BEFORE = replace(SHIPPED, quantiles=False, ridge=False)


def main() -> None:
    """Print the table."""
    draws = int(os.environ.get("VQA_BENCH_DRAWS", "3"))
    for number, (law, make) in enumerate((LAWS | HARD_LAWS | PUBLIC_LIKE).items()):
        each = [_mean_srocc(make(draw)) for draw in range(draws)]
        if not number:
            print(f"| mean SROCC over folds, {draws} draws | {' | '.join(each[0])} |")
            print(f"| --- |{' --- |' * len(each[0])}")
        print(
            f"| {law} | {' | '.join(f'{np.mean([one[name] for one in each]):.3f}' for name in each[0])} |", flush=True
        )


def _mean_srocc(table: TrainingTable) -> dict[str, float]:
    parts = plan_splits(table, SETTINGS).parts
    rows = TrainingRows(table.features, table.onehot, table.mos, table.groups)
    heads = [HeadRows(part.name, part.train) for part in parts]
    members, before = (
        [
            member_scores(head, table.features[part.test], table.onehot[part.test])
            for head, part in zip(
                train(rows, heads, SETTINGS, device_named("cpu"), lambda *_: None, method), parts, strict=True
            )
        ]
        for method in (SHIPPED, _BEFORE)
    )
    networks = [each[:, :-1].mean(1) for each in members]
    ridges = [each[:, -1] for each in members]
    ways: dict[str, Sequence[np.ndarray]] = {
        "head": [(1 - RIDGE_SHARE) * a + RIDGE_SHARE * b for a, b in zip(networks, ridges, strict=True)],
        "its networks": networks,
        "its ridge member": ridges,
        "networks alone": [each.mean(1) for each in before],
    }
    rivals = list(rivals_of_parts(table, parts, SETTINGS.seed))
    ways |= {name: [of[name].scores for of in rivals] for name in RIVALS if name != "constant"}
    return {
        name: float(np.mean([srocc(table.mos[part.test], own) for part, own in zip(parts, each, strict=True)]))
        for name, each in ways.items()
    }


if __name__ == "__main__":
    main()
