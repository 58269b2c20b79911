"""A head's manifest sidecar: everything that was decided and measured, as JSON without NaN; written, and read again.

``run_provenance`` is added by whoever stores it. What a person reads is written from it by ``card``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.errors import HeadError
from vqa_assets.feature_names import BACKBONE_PREFIX, DISPLAY_COLUMNS, FR_V2
from vqa_assets.heads.judging.intervals import Interval
from vqa_assets.heads.members.export import IR_VERSION, OPSET, parity_limit
from vqa_assets.heads.members.feature_map import KNOTS, PROJECTED_ABOVE
from vqa_assets.heads.members.method import SHIPPED
from vqa_assets.heads.members.random_features import FEATURES
from vqa_assets.heads.members.weights import CLIP, HIDDEN, RIDGE_SHARE, HeadWeights
from vqa_assets.heads.recipe import (
    ENCODER_VOCAB,
    ENCODER_VOCAB_VERSION,
    MOS_TARGET,
    CorpusFacts,
    Gate,
    HeadRecipe,
    Target,
)
from vqa_assets.heads.rows.vectors import backbones_as_json, backbones_in
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import Scores, mean_scores
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.networks import RecordedNetwork

if TYPE_CHECKING:  # a head is put to use without what trains and judges one
    from vqa_assets.backbones.folder import Backbone
    from vqa_assets.heads.help.assistance import HelpReport
    from vqa_assets.heads.judging.evaluation import Evaluation, Judged, Verdict
    from vqa_assets.heads.judging.intervals import Intervals
    from vqa_assets.heads.rows.choosing import Chosen
    from vqa_assets.heads.rows.near_copies import NearCopies
    from vqa_assets.heads.rows.reading import TrainingTable
    from vqa_assets.heads.rows.splitting import SplitPlan
    from vqa_assets.heads.scale_choice import ScaleChoice

SCHEMA = "mos-head-manifest-v1"
AGAIN = "train the head again, or put both its files back"
"""What to do about files of a head that are not each other's."""

_ARCHITECTURE = (
    f"per column the mean of the value, standardised and clipped to ±{CLIP:g} SD, and its normal score by {KNOTS} "
    f"quantiles, brought to SD 1 (over {PROJECTED_ABOVE} columns then projected), beside the encoder one-hot; "
    f"{1 - RIDGE_SHARE:.0%} of the head is the mean of {SHIPPED.members} networks: the sum of a linear skip and a "
    f"residual MLP ([Linear {HIDDEN}, ReLU, Dropout {SHIPPED.dropout:g}] × 2, Linear 1), then {{range}} · sigmoid, "
    "whose skips begin at a ridge regression, each stopped early on another fifth of the contents; "
    f"{RIDGE_SHARE:.0%} is a ridge regression on {FEATURES} random features relu(gain · W z + shift) of inputs "
    "stretched by how much they matter for a first fit, gain and penalty chosen by the same fifths, clipped to the "
    "range"
)
_HELPED = (
    "; the mean of such a head and of a helped one: a line of the score of a head of other corpora, plus a second such "
    "head of what the line leaves, cut to the range"
)
_TRAINED_ON = {
    "folds": "all rows but the hold-out and given test rows",
    "split": "all train rows of the given split",
}
"""Per kind of split, what the shipped head learned from; all rows otherwise."""


@dataclass(frozen=True)
class Exported:
    """The file, where there is one: its name, SHA-256, and difference to torch over ``parity_rows`` rows."""

    name: str
    sha256: str
    parity: float
    parity_rows: int


@dataclass(frozen=True)
class MadeHead:
    """All that one build came to. ``corpora_out``: each corpus by a head that was trained on the others.

    ``label_noise`` is what the manifest says of the errors of scores.
    ``scales`` says of a head of several corpora whether it learned their scales; ``fold_heads`` are those of the plan's
    parts.
    ``help`` says what others added, where they were asked to; ``advice`` what would make a better head,
    ``near_copies`` which clips seem to be copies of others.
    """

    recipe: HeadRecipe
    settings: TrainingSettings
    gate: Gate
    chosen: "Chosen"
    table: "TrainingTable"
    plan: "SplitPlan"
    head: HeadWeights
    device: str
    evaluation: "Evaluation"
    verdict: "Verdict"
    corpora_out: Mapping[str, "Judged"] = field(default_factory=dict)
    label_noise: Mapping[str, Any] = field(default_factory=dict)
    scales: "ScaleChoice | None" = None
    fold_heads: "Sequence[HeadWeights]" = ()
    help: "HelpReport | None" = None
    advice: str = ""
    near_copies: "NearCopies | None" = None

    @property
    def target(self) -> str:
        """The column of the score that was learned: ``mos``, a further score, or ``vmaf``."""
        is_mos = self.recipe.target == MOS_TARGET
        return self.settings.target if is_mos else self.recipe.target.name

    @property
    def licensed(self) -> "dict[str, CorpusFacts | Backbone]":
        """Whose licences the head is under: corpora it was trained on or helped by, and backbones it read."""
        helpers = self.help.helper.facts if self.help and self.help.used else {}
        backbones = {f"{BACKBONE_PREFIX}{name}": one for name, one in self.chosen.backbones.items()}
        own = self.chosen.facts
        return {**own, **{name: fact for name, fact in helpers.items() if name not in own}, **backbones}

    @property
    def id(self) -> str:
        """The head's name; an experiment's is ``<head>.<name>``."""
        return self.settings.head_id(self.recipe.name)


def build_manifest(made: MadeHead, exported: Exported | None) -> dict[str, Any]:
    """The manifest; ``onnx``, ``sha256`` and ``parity`` are None where nothing was exported."""
    table, head, target, facts = made.table, made.head, made.head.target, made.chosen.facts
    intended_use = made.recipe.intended_use
    # A run may read tables of other corpora: then the recipe's words say too little.
    if any(name not in made.recipe.corpora for name in facts):
        intended_use += f"; trained here on {', '.join(facts)}"
    if made.target != target.name:
        intended_use += f"; its scores are {made.target}, a further score of its corpora"
    manifest = {
        "schema": SCHEMA,
        "id": made.id,
        "experiment": made.settings.name,
        "kind": made.recipe.kind,
        "title": made.recipe.title,
        "target": made.target,
        "status": made.verdict.status,
        "intended_use": intended_use,
        "not_for": made.recipe.not_for,
        "smoke": made.settings.smoke,
        "synthetic": table.synthetic,
        "onnx": exported and exported.name,
        "sha256": exported and exported.sha256,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "feature_schema": table.schema.name,
        "feature_order": table.schema.feature_order,
        "feature_mean": head.map.mean,
        "feature_std": head.map.std,
        # Beyond these a head was never trained: ``predict`` names the columns that lie there.
        "feature_low": head.map.knots[:, 0],
        "feature_high": head.map.knots[:, -1],
        "filled": {name: asdict(filled) for name, filled in table.filled.items()},
        "constant": table.constant,
        "backbones": backbones_as_json(table.schema, made.chosen.backbones),
        "encoder_vocab": table.encoder_vocab,
        "encoder_vocab_version": ENCODER_VOCAB_VERSION,
        f"{target.name}_range": (target.low, target.low + target.span),
        "n_parameters": head.n_parameters,
        "training_recipe": {
            "architecture": architecture_of(made.recipe.target) + (_HELPED if head.help else ""),
            "settings": made.settings.public_values(),
            "batch_rows": made.settings.batch_rows(len(made.plan.final)),
            "members": SHIPPED.members,
            "chosen_by": SHIPPED.chooses_by(len({table.groups[row] for row in made.plan.final})),
            "best_epochs": head.best_epochs,
            "ridge": head.ridge and {"gain": head.ridge.gain, "penalty": head.ridge.penalty, "features": FEATURES},
            "device": made.device,
            "rows": len(made.plan.final),
            "trained_on": _TRAINED_ON.get(made.plan.kind, "all rows"),
        },
        "folds": _folds(made),
        "beats_ridge": made.evaluation.beats_ridge,
        "protocol": _protocol(made.evaluation),
        "label_noise": made.label_noise,
        "holdout": {
            "share": made.plan.holdout_share,
            "rows": len(made.plan.holdout),
            **(_judged(made.evaluation.holdout) if made.evaluation.holdout else {}),
            "vmaf": made.evaluation.holdout_vmaf,
        },
        "given_tests": {corpus: _judged(judged) for corpus, judged in made.evaluation.given_tests.items()},
        "help": made.help and made.help.as_json(made.settings.helpers_named),
        "advice": made.advice,
        "interval": _interval(made.evaluation.intervals),
        "no_interval": made.evaluation.intervals.lacking,
    }
    if made.recipe.every_corpus:
        manifest["leave_one_corpus_out"] = {corpus: _judged(judged) for corpus, judged in made.corpora_out.items()}
    if made.scales:
        on_reference = {name: _judged(judged) for name, judged in made.evaluation.on_reference.items()}
        manifest["corpus_scales"] = {
            **made.scales.as_json(head, table, made.plan.parts, made.fold_heads),
            **({"on_reference": on_reference} if on_reference else {}),
        }
    manifest |= {
        "gate": {
            "target": made.target,
            "thresholds": {name: limit for name, limit in asdict(made.gate).items() if limit is not None},
            "numbers": made.verdict.numbers,
            "not_asked": made.verdict.not_asked,
            "measured": made.verdict.measured,
            "passed": made.verdict.passed,
            "reasons": made.verdict.reasons,
        },
        **_corpora(made.chosen, table, made.licensed),
    }
    if made.chosen.display:
        manifest["display_profile"] = made.chosen.display.as_json()
    manifest["parity"] = exported and {
        "max_abs_difference": exported.parity,
        "rows": exported.parity_rows,
        "limit": parity_limit(head),
    }
    plain: dict[str, Any] = as_plain(manifest)
    return plain


def architecture_of(target: Target) -> str:
    """The architecture in words, with the range of its output."""
    return _ARCHITECTURE.format(range=f"{target.low:g} + {target.span:g}" if target.low else f"{target.span:g}")


def target_of(manifest: Mapping[str, Any]) -> tuple[str, tuple[float, float]]:
    """What a head gives (``mos``, ``vmaf``), and between which ends."""
    key = next(key for key in manifest if key.endswith("_range"))
    low, high = manifest[key]
    return key.removesuffix("_range"), (low, high)


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


def _folds(made: MadeHead) -> dict[str, Any]:
    """The folds the gate read, the mean over them, all their predictions together, and baselines on the same rows."""
    plan, evaluation, copies = made.plan, made.evaluation, made.table.copies
    counted = zip(plan.parts, evaluation.folds, evaluation.fold_groups, strict=True)
    return {
        "kind": plan.kind,
        "asked": plan.folds_asked or len(plan.parts),
        "warnings": plan.warnings,
        "each": [{"name": p.name, "train_rows": len(p.train), "groups": g, **s.as_json()} for p, s, g in counted],
        "mean": mean_scores(evaluation.folds),
        "pooled": _judged(evaluation.pooled),
        "per_corpus": evaluation.per_corpus,
        "residuals": _residuals(evaluation),
        "baselines": {n: {"each": s, "mean": mean_scores(s)} for n, s in evaluation.baselines.items()},
        "vmaf_rows": evaluation.vmaf_rows,
        "left_out_same_content_as_test": plan.left_out,
        "copies_without_content_id": copies.rows if copies else 0,
        "near_copies": made.near_copies and {**asdict(made.near_copies), "warning": made.near_copies.warning},
        "groups_in_train_and_test": plan.leaking_groups,
    }


def _residuals(evaluation: "Evaluation") -> dict[str, dict[str, float]]:
    """Predicted minus score, out of fold, per corpus."""
    predictions = evaluation.predictions
    corpora, apart = np.asarray(predictions.corpora), (predictions.predicted - predictions.mos).astype(np.float64)
    each = {name: apart[corpora == name] for name in dict.fromkeys(predictions.corpora)}
    return {
        name: {"mean": own.mean(), "sd": own.std(), "p05": np.quantile(own, 0.05), "p95": np.quantile(own, 0.95)}
        for name, own in each.items()
    }


def _interval(intervals: "Intervals") -> dict[str, Any] | None:
    """The interval that ``predict`` writes beside a score, and how often it held; None where it was not measured."""
    if intervals.interval is None:
        return None
    return {
        **asdict(intervals.interval),
        "rows": intervals.rows,
        "groups": intervals.groups,
        "coverage": {
            "holdout": intervals.holdout and asdict(intervals.holdout),
            "corpora": {name: asdict(one) for name, one in intervals.corpora.items()},
        },
    }


def _protocol(evaluation: "Evaluation") -> dict[str, Any] | None:
    """The field's protocol: medians over splits and 95 % intervals, per predictor; None where it was not run."""
    from vqa_assets.heads.judging.baselines import KERNEL_CHOICE_ROWS, KERNEL_FIT_ROWS, KERNEL_JUDGED_ROWS
    from vqa_assets.heads.judging.evaluation import TEST_SHARE

    protocol = evaluation.protocol
    if protocol is None:
        return None
    return {
        "splits": protocol.splits,
        "test_share": TEST_SHARE,
        "rows": protocol.rows,
        "groups": protocol.groups,
        "svr_rows_at_most": protocol.kernel_rows,
        "kernel_machines": {
            "fitted_on_at_most": KERNEL_FIT_ROWS,
            "chosen_on_at_most": KERNEL_CHOICE_ROWS,
            "judged_on_at_most": KERNEL_JUDGED_ROWS,
            "rows_drawn_by": "content",
        },
        "settings_chosen": protocol.settings,
        "rows_judged": {name: one.rows for name, one in protocol.predictors.items()},
        "median": {name: one.median for name, one in protocol.predictors.items()},
        "interval_95": {name: one.interval for name, one in protocol.predictors.items()},
        "head_minus": {name: asdict(one) for name, one in protocol.head_minus.items()},
    }


def _judged(judged: "Judged") -> dict[str, Any]:
    return {"groups": judged.groups, **judged.scores.as_json(), "interval_95": judged.interval}


def _corpora(
    chosen: "Chosen", table: "TrainingTable", licensed: "Mapping[str, CorpusFacts | Backbone]"
) -> dict[str, Any]:
    """What was read, what was not, and what the licences of all that the head learned from allow together."""
    strictest_word = strictest(fact.redistribution for fact in licensed.values())
    corpora = {
        name: {
            **{k: getattr(fact, k) for k in ("title", "licence", "citation", "redistribution")},
            "version": ", ".join(table.versions.get(name, ())) or fact.version,
            "rows": table.counts[name].used,
            "counts": asdict(table.counts[name]),
        }
        for name, fact in chosen.facts.items()
    }
    consequence = {"strictest": strictest_word, "consequence": REDISTRIBUTION[strictest_word]}
    return {
        "corpora": corpora,
        "absent": chosen.absent,
        "excluded": chosen.excluded,
        "unused": {name: asdict(table.counts[name]) for name in chosen.unused},
        "redistribution": consequence if chosen.facts else None,
    }


_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Read(BaseModel):
    """What is read of a part of a manifest; nothing is converted, and further fields are left."""

    model_config = ConfigDict(strict=True, frozen=True)


class _Gate(_Read):
    passed: bool
    reasons: list[str]


class _Filled(_Read):
    value: _Finite


class _Display(_Read):
    file: str
    sha256: str
    values: dict[str, _Finite]
    lacking: list[str]
    ignored: list[str]

    @field_validator("values")
    @classmethod
    def _all_columns(cls, values: dict[str, float]) -> dict[str, float]:
        if lacking := set(DISPLAY_COLUMNS) - set(values):
            raise PydanticCustomError(
                "columns", "a value of each display column, also of {first}", {"first": min(lacking)}
            )
        return values


class _ReadInterval(_Read):
    level: Annotated[float, Field(gt=0, lt=1)]
    quantile: Annotated[_Finite, Field(ge=0)]
    floor: Annotated[_Finite, Field(ge=0)]

    def as_interval(self) -> Interval:
        return Interval(self.level, self.quantile, self.floor)


class ReadManifest(_Read):
    """What is read of a head's manifest."""

    id: str
    status: str
    sha256: str
    synthetic: bool
    kind: str
    target: str | None = None
    feature_schema: str
    feature_order: list[str]
    encoder_vocab: list[str]
    encoder_vocab_version: int
    filled: dict[str, _Filled]
    gate: _Gate
    display_profile: _Display | None = None
    interval: _ReadInterval | None = None
    feature_low: list[_Finite] | None = None
    feature_high: list[_Finite] | None = None
    backbones: dict[str, RecordedNetwork] = {}

    @field_validator("backbones")
    @classmethod
    def _all_backbones(cls, backbones: dict[str, RecordedNetwork], info: ValidationInfo) -> dict[str, RecordedNetwork]:
        read = backbones_in(info.data.get("feature_schema", ""))
        # Made-up vectors are nobody's.
        if (lacking := set(read) - set(backbones)) and not info.data.get("synthetic"):
            raise PydanticCustomError("backbones", "the network of {first}", {"first": min(lacking)})
        return backbones

    @field_validator("filled")
    @classmethod
    def _of_features(cls, filled: dict[str, _Filled], info: ValidationInfo) -> dict[str, _Filled]:
        if unknown := set(filled) - set(info.data.get("feature_order", filled)):
            raise PydanticCustomError("features", "features of feature_order, not {first}", {"first": min(unknown)})
        return filled


def read_manifest(path: Path) -> ReadManifest:
    """The manifest; HeadError names the field that is not what this version writes, or reads."""
    if not path.is_file():
        expected = "a head: its .onnx, with its manifest beside it"
        raise HeadError(f"{path}", found="found nothing there", expected=expected, next_step=AGAIN)
    document = read_json_object(path)
    if document.get("schema") != SCHEMA:
        raise HeadError(f"{path}", found=f"schema {document.get('schema')!r}", expected=SCHEMA, next_step=AGAIN)
    if document.get("onnx", path) is None:
        raise HeadError(
            f"{path}",
            found="a head that was not exported",
            expected="one with an ONNX",
            next_step="export it (export: true)",
        )
    # As JSON text, not as the object: then strict types are JSON's own.
    try:
        manifest = ReadManifest.model_validate_json(json.dumps(document))
    except ValidationError as error:
        # The first field that is not what this version writes: somebody edited the file.
        first = error.errors()[0]
        where, missing = ".".join(str(part) for part in first["loc"]), first["type"] == "missing"
        found = "nothing" if missing else repr(first["input"])[:80]
        expected = "a value" if missing else first["msg"].removeprefix("Input should be ")
        raise HeadError(f"{path}: {where}", found=found, expected=expected, next_step=AGAIN) from error
    # Another vocabulary gives the one-hot another meaning; a head of encodes brings the encoders of its own grid.
    version, vocab = manifest.encoder_vocab_version, tuple(manifest.encoder_vocab)
    by_encoder = manifest.feature_schema == FR_V2.name
    if version != ENCODER_VOCAB_VERSION or not (vocab == ENCODER_VOCAB or (by_encoder and vocab)):
        raise HeadError(
            f"{path}",
            found=f"a head of kind {manifest.kind} for the encoders {', '.join(vocab)} (version {version})",
            expected=f"one for {', '.join(ENCODER_VOCAB)} (version {ENCODER_VOCAB_VERSION})",
            next_step="feed its ONNX yourself, as its card shows",
        )
    return manifest
