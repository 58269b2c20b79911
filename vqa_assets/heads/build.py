"""From labelled tables to everything a head leaves behind, in memory. Nothing is written to disk here."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqa_assets.corpora.contents import ENOUGH_CONTENTS
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.errors import TrainingError
from vqa_assets.heads.help.advice import advice_on
from vqa_assets.heads.help.assistance import PlainHeads, with_help
from vqa_assets.heads.help.sources import HelpSources, read_helper
from vqa_assets.heads.judging.evaluation import (
    PROPOSED,
    Predictions,
    Verdict,
    evaluate,
    judge,
    protocol_parts,
    run_protocol,
    unmeasured,
    verdict,
)
from vqa_assets.heads.judging.label_errors import ceilings
from vqa_assets.heads.judging.regression import HeldOut, held_out
from vqa_assets.heads.label_noise import label_noise_of, noise_weights, tried_weighing
from vqa_assets.heads.manifest import Exported, MadeHead, build_manifest
from vqa_assets.heads.members.export import PARITY_ROWS, build_onnx, check_operators, check_parity
from vqa_assets.heads.members.method import Trainer
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.recipe import ENCODER_VOCAB_VERSION, SMOKE_GATE, CorpusFacts, Gate, HeadRecipe
from vqa_assets.heads.rows.choosing import Say, chosen_rows
from vqa_assets.heads.rows.near_copies import NearCopies, near_copies
from vqa_assets.heads.rows.reading import TableFiles, TrainingTable, refilled
from vqa_assets.heads.rows.splitting import SplitPlan, corpora_out, deciding_folds, own_parts, plan_sources, plan_splits
from vqa_assets.heads.scale_choice import chosen_scales
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.table_checks import check_training_rows
from vqa_assets.metrics import Scores

_BACKWARDS = -0.3
"""The SROCC below which a head of other corpora does not merely tell nothing: one of the scores is turned round."""


@dataclass(frozen=True)
class BuiltHead:
    """What one build leaves: ``onnx`` is None without export; ``manifest`` lacks only ``run_provenance``.

    ``file_stem`` is the head's id, with ``.smoke`` or ``.synthetic`` where no real row was read. ``predictions`` are
    out of fold, ``held_out`` those of the shipped head.
    """

    file_stem: str
    onnx: bytes | None
    manifest: dict[str, Any]
    predictions: Predictions
    held_out: HeldOut


def build_head(
    recipe: HeadRecipe,
    tables: Mapping[str, TableFiles],
    corpora_facts: Mapping[str, CorpusFacts],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
    *,
    help_from: HelpSources | None = None,
    when_read: Callable[[], None] = lambda: None,
) -> BuiltHead:
    """Trains, judges and exports a head.

    ``tables`` {corpus: labelled tables} holds those present; the recipe's corpora without one are listed as
    absent. The shipped head is trained on all rows but the hold-out, so that the hold-out's numbers are its own.
    ``help_from`` is who helps it, or who is advised where labels are few and nobody does.
    ``when_read`` is called between the reading of the tables and the first training, and may raise.
    TrainingError on tables that a head must not be trained on, and where none is there.
    """
    helpers = help_from.tables if help_from is not None else ()
    table, chosen = chosen_rows(recipe, tables, corpora_facts, settings, say, helpers)
    helper = None
    if help_from and not table.synthetic:
        helper = read_helper(help_from, table, chosen, settings, corpora_facts, say)
    when_read()
    near = _told_of_rows(table, settings.seed, say)
    least = recipe.least_sources
    plan = plan_sources(table, least, settings.seed) if least else plan_splits(table, settings)
    for warning in plan.warnings:
        say(f"warning: {warning}")
    table = refilled(table, plan.final)
    if table.constant:
        say(f"warning: of one value in all rows, and kept: {', '.join(table.constant)}")
    check_training_rows(table)  # as they are trained on: what was not known is filled now
    without = corpora_out(table) if recipe.every_corpus else {}
    parts = own_parts(plan)
    repeated = protocol_parts(table, plan, settings)
    alike = settings.but(batch_size=settings.batch_rows(len(plan.final)))  # what is judged learns as what ships
    weighing, tried = tried_weighing(table, plan, alike, trainer, say)
    deciding = deciding_folds(table, plan, settings) if without else ()
    all_parts = {part.name: part for part in (*parts, *without.values(), *repeated, *deciding)}
    weights = {n: noise_weights(table, p.train, settings.seed) for n, p in all_parts.items() if weighing.weighted}
    scales, heads = chosen_scales(table, deciding, without, alike, trainer, say, weights, tried)
    others = [part for part in (*parts, *without.values(), *repeated) if part.name not in heads]
    own_weights = [weights.get(part.name) for part in others]
    learn = scales is not None and scales.learns
    trained = train_parts(table, others, alike, trainer, say, own_weights, learn_scales=learn)
    heads |= {part.name: head for part, head in zip(others, trained.heads, strict=True)}
    help_report = None
    if helper is not None:
        plain = PlainHeads(heads, weights)
        heads, help_report = with_help(table, plan, repeated, plain, helper, settings, trainer, say)
    own = [heads[part.name] for part in parts]
    protocol = run_protocol(table, repeated, [heads[part.name] for part in repeated], settings.seed, say)
    evaluation = replace(evaluate(table, plan, own, settings), protocol=protocol)
    gate = SMOKE_GATE if settings.smoke else recipe.gate
    judged = _never_production(_verdict(gate, plan, evaluation.folds, recipe, table), table.synthetic)
    say(f"{recipe.name}: {judged.status}" + "".join(f"; {reason}" for reason in judged.reasons))
    corpora = {name: judge(table, part.test, heads[part.name], settings.seed) for name, part in without.items()}
    for name, of_others in corpora.items():
        if of_others.scores.srocc < _BACKWARDS and of_others.groups >= ENOUGH_CONTENTS:
            say(
                f"warning: {name}: a head of the other corpora ranks its clips backwards (SROCC "
                f"{of_others.scores.srocc:.2f}): do the scores of {' or '.join(corpora)} fall as quality rises?"
            )
    ran = (plan, own[-1], trained.device, evaluation, judged, corpora)
    advice = advice_on(len(table.mos), help_from.able) if help_from is not None and not table.synthetic else ""
    noise = label_noise_of(table, weighing, weights.get(parts[-1].name), ceilings(table, plan, repeated, settings.seed))
    made = MadeHead(
        recipe,
        settings,
        gate,
        chosen,
        table,
        *ran,
        label_noise=noise,
        scales=scales,
        fold_heads=own[: len(plan.parts)],
        help=help_report,
        advice=advice,
        near_copies=near,
    )
    stem = made.id + (".smoke" if settings.smoke else ".synthetic" if table.synthetic else "")
    onnx, exported = _export(made, stem) if settings.export else (None, None)
    held = held_out(table, plan, own[-1], settings)
    return BuiltHead(stem, onnx, build_manifest(made, exported), evaluation.predictions, held)


def _told_of_rows(table: TrainingTable, seed: int, say: Say) -> NearCopies | None:
    """Says which rows were read and what is odd about them; returns those that seem to be copies."""
    for corpus, counts in table.counts.items():
        say(f"{corpus}: {counts.told(table.missing.get(corpus, {}))}")
    for corpus, score in _of_one_score(table).items():
        say(f"warning: {corpus}: all its labels are {score:g}, and pull the head there: exclude_corpora leaves it out")
    near = None if table.synthetic else near_copies(table, seed)
    if near is not None:
        say(f"warning: {near.warning}")
    return near


def _of_one_score(table: TrainingTable) -> dict[str, float]:
    """The corpora whose clips all have one score: a placeholder, mostly, once there are several clips."""
    corpora, found = np.asarray(table.corpora), {}
    for corpus in dict.fromkeys(table.corpora):
        own = table.mos[corpora == corpus]
        if len(own) > 1 and np.ptp(own) == 0:
            found[corpus] = float(own[0])
    return found


def _verdict(gate: Gate, plan: SplitPlan, folds: Sequence[Scores], recipe: HeadRecipe, table: TrainingTable) -> Verdict:
    """The gate's, that what it read is no measure, or that there is nothing to read it from."""
    judged = verdict(gate, folds)
    if plan.not_measured:
        return unmeasured(judged, plan.not_measured)
    # Numbers that are read, and flatter: of new content they say nothing.
    leaking = f"{plan.leaking_groups} contents stand on both sides of the given split" if plan.leaking_groups else ""
    if flattering := [reason for reason in (leaking, table.copies and table.copies.reason) if reason]:
        return replace(judged, passed=False, status=PROPOSED, reasons=(*flattering, *judged.reasons))
    if plan.kind != "insufficient-sources":
        return judged
    sources = f"{plan.sources} source{'' if plan.sources == 1 else 's'}"
    enough = plan.sources >= (recipe.least_sources or 0)
    lacking = (
        f"{sources} of too few rows or one encode each: two folds need three rows and two different encodes each"
        if enough
        else f"{sources}, at least {recipe.least_sources} are needed to leave one out"
    )
    return replace(judged, reasons=(f"insufficient-sources: {lacking}",))


def _never_production(judged: Verdict, synthetic: bool) -> Verdict:
    """What was trained on synthetic rows is a proposal, whatever its gate says."""
    if not synthetic:
        return judged
    return replace(judged, status=PROPOSED, reasons=(*judged.reasons, "trained on synthetic rows"))


def _export(made: MadeHead, stem: str) -> tuple[bytes, Exported]:
    onnx = build_onnx(made.head, made.id, _metadata(made))
    offenders = check_operators(onnx)
    if offenders:
        raise TrainingError("exporting", found=f"operators {', '.join(offenders)}", expected="the runtime's list")
    rows = made.plan.final
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), PARITY_ROWS), dtype=np.int64)]
    parity = check_parity(onnx, made.head, made.table.features[rows], made.table.onehot[rows])
    return onnx, Exported(f"{stem}.onnx", hashlib.sha256(onnx).hexdigest(), parity, len(rows))


def _metadata(made: MadeHead) -> dict[str, str]:
    """What the file says of itself, wherever it is found."""
    facts = made.licensed
    return {
        "id": made.id,
        "kind": made.recipe.kind,
        "target": made.target,
        "status": made.verdict.status,
        "licence": "; ".join(f"{name}: {fact.licence}" for name, fact in facts.items()) or "synthetic rows",
        "citations": "\n".join(fact.citation for fact in facts.values()),
        "redistribution": REDISTRIBUTION[strictest(f.redistribution for f in facts.values())] if facts else "nothing",
        "feature_schema": made.table.schema.name,
        "feature_order": json.dumps(made.table.schema.feature_order),
        "encoder_vocab": json.dumps(made.table.encoder_vocab),
        "encoder_vocab_version": str(ENCODER_VOCAB_VERSION),
        "smoke": json.dumps(made.settings.smoke),
        "synthetic": json.dumps(made.table.synthetic),
    }
