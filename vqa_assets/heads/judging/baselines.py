"""What a head is compared with on the same rows.

The baselines are a constant, a ridge regression, support vector regression, kernel ridge, and VMAF where it is known.
A baseline is tuned on its training rows as people tune it in practice, by contents that are left out, and never sees a
test row. How the kernel machines are fitted is in ``kernel_machines``.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vqa_assets.clips.processes import end_after
from vqa_assets.corpora.contents import balanced_folds
from vqa_assets.corpora.scales import TRAINING, VMAF_0_100
from vqa_assets.heads.judging.kernel_machines import KERNEL_MACHINES, NOT_CHOSEN_ON, KernelRows, Tuned, tuned_machines
from vqa_assets.heads.members.closed_form import PENALTIES, KernelRidge, RidgeSums
from vqa_assets.heads.members.large_tables import columns_of, let_go
from vqa_assets.heads.members.weights import F32, I64, standardisation, standardised
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part

F64 = NDArray[np.float64]
CONSTANT = "constant"
BASELINES = (CONSTANT, "ridge", "vmaf")
"""Those that stand beside every head; the kernel machines are in the protocol only."""
RIVALS = ("ridge", *KERNEL_MACHINES, CONSTANT)
"""Those that a head has to beat: they read the same columns."""

KERNEL_FIT_ROWS = 5_000
"""The most rows that a kernel machine is fitted on: its cost grows with their square and more."""
KERNEL_CHOICE_ROWS = 1_500
"""The most rows that its settings are chosen on."""
KERNEL_JUDGED_ROWS = 20_000
"""The most rows of a part that it is judged on: a row costs as much as there are rows it was fitted on."""

_MIDDLE_PENALTY = 10.0
_RIDGE_PARTS, _KERNEL_PARTS = 5, 3
_VALUES_AT_ONCE = 2_000_000
_WORTH_A_START_S = 4.0
"""Starting processes takes so long that work of less is done here."""
_IDLE_S = 10
"""Processes that nobody gives work end after so long."""


class LabelledFeatures(Protocol):
    """N rows with ``features`` (N, F), an encoder one-hot (N, V), scores (N,) and the content of each."""

    @property
    def features(self) -> F32: ...
    @property
    def onehot(self) -> F32: ...
    @property
    def mos(self) -> F32: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


def baseline_predictions(table: TrainingTable, part: Part, seed: int) -> dict[str, Tuned]:
    """Of ``BASELINES``, the MOS of a part's test rows (M,); VMAF mapped onto 1–5, NaN where unknown."""
    return {
        CONSTANT: constant_predictions(table, part),
        "ridge": ridge_predictions(table, part, seed),
        "vmaf": Tuned(vmaf_on_training_scale(table, part.test), {}),
    }


def rivals_of_parts(
    table: LabelledFeatures, parts: Sequence[Part], seed: int, *, with_machines: bool = True
) -> Iterator[dict[str, Tuned]]:
    """Per part, in order, each of ``RIVALS`` for its test rows (M,); the kernel machines only where asked for."""
    machines = kernel_predictions(table, parts, seed) if with_machines else iter([{}] * len(parts))
    for part, tuned in zip(parts, machines, strict=True):
        rivals = {**tuned, "ridge": ridge_predictions(table, part, seed), CONSTANT: constant_predictions(table, part)}
        yield {name: rivals[name] for name in RIVALS if name in rivals}


def constant_predictions(table: LabelledFeatures, part: Part) -> Tuned:
    """The mean score of a part's training rows, for each of its test rows (M,)."""
    level = float(table.mos[part.train].mean(dtype=np.float64))
    return Tuned(np.full(len(part.test), level), {"score": level})


def ridge_predictions(table: LabelledFeatures, part: Part, seed: int) -> Tuned:
    """Ridge regression on standardised inputs; its penalty is the one that predicts left-out contents best.

    Solved by rows where the inputs are more than they are. No copy of the whole table is made.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        inputs = _StandardisedInputs.of(table, part.train)
        fit = _ridge_by_columns if len(part.train) >= len(inputs.mean) else _ridge_by_rows
        penalty, weights, intercept = fit(inputs, part.train, inner_parts(table.groups, part.train, _RIDGE_PARTS, seed))
        predicted = [x @ weights + intercept for _, x in inputs.pieces(part.test)]
    return Tuned(np.concatenate([np.empty(0), *predicted]), {"penalty": penalty})


@dataclass(frozen=True)
class _StandardisedInputs:
    """A table's inputs with the mean and SD (F,) of some of its rows."""

    table: LabelledFeatures
    mean: F32
    std: F32

    @classmethod
    def of(cls, table: LabelledFeatures, rows: I64) -> "_StandardisedInputs":
        """Standardised by these rows; some columns at a time."""
        size = max(1, _VALUES_AT_ONCE // max(1, len(rows)))
        columns = range(0, table.features.shape[1], size)
        each = [standardisation(columns_of(table.features, slice(first, first + size), rows)) for first in columns]
        if table.onehot.shape[1] > 1:
            each.append(standardisation(table.onehot[rows]))
        return cls(table, *(np.concatenate(of) for of in zip(*each, strict=True)))

    def pieces(self, rows: I64) -> Iterator[tuple[I64, F64]]:
        """The rows some at a time, with their inputs (n, F)."""
        size = max(1, _VALUES_AT_ONCE // len(self.mean))
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            yield some, standardised(_inputs(self.table, some), self.mean, self.std).astype(np.float64)
            let_go(self.table.features)


def _ridge_by_columns(inputs: _StandardisedInputs, rows: I64, inner: I64) -> tuple[float, F64, float]:
    """Penalty, weights (F,) and intercept. The sums of a part are taken once, and left out by subtraction."""
    mos, sums = inputs.table.mos, {}
    for k in np.unique(inner):
        pieces = [RidgeSums.of(x, mos[some].astype(np.float64)) for some, x in inputs.pieces(rows[inner == k])]
        sums[k] = sum(pieces[1:], start=pieces[0])
    each = list(sums.values())
    whole, errors = sum(each[1:], start=each[0]), np.zeros(len(PENALTIES))
    for k, own in sums.items() if len(sums) > 1 else ():
        fits = [whole.solved(penalty, without=own) for penalty in PENALTIES]
        weights, intercepts = np.stack([w for w, _ in fits], axis=1), np.array([b for _, b in fits])
        for some, x in inputs.pieces(rows[inner == k]):
            errors += np.sum((x @ weights + intercepts - mos[some, None]) ** 2, axis=0)
    penalty = PENALTIES[int(errors.argmin())] if len(sums) > 1 else _MIDDLE_PENALTY
    return penalty, *whole.solved(penalty)


def _ridge_by_rows(inputs: _StandardisedInputs, rows: I64, inner: I64) -> tuple[float, F64, float]:
    x = np.concatenate([x for _, x in inputs.pieces(rows)])
    y = inputs.table.mos[rows].astype(np.float64)
    ridge, penalty = KernelRidge(x @ x.T, y), _MIDDLE_PENALTY
    if inner.max() > 0:
        errors = [float(np.sum((ridge.left_out(one, inner) - y) ** 2)) for one in PENALTIES]
        penalty = PENALTIES[int(np.argmin(errors))]
    coefficients, intercept = ridge.solved(penalty)
    return penalty, x.T @ coefficients, intercept


def vmaf_on_training_scale(table: TrainingTable, rows: I64) -> F64:
    """VMAF of rows, mapped affinely from 0–100 to 1–5; NaN where unknown."""
    slope, intercept = VMAF_0_100.map_to(TRAINING)
    mapped: F64 = slope * table.vmaf[rows].astype(np.float64) + intercept
    return mapped


def kernel_predictions(
    table: LabelledFeatures, parts: Sequence[Part], seed: int, processes: int | None = None
) -> Iterator[dict[str, Tuned]]:
    """Per part, in order, each of ``KERNEL_MACHINES`` for its test rows (M,).

    NaN beyond the ``KERNEL_JUDGED_ROWS`` that are drawn by content. Parts are dealt to as many ``processes``, by
    default to one a core where they are worth the start; the numbers are the same.
    """
    asked = [np.isin(part.test, bounded(part.test, table.groups, KERNEL_JUDGED_ROWS, seed)) for part in parts]
    tasks = (_kernel_rows(table, part, part.test[own], seed) for part, own in zip(parts, asked, strict=True))
    for own, tuned in zip(asked, _in_processes(tasks, parts, processes), strict=True):
        yield {name: Tuned(_spread_out(one.scores, own), one.settings) for name, one in tuned.items()}


def _spread_out(scores: F64, places: NDArray[np.bool_]) -> F64:
    """The scores at their places, NaN elsewhere."""
    spread = np.full(len(places), np.nan)
    spread[places] = scores
    return spread


def _kernel_rows(table: LabelledFeatures, part: Part, asked: I64, seed: int) -> KernelRows:
    """What the kernel machines of one part read: at most so many rows, drawn by content."""
    fit = bounded(part.train, table.groups, KERNEL_FIT_ROWS, seed)
    chosen_on = np.isin(fit, bounded(fit, table.groups, KERNEL_CHOICE_ROWS, seed))
    parts = np.full(len(fit), NOT_CHOSEN_ON)
    parts[chosen_on] = inner_parts(table.groups, fit[chosen_on], _KERNEL_PARTS, seed)
    return KernelRows(_inputs(table, fit), table.mos[fit].astype(np.float64), parts, _inputs(table, asked))


def _in_processes(
    tasks: Iterator[KernelRows], parts: Sequence[Part], processes: int | None
) -> Iterator[dict[str, Tuned]]:
    from joblib import Parallel, cpu_count, delayed, parallel_config

    if processes is None:
        seconds = sum(_kernel_seconds(len(part.train)) for part in parts)
        processes = min(len(parts), cpu_count()) if seconds > _WORTH_A_START_S else 1
    if processes <= 1:
        yield from map(tuned_machines, tasks)
        return
    # loky's processes do not end with a parent that is killed. Rows travel through pipes: such a run leaves no file of
    # them in a temporary folder.
    ending = {"initializer": end_after, "initargs": (os.getpid(),)}
    with parallel_config("loky", inner_max_num_threads=1, idle_worker_timeout=_IDLE_S, **ending):
        parallel = Parallel(processes, return_as="generator", max_nbytes=None, batch_size=1)
    yield from parallel(delayed(tuned_machines)(task) for task in tasks)


def _kernel_seconds(rows: int) -> float:
    """About how long one part's kernel machines take on one core, by the rows they are fitted on."""
    chosen_on, fit = min(rows, KERNEL_CHOICE_ROWS), min(rows, KERNEL_FIT_ROWS)
    return 0.1 + 1.5 * (chosen_on / 1_000) ** 2 + 0.2 * (fit / 1_000) ** 2


def _inputs(table: LabelledFeatures, rows: I64) -> F32:
    """Features (N, F), and beside them the one-hot (N, V) where it tells rows apart: what a head reads."""
    features: F32 = table.features[rows]
    return np.hstack([features, table.onehot[rows]]) if table.onehot.shape[1] > 1 else features


def inner_parts(groups: Sequence[str], rows: I64, most: int, seed: int) -> I64:
    """The part of each of the rows (N,), for choices inside a training part: whole contents, at most so many parts."""
    own = [groups[row] for row in rows]
    return np.array(balanced_folds(own, min(most, len(set(own))), seed + 1), dtype=np.int64)


def bounded(rows: I64, groups: Sequence[str], most: int, seed: int) -> I64:
    """At most so many of the rows: contents are drawn one after another, and the last may be cut."""
    if len(rows) <= most:
        return rows
    names, of_row = np.unique(np.asarray(groups, dtype=object)[rows].astype(str), return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(names))
    return rows[np.argsort(rank[of_row], kind="stable")[:most]]
