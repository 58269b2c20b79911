"""From labelled tables to everything a head leaves behind, in memory. Nothing is written to disk here."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqa_assets.clips.work import ProgressLine, clock
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.errors import TrainingError
from vqa_assets.heads.advice import advice_on
from vqa_assets.heads.choosing import Say, chosen_rows
from vqa_assets.heads.corpus_scales import numbered
from vqa_assets.heads.evaluation import (
    PROPOSED,
    WITH_INTERVAL,
    Predictions,
    Verdict,
    evaluate,
    judge,
    predicted,
    protocol_parts,
    run_protocol,
    unmeasured,
    verdict,
)
from vqa_assets.heads.export import PARITY_ROWS, build_onnx, check_operators, check_parity
from vqa_assets.heads.helped import HelpReport, line_of, report_of, what_is_left
from vqa_assets.heads.helpers import Helper, HelpSources, read_helper
from vqa_assets.heads.label_noise import (
    ALWAYS,
    NEVER,
    UNWEIGHTED,
    WEIGHTED,
    NoiseWeights,
    Weighing,
    ceilings,
    decided,
    label_noise_of,
    noise_weights,
    nothing_to_weigh,
)
from vqa_assets.heads.manifest import Exported, MadeHead, build_manifest
from vqa_assets.heads.method import EPOCHS, RIDGE_MEMBERS, HeadRows, TrainedHeads, Trainer, TrainingRows
from vqa_assets.heads.recipe import ENCODER_VOCAB_VERSION, SMOKE_GATE, CorpusFacts, Gate, HeadRecipe, Target
from vqa_assets.heads.regression import HeldOut, held_out
from vqa_assets.heads.rows import TableFiles, TrainingTable, refilled
from vqa_assets.heads.scale_choice import LEARNED, UNION, ScaleChoice, compared
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.splitting import Part, SplitPlan, corpora_out, folds_of, plan_sources, plan_splits
from vqa_assets.heads.table_checks import check_training_rows
from vqa_assets.heads.weights import F32, Assistance, HeadWeights, OnnxHelper, on_training_range
from vqa_assets.metrics import Scores


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
    table, chosen = chosen_rows(recipe, tables, corpora_facts, settings, say)
    helper = None
    if help_from and not table.synthetic:
        helper = read_helper(help_from, table, chosen, settings, corpora_facts, say)
    when_read()
    for corpus, counts in table.counts.items():
        say(f"{corpus}: {counts.used} of {counts.rows_in} rows")
    least = recipe.least_sources
    plan = plan_sources(table, least, settings.seed) if least else plan_splits(table, settings)
    for warning in plan.warnings:
        say(f"warning: {warning}")
    table = refilled(table, plan.final)
    check_training_rows(table)  # as they are trained on: what was not known is filled now
    without = corpora_out(table) if recipe.every_corpus else {}
    parts = _own_parts(plan)
    repeated = protocol_parts(table, plan, settings)
    alike = settings.but(batch_size=settings.batch_rows(len(plan.final)))  # what is judged learns as what ships
    weighing, tried = _weighing(table, plan, alike, trainer, say)
    weights = (
        {p.name: noise_weights(table, p.train, settings.seed) for p in (*parts, *without.values(), *repeated)}
        if weighing.weighted
        else {}
    )
    scales, heads, device = _scales(table, plan, without, alike, trainer, say, weights, tried)
    others = [part for part in (*parts, *without.values(), *repeated) if part.name not in heads]
    own_weights = [weights.get(part.name) for part in others]
    learn = scales is not None and scales.learns
    # Of a given split without a protocol all may be there already: its part is the head that ships.
    if others:
        trained = train_parts(table, others, alike, trainer, say, own_weights, learn_scales=learn)
        heads |= {part.name: head for part, head in zip(others, trained.heads, strict=True)}
        device = trained.device
    help_report = None
    if helper is not None:
        known = _Trained(heads, weights)
        heads, help_report = _with_help(table, plan, repeated, known, helper, settings, trainer, say)
    own = [heads[part.name] for part in parts]
    protocol = run_protocol(table, repeated, [heads[part.name] for part in repeated], settings.seed, say)
    evaluation = replace(evaluate(table, plan, own, settings), protocol=protocol)
    gate = SMOKE_GATE if settings.smoke else recipe.gate
    judged = _never_production(_verdict(gate, plan, evaluation.folds, recipe, table), table.synthetic)
    say(f"{recipe.name}: {judged.status}" + "".join(f"; {reason}" for reason in judged.reasons))
    corpora = {name: judge(table, part.test, heads[part.name], settings.seed) for name, part in without.items()}
    ran = (plan, own[-1], device, evaluation, judged, corpora)
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
    )
    stem = made.id + (".smoke" if settings.smoke else ".synthetic" if table.synthetic else "")
    onnx, exported = _export(made, stem) if settings.export else (None, None)
    held = held_out(table, plan, own[-1], settings)
    return BuiltHead(stem, onnx, build_manifest(made, exported), evaluation.predictions, held)


def _own_parts(plan: SplitPlan) -> tuple[Part, ...]:
    """What is trained of a plan: one head per part, then the shipped one, which a given split's part is already."""
    shipped = () if plan.kind == "split" else (Part("shipped", plan.final, plan.holdout),)
    return (*plan.parts, *shipped)


def _weighing(
    table: TrainingTable, plan: SplitPlan, settings: TrainingSettings, trainer: Trainer, say: Say
) -> tuple[Weighing, dict[str, HeadWeights]]:
    """Whether clips count by the errors of their scores, and the heads of ``plan.parts`` where that was tried on them.

    It is tried where it may make a difference, on the folds. Test rows of a given split are for judging alone: there
    the contents of the train rows are folded to decide.
    """
    if settings.label_noise == NEVER:
        return Weighing(False, "label_noise: never", {}), {}
    weights = noise_weights(table, plan.final, settings.seed)
    reason = nothing_to_weigh(table, plan.final, weights)
    if settings.label_noise == ALWAYS and not table.synthetic:
        if weights is None:
            raise TrainingError(
                "label_noise: always",
                found=reason,
                expected="mos_std_dev and mos_n_ratings in the labelled tables",
                next_step="label the features with them, or set label_noise: auto",
            )
        return Weighing(True, "label_noise: always", {}), {}
    if reason:
        return Weighing(False, reason, {}), {}
    folds = folds_of(table, plan.final, settings) if plan.kind == "split" else plan.parts
    if not folds:
        return Weighing(False, "too few contents to decide by", {}), {}
    ways: dict[str, list[NoiseWeights | None]] = {
        UNWEIGHTED: [None] * len(folds),
        WEIGHTED: [noise_weights(table, part.train, settings.seed) for part in folds],
    }
    both = [weights for way in ways.values() for weights in way]
    heads = train_parts(table, [*folds, *folds], settings, trainer, say, both).heads
    of_ways = dict(zip(ways, (heads[: len(folds)], heads[len(folds) :]), strict=True))
    weighing = decided({way: _means_over(table, folds, own) for way, own in of_ways.items()})
    said = ", ".join(f"{way} {of['srocc']:.4f}" for way, of in weighing.means.items())
    say(f"label noise: mean SROCC {said}: weights are {weighing.reason}")
    chosen = of_ways[WEIGHTED if weighing.weighted else UNWEIGHTED]
    kept = {} if plan.kind == "split" else {part.name: head for part, head in zip(folds, chosen, strict=True)}
    return weighing, kept


def _means_over(table: TrainingTable, folds: Sequence[Part], heads: Sequence[HeadWeights]) -> dict[str, float]:
    """The mean over folds of each metric that is said with an interval; NaN as soon as one fold's is."""
    each = [predicted(table, part.test, head) for part, head in zip(folds, heads, strict=True)]
    return {
        name: float(np.mean([metric(one.mos, one.predicted) for one in each])) for name, metric in WITH_INTERVAL.items()
    }


def _scales(
    table: TrainingTable,
    plan: SplitPlan,
    without: Mapping[str, Part],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
    weights: Mapping[str, NoiseWeights | None],
    plain: Mapping[str, HeadWeights],
) -> tuple[ScaleChoice | None, dict[str, HeadWeights], str]:
    """Whether a head of several corpora learns their scales, the heads of parts that are trained already, as it ships,
    and the device; None where all scores are of one corpus, or the head is not over all corpora.

    ``weights`` of rows by name of their part; ``plain`` are heads of parts that take all scores as they stand.
    """
    if not without or not plan.parts:
        return None, dict(plain), ""
    tried = (*plan.parts, *without.values())
    heads: dict[str, dict[str, HeadWeights]] = {UNION: dict(plain), LEARNED: {}}
    device = ""
    for way, known in heads.items():
        rest = [part for part in tried if part.name not in known]
        own_weights = [weights.get(part.name) for part in rest]
        trained = train_parts(table, rest, settings, trainer, say, own_weights, learn_scales=way == LEARNED)
        device = trained.device
        known |= {part.name: head for part, head in zip(rest, trained.heads, strict=True)}
    choice = compared(table, plan.parts, without, {way: [of[part.name] for part in tried] for way, of in heads.items()})
    ships = LEARNED if choice.learns else UNION
    said = ", ".join(f"{way} {mean:.4f}" for way, mean in choice.means.items())
    say(f"scales of {len(choice.corpora)} corpora: mean SROCC within them {said}; {ships} ships")
    return choice, heads[ships], device


@dataclass(frozen=True)
class _Trained:
    """Heads by the names of their parts, and how much the rows of a part count by the errors of their scores."""

    heads: Mapping[str, HeadWeights]
    weights: Mapping[str, NoiseWeights | None]


def _with_help(
    table: TrainingTable,
    plan: SplitPlan,
    repeated: Sequence[Part],
    known: _Trained,
    helper: Helper,
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
) -> tuple[dict[str, HeadWeights], HelpReport]:
    """Heads by the names of their parts, with help where it is worth it, and what it was worth.

    The helper is trained once: rows of contents that this corpus has too were left out whole. Each part decides by its
    own training rows whether and how it is helped.
    """
    from vqa_assets.heads.model import helper_scores, one_thread

    by: HeadWeights | OnnxHelper
    if isinstance(helper.source, OnnxHelper):
        by = helper.source
    else:
        part = Part("helper", helper.source.rows, np.empty(0, dtype=np.int64))
        (by,) = train_parts(helper.source.table, [part], settings, trainer, say).heads
    scores = helper_scores(by, table.features, table.onehot)
    parts = (*_own_parts(plan), *repeated)
    count = {part.name: _both_weights(part, known.weights.get(part.name), None) for part in parts}
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        lines = list(pool.map(lambda p: line_of(table, p.train, scores, count[p.name], settings.seed), parts))
    worth = [(part, line) for part, line in zip(parts, lines, strict=True) if not line.reason]
    rest = [Part(f"{part.name}-rest", part.train, part.test) for part, _ in worth]
    left = [what_is_left(table, part.train, line.of(scores)) for part, line in worth]
    alike = settings.but(batch_size=settings.batch_rows(len(plan.final)))
    own_weights = [known.weights.get(part.name) for part, _ in worth]
    trained = train_parts(table, rest, alike, trainer, say, own_weights, left=left).heads if rest else ()
    helped = {
        part.name: replace(known.heads[part.name], help=Assistance(by, line.slope, line.intercept, head))
        for (part, line), head in zip(worth, trained, strict=True)
    }
    heads = {**known.heads, **helped}
    lines_of = {part.name: line for part, line in zip(parts, lines, strict=True)}
    report = report_of(table, helper, lines_of, heads, _own_parts(plan)[-1], plan.parts, repeated, settings.seed)
    say(f"help_from: SROCC of all folds together {report.difference:+.3f} with help")
    if not report.used:
        say(f"help_from: no weight in the shipped head: {report.line.reason}")
    return heads, report


def train_parts(
    table: TrainingTable,
    parts: Sequence[Part],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
    weights: Sequence[NoiseWeights | None] = (),
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
    heads = [HeadRows(part.name, part.train, mos, _both_weights(part, own, of_corpora)) for part, mos, own in each]

    def progress(done: int, _total: int, _rmse: float, what: str = EPOCHS) -> None:
        lines[what].update(done)

    trained = trainer.train(rows, heads, settings, progress)
    say(f"trained {len(parts)} heads in {clock(time.monotonic() - begun)}")
    targets = [target for _, target in left] or [table.target] * len(parts)
    return replace(trained, heads=tuple(map(_of_target, trained.heads, targets)))


def _of_target(head: HeadWeights, target: Target) -> HeadWeights:
    return replace(head, target=target)


def _weights(table: TrainingTable, settings: TrainingSettings) -> F32 | None:
    weights = np.array([settings.corpus_weights.get(corpus, 1.0) for corpus in table.corpora], dtype=np.float32)
    return weights if np.ptp(weights) > 0 else None


def _both_weights(part: Part, own: NoiseWeights | None, of_corpora: F32 | None) -> F32 | None:
    """The weights of a part's rows by their errors and by their corpora; None where errors have none."""
    if own is None:
        return None
    weights: F32 = own.of_rows if of_corpora is None else own.of_rows * of_corpora[part.train]
    return weights


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
    parity = check_parity(onnx, made.head, made.table.features[rows], made.table.onehot[rows])
    return onnx, Exported(f"{stem}.onnx", hashlib.sha256(onnx).hexdigest(), parity, min(len(rows), PARITY_ROWS))


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
        "feature_order": json.dumps(made.table.schema.columns),
        "encoder_vocab": json.dumps(made.table.encoder_vocab),
        "encoder_vocab_version": str(ENCODER_VOCAB_VERSION),
        "smoke": json.dumps(made.settings.smoke),
        "synthetic": json.dumps(made.table.synthetic),
    }
