"""The heads: ``mos_head`` per corpus, one asset per recipe, their checks, and ``cross_corpus_evaluation``.

What a recipe is, how a head is trained and judged, and what its manifest says is in ``vqa_assets.heads``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import heat_map_png, picture, records, shortened
from vqa_assets.assets.published import Latest, PublishedFile, schema_result
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, log_of, run_context
from vqa_assets.corpora.corpus import is_further_score
from vqa_assets.errors import SchemaError, TrainingError
from vqa_assets.heads.recipe import HEAD_RECIPES, MOS_TARGET, HeadRecipe, corpus_head_recipe
from vqa_assets.heads.settings import CrossCorpusSettings, TrainingSettings
from vqa_assets.provenance import file_record
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.trainer import TrainerResource
from vqa_assets.stages.heads import HEADS_VERSION, evaluate_between, named_recipes, train

SYNTHETIC_TAG = "vqa_assets/synthetic"
"""On a materialization that no real row went into (smoke, synthetic fallback)."""
EXPERIMENT_TAG = "vqa_assets/experiment"
"""On a materialization that left the head that is there for another reason: its name, or that nothing was exported.

A tag's value may be 63 letters, digits, ``_``, ``-`` or ``.``."""
ACROSS = PublishedFile("cross_corpus_evaluation", lambda root, _: root.models() / "cross_corpus_evaluation.json")
_AGAIN = "train the head again"
_FOLD_COLUMNS = ("name", "rows", "groups", "srocc", "plcc", "rmse")
_MEANS = ("srocc", "krocc", "plcc", "rmse")
"""What is shown of a fold, and of the mean over folds; all of it stands in the manifest."""
RIVALS = {
    "ridge": "a ridge regression",
    "svr": "a support vector regression",
    "kernel_ridge": "a kernel ridge regression",
    "constant": "a constant",
}
"""What a head has to beat, in words."""


def published_head(asset: str, partitions: dg.PartitionsDefinition[str] | None) -> PublishedFile:
    """The ONNX file of a head; its manifest stands beside it under the head's name.

    A smoke run and an experiment put both elsewhere: a check that runs alone later judges the head that is there.
    """

    def name(partition: str) -> str:
        return corpus_head_recipe(partition).name if partition else asset

    return PublishedFile(
        asset=asset,
        place=lambda root, partition: root.models() / f"{name(partition)}.onnx",
        manifest_place=lambda root, partition: root.models() / f"{name(partition)}.json",
        partitions=partitions,
        judged_in_its_run=True,
    )


def make_head_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """``mos_head`` over all corpora of the catalog, and one asset per recipe."""
    return [_make_corpus_head(catalog), *(_make_head(recipe, catalog) for recipe in named_recipes(catalog.corpora))]


def _make_corpus_head(catalog: Catalog) -> dg.AssetsDefinition:
    published = published_head("mos_head", catalog.partitions)

    @dg.asset(
        deps=[catalog.same("mos_features")],
        partitions_def=catalog.partitions,
        group_name="heads",
        kinds={"onnx", "pytorch"},
        code_version=HEADS_VERSION,
        pool="gpu",
        config_schema=form(TrainingSettings),
        description="One ONNX head per corpus: pooled features in, mean opinion score on 1–5 out, judged by its gate.",
    )
    def mos_head(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
        trainer: dg.ResourceParam[TrainerResource],
    ) -> dg.MaterializeResult[Any]:
        recipe = corpus_head_recipe(context.partition_key)
        return _train(context, recipe, published, catalog=catalog, data_root=data_root, trainer=trainer)

    return mos_head


def _make_head(recipe: HeadRecipe, catalog: Catalog) -> dg.AssetsDefinition:
    published = published_head(recipe.name, None)
    if recipe.target != MOS_TARGET:
        upstream = dg.AssetDep("fr_training_corpus")
    elif recipe.every_corpus:
        upstream = dg.AssetDep("unified_features")
    else:
        upstream = catalog.some("mos_features", recipe.corpora)

    @dg.asset(
        name=recipe.name,
        deps=[upstream],
        group_name="heads",
        kinds={"onnx", "pytorch"},
        code_version=HEADS_VERSION,
        pool="gpu",
        config_schema=form(TrainingSettings),
        description=f"{recipe.title}: {recipe.intended_use}. Trained on those of {', '.join(recipe.corpora)} that are "
        f"present, cross-validated by {'source' if recipe.least_sources else 'content'}, judged by its gate.",
    )
    def head(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
        trainer: dg.ResourceParam[TrainerResource],
    ) -> dg.MaterializeResult[Any]:
        return _train(context, recipe, published, catalog=catalog, data_root=data_root, trainer=trainer)

    return head


def _train(
    context: dg.AssetExecutionContext,
    recipe: HeadRecipe,
    published: PublishedFile,
    *,
    catalog: Catalog,
    data_root: DataRootResource,
    trainer: TrainerResource,
) -> dg.MaterializeResult[Any]:
    with dagster_failures():
        root = data_root.root()
        settings = stated(TrainingSettings, context, root)
        run = run_context(context, root, __file__)
        head = train(recipe, settings, catalog.corpora, lambda: trainer.of_run(context), log_of(context), run)
    result = published.result(
        root,
        path=head.onnx or head.manifest_path,
        manifest=head.manifest,
        manifest_file=head.manifest_path,
        data_version=head.data_version,
        metadata={
            **_metadata(head.manifest),
            "predictions": root.shown(head.predictions),
            "card": dg.MetadataValue.md(_without_picture(head.card_text)),
            "scatter": picture(head.picture_png, "predicted against MOS, residuals by corpus"),
        },
    )
    synthetic = head.manifest["smoke"] or head.manifest["synthetic"]
    beside = settings.name or ("" if settings.export else "unexported")
    tags = {SYNTHETIC_TAG: "true"} if synthetic else {EXPERIMENT_TAG: beside} if beside else {}
    return result._replace(tags=tags)


def _metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    from vqa_assets.heads.verdicts import verdict_in_a_line

    mean = manifest["folds"]["mean"]
    means = {f"mean_{name}": mean[name] for name in _MEANS if mean.get(name) is not None}
    corpora = [
        {"corpus": name, **{k: facts[k] for k in ("rows", "licence", "redistribution", "citation")}}
        for name, facts in manifest["corpora"].items()
    ]
    # The field's protocol as a table: medians over its splits; a run may leave the protocol out.
    protocol = manifest["protocol"]
    medians = [{"predictor": name, **median} for name, median in protocol["median"].items()] if protocol else []
    interval, ends = manifest["interval"], manifest["no_interval"]
    if interval is not None:
        held = interval["coverage"]["holdout"]
        ends = f"{interval['level']:.0%} by the residuals of {interval['groups']} contents"
        ends += f"; holds {held['share']:.1%} of {held['rows']} rows held out" if held else ""
    noise = manifest["label_noise"]
    above = {place: noise["ceiling"][place] or {} for place in ("folds", "protocol")}
    ceilings = {place: {name: of.get(name, "not known") for name in ("srocc", "plcc")} for place, of in above.items()}
    if medians:
        medians.append({"predictor": "ceiling of the labels", **ceilings["protocol"]})
    reasons = [{"reason": reason} for reason in manifest["gate"]["reasons"]]
    folds = [{name: fold[name] for name in _FOLD_COLUMNS} for fold in manifest["folds"]["each"]]
    return {
        "verdict": verdict_in_a_line(manifest),
        "status": manifest["status"],
        **({"gate_reasons": records(reasons)} if reasons else {}),
        "interval": ends,
        **means,
        **{f"{name}_ceiling": shortened(value) for name, value in ceilings["folds"].items()},
        "label_noise": f"{'weighted' if noise['weighted'] else 'not weighted'}: {noise['reason']}",
        **({"folds": records(folds)} if folds else {}),
        **({"protocol": records(medians), "baselines": records(_beside_baselines(protocol))} if medians else {}),
        **({"trained_on": records(corpora)} if corpora else {}),
        "absent_corpora": list(manifest["absent"]),
        "redistribution": manifest["redistribution"]["consequence"] if manifest["redistribution"] else "synthetic rows",
        "n_parameters": manifest["n_parameters"],
        **_scales_metadata(manifest.get("corpus_scales")),
        **_help_metadata(manifest),
    }


def _scales_metadata(scales: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a head of several corpora: whose scale its scores are on, and what decided whether scales are learned."""
    if scales is None:
        return {}
    within = scales["srocc_within_corpora"]
    each = [{"scales": way, "mean": of["mean"], **of["each"]} for way, of in within.items()]
    learned = scales["ships"] == "learned"
    referred = scales.get("on_reference", {}).get("pooled")
    return {
        **({f"{name}_on_scale": shortened(referred[name]) for name in ("plcc", "rmse")} if referred else {}),
        "scale": f"that of {scales['reference']}" if learned else "1–5 as scores stand",
        "srocc_within": records(each),
    }


def _beside_baselines(protocol: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The SROCC of the head minus that of each baseline, and its interval."""
    return [
        {
            "baseline": name,
            "srocc_of_head_minus_its_own": one["srocc"],
            "low": one["interval"][0],
            "high": one["interval"][1],
        }
        for name, one in protocol["head_minus"].items()
    ]


def _help_metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What others added to a head in numbers, or that they could."""
    if (help_ := manifest["help"]) is None:
        return {"advice": manifest["advice"]} if manifest["advice"] else {}
    apart = help_["same_splits"]["srocc_difference"]
    return {
        "help_from": list(help_["from"]),
        "help": help_["reason"] or "in the head",
        **({} if apart is None else {"srocc_by_help": shortened(apart)}),
    }


def _without_picture(card: str) -> str:
    """The card without the link to the file beside it: the web UI shows that as metadata of its own."""
    return "".join(line for line in card.splitlines(keepends=True) if not line.startswith("!["))


def make_head_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Gate, baselines, columns, the head before (WARN); tables, operators and parity (blocking); per head."""
    heads = [published_head("mos_head", catalog.partitions), *(published_head(name, None) for name in HEAD_RECIPES)]
    return [check for head in heads for check in _checks_of(head)]


def _checks_of(head: PublishedFile) -> list[dg.AssetChecksDefinition]:
    @head.check("The head passes its gate and is Production; a miss is an honest Proposed.", name=f"{head.asset}_gate")
    def gate(latest: Latest) -> dg.AssetCheckResult:
        verdict = latest.manifest["gate"]
        reasons = "; ".join(verdict["reasons"]) or "every threshold is met"
        if verdict["not_asked"]:
            reasons += f"; of a given split not measured, not asked for: {', '.join(verdict['not_asked'])}"
        target = verdict.get("target", "")  # a head of an earlier edition says none
        on = f" on {target}" if is_further_score(target) else ""
        return dg.AssetCheckResult(passed=verdict["passed"], description=f"{latest.manifest['status']}{on}: {reasons}")

    @head.check("Every column the head reads was known in all rows, and varies.", name=f"{head.asset}_columns")
    def columns(latest: Latest) -> dg.AssetCheckResult:
        return columns_result(latest.manifest)

    @head.check(
        "The ONNX file is its manifest's, has only allowed operators, and onnxruntime reproduces torch "
        "within 1e-5 of 1–5.",
        name=f"{head.asset}_runs_anywhere",
        blocking=True,
    )
    def runs_anywhere(latest: Latest) -> dg.AssetCheckResult:
        manifest = latest.manifest
        if manifest["onnx"] is None:
            return dg.AssetCheckResult(passed=True, description="nothing was exported")
        return _runs_anywhere(latest.manifest_path.with_name(manifest["onnx"]), manifest)

    @head.check(
        "Manifest and out-of-fold predictions keep their column specs and are of one training, whose rows were "
        "checked before it.",
        name=f"{head.asset}_schema",
        blocking=True,
    )
    def schema(latest: Latest) -> dg.AssetCheckResult:
        return _tables_result(latest)

    @head.check(
        "On clips that neither has learned from, the head is not worse than the one that was published before it.",
        name=f"{head.asset}_regression",
    )
    def regression(latest: Latest) -> dg.AssetCheckResult:
        return regression_result(latest.manifest.get("regression"))

    return [gate, *(_beats(head, rival) for rival in RIVALS), columns, runs_anywhere, schema, regression]


def _beats(head: PublishedFile, rival: str) -> dg.AssetChecksDefinition:
    @head.check(
        f"Over the splits of the field's protocol, the SROCC of the head is above that of {RIVALS[rival]} on the same "
        "columns: the whole 95 % interval of the difference, by resampled contents, lies above zero.",
        name=f"{head.asset}_beats_{rival}",
    )
    def beats(latest: Latest) -> dg.AssetCheckResult:
        return beats_result(latest.manifest, rival)

    return beats


def beats_result(manifest: Mapping[str, Any], rival: str) -> dg.AssetCheckResult:
    """Passes where the head is better than a baseline beyond the interval; what was not measured has not passed."""
    protocol = manifest["protocol"]
    if protocol is None:
        return _unmeasured("the field's protocol was not run (protocol_splits: 0, smoke, or nothing to judge by)")
    if rival not in protocol["head_minus"]:
        return _unmeasured("made by an older version, which did not compare them")
    apart = protocol["head_minus"][rival]
    low, high = apart["interval"]
    interval = [shortened(low), shortened(high)]
    metadata = {"difference": shortened(apart["srocc"]), "interval_95": interval, "splits": protocol["splits"]}
    if apart["srocc"] is None:
        return _unmeasured("in one split or more the head tells no clips apart, or the scores are equal", metadata)
    counted = ", whose own counts as 0," if rival == "constant" else ""
    compared = f"SROCC of the head minus that of {RIVALS[rival]}{counted} over {protocol['splits']} splits"
    said = f"{compared}: {apart['srocc']:.3f}"
    if low is None:
        return _unmeasured(f"{said}; too few contents for an interval", metadata)
    where = "above" if low > 0 else "below" if high < 0 else "on both sides of"
    return dg.AssetCheckResult(
        passed=low > 0,
        description=f"{said}, 95 % {low:.3f} to {high:.3f}, {where} zero",
        metadata=metadata,
    )


def _unmeasured(why: str, metadata: Mapping[str, Any] | None = None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description=f"not measured: {why}", metadata=metadata)


def _tables_result(latest: Latest) -> dg.AssetCheckResult:
    from vqa_assets.heads.table_checks import check_published

    manifest_file = latest.manifest_path

    def rows() -> int:
        if not manifest_file.is_file():
            raise SchemaError(
                f"{manifest_file}", found="found nothing there", expected="the head's manifest", next_step=_AGAIN
            )
        predictions = manifest_file.with_name(f"{manifest_file.stem}.predictions.parquet")
        return check_published(predictions, latest.manifest, manifest_file)

    return schema_result(rows)


def regression_result(regression: Mapping[str, Any] | None) -> dg.AssetCheckResult:
    """Warns where an interval of the difference to the head before lies on the bad side; says what was not compared."""
    if regression is None:
        return dg.AssetCheckResult(passed=True, description="not compared: made by an older version")
    seen, told = regression.get("clips_seen_before"), ""
    if seen:
        told = (
            f"; {seen} of {regression['clips_held_out']} held-out clips left out: the head before learned from them, "
        )
        told += f", as {regression['seen_told_by']}"
    if not regression["compared"]:
        return dg.AssetCheckResult(passed=True, description=f"{regression['reason']}{told}")
    numbers = ", ".join(
        f"{name.upper()} {_number(one['now'])} after {_number(one['before'])} "
        f"({_number(one['difference'])}, {_between(*one['interval_95'])})"
        for name, one in regression["metrics"].items()
    )
    worse = f"worse by {', '.join(name.upper() for name in regression['worse'])}: " if regression["worse"] else ""
    judged = f"on {regression['clips']} clips of {regression['groups']} contents"
    baselines = regression.get("baselines", {})  # none in a manifest of an earlier edition
    beside = ", ".join(f"{name} {_number(one['srocc'])}" for name, one in baselines.items())
    beside = f"; SROCC of baselines on the same clips: {beside}" if beside else ""
    return dg.AssetCheckResult(
        passed=not regression["worse"],
        description=f"{worse}{numbers}, {judged}{beside}{told}",
        metadata={
            "metrics": dg.MetadataValue.json(regression["metrics"]),
            **({"baselines": dg.MetadataValue.json(baselines)} if baselines else {}),
        },
    )


def _between(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"95 % {low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def columns_result(manifest: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Names the columns that a head reads and that are constant, filled, absent from a display or missing in rows."""
    counts = {name: c["counts"] for name, c in manifest["corpora"].items()} | manifest["unused"]
    without = {name: c["rows_missing_features"] for name, c in counts.items() if c["rows_missing_features"]}
    columns = {
        "of one value": manifest["constant"],
        "filled": list(manifest["filled"]),
        "not in the display": manifest.get("display_profile", {}).get("lacking", []),
        "rows left out for a feature that is not known": [f"{name} {rows}" for name, rows in without.items()],
    }
    complaints = [f"{what}: {', '.join(names)}" for what, names in columns.items() if names]
    return dg.AssetCheckResult(
        passed=not complaints,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(complaints) or "all columns are known and vary",
        metadata=columns,
    )


def _runs_anywhere(onnx: Path, manifest: Mapping[str, Any]) -> dg.AssetCheckResult:
    from vqa_assets.heads.members.export import check_operators

    record = file_record(onnx)
    if not record["exists"]:
        message = f"{onnx.name}: found nothing there, expected the head; materialize it again"
        return dg.AssetCheckResult(passed=False, description=message)
    try:
        offenders = check_operators(onnx)
    except TrainingError as problem:
        message = f"{onnx.name}: {problem}; materialize the head again"
        return dg.AssetCheckResult(passed=False, description=message)
    parity, limit = manifest["parity"]["max_abs_difference"], manifest["parity"]["limit"]
    described = record["sha256"] == manifest["sha256"]
    message = f"operators not allowed: {', '.join(offenders) or 'none'}; onnxruntime against torch: {parity:.1e}"
    if not described:
        message += f"; {onnx.name} is not the file its manifest describes (SHA-256 {record['sha256']}, expected "
        message += f"{manifest['sha256']}); materialize the head again"
    return dg.AssetCheckResult(
        passed=not offenders and described and parity <= limit, description=message, metadata={"parity": parity}
    )


def make_cross_corpus_evaluation(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over the corpora of the catalog that are in unified_features."""

    @dg.asset(
        deps=[dg.AssetDep("unified_features")],
        group_name="heads",
        kinds={"pytorch"},
        code_version=HEADS_VERSION,
        pool="gpu",
        config_schema=form(CrossCorpusSettings),
        description="How far heads carry: one trained on each corpus and tested on every other (SROCC, PLCC), and each "
        "corpus by a head of all others. All heads read one feature schema; none is exported.",
    )
    def cross_corpus_evaluation(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
        trainer: dg.ResourceParam[TrainerResource],
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.heads.across import METRICS

        with dagster_failures():
            root = data_root.root()
            settings = stated(CrossCorpusSettings, context, root)
            run = run_context(context, root, __file__)
            across, evaluation = evaluate_between(
                settings, catalog.corpora, lambda: trainer.of_run(context), log_of(context), run
            )
        heat_map = heat_map_png({metric: across.matrix(metric) for metric in METRICS})
        return ACROSS.result(
            root,
            path=evaluation.path,
            manifest=evaluation.manifest,
            manifest_file=evaluation.manifest_path,
            data_version=evaluation.data_version,
            metadata={
                **_across_metadata(evaluation.report),
                "heat_map": picture(heat_map, "trained on, tested on"),
            },
        )

    return cross_corpus_evaluation


def _across_metadata(report: Mapping[str, Any]) -> dict[str, Any]:
    matrices = {
        metric: records([{"trained on": one, **of} for one, of in report[metric].items()])
        for metric in ("srocc", "plcc")
    }
    # The interval is a pair of numbers, for which a cell of the table has no room; the file has it.
    left_out = [
        {"corpus": name, **{k: v for k, v in row.items() if k != "interval_95"}}
        for name, row in report["leave_one_corpus_out"].items()
    ]
    near = report["near_duplicates"]
    return {
        **matrices,
        "one_left_out": records(left_out),
        "near_copies": "no perceptual hashes" if near is None else f"{near['groups']} groups",
        "absent_corpora": list(report["absent"]),
        "corpora": records(
            [{"corpus": n, "rows": c["rows"], "contents": c["contents"]} for n, c in report["corpora"].items()]
        ),
    }
