"""A new head beside the published one, on the rows that both have never seen: is it worse than what it replaces?

The baselines that were fitted on the new head's training rows stand beside both.

Which files lie where is for ``publish``; which rows a head has seen is told by ``seen``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.errors import VqaError
from vqa_assets.heads.judging.baselines import rivals_of_parts
from vqa_assets.heads.judging.evaluation import WITH_INTERVAL, Predictions, joined, predicted, srocc_difference
from vqa_assets.heads.judging.seen import KnownRows, training_of
from vqa_assets.heads.manifest import target_of
from vqa_assets.heads.members.weights import HeadWeights
from vqa_assets.heads.recipe import MOS_TARGET
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, SplitPlan, bootstrap_of
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.using import Head, open_head
from vqa_assets.labels.scores import IDENTITY_COLUMNS
from vqa_assets.metrics import Bootstrap, Metric, bootstrap_difference, krocc
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.foreign_tables import table_at

_METRICS: Mapping[str, Metric] = {**WITH_INTERVAL, "krocc": krocc}
_LOWER_IS_BETTER = ("rmse",)
_BASELINE = "baseline:"
"""Before the names of their columns."""
_LEAST_CONTENTS = 2
_OF_ANOTHER_SHAPE = (KeyError, TypeError, ValueError, AttributeError)
"""What comes of a manifest that is JSON and yet not whole."""
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """The shipped head's predictions for rows that it was not trained on, and each row's word in a given split.

    ``baselines`` are the scores of the same rows by baselines that were fitted on the head's training rows.
    """

    predictions: Predictions
    splits: tuple[str | None, ...]
    baselines: Mapping[str, F64] = field(default_factory=dict)


def held_out(table: TrainingTable, plan: SplitPlan, head: HeadWeights, settings: TrainingSettings) -> HeldOut:
    """The hold-out, or of a given split the rows that judge; none where every row was trained on.

    The kernel machines, which take longest, are among the baselines where the field's protocol is asked for.
    """
    rows = plan.judging
    if not len(rows):
        return HeldOut(joined(()), ())
    with_machines = settings.protocol_splits > 0 and not settings.smoke
    part = Part("shipped", plan.final, rows)
    (rivals,) = rivals_of_parts(table, [part], settings.seed, with_machines=with_machines)
    baselines = {name: tuned.scores for name, tuned in rivals.items()}
    return HeldOut(predicted(table, rows, head), tuple(table.split[row] for row in rows), baselines)


def against_published(
    onnx: Path,
    sha256: str | None,
    held: HeldOut,
    tables: Mapping[str, Sequence[Path]],
    *,
    target: str = MOS_TARGET.name,
    synthetic: bool,
) -> dict[str, Any]:
    """What a manifest says of a new head beside the published one, whose file ``onnx`` is; before that is replaced.

    ``sha256`` and ``target`` are the new head's, ``tables`` {corpus: files} those that it was trained from.
    ``compared`` is False where there is nothing to compare, and ``reason`` says why; else ``metrics`` holds both heads'
    numbers, their difference and its 95 % interval by content (none of few contents), and ``worse`` the metrics whose
    interval lies on the bad side; ``baselines`` holds the same numbers of the baselines, and by how much the new head's
    SROCC is above.
    """
    sidecar = onnx.with_suffix(".json")
    result: dict[str, Any] = {"compared": False, "reason": "", "before": None, "metrics": {}, "worse": []}
    if synthetic:
        return {**result, "reason": "trained on synthetic rows: there is nothing to compare"}
    if not (onnx.is_file() and sidecar.is_file()):
        return {**result, "reason": "no head before"}
    try:
        manifest = read_json_object(sidecar)
        if sha256 is not None and manifest.get("sha256") == sha256:
            # The same head made again: what it was compared with when it came is still what it replaced.
            return manifest.get("regression") or {**result, "reason": "the same head as before"}
        made = manifest.get("run_provenance", {}).get("started_at_utc")
        result["before"] = {"sha256": manifest.get("sha256"), "status": manifest.get("status"), "made": made}
        learned = manifest.get("target") or target_of(manifest)[0]
        if learned != target or not held.predictions.keys:
            other = f"the head before learned {learned}, this one {target}"
            return {**result, "reason": "no row was held out" if learned == target else other}
        clips = _by_clip(held, open_head(onnx), tables)
    except (VqaError, pl.exceptions.PolarsError, OSError, StopIteration, *_OF_ANOTHER_SHAPE) as error:
        # Whatever is wrong with the head before, it must not keep its successor from being published.
        return {**result, "reason": f"the head before cannot be used: {error}"}
    return result | _compared(onnx, clips)


def _by_clip(held: HeldOut, before: Head, tables: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    """Each held-out clip once: what is known of it, its mos, and what both heads (``now``, ``before``) make of it.

    A table may have many rows of a clip, of which some were left out: so the means over its rows are compared.
    """
    predictions = held.predictions
    of_now = pl.DataFrame(
        {
            "corpus": predictions.corpora,
            "key": predictions.keys,
            "group": predictions.groups,
            "split": pl.Series(held.splits, dtype=pl.String),
            "src_sha256": pl.Series(predictions.src_sha256, dtype=pl.String),
            "mos": predictions.mos.astype(np.float64),
            "now": predictions.predicted.astype(np.float64),
            **{f"{_BASELINE}{name}": scores for name, scores in held.baselines.items()},
        }
    )
    numbers = ("mos", "now", *(name for name in of_now.columns if name.startswith(_BASELINE)))
    clips = of_now.group_by("corpus", "key", maintain_order=True).agg(
        pl.col("group", "split", "src_sha256").first(), pl.col(numbers).mean()
    )
    corpora, keys = set(predictions.corpora), clips["key"].unique()
    scored = [_scored(before, name, path, corpora, keys) for name, paths in tables.items() for path in paths]
    of_before = pl.concat(scored).group_by("corpus", "key").agg(pl.col("before").mean())
    return clips.join(of_before, on=["corpus", "key"], how="left", maintain_order="left")


def _scored(head: Head, name: str, path: Path, corpora: set[str], keys: pl.Series) -> pl.DataFrame:
    """Corpus, key and the head's score of the rows of a table that have one of the keys; null where it gives none."""
    table = table_at(path)
    key = next(column for column in KEY_COLUMNS if column in table.names)
    # Of a large table only what was held out is read into memory.
    rows = table.rows((key, *IDENTITY_COLUMNS)).filter(pl.col(key).cast(pl.String).is_in(keys.implode()))
    # A table of one corpus goes by that corpus's name; one of several says it row by row.
    corpus = pl.lit(name) if name in corpora or "corpus" not in table.names else pl.col("corpus").cast(pl.String)
    named = rows.select(corpus=corpus, key=pl.col(key).cast(pl.String)).collect()
    scores = head.scores(rows, str(path)).astype(np.float64)
    return named.with_columns(before=pl.Series(scores).fill_nan(None))


def _compared(onnx: Path, clips: pl.DataFrame) -> dict[str, Any]:
    """Both heads on the clips that the one before knows the features of, and has not learned from."""
    training = training_of(onnx)
    rows = KnownRows(*(clips[name].to_list() for name in ("key", "corpus", "group", "split", "src_sha256")))
    seen = training.seen(rows) if training else None
    learned = seen.rows if seen else np.zeros(len(clips), dtype=bool)
    unknown = clips["before"].is_null().to_numpy()
    used = clips.filter(pl.Series(~learned & ~unknown))
    contents = used["group"].n_unique()
    counts = {
        "clips_held_out": len(clips),
        "clips": len(used),
        "groups": contents,
        "clips_seen_before": int(learned.sum()) if seen else None,
        "seen_told_by": seen.by if seen else "nothing tells what the head before was trained on",
        "clips_not_scored_before": int((unknown & ~learned).sum()),
    }
    if contents < _LEAST_CONTENTS:
        return {**counts, "reason": f"{contents} held-out contents are left that both heads can be judged on"}
    mos, now, before = (used[name].to_numpy() for name in ("mos", "now", "before"))
    groups = used["group"].to_list()
    # Of few contents a resample is often of one or two: what lies on the bad side then is chance.
    metrics, worse, draw = {}, [], bootstrap_of(groups, Bootstrap.seed)
    for name, metric in _METRICS.items():
        low, high = bootstrap_difference(metric, mos, now, before, groups, draw)
        values = {"now": metric(mos, now), "before": metric(mos, before)}
        metrics[name] = {**values, "difference": values["now"] - values["before"], "interval_95": (low, high)}
        is_worse = low > 0 if name in _LOWER_IS_BETTER else high < 0
        # A head that gives one score to all is worse than any that tells clips apart.
        if is_worse or (math.isnan(values["now"]) and not math.isnan(values["before"])):
            worse.append(name)
    baselines = {
        column.removeprefix(_BASELINE): _beside(mos, now, used[column].to_numpy(), groups)
        for column in used.columns
        if column.startswith(_BASELINE)
    }
    return {**counts, "compared": True, "metrics": metrics, "worse": worse, "baselines": baselines}


def _beside(mos: F64, now: F64, baseline: F64, groups: Sequence[str]) -> dict[str, Any]:
    """A baseline's numbers on the clips that it was asked about, and the new head's SROCC minus its own."""
    known = np.isfinite(baseline)
    mos, now, baseline = mos[known], now[known], baseline[known]
    groups = [group for group, own in zip(groups, known, strict=True) if own]
    apart = srocc_difference(mos, now, baseline, groups, bootstrap_of(groups, Bootstrap.seed))
    numbers = {name: metric(mos, baseline) for name, metric in _METRICS.items()}
    return {**numbers, "clips": int(known.sum()), "now_minus": asdict(apart)}
