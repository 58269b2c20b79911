"""``unified_features``: the opinion scores of the unified corpus with their features, for heads over every corpus."""

import math
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import counted, embeddings_png, histogram_png, picture, records
from vqa_assets.assets.published import Latest, PublishedFile
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, run_context
from vqa_assets.corpora.scales import TRAINING
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.stages.unified import UNIFIED_FEATURES_VERSION, join_with_features
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import UNIFIED_FEATURES
from vqa_assets.unified.settings import FeatureRowsSettings

PUBLISHED = PublishedFile("unified_features", lambda root, _: root.unified_features(), UNIFIED_FEATURES)


def make_unified_features_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over the unified corpus and the labelled tables of all corpora of the catalog."""

    @dg.asset(
        deps=[dg.AssetDep("unified_corpus"), catalog.every("mos_features")],
        group_name="unified",
        kinds={"parquet"},
        config_schema=form(FeatureRowsSettings),
        code_version=UNIFIED_FEATURES_VERSION,
        description=f"{UNIFIED_FEATURES.row} Scores, and which of equal clips stands, are unified_corpus's; features "
        "come from every labelled table that is there, and absent ones are listed.",
    )
    def unified_features(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
        extractor: dg.ResourceParam[FeatureExtractor],
    ) -> dg.MaterializeResult[Any]:
        with dagster_failures():
            root = data_root.root()
            settings = stated(FeatureRowsSettings, context, root)
            run = run_context(context, root, __file__)
            made = join_with_features(catalog.corpora, settings, extractor, run, _embeddings)
        report = made.report
        histogram = histogram_png(report.histogram, TRAINING, f"{report.rows_out} clips with features")
        return PUBLISHED.result(
            root,
            path=made.path,
            rows=report.rows_out,
            manifest=made.manifest,
            manifest_file=manifest_path(made.path),
            data_version=made.data_version,
            metadata={
                "rows_in": report.rows_in,
                "without_features": counted(report.without_features, "corpus"),
                "left_out": records([{"column": n, "why": why} for n, why in report.left_out_columns.items()]),
                "counters": counted(report.counters(), "counter"),
                "per_corpus": counted(report.rows_per_corpus, "corpus"),
                "tables": records([{**t, "disagreeing": str(t["disagreeing"] or "")} for t in made.manifest["tables"]]),
                "absent": list(report.absent),
                "columns": len(report.columns),
                "mos_histogram": picture(histogram, "MOS histogram"),
                **made.seen,
            },
        )

    return unified_features


def _embeddings(table: Path) -> dict[str, Any]:
    """The picture of the table's embeddings, where it has any."""
    from vqa_assets.features.embeddings import embedding_planes
    from vqa_assets.tables.parquet import open_parquet

    planes = embedding_planes(table)
    if not planes:
        return {}
    columns = open_parquet(table).read(columns=["mos", "corpus"])
    mos = [math.nan if score is None else float(score) for score in columns.column("mos").to_pylist()]
    content = embeddings_png(planes, mos, columns.column("corpus").to_pylist())
    return {"embeddings": picture(content, "embeddings by MOS and by corpus")}


def make_unified_features_checks() -> list[dg.AssetChecksDefinition]:
    """Schema and reconciliation (blocking); clips without features and tables of other clips (a warning)."""

    @PUBLISHED.check(
        "The unified corpus's rows are rows out, rows without features and computed scores; every table's rows are "
        "joined or counted as lost; rows out are in the file.",
        blocking=True,
    )
    def unified_features_reconciles(latest: Latest) -> dg.AssetCheckResult:
        from vqa_assets.tables.parquet import open_parquet

        counters, tables = latest.manifest["counters"], latest.manifest["tables"]
        lost = counters["without_features"] + counters["no_opinions"]
        in_file, joined = open_parquet(latest.path).metadata.num_rows, sum(table["joined"] for table in tables)
        losses = ("joined", "unlabelled", "not_in_unified", "duplicates", "rows_left_out")
        torn = [t["path"] for t in tables if t["rows"] != sum(t[name] for name in losses)]
        rows_in, rows_out = counters["rows_in"], counters["rows_out"]
        return dg.AssetCheckResult(
            passed=rows_in == rows_out + lost and rows_out == in_file == joined and not torn,
            description=f"{rows_in} rows in = {rows_out} out + {lost} lost; {joined} rows joined, {in_file} in the file"
            + (f"; rows of {', '.join(torn)} do not add up" if torn else ""),
            metadata={"rows_in": rows_in, "rows_out": rows_out},
        )

    @PUBLISHED.check(
        "Every clip with an opinion score has features, and every labelled row is of a clip of unified_corpus."
    )
    def unified_features_coverage(latest: Latest) -> dg.AssetCheckResult:
        lines = latest.manifest["look_at"]
        return dg.AssetCheckResult(
            passed=not lines,
            description="; ".join(lines) or "every clip has features, every row a clip",
            metadata=latest.manifest["counters"],
        )

    return [
        PUBLISHED.schema_check("Every row keeps the column specs; no clip repeats."),
        unified_features_reconciles,
        unified_features_coverage,
    ]
