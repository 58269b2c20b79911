"""One corpus: its score file (``corpus_annotations``), and the JSONL that an ingest makes of it (``corpus_jsonl``).

How a file is parsed is in ``vqa_assets.annotations``, how clips are fetched and read in ``vqa_assets.ingest``.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import counted, histogram_png, picture, records, sentences, shortened
from vqa_assets.assets.published import Latest, PublishedFile, file_schema_result, shown_metadata
from vqa_assets.assets.run_config import form, run_config
from vqa_assets.assets.runs import dagster_failures, observer, run_context
from vqa_assets.clips.work import ClipPool
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.scales import MosScale, ScaleEvidence
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.ingest.tools import DownloaderSource, ProberSource
from vqa_assets.provenance import CLOCKS_DIFFER_DAYS, age_days
from vqa_assets.resources.clip_pool import pool_metadata
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.stages.corpora import CORPUS_JSONL_VERSION, ingest
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.specs import CORPUS_JSONL, corpus_jsonl_of

if TYPE_CHECKING:
    from vqa_assets.annotations.reading import Annotations
    from vqa_assets.ingest.run import Ingested

OLD_AFTER_DAYS = 30
LEAST_ON_SCALE, LEAST_USED, ROWS_TO_DOUBT = 0.99, 0.10, 20
"""A corpus whose scores lie off its scale, or within a tenth of it, is probably on another."""
EXAMPLES = 50
"""How many bad or lost rows the metadata shows; all of them are in the manifest and the losses file."""


def published_jsonl(catalog: Catalog) -> PublishedFile:
    """Each corpus's JSONL."""
    return PublishedFile(
        asset="corpus_jsonl",
        place=lambda root, name: catalog.layout(root, name).output,
        manifest_place=lambda root, name: catalog.layout(root, name).manifest,
        table=CORPUS_JSONL,
        partitions=catalog.partitions,
    )


def make_corpus_annotations(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog. It writes nothing and opens no clip."""

    @dg.asset(
        partitions_def=catalog.partitions,
        group_name="corpora",
        kinds={"csv"},
        code_version=CORPUS_JSONL_VERSION,
        description="One row per line of a corpus's own score file, as the operator dropped it: parsed, judged and "
        "hashed. Its data version is the file's SHA-256.",
    )
    def corpus_annotations(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.annotations.reading import read_annotations

        with dagster_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            layout = catalog.layout(root, corpus.name)
            annotations = read_annotations(corpus, layout.settings, *layout.annotation_files)
        return dg.MaterializeResult(
            metadata=shown_metadata(
                _annotations_metadata(annotations, corpus) | {"path": root.shown(annotations.path)}
            ),
            data_version=dg.DataVersion(annotations.sha256),
        )

    return corpus_annotations


def _annotations_metadata(annotations: "Annotations", corpus: Corpus) -> dict[str, Any]:
    labels = annotations.statistics()
    bad = (f"line {row.line}: {row.src}: {row.problem}" for row in annotations.bad[:EXAMPLES])
    # One row of numbers: the histogram is a picture beside it, and the ratings are shown by their range.
    numbers = {name: value for name, value in labels.as_dict().items() if name not in ("histogram", "ratings")}
    least, most = min(labels.ratings), max(labels.ratings)
    numbers["ratings_per_clip"] = f"{least}" if least == most else f"{least}–{most}"
    histogram = histogram_png(labels.histogram, annotations.scale, f"{corpus.title}: {labels.clips} clips")
    return {
        "dagster/row_count": len(annotations.rows),
        "usable_rows": len(annotations.usable),
        "bad_rows": len(annotations.bad),
        "bad_reasons": counted(annotations.problems()),
        "bad_examples": sentences("row", bad),
        "mos_scale": f"{annotations.scale.title} ({annotations.scale_from})",
        "mos_mean": shortened(labels.mos_mean),
        **(
            {"scores": records([{"score": s.field, **s.as_dict()} for s in annotations.scores])}
            if corpus.scores
            else {}
        ),
        "mos_histogram": picture(histogram, "MOS histogram"),
        "unknown_sd": shortened(labels.share_unknown_sd),
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
        code_version=CORPUS_JSONL_VERSION,
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
        from vqa_assets.ingest.layout import check_paths_of_run

        with dagster_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            resolved = resolve(corpus, run_config(context), root.ingest_toml(corpus))
            check_paths_of_run(resolved, corpus, root)
            run = run_context(context, root, __file__)
            ingested = ingest(corpus, resolved, prober, downloader, clip_pool, run, observer(context))
        return published.result(
            root,
            path=ingested.layout.output,
            rows=ingested.report.rows_out,
            manifest=ingested.manifest,
            manifest_file=ingested.layout.manifest,
            data_version=ingested.data_version,
            metadata=_jsonl_metadata(ingested, corpus) | pool_metadata(clip_pool),
        )

    return corpus_jsonl


def _jsonl_metadata(ingested: "Ingested", corpus: Corpus) -> dict[str, Any]:
    from vqa_assets.ingest.run import this_run_only

    report, labels = ingested.report, ingested.annotations.statistics()
    scale = ingested.annotations.scale
    return {
        "rows_in": report.rows_in,
        "attrition": report.attrition,
        "loss_reasons": counted(report.reasons()),
        "losses": sentences(
            "clip", (f"{one.src}: {one.reason} ({one.counter}, line {one.line})" for one in report.losses[:EXAMPLES])
        ),
        "losses_path": ingested.manifest["losses_path"],
        "counters": counted({k: v for k, v in report.counters().items() if v and not k.endswith("_bytes")}, "counter"),
        "read_mb": round(report.read_bytes / 1e6, 1),
        "fetched_mb": round(report.fetched_bytes / 1e6, 1),
        "mos_scale": scale.title,
        "mos_histogram": picture(histogram_png(labels.histogram, scale, corpus.title), "MOS histogram"),
        "licence": corpus.licence,
        # Only where there is something to say: most runs leave every file where other stages look for it.
        **({"this_run_only": this_run_only(ingested.unseen)} if ingested.unseen else {}),
    }


def make_corpus_jsonl_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), reconciliation (blocking), attrition, label scale, age."""
    published = published_jsonl(catalog)

    @published.check("Every row keeps the column specs; names and hashes do not repeat.", blocking=True)
    def corpus_jsonl_schema(latest: Latest) -> dg.AssetCheckResult:
        return file_schema_result(latest.path, corpus_jsonl_of(catalog.corpora[latest.partition]))

    @published.check(
        "Rows in are rows kept plus rows lost, each with its counter; rows out are in the file.", blocking=True
    )
    def corpus_jsonl_reconciles(latest: Latest) -> dg.AssetCheckResult:
        from vqa_assets.ingest.rows import KEPT, LATER_COUNTERS, LOST

        counters: dict[str, int] = {**dict.fromkeys(LATER_COUNTERS, 0), **latest.manifest["counters"]}
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
            message = f"not there: {' and '.join(gone)}; materialize the partition again"
            return dg.AssetCheckResult(passed=False, description=message)
        began = latest.manifest.get("run_provenance", {}).get("started_at_utc")
        if began is None:  # of the older scripts
            message = f"{latest.manifest_path.name} says no time; materialize the partition again"
            return dg.AssetCheckResult(passed=False, description=message)
        days = age_days(began)
        if days < -CLOCKS_DIFFER_DAYS:
            message = f"ingested {-days:.1f} days in the future: was a clock wrong? Materialize the partition again"
            return dg.AssetCheckResult(passed=False, description=message, metadata={"age_days": round(days, 2)})
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
        corpus = catalog.corpora[latest.partition]
        named = {name: scale for name in rows if (scale := corpus.scale_named(name)) is not None}
        # The evidence, and not the decision over again: a rule that was wrong at ingest would agree with itself here.
        numbers = [score for score, _ in scores]
        evidence = ScaleEvidence.of(numbers, [*named.values(), *corpus.row_scales])
        doubts = _scale_doubts(rows, named, evidence)
        if not {scale.name for scale in corpus.row_scales} >= named.keys():
            doubts.append(f"{latest.partition} declares {' and '.join(s.name for s in corpus.row_scales)} only")
        advice = f"; {'; '.join(doubts)}: set mos_scale and ingest again" if doubts else ""
        return dg.AssetCheckResult(
            passed=not doubts,
            description=f"{message}: {evidence.in_words()}{advice}",
            metadata={**rows, "quantiles": dict(evidence.quantiles), "shares": dict(evidence.shares)},
        )

    return [
        corpus_jsonl_schema,
        corpus_jsonl_reconciles,
        corpus_jsonl_attrition,
        corpus_jsonl_label_scale,
        corpus_jsonl_fresh,
    ]


def _scale_doubts(rows: Mapping[str, int], named: Mapping[str, MosScale], evidence: ScaleEvidence) -> list[str]:
    """Why the scale that rows say may not be theirs; empty where nothing speaks against it.

    ``named`` are the scales of the corpus that rows name.
    """
    unknown = [name for name in rows if name not in named]
    if unknown:
        return [f"the corpus has no scale {', '.join(unknown)}"]
    if len(rows) > 1:
        return ["rows of one corpus say different scales"]
    (scale,) = named.values()
    name, doubts = scale.name, []
    if evidence.shares[name] < LEAST_ON_SCALE:
        doubts.append(f"only {evidence.shares[name]:.1%} of the scores are on {name}")
    used = (evidence.quantiles["90%"] - evidence.quantiles["10%"]) / scale.span
    if evidence.scores >= ROWS_TO_DOUBT and used < LEAST_USED:
        doubts.append(f"eight scores of ten lie within {used:.0%} of its range")
    return doubts
