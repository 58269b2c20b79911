"""A head, ours or from elsewhere, or a metric's column, judged against the opinion scores of a labelled table.

No folds: what is judged (``predictors``) is taken as it is, on the rows of ``judged_table``. Trains nothing; how the
result is printed is for ``judge``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import ENOUGH_CONTENTS
from vqa_assets.corpora.corpus import is_further_score
from vqa_assets.corpora.scales import RAW_MOS, SLACK
from vqa_assets.errors import HeadError
from vqa_assets.heads.judging.baselines import CONSTANT, RIVALS, inner_parts, rivals_of_parts
from vqa_assets.heads.judging.evaluation import Difference, Judged, Verdict, srocc_difference, unmeasured, verdict
from vqa_assets.heads.judging.intervals import Coverage, coverage_of
from vqa_assets.heads.judging.judged_table import TRAINING_COLUMN, JudgedTable
from vqa_assets.heads.judging.label_errors import Ceiling, ceiling
from vqa_assets.heads.judging.pictures import draw_dots, png_of
from vqa_assets.heads.judging.predictors import Predictor
from vqa_assets.heads.judging.seen import KnownRows, Seen
from vqa_assets.heads.manifest import as_plain
from vqa_assets.heads.members.method import TrainingRows
from vqa_assets.heads.recipe import HeadRecipe, Target
from vqa_assets.heads.rows.splitting import Part, bootstrap_of
from vqa_assets.heads.rows.vectors import refuse_other_vectors
from vqa_assets.metrics import (
    METRIC_NAMES,
    Bootstrap,
    Scores,
    bootstrap_interval,
    finite_or_none,
    krocc,
    logistic_fit,
    mapped,
    plcc,
    rmse,
    score_fitted,
    srocc,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = "judgement-v1"
NEVER_SEEN, SEEN = "not trained on", "trained on"

_RAW = {"srocc": srocc, "krocc": krocc, "plcc": plcc, "rmse": rmse}
_FITTED = {"plcc_fitted": plcc, "rmse_fitted": rmse}
_LEAST_OF_CONTENT = 3
"""Rows of a content below which its own correlation says nothing."""
_CURVE = 100
_BASELINE_PARTS = 5
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class JudgedPart:
    """Some of the rows, and how well they were predicted: ``by`` says what they have in common (``corpus``), ``name``
    which of them (the name of one). ``above`` is the ceiling that the errors of their scores set, where it is known,
    ``coverage`` how often the head's intervals held, where it has some."""

    by: str
    name: str
    judged: Judged
    above: Ceiling | None = None
    coverage: Coverage | None = None


@dataclass(frozen=True)
class JudgedBaseline:
    """A baseline of the columns that a head reads, and by how much the head's SROCC is above its own, on equal rows."""

    name: str
    judged: Judged
    head_minus: Difference


@dataclass(frozen=True)
class GateRead:
    """A recipe's gate, read once: ``read_on`` says which rows, ``rows`` how many, ``verdict`` how it came out."""

    recipe: str
    read_on: str
    rows: int
    thresholds: Mapping[str, float]
    verdict: Verdict


@dataclass(frozen=True)
class Judgement:
    """Everything measured. ``counts``: ``rows_in`` is the sum of the others; ``notes`` are what a reader must know."""

    predictor: Predictor
    table: JudgedTable
    counts: Mapping[str, int]
    contents_known: bool
    negated: bool
    parts: tuple[JudgedPart, ...]
    seen: Seen | None
    mos: F64
    predicted: F64
    notes: tuple[str, ...]
    gate: GateRead | None = None
    baselines: tuple[JudgedBaseline, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The judgement for ``judgement.json``, without what the run says of itself."""
        gate = self.gate and {
            "recipe": self.gate.recipe,
            "read_on": self.gate.read_on,
            "rows": self.gate.rows,
            "thresholds": self.gate.thresholds,
            "numbers": {name: finite_or_none(value) for name, value in self.gate.verdict.numbers.items()},
            "passed": self.gate.verdict.passed,
            "reasons": list(self.gate.verdict.reasons),
            "plcc_spread": "not measured, and not asked for",
        }
        predictor = self.predictor
        return {
            "predictor": {"name": predictor.name, "kind": predictor.kind, "columns": list(predictor.columns)},
            "table": self.table.path.name,
            "target": self.table.target,
            "lower_is_better": self.negated,
            "counts": dict(self.counts),
            "intervals_by": "content" if self.contents_known else "clip",
            "interval_level": predictor.level,
            "trained_on": self.seen and {"rows": int(self.seen.rows.sum()), "told_by": self.seen.by},
            "parts": [
                {
                    "by": part.by,
                    "name": part.name,
                    **_as_json(part.judged),
                    "ceiling": part.above and asdict(part.above),
                    "coverage": part.coverage and asdict(part.coverage),
                }
                for part in self.parts
            ],
            "baselines": {
                baseline.name: {
                    **_as_json(baseline.judged),
                    "head_minus": as_plain(asdict(baseline.head_minus)),
                }
                for baseline in self.baselines
            },
            "gate": gate,
            "notes": list(self.notes),
        }


def _as_json(judged: Judged) -> dict[str, Any]:
    interval = {name: [finite_or_none(end) for end in ends] for name, ends in judged.interval.items()}
    return {"groups": judged.groups, **judged.scores.as_json(), "interval_95": interval}


def judge_table(
    predictor: Predictor,
    table: JudgedTable,
    recipe: HeadRecipe | None = None,
    *,
    lower_is_better: bool = False,
    with_baselines: bool = True,
    draw: Bootstrap | None = None,
) -> Judgement:
    """Judges what is predicted of a table's rows against their scores.

    With ``lower_is_better`` the predictions' sign is turned. The gate of ``recipe`` is read on the rows that the head
    was not trained on, where some are known to be; its spread is not measured. A head stands beside baselines, which
    read the same columns and are cross-fitted by content on the table. HeadError where no row can be judged, and where
    the scores are off the range of the head or of the gate.
    """
    if unknown := refuse_other_vectors(predictor.name, predictor.networks, table.path):
        note = f"nothing says which network measured the table's vectors of {', '.join(unknown)}"
        predictor = replace(predictor, warnings=(*predictor.warnings, note))
    if predictor.training:
        table = table.of_corpus(predictor.training.corpus_of(table.as_read.sha256))
    # Ends of intervals are on the head's own scale: turned round, there is nothing that they could hold.
    of_rows = predictor.scored(table.rows, str(table.path)) if predictor.scored and not lower_is_better else None
    own = predictor.scores(table.rows, str(table.path)) if of_rows is None else of_rows.scores
    predicted = np.asarray(own, dtype=np.float64)
    labelled, known = np.isfinite(table.mos), np.isfinite(predicted)
    used = labelled & known
    counts = {
        "rows_in": len(used),
        "judged": int(used.sum()),
        "without_score": int((~labelled).sum()) - table.failed,
        "without_prediction": int((labelled & ~known).sum()),
        "failed": table.failed,
    }
    if not used.any():
        raise HeadError(
            f"{table.path}: no row can be judged",
            found=f"{len(used)} rows: {counts['without_score']} without a score, {table.failed} of encodes that "
            f"failed, {counts['without_prediction']} without a prediction",
            expected=f"rows with {table.target} and {predictor.name}",
            next_step="label the table, or name another column or head",
        )
    if predictor.target is not None:
        _check_range(table, used, predictor.target, predictor.name)
    if recipe is not None:
        _check_range(table, used, recipe.target, f"the gate of {recipe.name}")
    mos, groups = table.mos[used], _chosen(table.groups, used)
    scores = -predicted[used] if lower_is_better else predicted[used]
    told = table.keys, table.corpora, table.groups, table.splits, table.src_sha256
    rows = KnownRows(*(_chosen(of, used) for of in told))
    seen = predictor.training.seen(rows, table.as_read.sha256) if predictor.training else None
    contents_known = any(_chosen(table.contents, used))
    draw = draw or Bootstrap()
    ends = None if of_rows is None else (of_rows.low[used], of_rows.high[used])
    parts = _parts(mos, scores, rows, seen, draw, table.error_variance[used], ends)
    if contents_known:
        parts += _by_content(mos, scores, groups, draw)
    judging = _judging_rows(seen, len(mos))
    judgement = Judgement(
        predictor=predictor,
        table=table,
        counts=counts,
        contents_known=contents_known,
        negated=lower_is_better,
        parts=tuple(parts),
        seen=seen,
        mos=mos,
        predicted=scores,
        notes=(),
        baselines=_baselines(predictor, table, used, judging, scores, draw) if with_baselines else (),
    )
    judgement = replace(judgement, notes=tuple(_notes(judgement)))
    return judgement if recipe is None else replace(judgement, gate=_read_gate(recipe, judgement))


def _chosen(of: Sequence[Any], used: Mask) -> tuple[Any, ...]:
    return tuple(one for one, chosen in zip(of, used, strict=True) if chosen)


def _check_range(table: JudgedTable, used: Mask, target: Target, whose: str) -> None:
    low, high = target.low - SLACK, target.low + target.span + SLACK
    mos = table.mos[used]
    outside = int(((mos < low) | (mos > high)).sum())
    if outside:
        raise HeadError(
            f"{table.path}: {table.target}",
            found=f"{outside} of {len(mos)} scores outside {target.low:g}–{target.low + target.span:g} "
            f"(from {mos.min():g} to {mos.max():g})",
            expected=f"scores on the range of {whose}",
            next_step="make the table with mos_features, which converts scores, or set target",
        )


def _parts(
    mos: F64,
    predicted: F64,
    rows: KnownRows,
    seen: Seen | None,
    draw: Bootstrap,
    variance: F64,
    ends: tuple[F64, F64] | None,
) -> list[JudgedPart]:
    """All rows; those that were trained on and the others; each corpus and each split, where there are several.

    ``ends`` are those of the rows' intervals, low and high, each (N,); None where the predictor gives none.
    """
    named: list[tuple[str, str, Mask]] = [("all", "all", np.ones(len(mos), dtype=bool))]
    if seen is not None and seen.rows.any():
        named += [("seen", name, mask) for name, mask in ((SEEN, seen.rows), (NEVER_SEEN, ~seen.rows)) if mask.any()]
    for by, words in (("corpus", rows.corpora), ("split", rows.splits)):
        of_rows = np.array([word or "" for word in words], dtype=object)
        names = sorted(filter(None, set(of_rows)))
        named += [(by, name, of_rows == name) for name in names]
        if names and not all(of_rows):
            named.append((by, f"(no {by})", of_rows == ""))
    # Two names of the same rows, such as a table's only corpus, are judged once.
    judged = {mask.tobytes(): mask for _, _, mask in named}
    each = {key: _judged(mos[mask], predicted[mask], _chosen(rows.groups, mask), draw) for key, mask in judged.items()}
    above = {key: ceiling(mos[mask], variance[mask], draw.seed) for key, mask in judged.items()}
    groups = np.asarray(rows.groups)
    held = {
        key: ends and coverage_of(mos[mask], groups[mask], *(end[mask] for end in ends)) for key, mask in judged.items()
    }
    return [
        JudgedPart(by, name, each[key], above[key], held[key]) for by, name, mask in named for key in [mask.tobytes()]
    ]


def _judged(mos: F64, predicted: F64, groups: Sequence[str], draw: Bootstrap) -> Judged:
    fitted, draw = mapped(mos, predicted), bootstrap_of(groups, draw.seed, draw.samples)
    interval = {name: bootstrap_interval(metric, mos, predicted, groups, draw) for name, metric in _RAW.items()}
    if fitted is not None:
        # The fit stays as it is in every resample, as in the field's protocol.
        interval |= {name: bootstrap_interval(metric, mos, fitted, groups, draw) for name, metric in _FITTED.items()}
    return Judged(len(mos), len(set(groups)), score_fitted(mos, predicted, fitted), interval)


def _by_content(mos: F64, predicted: F64, groups: Sequence[str], draw: Bootstrap) -> list[JudgedPart]:
    """Contents' means against each other, and the mean over contents of how their own rows are told apart."""
    names, of_row = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(of_row)
    if sizes.max() == 1:
        return []
    mean_mos, mean_predicted = (np.bincount(of_row, values) / sizes for values in (mos, predicted))
    between = _judged(mean_mos, mean_predicted, names.tolist(), draw)
    parts = [JudgedPart("content", "between: means", between)]
    fitted = mapped(mos, predicted)
    order, ends = np.argsort(of_row, kind="stable"), np.cumsum(sizes)
    each = [rows for rows in np.split(order, ends[:-1]) if len(rows) >= _LEAST_OF_CONTENT and np.ptp(mos[rows]) > 0]
    if len(each) < 2:
        return parts
    values = {name: [metric(mos[rows], predicted[rows]) for rows in each] for name, metric in _RAW.items()}
    if fitted is not None:
        values |= {name: [metric(mos[rows], fitted[rows]) for rows in each] for name, metric in _FITTED.items()}
    numbers = {name: float(np.mean(of_each)) for name, of_each in values.items()}
    places = [str(place) for place in range(len(each))]
    draw = bootstrap_of(places, draw.seed, draw.samples)

    def mean(of_each: Any, _: Any) -> float:
        return float(np.mean(of_each))

    interval = {name: bootstrap_interval(mean, of_each, of_each, places, draw) for name, of_each in values.items()}
    rows = sum(map(len, each))
    inside = Scores(rows, **{name: numbers.get(name, math.nan) for name in METRIC_NAMES})
    return [*parts, JudgedPart("content", "within: mean", Judged(rows, len(each), inside, interval))]


def _judging_rows(seen: Seen | None, rows: int) -> Mask:
    """The rows that a head was not trained on, where it is known which were and some were not; else all."""
    return np.ones(rows, dtype=bool) if seen is None or seen.rows.all() else ~seen.rows


def _baselines(
    predictor: Predictor, table: JudgedTable, used: Mask, judging: Mask, scores: F64, draw: Bootstrap
) -> tuple[JudgedBaseline, ...]:
    """Each of ``RIVALS`` on the judging ones of the used rows: every row is judged by those of other contents.

    None of a column, which reads nothing, and none of a single content.
    """
    groups = _chosen(table.groups, used)
    if predictor.inputs is None or len(set(groups)) < 2:
        return ()
    features, onehot = predictor.inputs(table.rows, str(table.path))
    mos = table.mos[used]
    rows = TrainingRows(features[used].astype(np.float32), onehot[used], mos.astype(np.float32), groups)
    everything = np.arange(len(mos))
    part_of = inner_parts(groups, everything, _BASELINE_PARTS, draw.seed)
    parts = [Part(f"part-{k}", np.flatnonzero(part_of != k), np.flatnonzero(part_of == k)) for k in np.unique(part_of)]
    predicted = {name: np.full(len(mos), np.nan) for name in RIVALS}
    for part, rivals in zip(parts, rivals_of_parts(rows, parts, draw.seed), strict=True):
        for name, tuned in rivals.items():
            predicted[name][part.test] = tuned.scores
    each = []
    for name, theirs in predicted.items():
        both = judging & np.isfinite(theirs)
        own = _chosen(groups, both)
        judged, ranked = _judged(mos[both], theirs[both], own, draw), theirs[both]
        if name == CONSTANT:
            # That its left-out parts have other means tells no clip from another.
            judged, ranked = _of_a_constant(judged), np.zeros(len(own))
        of_contents = bootstrap_of(own, draw.seed, draw.samples)
        each.append(JudgedBaseline(name, judged, srocc_difference(mos[both], scores[both], ranked, own, of_contents)))
    return tuple(each)


def _of_a_constant(judged: Judged) -> Judged:
    """The same with errors alone: a constant has no correlation."""
    of_errors = ("rmse", "rmse_over_sd")
    undefined: dict[str, Any] = {name: math.nan for name in METRIC_NAMES if name not in of_errors}
    interval = {name: ends for name, ends in judged.interval.items() if name in of_errors}
    return replace(judged, scores=replace(judged.scores, **undefined), interval=interval)


def _notes(judgement: Judgement) -> list[str]:
    """What a reader must know beside the numbers."""
    notes, counts, predictor = list(judgement.predictor.warnings), judgement.counts, judgement.predictor
    overall = judgement.parts[0].judged.scores
    if overall.srocc < 0:
        notes.append(
            f"predictions fall as scores rise (SROCC {overall.srocc:.3f}); signs are kept, here and in a gate: "
            + ("leave lower-is-better out?" if judgement.negated else "where lower is better, say so (lower-is-better)")
        )
    column, learned = judgement.table.target, predictor.learned
    if predictor.kind == "head" and column != learned and any(map(is_further_score, (column, learned))):
        notes.append(f"it learned {learned}, and is judged by {column}")
    if judgement.negated:
        notes.append("lower is better: the predictions' sign is turned")
    if counts["without_prediction"]:
        notes.append(f"{counts['without_prediction']} rows with a score have no prediction (NaN), and are left out")
    if judgement.parts[0].above is None and column in (TRAINING_COLUMN, RAW_MOS, f"{RAW_MOS}, as 1–5"):
        notes.append("the ceiling that the scores' own errors set is not known: the table has no SD and count of most")
    contents = "contents" if judgement.contents_known else "clips"
    if any(part.judged.groups < ENOUGH_CONTENTS for part in judgement.parts):
        notes.append(f"figures of fewer than {ENOUGH_CONTENTS} {contents} have no interval")
    if not judgement.contents_known:
        notes.append("contents are not known: intervals are drawn by clip, too narrow where clips share contents")
    if judgement.seen is not None:
        rows = int(judgement.seen.rows.sum())
        told = f"{rows} of {counts['judged']} rows are" if rows else "none of the rows is"
        notes.append(f"{told} of its training: {judgement.seen.by}")
    elif predictor.kind == "head":
        notes.append(
            "whether rows are of its training is not known: neither they nor what lies beside the head tell it"
        )
    if judgement.baselines:
        seen = judgement.seen
        some_seen = seen is not None and seen.rows.any() and not seen.rows.all()
        judged_on = "the rows that it was not trained on" if some_seen else "all rows"
        notes.append(
            f"baselines read the columns of {predictor.name} and are cross-fitted by content on this table: each row "
            f"is predicted from other contents; judged on {judged_on}"
        )
        notes.append("SROCC minus theirs: " + ", ".join(map(_apart, judgement.baselines)))
    return notes


def _apart(baseline: JudgedBaseline) -> str:
    value, (low, high) = baseline.head_minus.srocc, baseline.head_minus.interval
    if math.isnan(value):
        return f"{baseline.name} –"
    return f"{baseline.name} {value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def _read_gate(recipe: HeadRecipe, judgement: Judgement) -> GateRead:
    """The gate on rows that were not trained on, where it is known which were; on none there is nothing to pass by."""
    # Over one set of rows there is no spread: it is not measured, and not asked for.
    gate = replace(recipe.gate, plcc_spread=None)
    limits = {name: limit for name, limit in asdict(gate).items() if limit is not None}
    by_name = {part.name: part.judged for part in judgement.parts if part.by in ("all", "seen")}
    if SEEN in by_name and NEVER_SEEN not in by_name:
        reason = "it was trained on every row: there is none to read the gate from"
        missed = unmeasured(verdict(gate, []), reason)
        return GateRead(recipe.name, NEVER_SEEN, 0, limits, missed)
    read_on = NEVER_SEEN if SEEN in by_name else "all"
    judged = by_name[read_on]
    return GateRead(recipe.name, read_on, judged.rows, limits, verdict(gate, [judged.scores]))


def judgement_png(judgement: Judgement) -> bytes:
    """A small PNG: scores over predictions, one dot a row, with the logistic where there is one.

    Of more than 1 000 rows an even 1 000 are dots.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.8), dpi=80, layout="tight")
    _scatter(figure.subplots(), judgement)
    return png_of(figure)


def _scatter(axes: "Axes", judgement: Judgement) -> None:
    mos, predicted = judgement.mos, judgement.predicted
    draw_dots(axes, predicted, mos)
    fit = logistic_fit(mos, predicted)
    if fit is not None and fit.rises:
        along = np.linspace(predicted.min(), predicted.max(), _CURVE)
        axes.plot(along, fit(along), color="tab:orange", linewidth=1.5)
    overall = judgement.parts[0].judged.scores
    name = f"−{judgement.predictor.name}" if judgement.negated else judgement.predictor.name
    axes.set(xlabel=name, ylabel=judgement.table.target)
    axes.set_title(f"{overall.rows} rows: SROCC {overall.srocc:.3f}, PLCC {overall.plcc_fitted:.3f} fitted", fontsize=9)
