"""A head's manifest sidecar: everything that was decided and measured, as JSON without NaN.

``run_provenance`` is added by whoever stores it. What a person reads is written from this by ``card``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.heads.display import DisplayProfile
from vqa_assets.heads.evaluation import TEST_SHARE, Evaluation, Judged, Verdict
from vqa_assets.heads.export import IR_VERSION, OPSET, parity_limit
from vqa_assets.heads.facts import CorpusFacts
from vqa_assets.heads.method import SHIPPED
from vqa_assets.heads.recipe import (
    ENCODER_VOCAB_VERSION,
    HOLDOUT_SHARE,
    Gate,
    HeadRecipe,
    Target,
    TrainingSettings,
)
from vqa_assets.heads.splitting import SplitPlan
from vqa_assets.heads.training_table import TrainingTable
from vqa_assets.heads.weights import CLIP, HIDDEN, HeadWeights
from vqa_assets.metrics import Scores, mean_scores

SCHEMA = "mos-head-manifest-v1"

_ARCHITECTURE = (
    f"features standardised and clipped to ±{CLIP:g} SD, beside the encoder one-hot; the sum of a linear skip and a "
    f"residual MLP ([Linear {HIDDEN}, ReLU, Dropout {SHIPPED.dropout:g}] × 2, Linear 1), then {{range}} · sigmoid; the "
    f"mean of {SHIPPED.members} such members, whose skips begin at a ridge regression, each "
    "stopped early on another fifth of the contents"
)


def architecture_of(target: Target) -> str:
    """The architecture in words, with the range of its output."""
    return _ARCHITECTURE.format(range=f"{target.low:g} + {target.span:g}" if target.low else f"{target.span:g}")


@dataclass(frozen=True)
class Chosen:
    """What a head read: facts of the corpora it has rows of, the recipe's without a table, those excluded, the display.

    ``unused`` had a table, and no row of it could be used.
    """

    facts: Mapping[str, CorpusFacts]
    absent: tuple[str, ...]
    excluded: tuple[str, ...]
    display: DisplayProfile | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """The file, where there is one: its name, SHA-256, and difference to torch over ``parity_rows`` rows."""

    name: str
    sha256: str
    parity: float
    parity_rows: int


@dataclass(frozen=True)
class Made:
    """All that one build came to. ``corpora_out``: each corpus by a head that was trained on the others."""

    recipe: HeadRecipe
    settings: TrainingSettings
    gate: Gate
    chosen: Chosen
    table: TrainingTable
    plan: SplitPlan
    head: HeadWeights
    device: str
    evaluation: Evaluation
    verdict: Verdict
    corpora_out: Mapping[str, Judged] = field(default_factory=dict)


def build_manifest(made: Made, exported: Exported | None) -> dict[str, Any]:
    """The manifest; ``onnx``, ``sha256`` and ``parity`` are None where nothing was exported."""
    table, head, target = made.table, made.head, made.head.target
    manifest = {
        "schema": SCHEMA,
        "id": made.recipe.name,
        "kind": made.recipe.kind,
        "title": made.recipe.title,
        "status": made.verdict.status,
        "intended_use": _intended_use(made),
        "not_for": made.recipe.not_for,
        "smoke": made.settings.smoke,
        "synthetic": table.synthetic,
        "onnx": exported and exported.name,
        "sha256": exported and exported.sha256,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "feature_schema": table.schema.name,
        "feature_order": table.schema.columns,
        "feature_mean": head.mean,
        "feature_std": head.std,
        "filled": {name: asdict(filled) for name, filled in table.filled.items()},
        "constant": table.constant,
        "encoder_vocab": table.encoder_vocab,
        "encoder_vocab_version": ENCODER_VOCAB_VERSION,
        f"{target.name}_range": (target.low, target.low + target.span),
        "n_parameters": head.n_parameters,
        "training_recipe": _training_recipe(made),
        "folds": _folds(made),
        "beats_ridge": made.evaluation.beats_ridge,
        "protocol": _protocol(made),
        "holdout": _holdout(made),
        "given_tests": {corpus: _judged(judged) for corpus, judged in made.evaluation.given_tests.items()},
        **_leave_one_corpus_out(made),
        "gate": {
            "thresholds": {name: limit for name, limit in asdict(made.gate).items() if limit is not None},
            "numbers": made.verdict.numbers,
            "passed": made.verdict.passed,
            "reasons": made.verdict.reasons,
        },
        **_corpora(made),
        **({"display_profile": made.chosen.display.as_json()} if made.chosen.display else {}),
        "parity": exported
        and {"max_abs_difference": exported.parity, "rows": exported.parity_rows, "limit": parity_limit(head)},
    }
    plain: dict[str, Any] = as_plain(manifest)
    return plain


def as_plain(value: Any) -> Any:
    """What ``json.dumps`` writes without NaN: lists for tuples and arrays, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(one) for key, one in value.items()}
    if isinstance(value, Scores):
        return value.as_json()
    if isinstance(value, np.ndarray | np.generic):
        return as_plain(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [as_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _intended_use(made: Made) -> str:
    """The recipe's words, and of a run that read tables of other corpora, which."""
    facts = made.chosen.facts
    others = [name for name in facts if name not in made.recipe.corpora]
    return made.recipe.intended_use + (f"; trained here on {', '.join(facts)}" if others else "")


def _training_recipe(made: Made) -> dict[str, Any]:
    trained_on = {
        "folds": "all rows but the hold-out and given test rows",
        "split": "all train rows of the given split",
    }
    return {
        "architecture": architecture_of(made.recipe.target),
        "settings": made.settings.as_json(),
        "batch_rows": made.settings.batch_rows(len(made.plan.final)),
        "members": SHIPPED.members,
        "best_epochs": made.head.best_epochs,
        "device": made.device,
        "rows": len(made.plan.final),
        "trained_on": trained_on.get(made.plan.kind, "all rows"),
    }


def _folds(made: Made) -> dict[str, Any]:
    """The folds the gate read, the mean over them, all their predictions together, and baselines on the same rows."""
    evaluation, plan = made.evaluation, made.plan
    counted = zip(plan.parts, evaluation.folds, evaluation.fold_groups, strict=True)
    return {
        "kind": plan.kind,
        "each": [{"name": p.name, "train_rows": len(p.train), "groups": g, **s.as_json()} for p, s, g in counted],
        "mean": mean_scores(evaluation.folds),
        "pooled": _judged(evaluation.pooled),
        "per_corpus": evaluation.per_corpus,
        "residuals": _residuals(evaluation),
        "baselines": {n: {"each": s, "mean": mean_scores(s)} for n, s in evaluation.baselines.items()},
        "left_out_same_content_as_test": plan.left_out,
        "groups_in_train_and_test": plan.leaking_groups,
    }


def _residuals(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Predicted minus score, out of fold, per corpus."""
    found = evaluation.predictions
    corpora, apart = np.asarray(found.corpora), (found.predicted - found.mos).astype(np.float64)
    each = {name: apart[corpora == name] for name in dict.fromkeys(found.corpora)}
    return {
        name: {"mean": own.mean(), "sd": own.std(), "p05": np.quantile(own, 0.05), "p95": np.quantile(own, 0.95)}
        for name, own in each.items()
    }


def _protocol(made: Made) -> dict[str, Any] | None:
    """The field's protocol: medians over splits and 95 % intervals, per predictor; None where it was not run."""
    found = made.evaluation.protocol
    if found is None:
        return None
    return {
        "splits": found.splits,
        "test_share": TEST_SHARE,
        "rows": found.rows,
        "groups": found.groups,
        "svr_rows_at_most": found.svr_rows,
        "rows_judged": {name: one.rows for name, one in found.predictors.items()},
        "median": {name: one.median for name, one in found.predictors.items()},
        "interval_95": {name: one.interval for name, one in found.predictors.items()},
        "head_minus": {name: asdict(one) for name, one in found.head_minus.items()},
    }


def _judged(judged: Judged) -> dict[str, Any]:
    return {"groups": judged.groups, **judged.scores.as_json(), "interval_95": judged.interval}


def _leave_one_corpus_out(made: Made) -> dict[str, Any]:
    """Of a head over every corpus: how well each is predicted by one that was trained on the others."""
    if not made.recipe.every_corpus:
        return {}
    return {"leave_one_corpus_out": {corpus: _judged(judged) for corpus, judged in made.corpora_out.items()}}


def _holdout(made: Made) -> dict[str, Any]:
    """The shipped head on the rows held out by content; with a given split there is none, its test rows are."""
    told = {"share": HOLDOUT_SHARE if made.plan.kind == "folds" else 0.0, "rows": len(made.plan.holdout)}
    judged = made.evaluation.holdout
    return {**told, **(_judged(judged) if judged else {}), "vmaf": made.evaluation.holdout_vmaf}


def _corpora(made: Made) -> dict[str, Any]:
    facts, counts = made.chosen.facts, made.table.counts
    word = strictest(fact.redistribution for fact in facts.values())
    corpora = {
        name: {
            **{k: getattr(fact, k) for k in ("title", "licence", "citation", "redistribution")},
            "version": ", ".join(made.table.versions.get(name, ())) or fact.version,
            "rows": counts[name].used,
            "counts": asdict(counts[name]),
        }
        for name, fact in facts.items()
    }
    return {
        "corpora": corpora,
        "absent": made.chosen.absent,
        "excluded": made.chosen.excluded,
        "unused": {name: asdict(counts[name]) for name in made.chosen.unused},
        "redistribution": {"strictest": word, "consequence": REDISTRIBUTION[word]} if facts else None,
    }
