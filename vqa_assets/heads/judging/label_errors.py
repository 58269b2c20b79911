"""Opinion scores have errors of their own: how large they are, and how far they let any head come.

The error of a mean opinion score has the variance SD²/n: that of its opinions over their number. What a clip counts for
in training by it is in ``label_noise``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vqa_assets.heads.members.weights import F32, I64
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, SplitPlan
from vqa_assets.metrics import plcc

F64 = NDArray[np.float64]

_LEAST_OPINIONS = 2
"""One opinion has no SD."""
_ROUNDED = 1.02
"""An SD may lie so far above the largest that there is: tables round."""
_DRAWS, _FEWEST_DRAWS, _DRAWN_ROWS = 100, 10, 1_000_000
_LEAST_SHARE = 0.5
"""The share of rows of known error below which a ceiling says nothing of all of them."""


def error_variance(sd: ArrayLike, count: ArrayLike, span: float) -> F64:
    """SD²/n (N,), the variance of the errors of scores that are means of ``count`` (N,) opinions; NaN where unknown.

    Unknown is the error of a score without SD or count, of an SD of 0 (not published, or all said the same, which
    makes no score exact), of one opinion, and of an SD larger than opinions on a range of ``span`` can have.
    """
    s, n = np.asarray(sd, dtype=np.float64), np.asarray(count, dtype=np.float64)
    is_known = (s > 0) & np.isfinite(s) & (n >= _LEAST_OPINIONS) & np.isfinite(n) & ~_is_impossible(s, n, span)
    variance: F64 = np.divide(s * s, n, out=np.full(s.shape, math.nan), where=is_known)
    return variance


def _is_impossible(sd: F64, count: F64, span: float) -> NDArray[np.bool_]:
    """Half of the opinions at either end have the largest sample SD: span / 2 · √(n / (n − 1))."""
    others = np.maximum(count - 1, 1)
    with np.errstate(invalid="ignore"):
        impossible: NDArray[np.bool_] = sd > _ROUNDED * span / 2 * np.sqrt(np.where(count > 1, count, 2) / others)
    return impossible


def impossible_sds(table: TrainingTable) -> NDArray[np.bool_]:
    """Which rows (N,) have an SD larger than opinions can have: one that is in another unit than the score, mostly."""
    if table.opinion_sd is None or table.opinion_count is None:
        return np.zeros(len(table.mos), dtype=bool)
    return _is_impossible(_f64(table.opinion_sd), _f64(table.opinion_count), table.target.span)


def why_impossible(table: TrainingTable) -> str:
    """What is wrong with the SDs of a table, after a colon; empty where nothing is."""
    wrong = impossible_sds(table)
    if not wrong.any() or table.opinion_sd is None:
        return ""
    low, high = table.target.low, table.target.low + table.target.span
    largest = f"{table.opinion_sd[wrong].max():.4g}"
    return f": {wrong.sum()} SDs, up to {largest}, are larger than opinions from {low:g} to {high:g} can have"


def errors_of(table: TrainingTable) -> F64:
    """``error_variance`` (N,) of a table's rows."""
    if table.opinion_sd is None or table.opinion_count is None:
        return np.full(len(table.mos), math.nan)
    return error_variance(table.opinion_sd, table.opinion_count, table.target.span)


@dataclass(frozen=True)
class Ceiling:
    """The SROCC and PLCC of scores with themselves, once more with their errors: what no head can be above for long.

    It was taken of ``rows``, those of known error, of ``of`` rows.
    """

    rows: int
    of: int
    srocc: float
    plcc: float


def ceiling(mos: ArrayLike, variance: F64, seed: int) -> Ceiling | None:
    """The mean over draws of how scores (N,) agree with the same plus normal errors of ``variance`` (N,).

    None, not known, where the variance is NaN in most rows, or the scores do not differ.
    """
    from scipy.stats import rankdata

    is_known = np.isfinite(variance)
    y, sd = np.asarray(mos, dtype=np.float64)[is_known], np.sqrt(variance[is_known])
    if not len(y) or len(y) < _LEAST_SHARE * len(variance):
        return None
    rng = np.random.default_rng(seed)
    draws = max(_FEWEST_DRAWS, min(_DRAWS, _DRAWN_ROWS // len(y)))
    ranks, each = rankdata(y), []
    for _ in range(draws):
        noisy = y + sd * rng.standard_normal(len(y))
        each.append((plcc(ranks, rankdata(noisy)), plcc(y, noisy)))
    of_ranks, of_scores = np.mean(each, axis=0)
    if not math.isfinite(of_ranks):
        return None
    return Ceiling(len(y), len(variance), float(of_ranks), float(of_scores))


@dataclass(frozen=True)
class Ceilings:
    """The ceilings beside a head's figures, each on the rows of its figure; None where it is not known.

    ``folds`` is the mean over folds, ``protocol`` the median over splits, ``together`` and ``per_corpus`` read the rows
    of all folds.
    """

    folds: Ceiling | None
    together: Ceiling | None
    per_corpus: Mapping[str, Ceiling | None]
    holdout: Ceiling | None
    given_tests: Mapping[str, Ceiling | None]
    protocol: Ceiling | None


def ceilings(table: TrainingTable, plan: SplitPlan, repeated: Sequence[Part], seed: int) -> Ceilings:
    """The ceilings of a plan's parts and of the protocol's (``repeated``)."""
    variance = errors_of(table)

    def of(rows: I64) -> Ceiling | None:
        return ceiling(table.mos[rows], variance[rows], seed)

    nothing = np.empty(0, dtype=np.int64)
    judged = np.concatenate([nothing, *(part.test for part in plan.parts)])
    corpora = np.asarray(table.corpora)[judged]
    return Ceilings(
        folds=_in_one([of(part.test) for part in plan.parts], np.mean),
        together=of(judged),
        per_corpus={str(corpus): of(judged[corpora == corpus]) for corpus in dict.fromkeys(corpora)},
        holdout=of(plan.holdout),
        given_tests={corpus: of(rows) for corpus, rows in plan.given_tests.items()},
        protocol=_in_one([of(part.test) for part in repeated], np.median),
    )


def _in_one(each: Sequence[Ceiling | None], how: Any) -> Ceiling | None:
    """One of several parts' ceilings; None as soon as one is not known."""
    known = [one for one in each if one is not None]
    if not known or len(known) < len(each):
        return None
    rows, of = sum(one.rows for one in known), sum(one.of for one in known)
    return Ceiling(rows, of, float(how([one.srocc for one in known])), float(how([one.plcc for one in known])))


def _f64(values: F32) -> F64:
    return values.astype(np.float64)
