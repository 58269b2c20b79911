"""``corpus_jsonl``: annotation rows and clips become one corpus's JSONL, with checks of its schema and its losses."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, create_model

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import error, jsonl_schema_result, warning
from vqa_assets.assets.pictures import histogram_png
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import (
    counted,
    log_level,
    manifest_metadata,
    picture,
    records,
    table_metadata,
    told_failures,
)
from vqa_assets.clips.work import ClipPool
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.corpora.scales import detect_scale
from vqa_assets.errors import ScaleError
from vqa_assets.ingest.protocols import Downloader, Prober
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import INGEST_SETTINGS, Setting, resolve
from vqa_assets.tables.files import read_json_lines, read_json_object
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import CORPUS_JSONL

if TYPE_CHECKING:
    from vqa_assets.ingest.run import Ingested
    from vqa_assets.ingest.watching import Observer, PassCounts

CODE_VERSION = "1"
OLD_AFTER_DAYS = 30
TOLD_LOSSES = 50


def _config_field(setting: Setting) -> Any:
    kind = {Path: str, RawVideo: dict[str, Any]}.get(setting.type, setting.type)
    return (kind | None, Field(default=None, description=setting.help))


IngestConfig = create_model(
    "IngestConfig",
    __base__=dg.Config,
    __doc__="Settings of one ingest; a field left empty is taken from ingest.toml, the corpus, or its default.",
    **{setting.name: _config_field(setting) for setting in INGEST_SETTINGS},
)


def make_corpus_jsonl(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        deps=[catalog.same("corpus_annotations")],
        partitions_def=catalog.partitions,
        group_name="corpora",
        kinds={"jsonl"},
        code_version=CODE_VERSION,
        pool="download",
        description=f"{CORPUS_JSONL.row} Clips that are absent are fetched first; an interrupted run goes on where it "
        "stopped.",
    )
    def corpus_jsonl(
        context: dg.AssetExecutionContext,
        config: IngestConfig,  # type: ignore[valid-type]
        data_root: DataRootResource,
        prober: dg.ResourceParam[Prober],
        downloader: dg.ResourceParam[Downloader],
        clip_pool: dg.ResourceParam[ClipPool],
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.ingest.run import Services, ingest_corpus

        with told_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            resolved = resolve(corpus, config.model_dump(), root.ingest_toml(corpus))  # type: ignore[attr-defined]
            with log_level(resolved.values.log_level):
                services = Services(prober, downloader, clip_pool, _observer(context))
                done = ingest_corpus(corpus, resolved, services, run_context(context, root, __file__))
        told = _metadata(done, corpus) | manifest_metadata(done.manifest, done.layout.manifest, root)
        return dg.MaterializeResult(
            metadata=told | {"path": root.shown(done.layout.output)}, data_version=dg.DataVersion(done.data_version)
        )

    return corpus_jsonl


def _observer(context: dg.AssetExecutionContext) -> "Observer":
    """Tells the counts of a pass as observations, which the asset's page lists and plots while the run lasts."""

    def observe(counts: "PassCounts") -> None:
        context.log_event(
            dg.AssetObservation(context.asset_key, partition=context.partition_key, metadata=_pass_metadata(counts))
        )

    return observe


def _pass_metadata(counts: "PassCounts") -> dict[str, Any]:
    seconds = max(counts.seconds, 1e-9)
    return {
        "clips_done": counts.done,
        "clips_total": counts.total,
        "clips_failed": counts.failed,
        "clips_broken": counts.broken,
        "clips_per_s": round(counts.done / seconds, 2),
        "read_mb": round(counts.read_bytes / 1e6, 1),
        "read_mb_per_s": round(counts.read_bytes / seconds / 1e6, 2),
        "fetched_mb": round(counts.fetched_bytes / 1e6, 1),
        "minutes": round(counts.seconds / 60, 2),
    }


def make_corpus_jsonl_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), reconciliation (blocking), attrition, label scale, age."""

    @dg.asset_check(
        asset="corpus_jsonl",
        partitions_def=catalog.partitions,
        blocking=True,
        description="Every row keeps the column specs; names and hashes do not repeat.",
    )
    def corpus_jsonl_schema(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        return jsonl_schema_result(_published(context, data_root, catalog), CORPUS_JSONL)

    @dg.asset_check(
        asset="corpus_jsonl",
        partitions_def=catalog.partitions,
        blocking=True,
        description="Rows in are rows kept plus rows lost, each with its counter; rows out are in the file.",
    )
    def corpus_jsonl_reconciles(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        counters: dict[str, int] = read_json_object(_manifest(context, data_root, catalog))["counters"]
        return _reconciliation(_published(context, data_root, catalog), counters)

    @dg.asset_check(
        asset="corpus_jsonl",
        partitions_def=catalog.partitions,
        description="The share of rows lost to downloads stays under attrition_warn_threshold.",
    )
    def corpus_jsonl_attrition(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        manifest = read_json_object(_manifest(context, data_root, catalog))
        limit = manifest["run_provenance"]["args"]["attrition_warn_threshold"]["value"]
        lost, missing = manifest["attrition"], manifest["counters"]["skipped_missing"]
        return warning(
            lost <= limit,
            f"{lost:.1%} of the rows were lost to downloads, {limit:.1%} is ordinary"
            + ("" if lost <= limit else "; see the reasons in the asset's metadata, or set retry_failed")
            + (f"; beside them, {missing} rows have neither a clip nor a URL" if missing else ""),
            {"attrition": lost, "threshold": limit},
        )

    @dg.asset_check(
        asset="corpus_jsonl",
        partitions_def=catalog.partitions,
        description=f"The JSONL is there, and was checked against its clips within the last {OLD_AFTER_DAYS} days.",
    )
    def corpus_jsonl_fresh(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        path, replay = _published(context, data_root, catalog), _manifest(context, data_root, catalog)
        gone = [file.name for file in (path, replay) if not file.is_file()]
        if gone:
            return warning(False, f"{' and '.join(gone)} is no longer there; materialize the partition again")
        manifest = read_json_object(replay)
        begun = datetime.fromisoformat(manifest["run_provenance"]["started_at_utc"])
        days = (datetime.now(UTC) - begun).total_seconds() / 86_400
        return warning(days <= OLD_AFTER_DAYS, f"ingested {days:.1f} days ago", {"age_days": round(days, 2)})

    @dg.asset_check(
        asset="corpus_jsonl",
        partitions_def=catalog.partitions,
        description="All rows say one scale, and the scores by themselves are on it.",
    )
    def corpus_jsonl_label_scale(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        lines = read_json_lines(_published(context, data_root, catalog))
        scores = [(line.row["mos"], str(line.row["mos_scale"])) for line in lines]
        return _scale_result(scores, catalog.corpora[context.partition_key])

    return [
        corpus_jsonl_schema,
        corpus_jsonl_reconciles,
        corpus_jsonl_attrition,
        corpus_jsonl_label_scale,
        corpus_jsonl_fresh,
    ]


def _published(context: dg.AssetCheckExecutionContext, data_root: DataRootResource, catalog: Catalog) -> Path:
    root, name = data_root.root(), context.partition_key
    return artefact_path(context, root, root.corpus_jsonl(catalog.corpora[name]), name)


def _manifest(context: dg.AssetCheckExecutionContext, data_root: DataRootResource, catalog: Catalog) -> Path:
    root, name = data_root.root(), context.partition_key
    default = manifest_path(_published(context, data_root, catalog))
    return artefact_path(context, root, default, name, entry="manifest_path")


def _scale_result(scores: Sequence[tuple[float, str]], corpus: Corpus) -> dg.AssetCheckResult:
    """``scores`` are each row's score and the scale that it says."""
    if not scores:
        return warning(False, "there are no rows: the losses in the asset's metadata say why")
    said = Counter(scale for _, scale in scores)
    told = ", ".join(f"{count} rows on {name}" for name, count in said.most_common())
    try:
        found = detect_scale([score for score, _ in scores], corpus.row_scales, "the scores").name
    except ScaleError as problem:
        return warning(False, f"{told}; {problem}", dict(said))
    advice = "" if set(said) == {found} else f", by the scores it is {found}: set mos_scale and ingest again"
    return warning(not advice, f"{told}{advice}", dict(said))


def _reconciliation(path: Path, counters: dict[str, int]) -> dg.AssetCheckResult:
    from vqa_assets.ingest.report import KEPT, LOST

    with path.open("rb") as lines:
        in_file = sum(1 for _ in lines)
    kept = sum(counters[name] for name in KEPT)
    lost = sum(counters[name] for name in LOST)
    whole = (
        counters["rows_in"] == kept + lost and counters["rows_out"] == in_file == kept + counters["retained_outside"]
    )
    return error(
        whole,
        f"{counters['rows_in']} rows in = {kept} kept + {lost} lost; {counters['rows_out']} rows out, {in_file} in the "
        "file",
        {name: counters[name] for name in ("rows_in", "rows_out")},
    )


def _metadata(done: "Ingested", corpus: Corpus) -> dict[str, Any]:
    report, labels = done.report, done.annotations.statistics()
    scale = done.annotations.scale
    losses = [loss.as_dict() for loss in report.losses[:TOLD_LOSSES]]
    return {
        **table_metadata(CORPUS_JSONL, report.rows_out),
        "rows_in": report.rows_in,
        "attrition": report.attrition,
        "counters": counted({k: v for k, v in report.counters().items() if v}, "counter"),
        "loss_reasons": counted(report.reasons()),
        "losses": records(losses),
        "losses_path": done.manifest["losses_path"],
        "mos_scale": scale.name,
        "mos_histogram": picture(histogram_png(labels.histogram, scale, corpus.title), "MOS histogram"),
        "licence": corpus.licence,
    }
