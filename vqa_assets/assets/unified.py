"""``unified_corpus``: every corpus JSONL that is there, on one scale, each clip once."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import HistogramPair, counted, histogram_pairs_png, picture, records
from vqa_assets.assets.published import Latest, PublishedFile, file_schema_result, listed
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, run_context
from vqa_assets.corpora.opinions import SOS_ORDINARY
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.stages.unified import UNIFIED_CORPUS_VERSION, unify
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.specs import UNIFIED_CORPUS, unified_corpus_of
from vqa_assets.unified.settings import AggregationSettings

if TYPE_CHECKING:
    from vqa_assets.unified.aggregation import UnifiedCorpus
    from vqa_assets.unified.description import UnifiedView

PUBLISHED = PublishedFile("unified_corpus", lambda root, _: root.unified_corpus(), UNIFIED_CORPUS)
_GROUPS_SHOWN = 10


def make_unified_corpus_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        deps=[catalog.every("corpus_jsonl")],
        group_name="unified",
        kinds={"jsonl", "parquet"},
        config_schema=form(AggregationSettings),
        code_version=UNIFIED_CORPUS_VERSION,
        description=f"{UNIFIED_CORPUS.row} Reads every corpus JSONL that is there; absent ones are listed.",
    )
    def unified_corpus(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        with dagster_failures():
            root = data_root.root()
            settings = stated(AggregationSettings, context, root)
            unified = unify(catalog.corpora, settings, run_context(context, root, __file__))
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


def _metadata(unified: "UnifiedCorpus", root: DataRoot) -> dict[str, Any]:
    report = unified.report
    return {
        "rows_in": report.rows_in,
        "dropped_rows": records([{**r, "path": root.shown(r["path"])} for r in report.losses.dropped_rows()]),
        "raw_disagree": report.losses.raw_scores,
        "counters": counted(report.counters(), "counter"),
        "per_corpus": counted(report.rows_per_corpus, "corpus"),
        "conversions": records([{"corpus": name, **scale} for name, scale in report.scales.items()]),
        "absent": list(unified.absent),
        "duplicates": records([one.as_row() for one in report.duplicates]),
        "parquet": root.shown(unified.parquet),
        "related_path": root.shown(unified.sidecars.related_clips),
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
        "related_groups": records([group.as_row() for group in view.related.groups[:_GROUPS_SHOWN]]),
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
            description=f"{disagreeing['rows']} rows hold a raw score that disagrees with mos; the raw score counts",
            metadata={"examples": records(disagreeing["examples"])},
        )

    return [unified_corpus_schema, unified_corpus_dropped, unified_corpus_spread, unified_corpus_raw_scores]
