"""The heads: ``mos_head`` per corpus, one asset per recipe, and checks of gate, operators and parity."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import error, warning
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import manifest_metadata, picture, records, told_failures
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.corpora import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, EncodeGridSource, ExternalShard
from vqa_assets.encode_grid.layout import training_corpus
from vqa_assets.heads.facts import CorpusFacts
from vqa_assets.heads.recipe import (
    FR_REGRESSOR_V2,
    HEAD_RECIPES,
    MOS_TARGET,
    HeadRecipe,
    TrainingSettings,
    corpus_head_recipe,
)
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.trainer import TrainerResource
from vqa_assets.store.files import read_json_object
from vqa_assets.store.paths import DataRoot

CODE_VERSION = "2"
_GRID = "encode-grid"
_DEFAULT = TrainingSettings()


class HeadConfig(ToldConfig):
    """Settings of one training run."""

    epochs: int = Field(default=_DEFAULT.epochs, ge=1, description="Passes over the rows, at most. Default: 30.")
    lr: float = Field(default=_DEFAULT.lr, gt=0, lt=1, description="Learning rate. Default: 0.001.")
    weight_decay: float = Field(
        default=_DEFAULT.weight_decay, ge=0, lt=1, description="Pull of the weights towards zero. Default: 0.00001."
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Rows a step. Default: 64 up to 5 000 rows, 2 048 above."
    )
    k_folds: int = Field(default=_DEFAULT.k_folds, ge=2, description="Content-wise folds. Default: 5.")
    protocol_splits: int = Field(
        default=_DEFAULT.protocol_splits,
        ge=0,
        le=1_000,
        description="Repetitions of the field's protocol (80/20 by content) beside the gate, each one head more to "
        "train; 0 leaves it out. Default: 10.",
    )
    seed: int = Field(default=_DEFAULT.seed, description="Decides folds, members and steps. Default: 20260508.")
    device: str = Field(default=_DEFAULT.device, description="auto, cpu or cuda. Default: auto.")
    feature_schema: str | None = Field(default=None, description="Columns by schema. Default: the recipe's.")
    display_profile_json: str | None = Field(
        default=None, description="A display's JSON, for heads that read a display. Default: none."
    )
    columns: list[str] = Field(default=[], description="Any named columns instead of a schema. Default: none.")
    tables: dict[str, str] = Field(default={}, description="Corpus → labelled table, instead of the recipe's.")
    extra_tables: dict[str, str] = Field(default={}, description="Corpus → labelled table, beside the recipe's.")
    corpus_weights: dict[str, float] = Field(
        default={}, description="Corpus → how much one of its rows counts in training. Default: 1 each."
    )
    exclude_corpora: list[str] = Field(default=[], description="Corpora of the recipe to leave out.")
    smoke: bool = Field(
        default=False, description="Train on seeded synthetic rows into <head>.smoke.onnx. Default: false."
    )
    allow_synthetic_fallback: bool = Field(
        default=False,
        description="Without a labelled row, train on synthetic ones into <head>.synthetic.onnx. Default: false.",
    )
    allow_missing_features: list[str] = Field(
        default=[], description="Columns that may be absent, missing or constant; they are filled and listed."
    )
    export: bool = Field(default=True, description="Write the ONNX file. Default: true.")

    def settings(self) -> TrainingSettings:
        """The training settings; SettingsError on values that mean nothing."""
        values = self.model_dump()
        lists = ("columns", "exclude_corpora", "allow_missing_features")
        return TrainingSettings(**{**values, **{name: tuple(values[name]) for name in lists}})


def make_head_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """``mos_head`` over all corpora of the catalog, and one asset per recipe."""
    return [_make_corpus_head(catalog), *(_make_head(recipe, catalog) for recipe in recipes(catalog))]


def recipes(catalog: Catalog) -> list[HeadRecipe]:
    """The heads that have a name of their own; one over every corpus reads those of the catalog."""
    every = tuple(catalog.corpora)
    return [replace(recipe, corpora=every) if recipe.every_corpus else recipe for recipe in HEAD_RECIPES.values()]


def make_head_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Gate (WARN), the ridge baseline (WARN), operators and parity (blocking), per head."""
    return [
        *_make_checks("mos_head", catalog.partitions),
        *(check for name in HEAD_RECIPES for check in _make_checks(name, None)),
    ]


def _make_corpus_head(catalog: Catalog) -> dg.AssetsDefinition:
    @dg.asset(
        deps=[catalog.same("mos_features")],
        partitions_def=catalog.partitions,
        group_name="heads",
        kinds={"onnx", "pytorch"},
        code_version=CODE_VERSION,
        pool="gpu",
        description="One ONNX head per corpus: pooled features in, mean opinion score on 1–5 out, judged by its gate.",
    )
    def mos_head(
        context: dg.AssetExecutionContext,
        config: HeadConfig,
        data_root: DataRootResource,
        trainer: dg.ResourceParam[TrainerResource],
    ) -> dg.MaterializeResult[Any]:
        return _train(corpus_head_recipe(context.partition_key), config, catalog, (context, data_root, trainer))

    return mos_head


def _upstream(recipe: HeadRecipe, catalog: Catalog) -> dg.AssetDep:
    if recipe.target != MOS_TARGET:
        return dg.AssetDep("fr_training_corpus")
    return catalog.every("mos_features") if recipe.every_corpus else catalog.some("mos_features", recipe.corpora)


def _make_head(recipe: HeadRecipe, catalog: Catalog) -> dg.AssetsDefinition:
    @dg.asset(
        name=recipe.name,
        deps=[_upstream(recipe, catalog)],
        group_name="heads",
        kinds={"onnx", "pytorch"},
        code_version=CODE_VERSION,
        pool="gpu",
        description=f"{recipe.title}: {recipe.intended_use}. Trained on those of {', '.join(recipe.corpora)} that are "
        f"present, cross-validated by {'source' if recipe.least_sources else 'content'}, judged by its gate.",
    )
    def head(
        context: dg.AssetExecutionContext,
        config: HeadConfig,
        data_root: DataRootResource,
        trainer: dg.ResourceParam[TrainerResource],
    ) -> dg.MaterializeResult[Any]:
        return _train(recipe, config, catalog, (context, data_root, trainer))

    return head


def _train(
    recipe: HeadRecipe,
    config: HeadConfig,
    catalog: Catalog,
    run: tuple[dg.AssetExecutionContext, DataRootResource, TrainerResource],
) -> dg.MaterializeResult[Any]:
    from vqa_assets.heads.build import build_head
    from vqa_assets.heads.picture import scatter_png
    from vqa_assets.heads.publish import HeadInputs, publish_head

    context, data_root, trainer = run
    with told_failures():
        root, settings = data_root.root(), config.settings()
        ran = run_context(context, root, __file__)
        present = _present_tables(recipe, catalog, root)
        built = build_head(recipe, present, _facts(catalog), settings, trainer.of_run(context), context.log.info)
        inputs = HeadInputs(recipe.name, settings, _tables_read(built.manifest, present, settings))
        done = publish_head(built, inputs, ran)
    told = {
        **_metadata(done.manifest),
        **manifest_metadata(done.manifest, done.manifest_path, root),
        "path": root.shown(done.onnx or done.manifest_path),
        "card": dg.MetadataValue.md(done.card.read_text(encoding="utf-8")),
    }
    told["predicted_against_mos"] = picture(scatter_png(built.predictions, recipe.title), "predicted against MOS")
    return dg.MaterializeResult(metadata=told, data_version=dg.DataVersion(done.data_version))


def _present_tables(recipe: HeadRecipe, catalog: Catalog, root: DataRoot) -> dict[str, Path]:
    """The labelled tables of the recipe's corpora that are there; the encode grid where a recipe reads that."""
    if recipe.target != MOS_TARGET:
        grid = training_corpus(root)
        return {_GRID: grid} if grid.is_file() else {}
    declared = [catalog.corpora[name] for name in recipe.corpora if name in catalog.corpora]
    return {corpus.name: root.labelled(corpus) for corpus in declared if root.labelled(corpus).is_file()}


def _tables_read(
    manifest: Mapping[str, Any], present: Mapping[str, Path], settings: TrainingSettings
) -> dict[str, Path]:
    """The tables a head was trained from, by corpus."""
    tables, extra = ({n: Path(path) for n, path in each.items()} for each in (settings.tables, settings.extra_tables))
    wanted = {**(tables or present), **extra}
    return wanted if manifest["kind"] == FR_REGRESSOR_V2.kind else {name: wanted[name] for name in manifest["corpora"]}


def _facts(catalog: Catalog) -> dict[str, CorpusFacts]:
    """Every corpus, and what has computed scores instead of opinions: no MOS head is trained on that."""
    others: list[ExternalShard | EncodeGridSource] = [*EXTERNAL_SHARDS.values(), *ENCODE_GRID_SOURCES.values()]
    computed = {source.name: _computed(source) for source in others}
    return computed | {
        corpus.name: CorpusFacts(
            title=corpus.title,
            licence=corpus.licence,
            citation=corpus.citation,
            version=corpus.version,
            redistribution=corpus.redistribution,
        )
        for corpus in catalog.corpora.values()
    }


def _computed(source: ExternalShard | EncodeGridSource) -> CorpusFacts:
    return CorpusFacts(
        title=source.title,
        licence=source.licence,
        citation=source.citation,
        version="as it came",
        redistribution=source.redistribution,
        opinion_scores=False,
    )


def _make_checks(asset: str, partitions: dg.PartitionsDefinition[str] | None) -> list[dg.AssetChecksDefinition]:
    @dg.asset_check(
        asset=asset,
        name=f"{asset}_gate",
        partitions_def=partitions,
        description="The head passes its gate and is Production; a miss is an honest Proposed.",
    )
    def gate(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        found = _manifest(context, data_root.root(), asset)
        reasons = "; ".join(found["gate"]["reasons"])
        return warning(found["gate"]["passed"], f"{found['status']}: {reasons or 'every threshold is met'}")

    @dg.asset_check(
        asset=asset,
        name=f"{asset}_runs_anywhere",
        partitions_def=partitions,
        blocking=True,
        description="The ONNX file has only allowed operators, and onnxruntime reproduces torch within 1e-5 of 1–5.",
    )
    def runs_anywhere(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        root = data_root.root()
        found = _manifest(context, root, asset)
        if found["onnx"] is None:
            return dg.AssetCheckResult(passed=True, description="nothing was exported")
        return _runs_anywhere(root.models() / found["onnx"], found)

    @dg.asset_check(
        asset=asset,
        name=f"{asset}_beats_ridge",
        partitions_def=partitions,
        description="The head is better than a ridge regression on the same folds.",
    )
    def beats_ridge(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        found = _manifest(context, data_root.root(), asset)
        plcc, ridge = (found["folds"]["mean"]["plcc"], found["folds"]["baselines"]["ridge"]["mean"]["plcc"])
        told = f"mean PLCC of the head {plcc}, of the ridge regression {ridge}"
        return warning(bool(found["beats_ridge"]), told, {"plcc": plcc, "ridge_plcc": ridge})

    @dg.asset_check(
        asset=asset,
        name=f"{asset}_columns",
        partitions_def=partitions,
        description="Every column the head reads was known in all rows, and varies.",
    )
    def columns(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        return _columns(_manifest(context, data_root.root(), asset))

    return [gate, beats_ridge, columns, runs_anywhere]


def _columns(manifest: Mapping[str, Any]) -> dg.AssetCheckResult:
    lacking = manifest.get("display_profile", {}).get("lacking", [])
    told = {"of one value": manifest["constant"], "filled": list(manifest["filled"]), "not in the display": lacking}
    parts = [f"{what}: {', '.join(names)}" for what, names in told.items() if names]
    return warning(not parts, "; ".join(parts) or "all columns are known and vary", told)


def _manifest(context: dg.AssetCheckExecutionContext, root: DataRoot, asset: str) -> dict[str, Any]:
    partition = context.partition_key if context.has_partition_key else None
    name = corpus_head_recipe(partition).name if partition else asset
    default = root.models() / f"{name}.json"
    return read_json_object(artefact_path(context, root, default, partition, entry="manifest_path"))


def _runs_anywhere(onnx: Path, manifest: Mapping[str, Any]) -> dg.AssetCheckResult:
    from vqa_assets.heads.export import check_operators

    offenders = check_operators(onnx)
    parity = manifest["parity"]["max_abs_difference"]
    good = not offenders and parity <= manifest["parity"]["limit"]
    told = f"operators not allowed: {', '.join(offenders) or 'none'}; onnxruntime against torch: {parity:.1e}"
    return error(good, told, {"parity": parity})


def _metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    means = {f"mean_{name}": value for name, value in manifest["folds"]["mean"].items() if value is not None}
    corpora = [
        {"corpus": name, **{k: facts[k] for k in ("rows", "licence", "redistribution", "citation")}}
        for name, facts in manifest["corpora"].items()
    ]
    consequence = manifest["redistribution"]["consequence"] if manifest["redistribution"] else "synthetic rows"
    return {
        "status": manifest["status"],
        "gate_reasons": records([{"reason": reason} for reason in manifest["gate"]["reasons"]]),
        **means,
        "folds": records(manifest["folds"]["each"]),
        "trained_on": records(corpora),
        "absent_corpora": list(manifest["absent"]),
        "redistribution": consequence,
        "n_parameters": manifest["n_parameters"],
    }
