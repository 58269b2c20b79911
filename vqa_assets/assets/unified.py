"""``unified_corpus``: every corpus JSONL that is there, on one scale, each clip once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import jsonl_schema_result, warning
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import counted, manifest_metadata, records, table_metadata, told_failures
from vqa_assets.corpora import EXTERNAL_SHARDS
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.schemas import UNIFIED_CORPUS
from vqa_assets.store.files import read_json_object
from vqa_assets.store.paths import DataRoot, manifest_path

if TYPE_CHECKING:
    from vqa_assets.aggregate import UnifiedCorpus, UnifiedSettings

CODE_VERSION = "1"


class UnifiedConfig(dg.Config):
    """Settings of one aggregation."""

    inputs: list[str] = Field(
        default=[], description="Corpus JSONL files instead of every one present, in the order that breaks ties."
    )
    corpus_source_overrides: dict[str, str] = Field(
        default={}, description="Path → corpus, for a file whose rows name another corpus."
    )
    output: str | None = Field(
        default=None, description="File to write. Default: <root>/aggregated/unified_corpus.jsonl."
    )
    manifest_out: str | None = Field(default=None, description="Replay manifest to write. Default: beside the output.")


def make_unified_corpus_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        deps=[catalog.every("corpus_jsonl")],
        group_name="unified",
        kinds={"jsonl", "parquet"},
        code_version=CODE_VERSION,
        description=f"{UNIFIED_CORPUS.row} Reads every corpus JSONL that is there; absent ones are listed.",
    )
    def unified_corpus(
        context: dg.AssetExecutionContext, config: UnifiedConfig, data_root: DataRootResource
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.aggregate import Source, make_unified_corpus

        with told_failures():
            root = data_root.root()
            settings = _settings(config, catalog, root)
            sources: dict[str, Source] = {**catalog.corpora, **EXTERNAL_SHARDS}
            done = make_unified_corpus(settings, sources, run_context(context, root, __file__))
        manifest = settings.manifest_out or manifest_path(done.jsonl)
        return dg.MaterializeResult(
            metadata=_metadata(done, root) | manifest_metadata(done.manifest, manifest, root),
            data_version=dg.DataVersion(done.data_version),
        )

    return unified_corpus


def make_unified_corpus_checks() -> list[dg.AssetChecksDefinition]:
    """Schema (blocking) and dropped rows."""

    @dg.asset_check(
        asset="unified_corpus", blocking=True, description="Every row keeps the column specs, its score on 0–100."
    )
    def unified_corpus_schema(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        root = data_root.root()
        return jsonl_schema_result(artefact_path(context, root, root.unified_corpus()), UNIFIED_CORPUS)

    @dg.asset_check(asset="unified_corpus", description="No row was dropped for its scale or its corpus name.")
    def unified_corpus_dropped(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        root = data_root.root()
        path = artefact_path(context, root, root.unified_corpus())
        counters = read_json_object(manifest_path(path))["counters"]
        dropped = {k: v for k, v in counters.items() if k.startswith("dropped_")}
        told = ", ".join(f"{name} {count}" for name, count in dropped.items())
        return warning(not any(dropped.values()), told + "; the log names file and line of each", dropped)

    return [unified_corpus_schema, unified_corpus_dropped]


def _settings(config: UnifiedConfig, catalog: Catalog, root: DataRoot) -> "UnifiedSettings":
    from vqa_assets.aggregate import Shard, UnifiedSettings

    known = [*catalog.corpora, *EXTERNAL_SHARDS]
    unknown = sorted(set(config.corpus_source_overrides.values()) - set(known))
    if unknown:
        raise SettingsError(
            "corpus_source_overrides",
            found=", ".join(unknown),
            expected=f"one of {', '.join(known)}",
            next_step="correct the name",
        )
    paths = [Path(p) for p in config.inputs] or _discovered(catalog, root)
    return UnifiedSettings(
        shards=tuple(Shard(path, config.corpus_source_overrides.get(str(path))) for path in paths),
        output=Path(config.output) if config.output else root.unified_corpus(),
        manifest_out=Path(config.manifest_out) if config.manifest_out else None,
    )


def _discovered(catalog: Catalog, root: DataRoot) -> list[Path]:
    """Where every corpus's JSONL should be, then the external shards that are there."""
    external = [root.path / shard.jsonl for shard in EXTERNAL_SHARDS.values()]
    return [root.corpus_jsonl(corpus) for corpus in catalog.corpora.values()] + [p for p in external if p.is_file()]


def _metadata(done: "UnifiedCorpus", root: DataRoot) -> dict[str, Any]:
    report = done.report
    scales = [{"corpus": name, **scale} for name, scale in report.scales.items()]
    return {
        **table_metadata(UNIFIED_CORPUS, report.rows_out),
        "path": root.shown(done.jsonl),
        "parquet": root.shown(done.parquet),
        "rows_in": report.rows_in,
        "counters": counted(report.counters(), "counter"),
        "rows_per_corpus": counted(report.rows_per_corpus, "corpus"),
        "scale_conversions": records(scales),
        "absent": list(done.absent),
    }
