"""One corpus: its score file (``corpus_annotations``), and the JSONL that an ingest makes of it (``corpus_jsonl``).

How a file is parsed is in ``vqa_assets.annotations``, how clips are fetched and read in ``vqa_assets.ingest``.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import counted, histogram_png, picture, records, shortened
from vqa_assets.assets.published import Latest, PublishedFile
from vqa_assets.assets.run_config import form, run_config
from vqa_assets.assets.runs import dagster_failures, log_level, run_context
from vqa_assets.clips.work import ClipPool, Observer, PassCounts
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.scales import SCALES, ScaleEvidence
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.ingest.tools import DownloaderSource, ProberSource
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.specs import CORPUS_JSONL

if TYPE_CHECKING:
    from vqa_assets.annotations import Annotations
    from vqa_assets.ingest.run import Ingested

CODE_VERSION = "1"
OLD_AFTER_DAYS = 30
LEAST_ON_SCALE, LEAST_USED, ROWS_TO_DOUBT = 0.99, 0.10, 20
"""A corpus whose scores lie off its scale, or within a tenth of it, is probably on another."""
EXAMPLES = 50
"""How many bad or lost rows the metadata shows; all of them are in the manifest and the losses file."""


def published_jsonl(catalog: Catalog) -> PublishedFile:
    """Each corpus's JSONL."""
    return PublishedFile(
        asset="corpus_jsonl",
        place=lambda root, name: root.corpus_jsonl(catalog.corpora[name]),
        table=CORPUS_JSONL,
        partitions=catalog.partitions,
    )


def make_corpus_annotations(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog. It writes nothing and opens no clip."""

    @dg.asset(
        partitions_def=catalog.partitions,
        group_name="corpora",
        kinds={"csv"},
        code_version=CODE_VERSION,
        description="One row per line of a corpus's own score file, as the operator dropped it: parsed, judged and "
        "hashed. Its data version is the file's SHA-256.",
    )
    def corpus_annotations(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.annotations import find_annotation_files, read_annotations
        from vqa_assets.ingest.layout import corpus_folder

        with dagster_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            settings = resolve(corpus, {}, root.ingest_toml(corpus)).values
            folder = corpus_folder(corpus, settings, root)
            files = find_annotation_files(corpus, folder, settings.manifest_csv)
            annotations = read_annotations(corpus, settings, *files)
        return dg.MaterializeResult(
            metadata=_annotations_metadata(annotations, corpus) | {"path": root.shown(annotations.path)},
            data_version=dg.DataVersion(annotations.sha256),
        )

    return corpus_annotations


def _annotations_metadata(annotations: "Annotations", corpus: Corpus) -> dict[str, Any]:
    labels = annotations.statistics()
    bad = [{"line": row.line, "clip": row.src, "reason": row.problem} for row in annotations.bad[:EXAMPLES]]
    # One row of numbers: the histogram is a picture beside it, and the ratings are shown by their range.
    numbers = {name: value for name, value in labels.as_dict().items() if name not in ("histogram", "ratings")}
    least, most = min(labels.ratings), max(labels.ratings)
    numbers["ratings_per_clip"] = f"{least}" if least == most else f"{least}–{most}"
    histogram = histogram_png(labels.histogram, annotations.scale, f"{corpus.title}: {labels.clips} clips")
    return {
        "dagster/row_count": len(annotations.rows),
        "usable_rows": len(annotations.usable),
        "bad_rows": len(annotations.bad),
        "bad_row_reasons": counted(annotations.problems()),
        "bad_row_examples": records(bad),
        "mos_scale": f"{annotations.scale.name} ({annotations.scale_from})",
        "mos_mean": shortened(labels.mos_mean),
        "mos_histogram": picture(histogram, "MOS histogram"),
        "share_unknown_sd": shortened(labels.share_unknown_sd),
        "labels": records([numbers]),
        "sha256": annotations.sha256,
        "licence": corpus.licence,
        "citation": corpus.citation,
        "homepage": dg.MetadataValue.url(corpus.homepage),
    }


def make_corpus_jsonl(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""
    published = published_jsonl(catalog)

    @dg.asset(
        deps=[catalog.same("corpus_annotations")],
        partitions_def=catalog.partitions,
        group_name="corpora",
        kinds={"jsonl"},
        code_version=CODE_VERSION,
        pool="download",
        config_schema=form(IngestSettings, decided_later=True),
        description=f"{CORPUS_JSONL.row} Clips that are absent are fetched first; an interrupted run goes on where it "
        "stopped.",
    )
    def corpus_jsonl(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
        prober: dg.ResourceParam[ProberSource],
        downloader: dg.ResourceParam[DownloaderSource],
        clip_pool: dg.ResourceParam[ClipPool],
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.ingest.gather import Services
        from vqa_assets.ingest.run import ingest_corpus

        with dagster_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            resolved = resolve(corpus, run_config(context), root.ingest_toml(corpus))
            with log_level(resolved.values.log_level):
                services = Services(prober, downloader, clip_pool, _observer(context))
                ingested = ingest_corpus(corpus, resolved, services, run_context(context, root, __file__))
        return published.result(
            root,
            path=ingested.layout.output,
            rows=ingested.report.rows_out,
            manifest=ingested.manifest,
            manifest_file=ingested.layout.manifest,
            data_version=ingested.data_version,
            metadata=_jsonl_metadata(ingested, corpus),
        )

    return corpus_jsonl


def _observer(context: dg.AssetExecutionContext) -> Observer:
    """Reports the counts of a pass as observations, which the asset's page lists and plots while the run lasts."""

    def observe(counts: PassCounts) -> None:
        seconds = max(counts.seconds, 1e-9)
        metadata = {
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
        context.log_event(dg.AssetObservation(context.asset_key, partition=context.partition_key, metadata=metadata))

    return observe


def _jsonl_metadata(ingested: "Ingested", corpus: Corpus) -> dict[str, Any]:
    report, labels = ingested.report, ingested.annotations.statistics()
    scale = ingested.annotations.scale
    return {
        "rows_in": report.rows_in,
        "attrition": report.attrition,
        "counters": counted({k: v for k, v in report.counters().items() if v}, "counter"),
        "loss_reasons": counted(report.reasons()),
        "losses": records([loss.as_dict() for loss in report.losses[:EXAMPLES]]),
        "losses_path": ingested.manifest["losses_path"],
        "mos_scale": scale.name,
        "mos_histogram": picture(histogram_png(labels.histogram, scale, corpus.title), "MOS histogram"),
        "licence": corpus.licence,
    }


def make_corpus_jsonl_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), reconciliation (blocking), attrition, label scale, age."""
    published = published_jsonl(catalog)

    @published.check(
        "Rows in are rows kept plus rows lost, each with its counter; rows out are in the file.", blocking=True
    )
    def corpus_jsonl_reconciles(latest: Latest) -> dg.AssetCheckResult:
        from vqa_assets.ingest.rows import KEPT, LOST

        counters: dict[str, int] = latest.manifest["counters"]
        with latest.path.open("rb") as lines:
            in_file = sum(1 for _ in lines)
        kept, lost = sum(counters[name] for name in KEPT), sum(counters[name] for name in LOST)
        rows_in, rows_out = counters["rows_in"], counters["rows_out"]
        return dg.AssetCheckResult(
            passed=rows_in == kept + lost and rows_out == in_file == kept + counters["retained_outside"],
            description=f"{rows_in} rows in = {kept} kept + {lost} lost; {rows_out} rows out, {in_file} in the file",
            metadata={"rows_in": rows_in, "rows_out": rows_out},
        )

    @published.check("The share of rows lost to downloads stays under attrition_warn_threshold.")
    def corpus_jsonl_attrition(latest: Latest) -> dg.AssetCheckResult:
        manifest = latest.manifest
        limit = manifest["run_provenance"]["args"]["attrition_warn_threshold"]["value"]
        lost, missing = manifest["attrition"], manifest["counters"]["skipped_missing"]
        return dg.AssetCheckResult(
            passed=lost <= limit,
            description=f"{lost:.1%} of the rows were lost to downloads, {limit:.1%} is ordinary"
            + ("" if lost <= limit else "; see the reasons in the asset's metadata, or set retry_failed")
            + (f"; beside them, {missing} rows have neither a clip nor a URL" if missing else ""),
            metadata={"attrition": lost, "threshold": limit},
        )

    @published.check(f"The JSONL is there, and was checked against its clips within the last {OLD_AFTER_DAYS} days.")
    def corpus_jsonl_fresh(latest: Latest) -> dg.AssetCheckResult:
        gone = [file.name for file in (latest.path, latest.manifest_path) if not file.is_file()]
        if gone:
            message = f"{' and '.join(gone)} is no longer there; materialize the partition again"
            return dg.AssetCheckResult(passed=False, description=message)
        begun = datetime.fromisoformat(latest.manifest["run_provenance"]["started_at_utc"])
        days = (datetime.now(UTC) - begun).total_seconds() / 86_400
        return dg.AssetCheckResult(
            passed=days <= OLD_AFTER_DAYS,
            description=f"ingested {days:.1f} days ago",
            metadata={"age_days": round(days, 2)},
        )

    @published.check("All rows say one scale, and their scores are on it and use it.")
    def corpus_jsonl_label_scale(latest: Latest) -> dg.AssetCheckResult:
        scores = [(line.row["mos"], str(line.row["mos_scale"])) for line in read_json_lines(latest.path)]
        if not scores:
            message = "there are no rows: the losses in the asset's metadata say why"
            return dg.AssetCheckResult(passed=False, description=message)
        rows = Counter(scale for _, scale in scores)
        message = ", ".join(f"{count} rows on {name}" for name, count in rows.most_common())
        # The evidence, and not the decision over again: a rule that was wrong at ingest would agree with itself here.
        numbers = [score for score, _ in scores]
        declared = catalog.corpora[latest.partition].row_scales
        evidence = ScaleEvidence.of(numbers, [SCALES[name] for name in rows] + list(declared))
        doubts = _scale_doubts(rows, evidence)
        if not {scale.name for scale in declared} >= rows.keys():
            doubts.append(f"{latest.partition} declares {' and '.join(scale.name for scale in declared)} only")
        advice = f"; {'; '.join(doubts)}: set mos_scale and ingest again" if doubts else ""
        return dg.AssetCheckResult(
            passed=not doubts,
            description=f"{message}: {evidence.in_words()}{advice}",
            metadata={**rows, "quantiles": dict(evidence.quantiles), "shares": dict(evidence.shares)},
        )

    return [
        published.schema_check("Every row keeps the column specs; names and hashes do not repeat."),
        corpus_jsonl_reconciles,
        corpus_jsonl_attrition,
        corpus_jsonl_label_scale,
        corpus_jsonl_fresh,
    ]


def _scale_doubts(rows: Mapping[str, int], evidence: ScaleEvidence) -> list[str]:
    """Why the scale that rows say may not be theirs; empty where nothing speaks against it."""
    if len(rows) > 1:
        return ["rows of one corpus say different scales"]
    (name,) = rows
    scale = SCALES[name]
    doubts = []
    if evidence.shares[name] < LEAST_ON_SCALE:
        doubts.append(f"only {evidence.shares[name]:.1%} of the scores are on {name}")
    used = (evidence.quantiles["90%"] - evidence.quantiles["10%"]) / (scale.high - scale.low)
    if evidence.scores >= ROWS_TO_DOUBT and used < LEAST_USED:
        doubts.append(f"eight scores of ten lie within {used:.0%} of its range")
    return doubts
