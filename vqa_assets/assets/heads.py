"""The heads: ``mos_head`` per corpus, and one asset per recipe. Their checks are in ``head_checks``."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.head_settings import HeadConfig
from vqa_assets.assets.runs import run_context
from vqa_assets.assets.telling import manifest_metadata, picture, records, synthetic_tags, told_failures
from vqa_assets.corpora import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, EncodeGridSource, ExternalShard
from vqa_assets.encode_grid.grid_files import training_corpus
from vqa_assets.heads.facts import CorpusFacts
from vqa_assets.heads.recipe import (
    HEAD_RECIPES,
    MOS_TARGET,
    HeadRecipe,
    TrainingSettings,
    corpus_head_recipe,
)
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.trainer import TrainerResource
from vqa_assets.tables.paths import DataRoot

CODE_VERSION = "3"
_GRID = "encode-grid"


def make_head_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """``mos_head`` over all corpora of the catalog, and one asset per recipe."""
    return [_make_corpus_head(catalog), *(_make_head(recipe, catalog) for recipe in recipes(catalog))]


def recipes(catalog: Catalog) -> list[HeadRecipe]:
    """The heads that have a name of their own; one over every corpus reads those of the catalog."""
    every = tuple(catalog.corpora)
    return [replace(recipe, corpora=every) if recipe.every_corpus else recipe for recipe in HEAD_RECIPES.values()]


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
    from vqa_assets.heads.publish import HeadInputs, publish_head

    context, data_root, trainer = run
    with told_failures():
        root, settings = data_root.root(), config.settings()
        ran = run_context(context, root, __file__)
        present = present_tables(recipe, catalog, root)
        built = build_head(recipe, present, corpora_facts(catalog), settings, trainer.of_run(context), context.log.info)
        inputs = HeadInputs(recipe.name, settings, tables_read(_read(built.manifest), present, settings))
        done = publish_head(built, inputs, ran)
    told = {
        **_metadata(done.manifest),
        **manifest_metadata(done.manifest, done.manifest_path, root),
        "path": root.shown(done.onnx or done.manifest_path),
        "card": dg.MetadataValue.md(_without_picture(done.card.read_text(encoding="utf-8"))),
        "predicted_against_mos": picture(done.picture.read_bytes(), "predicted against MOS, residuals by corpus"),
    }
    return dg.MaterializeResult(
        metadata=told, data_version=dg.DataVersion(done.data_version), tags=synthetic_tags(done.manifest)
    )


def _read(manifest: Mapping[str, Any]) -> list[str]:
    return [*manifest["corpora"], *manifest["unused"]]


def present_tables(recipe: HeadRecipe, catalog: Catalog, root: DataRoot) -> dict[str, Path]:
    """The labelled tables of the recipe's corpora that are there; the encode grid where a recipe reads that."""
    if recipe.target != MOS_TARGET:
        grid = training_corpus(root)
        return {_GRID: grid} if grid.is_file() else {}
    declared = [catalog.corpora[name] for name in recipe.corpora if name in catalog.corpora]
    return {corpus.name: root.labelled(corpus) for corpus in declared if root.labelled(corpus).is_file()}


def tables_read(corpora: Iterable[str], present: Mapping[str, Path], settings: TrainingSettings) -> dict[str, Path]:
    """The tables that a run trained from, by corpus; the encode grid holds several in one."""
    tables, extra = (
        {n: Path(path).expanduser() for n, path in each.items()} for each in (settings.tables, settings.extra_tables)
    )
    wanted = {**(tables or present), **extra}
    read = tuple(corpora)
    return {name: wanted[name] for name in read} if set(read) <= set(wanted) else wanted


def corpora_facts(catalog: Catalog) -> dict[str, CorpusFacts]:
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
        **_protocol(manifest),
        "trained_on": records(corpora),
        "absent_corpora": list(manifest["absent"]),
        "redistribution": consequence,
        "n_parameters": manifest["n_parameters"],
    }


def _without_picture(card: str) -> str:
    """The card without the link to the file beside it: the web UI shows that as metadata of its own."""
    return "".join(line for line in card.splitlines(keepends=True) if not line.startswith("!["))


def _protocol(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The field's protocol as a table: medians over its splits."""
    found = manifest["protocol"]
    medians = [{"predictor": name, **median} for name, median in found["median"].items()] if found else []
    return {"protocol": records(medians)} if medians else {}
