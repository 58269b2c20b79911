"""``unified_corpus``: every corpus JSONL that is there, on one scale, each clip once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import jsonl_schema_result, parquet_schema_result, shown_examples, warning
from vqa_assets.assets.pictures import HistogramPair, histogram_pairs_png
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import counted, manifest_metadata, picture, records, table_metadata, told_failures
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.corpora import EXTERNAL_SHARDS
from vqa_assets.corpora.opinions import SOS_ORDINARY
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.specs import UNIFIED_CORPUS

if TYPE_CHECKING:
    from vqa_assets.unified.corpus import UnifiedCorpus, UnifiedSettings
    from vqa_assets.unified.description import UnifiedView

CODE_VERSION = "3"
_GROUPS_SHOWN = 10


class UnifiedConfig(ToldConfig):
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
        from vqa_assets.clips.processes import ChildProcesses
        from vqa_assets.unified.corpus import make_unified_corpus
        from vqa_assets.unified.index import Source

        with told_failures():
            root = data_root.root()
            settings = _settings(config, catalog, root)
            sources: dict[str, Source] = {**catalog.corpora, **EXTERNAL_SHARDS}
            with ChildProcesses() as workers:
                done = make_unified_corpus(settings, sources, run_context(context, root, __file__), workers)
        manifest = settings.manifest_out or manifest_path(done.jsonl)
        return dg.MaterializeResult(
            metadata=_metadata(done, root) | manifest_metadata(done.manifest, manifest, root),
            data_version=dg.DataVersion(done.data_version),
        )

    return unified_corpus


def make_unified_corpus_checks() -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), dropped rows, spreads that no opinions have, and raw scores that disagree with ``mos``."""

    @dg.asset_check(
        asset="unified_corpus", blocking=True, description="Every row keeps the column specs, its score on 0–100."
    )
    def unified_corpus_schema(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        from vqa_assets.unified.table import made_from

        root = data_root.root()
        jsonl = artefact_path(context, root, root.unified_corpus())
        parquet = jsonl.with_suffix(".parquet")
        if made_from(jsonl, parquet):  # the same rows, and judged in a fraction of the time
            return parquet_schema_result(parquet, UNIFIED_CORPUS)
        return jsonl_schema_result(jsonl, UNIFIED_CORPUS)

    @dg.asset_check(asset="unified_corpus", description="No row was dropped for its scale or its corpus name.")
    def unified_corpus_dropped(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        manifest = _manifest(context, data_root.root())
        dropped = {k: v for k, v in manifest["counters"].items() if k.startswith("dropped_")}
        told = ", ".join(f"{name} {count}" for name, count in dropped.items())
        examples = {"examples": records(manifest["dropped_rows"])}
        return warning(not any(dropped.values()), told + "; the log names file and line of each", dropped | examples)

    @dg.asset_check(asset="unified_corpus", description="Every corpus's SOS parameter is one that opinions have.")
    def unified_corpus_spread(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        return _spread_result(_manifest(context, data_root.root())["labels"])

    @dg.asset_check(asset="unified_corpus", description="A raw 0–100 score beside mos is the one mos was mapped from.")
    def unified_corpus_raw_scores(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        found = _manifest(context, data_root.root())["raw_scores_that_disagree"]
        told = f"{found['rows']} rows hold a raw score that disagrees with mos; the raw score stands"
        return warning(not found["rows"], told, {"examples": records(found["examples"])})

    return [unified_corpus_schema, unified_corpus_dropped, unified_corpus_spread, unified_corpus_raw_scores]


def _manifest(context: dg.AssetCheckExecutionContext, root: DataRoot) -> dict[str, Any]:
    """The replay manifest of the latest materialization."""
    default = manifest_path(root.unified_corpus())
    return read_json_object(artefact_path(context, root, default, entry="manifest_path"))


def _spread_result(labels: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    low, high = SOS_ORDINARY
    found = {f"{one['corpus']} ({one['scale']})": one["sos_parameter"] for one in labels}
    known = {name: value for name, value in found.items() if value is not None}
    odd = [f"{name} {value:.4g}" for name, value in known.items() if not low <= value <= high]
    told = f"SOS parameter outside {low:g}–{high:g}: {shown_examples(odd)}"
    advice = "; is the published spread an SD, and on the scale of the scores?" if odd else ""
    return warning(not odd, told + advice, known)


def _settings(config: UnifiedConfig, catalog: Catalog, root: DataRoot) -> "UnifiedSettings":
    from vqa_assets.unified.corpus import UnifiedSettings
    from vqa_assets.unified.shards import Shard

    known = [*catalog.corpora, *EXTERNAL_SHARDS]
    unknown = sorted(set(config.corpus_source_overrides.values()) - set(known))
    if unknown:
        raise SettingsError(
            "corpus_source_overrides",
            found=", ".join(unknown),
            expected=f"one of {', '.join(known)}",
            next_step="correct the name",
        )
    paths = [Path(p).expanduser() for p in config.inputs] or _discovered(catalog, root)
    overrides = _overrides(config.corpus_source_overrides, paths, root)
    return UnifiedSettings(
        shards=tuple(Shard(path, overrides.get(path.resolve())) for path in paths),
        output=Path(config.output).expanduser() if config.output else root.unified_corpus(),
        manifest_out=Path(config.manifest_out).expanduser() if config.manifest_out else None,
        usual=UnifiedSettings(tuple(map(Shard, _discovered(catalog, root))), root.unified_corpus()),
    )


def _overrides(given: Mapping[str, str], paths: Sequence[Path], root: DataRoot) -> dict[Path, str]:
    """Input → corpus, however its path is spelled: absolute, through a link, from the working folder or the root."""
    inputs = {path.resolve() for path in paths}
    found: dict[Path, str] = {}
    for spelled, corpus in given.items():
        named = {Path(spelled).expanduser().resolve(), root.located(spelled).resolve()} & inputs
        if not named:
            raise SettingsError(
                "corpus_source_overrides",
                found=spelled,
                expected=f"one of the inputs ({', '.join(map(str, paths))})",
                next_step="correct the path, or name the file in inputs",
            )
        found.update(dict.fromkeys(named, corpus))
    return found


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
        "duplicates": records([one.as_row() for one in report.duplicates]),
        "dropped_rows": records(
            [{**row, "path": root.shown(row["path"])} for row in report.losses.dropped_rows()],
        ),
        "raw_scores_that_disagree": report.losses.raw_scores,
        "related_clips_path": root.shown(done.sidecars.related_clips),
        "croissant": root.shown(done.sidecars.croissant),
        **_view_metadata(done.view),
    }


def _view_metadata(view: "UnifiedView") -> dict[str, Any]:
    pairs = [
        HistogramPair(f"{one.corpus}: {one.clips} clips", one.scale, one.histogram_native, one.histogram_unified)
        for one in view.labels
    ]
    return {
        "describe": records([one.as_row() for one in view.clips]),
        "mos_histograms": picture(histogram_pairs_png(pairs), "MOS per corpus, native and unified"),
        "labels": records([one.as_row() for one in view.labels]),
        "licences": records(view.licences.as_rows()),
        "redistribution": view.licences.consequence,
        "related_clips": records(view.related.counts()),
        "related_clip_groups": records([group.as_row() for group in view.related.groups[:_GROUPS_SHOWN]]),
    }
