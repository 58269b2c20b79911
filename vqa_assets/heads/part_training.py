"""One head per part of a table's rows, trained at once: what every part's rows are, and how much each counts.

Which parts there are is in ``splitting``, how networks and ridge members learn in ``training``.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vqa_assets.clips.work import ProgressLine, clock
from vqa_assets.heads.members.corpus_scales import numbered
from vqa_assets.heads.members.method import EPOCHS, RIDGE_MEMBERS, HeadRows, TrainedHeads, Trainer, TrainingRows
from vqa_assets.heads.members.weights import F32, on_training_range
from vqa_assets.heads.recipe import Target
from vqa_assets.heads.rows.choosing import Say
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part
from vqa_assets.heads.settings import TrainingSettings

if TYPE_CHECKING:
    from vqa_assets.heads.label_noise import NoiseWeights


def train_parts(
    table: TrainingTable,
    parts: Sequence[Part],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
    weights: Sequence["NoiseWeights | None"] = (),
    *,
    learn_scales: bool = False,
    left: Sequence[tuple[F32, Target]] = (),
) -> TrainedHeads:
    """One head per part, trained on its ``train`` rows; all at once, with a line of progress every few seconds.

    ``weights``, one a part, say how much its rows count by the errors of their scores; without them all are alike. With
    ``learn_scales`` each learns a map to every corpus's own scores, and gives those of the reference. ``left``, one a
    part, is what a head learns of its rows (n,) instead of the table's scores, and the range of that.
    """
    begun = time.monotonic()
    what = f"training {len(parts)} heads at once"
    lines = {
        EPOCHS: ProgressLine(what, settings.epochs, say, unit=EPOCHS),
        RIDGE_MEMBERS: ProgressLine(what, len(parts), say, unit=RIDGE_MEMBERS),
    }
    target = on_training_range(table.mos, table.target)
    of_corpora = _weights(table, settings)
    numbers = numbered(table.corpora)[1] if learn_scales else None
    rows = TrainingRows(table.features, table.onehot, target, table.groups, of_corpora, numbers)
    learned: list[F32 | None] = [on_training_range(*of) for of in left]
    each = zip(parts, learned or [None] * len(parts), weights or [None] * len(parts), strict=True)
    heads = [HeadRows(part.name, part.train, mos, both_weights(part, own, of_corpora)) for part, mos, own in each]

    def progress(done: int, _total: int, _rmse: float, what: str = EPOCHS) -> None:
        lines[what].update(done)

    trained = trainer.train(rows, heads, settings, progress)
    say(f"trained {len(parts)} heads in {clock(time.monotonic() - begun)}")
    targets = [target for _, target in left] or [table.target] * len(parts)
    with_targets = (replace(head, target=own) for head, own in zip(trained.heads, targets, strict=True))
    return replace(trained, heads=tuple(with_targets))


def _weights(table: TrainingTable, settings: TrainingSettings) -> F32 | None:
    weights = np.array([settings.corpus_weights.get(corpus, 1.0) for corpus in table.corpora], dtype=np.float32)
    return weights if np.ptp(weights) > 0 else None


def both_weights(part: Part, own: "NoiseWeights | None", of_corpora: F32 | None) -> F32 | None:
    """The weights of a part's rows by their errors and by their corpora; None where errors have none."""
    if own is None:
        return None
    weights: F32 = own.of_rows if of_corpora is None else own.of_rows * of_corpora[part.train]
    return weights
