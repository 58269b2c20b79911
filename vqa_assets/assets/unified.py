"""``unified_corpus``: every corpus JSONL that is there, on one scale, each clip once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import HistogramPair, counted, histogram_pairs_png, picture, records
from vqa_assets.assets.published import Latest, PublishedFile, file_schema_result, listed
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, run_context
from vqa_assets.corpora import EXTERNAL_SHARDS
from vqa_assets.corpora.opinions import SOS_ORDINARY
from vqa_assets.corpora.scales import OPINION_SCALES, MosScale
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import typed_path
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.specs import UNIFIED_CORPUS, unified_corpus_of
from vqa_assets.unified.settings import AggregationSettings

if TYPE_CHECKING:
    from vqa_assets.unified.aggregation import UnifiedCorpus, UnifiedSettings
    from vqa_assets.unified.description import UnifiedView

CODE_VERSION = "4"
PUBLISHED = PublishedFile("unified_corpus", lambda root, _: root.unified_corpus(), UNIFIED_CORPUS)
_GROUPS_SHOWN = 10


def make_unified_corpus_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        deps=[catalog.every("corpus_jsonl")],
        group_name="unified",
        kinds={"jsonl", "parquet"},
        config_schema=form(AggregationSettings),
        code_version=CODE_VERSION,
        description=f"{UNIFIED_CORPUS.row} Reads every corpus JSONL that is there; absent ones are listed.",
    )
    def unified_corpus(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.clips.processes import WorkerPool
        from vqa_assets.unified.aggregation import make_unified_corpus
        from vqa_assets.unified.index import Source

        with dagster_failures():
            root = data_root.root()
            settings = _settings(stated(AggregationSettings, context, root), catalog, root)
            sources: dict[str, Source] = {**catalog.corpora, **EXTERNAL_SHARDS}
            with WorkerPool() as workers:
                unified = make_unified_corpus(settings, sources, run_context(context, root, __file__), workers)
        return PUBLISHED.result(
            root,
            path=unified.jsonl,
            rows=unified.report.rows_out,
            manifest=unified.manifest,
            manifest_file=settings.manifest_out or manifest_path(unified.jsonl),
            data_version=unified.data_version,
            metadata=_metadata(unified, root),
        )

    return unified_corpus


def _settings(config: AggregationSettings, catalog: Catalog, root: DataRoot) -> "UnifiedSettings":
    from vqa_assets.unified.aggregation import UnifiedSettings
    from vqa_assets.unified.shards import Shard

    names = [*catalog.corpora, *EXTERNAL_SHARDS]
    unknown = sorted(set(config.corpus_source_overrides.values()) - set(names))
    if unknown:
        raise SettingsError(
            "corpus_source_overrides",
            found=", ".join(unknown),
            expected=f"one of {', '.join(names)}",
            next_step="correct the name",
        )
    # Where inputs are stated nobody asks where the others lie: a broken ingest.toml does not stand in the way.
    usual = [] if config.inputs else _usual_inputs(catalog, root)
    paths = list(config.inputs) or usual
    overrides = _by_input("corpus_source_overrides", config.corpus_source_overrides, paths, root)
    of_corpora = {
        name: _scales_of((name,), scale, catalog, name)[name]
        for name, scale in config.mos_scales.items()
        if name in names
    }
    others = {name: scale for name, scale in config.mos_scales.items() if name not in names}
    of_inputs = _by_input("mos_scales", others, paths, root)

    def shard(path: Path) -> Shard:
        scale = of_inputs.get(path.resolve())
        # A scale that is stated of the file holds for all its rows, whatever corpora they name.
        scales = _scales_of(names, scale, catalog, str(path)) if scale else of_corpora
        return Shard(path, overrides.get(path.resolve()), scales)

    return UnifiedSettings(
        shards=tuple(map(shard, paths)),
        output=config.output or root.unified_corpus(),
        manifest_out=config.manifest_out,
        mos_scales=config.mos_scales,
        usual=UnifiedSettings(tuple(map(Shard, usual)), root.unified_corpus()),
    )


def _scales_of(names: Sequence[str], scale: str, catalog: Catalog, where: str) -> dict[str, MosScale]:
    """Corpus → what a scale's name in ``mos_scales`` means of its rows, with the corpus's polarity.

    Of one corpus the name is its own or a known one, of a whole file that of any corpus; SettingsError otherwise.
    """
    where = f"mos_scales.{where}"
    if len(names) == 1 and names[0] in catalog.corpora:
        return {names[0]: catalog.corpora[names[0]].stated_scale(scale, where)}
    ranges = {one.directed("mos") for c in catalog.corpora.values() if (one := c.scale_named(scale)) is not None}
    if len(ranges) != 1:
        shown = ", ".join(sorted(f"{one.low:g} to {one.high:g}" for one in ranges))
        raise SettingsError(
            where,
            found=f"{scale!r}" + (f", which is {shown} in different corpora" if shown else ""),
            expected=f"one of {', '.join(OPINION_SCALES)}, or a scale that a corpus declares",
            next_step="correct the name, or say it of the corpus instead of the file",
        )
    (range_,) = ranges
    return {
        name: range_.directed(catalog.corpora[name].polarity if name in catalog.corpora else "mos") for name in names
    }


def _usual_inputs(catalog: Catalog, root: DataRoot) -> list[Path]:
    """Every corpus's JSONL, whether it is there or not (absent ones are listed), and the external shards that are."""
    external = [root.path / shard.jsonl for shard in EXTERNAL_SHARDS.values()]
    return [catalog.layout(root, name).output for name in catalog.corpora] + [p for p in external if p.is_file()]


def _by_input(setting: str, value_of: Mapping[str, str], paths: Sequence[Path], root: DataRoot) -> dict[Path, str]:
    """Input → value, however its path is spelled: absolute, through a link, from the working folder or the root."""
    inputs = {path.resolve() for path in paths}
    values: dict[Path, str] = {}
    for spelled, value in value_of.items():
        named = {typed_path(spelled).resolve(), root.located(spelled).resolve()} & inputs
        if not named:
            raise SettingsError(
                setting,
                found=spelled,
                expected=f"one of the inputs ({', '.join(map(str, paths))})",
                next_step="correct the path, or name the file in inputs",
            )
        values.update(dict.fromkeys(named, value))
    return values


def _metadata(unified: "UnifiedCorpus", root: DataRoot) -> dict[str, Any]:
    report = unified.report
    return {
        "rows_in": report.rows_in,
        "dropped_rows": records([{**r, "path": root.shown(r["path"])} for r in report.losses.dropped_rows()]),
        "raw_scores_that_disagree": report.losses.raw_scores,
        "counters": counted(report.counters(), "counter"),
        "rows_per_corpus": counted(report.rows_per_corpus, "corpus"),
        "scale_conversions": records([{"corpus": name, **scale} for name, scale in report.scales.items()]),
        "absent": list(unified.absent),
        "duplicates": records([one.as_row() for one in report.duplicates]),
        "parquet": root.shown(unified.parquet),
        "related_clips_path": root.shown(unified.sidecars.related_clips),
        "croissant": root.shown(unified.sidecars.croissant),
        **_view_metadata(unified.view),
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


def make_unified_corpus_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), dropped rows, spreads that no opinions have, and raw scores that disagree with ``mos``."""

    @PUBLISHED.check("Every row keeps the column specs, its score on 0–100.", blocking=True)
    def unified_corpus_schema(latest: Latest) -> dg.AssetCheckResult:
        from vqa_assets.unified.table import made_from

        # A Parquet file made from these very lines holds the same rows, and is judged in a fraction of the time.
        parquet = latest.path.with_suffix(".parquet")
        specs = unified_corpus_of(scale.name for corpus in catalog.corpora.values() for scale in corpus.scales)
        return file_schema_result(parquet if made_from(latest.path, parquet) else latest.path, specs)

    @PUBLISHED.check("No row was dropped for its scale or its corpus name.")
    def unified_corpus_dropped(latest: Latest) -> dg.AssetCheckResult:
        dropped = {k: v for k, v in latest.manifest["counters"].items() if k.startswith("dropped_")}
        counts = ", ".join(f"{name} {count}" for name, count in dropped.items())
        return dg.AssetCheckResult(
            passed=not any(dropped.values()),
            description=f"{counts}; the log names file and line of each",
            metadata=dropped | {"examples": records(latest.manifest["dropped_rows"])},
        )

    @PUBLISHED.check("Every corpus's SOS parameter is one that opinions have.")
    def unified_corpus_spread(latest: Latest) -> dg.AssetCheckResult:
        low, high = SOS_ORDINARY
        parameters = {
            f"{one['corpus']} ({one['scale']})": one["sos_parameter"]
            for one in latest.manifest["labels"]
            if one["sos_parameter"] is not None
        }
        odd = [f"{name} {value:.4g}" for name, value in parameters.items() if not low <= value <= high]
        advice = "; is the published spread an SD, and on the scale of the scores?" if odd else ""
        return dg.AssetCheckResult(
            passed=not odd,
            description=f"SOS parameter outside {low:g}–{high:g}: {listed(odd)}{advice}",
            metadata=parameters,
        )

    @PUBLISHED.check("A raw 0–100 score beside mos is the one mos was mapped from.")
    def unified_corpus_raw_scores(latest: Latest) -> dg.AssetCheckResult:
        disagreeing = latest.manifest["raw_scores_that_disagree"]
        return dg.AssetCheckResult(
            passed=not disagreeing["rows"],
            description=f"{disagreeing['rows']} rows hold a raw score that disagrees with mos; the raw score stands",
            metadata={"examples": records(disagreeing["examples"])},
        )

    return [unified_corpus_schema, unified_corpus_dropped, unified_corpus_spread, unified_corpus_raw_scores]
