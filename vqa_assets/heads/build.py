"""From labelled tables to everything a head leaves behind, in memory. Nothing is written to disk here."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqa_assets.clip_work import ProgressLine, clock
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import DISPLAY_COLUMNS, FeatureSchema
from vqa_assets.heads.display import DisplayProfile, read_profile
from vqa_assets.heads.evaluation import PROPOSED, Predictions, Verdict, evaluate, verdict
from vqa_assets.heads.export import PARITY_ROWS, build_onnx, check_operators, check_parity
from vqa_assets.heads.facts import UNDECLARED, CorpusFacts
from vqa_assets.heads.manifest import Chosen, Exported, Made, build_manifest
from vqa_assets.heads.protocol import protocol_parts, run_protocol
from vqa_assets.heads.recipe import (
    ENCODER_VOCAB,
    ENCODER_VOCAB_VERSION,
    SMOKE_GATE,
    HeadRecipe,
    TrainingSettings,
    schema_of,
)
from vqa_assets.heads.splitting import Part, SplitPlan, plan_splits
from vqa_assets.heads.synthetic import synthetic_table
from vqa_assets.heads.training import HeadRows, TrainedHeads, Trainer, TrainingRows
from vqa_assets.heads.training_table import NoLabelledRowsError, TrainingTable, read_training_table
from vqa_assets.heads.weights import encoder_onehot

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuiltHead:
    """What one build leaves: ``onnx`` is None without export; ``manifest`` lacks only ``run_provenance``.

    ``file_stem`` is the head's name, with ``.smoke`` or ``.synthetic`` where no real row was read.
    """

    file_stem: str
    onnx: bytes | None
    manifest: dict[str, Any]
    predictions: Predictions


def build_head(
    recipe: HeadRecipe,
    tables: Mapping[str, Path],
    corpora_facts: Mapping[str, CorpusFacts],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
) -> BuiltHead:
    """Trains, judges and exports a head.

    ``tables`` {corpus: labelled parquet} holds the tables present; the recipe's corpora without one are listed as
    absent. The shipped head is trained on all rows but the hold-out, so that the hold-out's numbers are its own.
    TrainingError on tables that a head must not be trained on, and where none is there.
    """
    schema = schema_of(recipe, settings)
    display = _display(schema, settings, say)
    table, chosen = _rows(recipe, (tables, corpora_facts), settings, (schema, display))
    for corpus, counts in table.counts.items():
        say(f"{corpus}: {counts.used} of {counts.rows_in} rows")
    plan = plan_splits(table, settings)
    repeated = protocol_parts(table, plan, settings)
    trained = _train(table, (plan, repeated), settings, trainer, say)
    of_protocol, of_plan = trained.heads[: len(repeated)], trained.heads[len(repeated) :]
    protocol = run_protocol(table, repeated, of_protocol, settings.seed, say)
    evaluation = replace(evaluate(table, plan, of_plan, settings), protocol=protocol)
    gate = SMOKE_GATE if settings.smoke else recipe.gate
    judged = _never_production(verdict(gate, evaluation.folds), table.synthetic)
    say(f"{recipe.name}: {judged.status}" + "".join(f"; {reason}" for reason in judged.reasons))
    made = Made(
        recipe,
        settings,
        gate,
        replace(chosen, display=display),
        table,
        plan,
        trained.heads[-1],
        trained.device,
        evaluation,
        judged,
    )
    stem = recipe.name + (".smoke" if settings.smoke else ".synthetic" if table.synthetic else "")
    onnx, exported = _export(made, stem) if settings.export else (None, None)
    return BuiltHead(stem, onnx, build_manifest(made, exported), evaluation.predictions)


def _display(schema: FeatureSchema, settings: TrainingSettings, say: Say) -> DisplayProfile | None:
    """The display that a run names, where its head reads one."""
    if settings.display_profile_json is None:
        return None
    display = read_profile(Path(settings.display_profile_json).expanduser())
    if not set(schema.columns) & set(DISPLAY_COLUMNS):
        say(f"display profile {display.name} is not used: {schema.name} has no display columns")
        return None
    told = {"lacks, taken as 0": display.lacking, "keys that mean nothing": display.ignored}
    say("; ".join([f"display profile {display.name}", *(f"{k}: {', '.join(v)}" for k, v in told.items() if v)]))
    return display


def _rows(
    recipe: HeadRecipe,
    given: tuple[Mapping[str, Path], Mapping[str, CorpusFacts]],
    settings: TrainingSettings,
    features: tuple[FeatureSchema, DisplayProfile | None],
) -> tuple[TrainingTable, Chosen]:
    """Real rows and the corpora they come from; synthetic ones for a smoke run, or where a run allows it."""
    (schema, display), synthetic = features, Chosen({}, (), ())
    if settings.smoke:
        return synthetic_table(schema, seed=settings.seed), synthetic
    try:
        tables, chosen = _chosen(recipe, *given, settings)
        return read_training_table(tables, schema, settings.allow_missing_features, display), chosen
    except NoLabelledRowsError:
        if not settings.allow_synthetic_fallback:
            raise
        absent = tuple(name for name in recipe.corpora if name not in given[0])
        return synthetic_table(schema, seed=settings.seed), replace(synthetic, absent=absent)


def _chosen(
    recipe: HeadRecipe, tables: Mapping[str, Path], facts: Mapping[str, CorpusFacts], settings: TrainingSettings
) -> tuple[dict[str, Path], Chosen]:
    """The tables of a run, in order, and their facts."""
    own = {name: tables[name] for name in recipe.corpora if name in tables}
    wanted = {name: Path(path) for name, path in settings.tables.items()} or own
    wanted |= {name: Path(path) for name, path in settings.extra_tables.items()}
    unknown = sorted(set(settings.exclude_corpora) - set(wanted) - set(recipe.corpora))
    if unknown:
        known = ", ".join(dict.fromkeys((*recipe.corpora, *wanted)))
        raise SettingsError("exclude_corpora", found=", ".join(unknown), expected=f"some of {known}")
    present = {name: path for name, path in wanted.items() if name not in settings.exclude_corpora}
    asked = () if settings.tables else recipe.corpora
    absent = tuple(name for name in asked if name not in present and name not in settings.exclude_corpora)
    if not present:
        raise NoLabelledRowsError(
            f"{recipe.name}: no labelled table",
            found=f"absent: {', '.join(absent) or 'none'}; excluded: {', '.join(settings.exclude_corpora) or 'none'}",
            expected=f"the table of at least one of {', '.join(recipe.corpora)}",
            next_step="materialize mos_features of one of them",
        )
    chosen = {name: facts.get(name, UNDECLARED) for name in present}
    _refuse_computed_scores(chosen)
    return present, Chosen(chosen, absent, settings.exclude_corpora)


def _refuse_computed_scores(facts: Mapping[str, CorpusFacts]) -> None:
    computed = sorted(name for name, fact in facts.items() if not fact.opinion_scores)
    if computed:
        raise TrainingError(
            "corpora whose scores are no opinions",
            found=", ".join(computed),
            expected="human opinion scores",
            next_step="name them in exclude_corpora",
        )


def _train(
    table: TrainingTable,
    parts: tuple[SplitPlan, Sequence[Part]],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
) -> TrainedHeads:
    """The protocol's heads, one per part of the plan, then the shipped one, all trained at once.

    With a given split the part's head is the shipped one.
    """
    plan, repeated = parts
    heads = [HeadRows(part.name, part.train) for part in (*repeated, *plan.parts)]
    if plan.kind == "folds":
        heads.append(HeadRows("shipped", plan.final))
    begun = time.monotonic()
    line = ProgressLine(f"training {len(heads)} heads at once", settings.epochs, say, unit="epochs")
    rows = TrainingRows(table.features, encoder_onehot(len(table.mos)), table.mos, table.groups)
    trained = trainer.train(rows, heads, settings, lambda done, _: line.update(done))
    say(f"trained {len(heads)} heads of {len(plan.final)} rows in {clock(time.monotonic() - begun)}")
    return trained


def _never_production(judged: Verdict, synthetic: bool) -> Verdict:
    """What was trained on synthetic rows is a proposal, whatever its gate says."""
    if not synthetic:
        return judged
    return replace(judged, status=PROPOSED, reasons=(*judged.reasons, "trained on synthetic rows"))


def _export(made: Made, stem: str) -> tuple[bytes, Exported]:
    onnx = build_onnx(made.head, made.recipe.name, _metadata(made))
    offenders = check_operators(onnx)
    if offenders:
        raise TrainingError("exporting", found=f"operators {', '.join(offenders)}", expected="the runtime's list")
    rows = made.table.features[made.plan.final]
    parity = check_parity(onnx, made.head, rows)
    return onnx, Exported(f"{stem}.onnx", hashlib.sha256(onnx).hexdigest(), parity, min(len(rows), PARITY_ROWS))


def _metadata(made: Made) -> dict[str, str]:
    """What the file says of itself, wherever it is found."""
    facts = made.chosen.facts
    return {
        "id": made.recipe.name,
        "kind": made.recipe.kind,
        "status": made.verdict.status,
        "licence": "; ".join(f"{name}: {fact.licence}" for name, fact in facts.items()) or "synthetic rows",
        "citations": "\n".join(fact.citation for fact in facts.values()),
        "feature_schema": made.table.schema.name,
        "feature_order": json.dumps(made.table.schema.columns),
        "encoder_vocab": json.dumps(ENCODER_VOCAB),
        "encoder_vocab_version": str(ENCODER_VOCAB_VERSION),
        "smoke": json.dumps(made.settings.smoke),
        "synthetic": json.dumps(made.table.synthetic),
    }
